"""What the frames of a decoding process hold: pictures, mammograms and refusals, checked on arrival.

The parent believes none of it: a decoder that a hostile file has taken over may send
anything at all. Everything that does not hold raises ``ValueError``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import InputError, refusals
from mammolens.imaging.channel import Header
from mammolens.types import Breast, Mammogram, Notice, PixelSpacing

if TYPE_CHECKING:
    from mammolens.imaging.identity import Identity

_DTYPES: dict[str, np.dtype[Any]] = {"|u1": np.dtype(np.uint8), "<u2": np.dtype("<u2"), "<f4": np.dtype("<f4")}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VIEW = re.compile(r"[A-Z0-9]{1,16}")
_SOURCES = frozenset(("dicom", "png", "jpeg"))
_LATERALITIES = frozenset(("L", "R", "B", None))
_ORIGINS = frozenset(("imager", "detector", "calibrated"))
_LONGEST_TEXT = 600
_MOST_TEXTS = 64
_HIGHEST_REDUCTION = 64
_LONGEST_MM = 1e6
_LARGEST = 1e9
_SLACK = 1e-3
_INSIDE = 127
_MOST_TRAILER_BYTES = 1 << 17


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def bytes_of(array: NDArray[Any]) -> memoryview:
    """Bytes of an array, little endian and row by row, without a copy where it is stored so."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data.cast("B")


def room_of(array: NDArray[Any]) -> memoryview:
    """Memory of an array that `array_from` made, to be filled with what `bytes_of` gave."""
    return array.data.cast("B")


def describe_array(array: NDArray[Any]) -> Header:
    """Shape and type of an array, as `array_from` expects them."""
    return {"shape": list(array.shape), "dtype": array.dtype.newbyteorder("<").str}


def array_from(header: Header, size: int, max_pixels: int) -> NDArray[Any]:
    """Make the empty array that a frame's body belongs into.

    Parameters
    ----------
    header : dict
        Holds ``shape`` and ``dtype``.
    size : int
        Bytes of the body.
    max_pixels : int
        Most pixels that the array may have.

    Returns
    -------
    ndarray of uint8, uint16 or float32, shape (h, w)
        Uninitialised.

    Raises
    ------
    ValueError
        If shape, type and size do not agree or are over the limit; nothing has been
        allocated then.
    """
    name = header.get("dtype")
    dtype = _DTYPES.get(name) if isinstance(name, str) else None
    shape = header.get("shape")
    if dtype is None or not isinstance(shape, list) or len(shape) != 2:
        raise ValueError("no picture")
    height, width = (_whole(value) for value in shape)
    _check(height * width <= max_pixels and height * width * dtype.itemsize == size, "another size")
    array: NDArray[Any] = np.empty((height, width), dtype)
    return array


def trailer_size(header: Header) -> int:
    """Bytes that follow the array in a frame's body; raises ValueError where that is no small number."""
    size = header.get("trailer")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= _MOST_TRAILER_BYTES:
        raise ValueError("no small number")
    return size


def describe_mammogram(mammogram: Mammogram) -> tuple[Header, bytes]:
    """Put everything but the pixels of a mammogram in a JSON object and a trailer, as `mammogram_from` expects them."""
    spacing, breast = mammogram.pixel_spacing, mammogram.breast
    header = {
        **describe_array(mammogram.pixels),
        "rows": mammogram.rows,
        "columns": mammogram.columns,
        "reduction": mammogram.reduction,
        "sha256": mammogram.sha256,
        "source": mammogram.source,
        "laterality": mammogram.laterality,
        "view": mammogram.view,
        "view_modifiers": list(mammogram.view_modifiers),
        "pixel_spacing": None if spacing is None else [spacing.row, spacing.column, spacing.origin],
        "negative": mammogram.negative,
        "notices": [[notice.code, notice.message] for notice in mammogram.notices],
        "breast": None if breast is None else _describe_breast(breast),
    }
    return header, b"" if breast is None else np.packbits(breast.mask > _INSIDE).tobytes()


def _describe_breast(breast: Breast) -> Header:
    return {
        "box": [float(edge) for edge in breast.box],
        "chest_wall": breast.chest_wall,
        "mask": list(breast.mask.shape),
        "area": float(breast.area),
    }


def mammogram_from(header: Header, pixels: NDArray[Any], trailer: bytes) -> Mammogram:
    """Make a mammogram of what arrived, believing nothing.

    Parameters
    ----------
    header : dict
        From `describe_mammogram`, or from a decoder that went astray.
    pixels : ndarray, shape (h, w)
        As `array_from` made it from the same header.
    trailer : bytes
        One bit for each pixel of the breast's mask.

    Returns
    -------
    Mammogram

    Raises
    ------
    ValueError
        If a field has another type or a value that no mammogram has.
    """
    rows, columns, reduction = (_whole(header.get(name)) for name in ("rows", "columns", "reduction"))
    _check(reduction <= _HIGHEST_REDUCTION and reduction & (reduction - 1) == 0, "reduction")
    _check(pixels.shape == (-(-rows // reduction), -(-columns // reduction)), "size")
    sha256, source = _text(header.get("sha256")), _text(header.get("source"))
    laterality, view = header.get("laterality"), header.get("view")
    _check(_SHA256.fullmatch(sha256) is not None and source in _SOURCES, "origin")
    _check(laterality is None or isinstance(laterality, str), "laterality")
    _check(laterality in _LATERALITIES, "laterality")
    _check(view is None or _VIEW.fullmatch(_text(view)) is not None, "view")
    negative = header.get("negative")
    _check(isinstance(negative, bool), "negative")
    return Mammogram(
        pixels=pixels,
        rows=rows,
        columns=columns,
        reduction=reduction,
        sha256=sha256,
        source=source,
        laterality=laterality,
        view=view,
        view_modifiers=tuple(_text(value) for value in _list(header.get("view_modifiers"))),
        pixel_spacing=_spacing(header.get("pixel_spacing")),
        negative=bool(negative),
        notices=tuple(_notice(value) for value in _list(header.get("notices"))),
        breast=_breast(header.get("breast"), pixels.shape, trailer),
    )


def identity_from(header: Header, _pixels: NDArray[Any], trailer: bytes) -> Identity:
    """Make what a header says of what arrived, believing nothing; raises ValueError as `mammogram_from` does."""
    from mammolens.imaging.identity import LENGTHS, Identity

    found = header.get("identity")
    if not isinstance(found, dict) or trailer:
        raise ValueError("no identity")
    texts = {name: found.get(name) for name in LENGTHS}
    _check(all(text is None or len(_text(text)) <= LENGTHS[name] for name, text in texts.items()), "text")
    laterality, view = found.get("laterality"), found.get("view")
    _check(laterality is None or isinstance(laterality, str), "laterality")
    _check(laterality in _LATERALITIES, "laterality")
    _check(view is None or _VIEW.fullmatch(_text(view)) is not None, "view")
    return Identity(
        **texts,
        laterality=laterality,
        view=view,
        view_modifiers=tuple(_text(value) for value in _list(found.get("view_modifiers"))),
        rows=_whole(found.get("rows")),
        columns=_whole(found.get("columns")),
    )


def describe_error(error: InputError) -> Header:
    """Code and message of a refusal, as `error_from` expects them."""
    return {"error": error.code, "message": error.message[:_LONGEST_TEXT]}


def error_from(header: Header) -> InputError:
    """Make the error that a decoder reports.

    Parameters
    ----------
    header : dict
        Holds ``error`` (a code) and ``message``.

    Returns
    -------
    InputError
        Of the class that has this code.

    Raises
    ------
    ValueError
        If there is no such code, or the message is no plain text.
    """
    kind = refusals().get(_text(header.get("error")))
    if kind is None:
        raise ValueError("no such error")
    return kind(_text(header.get("message")))


def _whole(value: object) -> int:
    """Check that a value is a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("no positive whole number")
    return value


def _text(value: object) -> str:
    """Check that a value is a short line of printable text."""
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or not value.isprintable():
        raise ValueError("no plain text")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list) or len(value) > _MOST_TEXTS:
        raise ValueError("no short list")
    return value


def _notice(value: object) -> Notice:
    pair = _list(value)
    _check(len(pair) == 2, "notice")
    return Notice(_text(pair[0]), _text(pair[1]))


def _spacing(value: object) -> PixelSpacing | None:
    if value is None:
        return None
    values = _list(value)
    _check(len(values) == 3, "spacing")
    row, column = (_length(item) for item in values[:2])
    origin = _text(values[2])
    _check(origin in _ORIGINS, "spacing")
    return PixelSpacing(row, column, origin)


def _length(value: object) -> float:
    millimetres = _number(value)
    _check(0 < millimetres <= _LONGEST_MM, "length")
    return millimetres


def _number(value: object) -> float:
    """Check that a value is a number that is neither endless nor none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST:
        raise ValueError("no number")
    return float(value)


def _breast(value: object, shape: tuple[int, ...], trailer: bytes) -> Breast | None:
    if value is None:
        _check(not trailer, "trailer")
        return None
    if not isinstance(value, dict):
        raise ValueError("no breast")
    edges = _list(value.get("box"))
    _check(len(edges) == 4, "box")
    x0, y0, x1, y1 = (_number(edge) for edge in edges)
    # A box made of rounded shares of the picture may stick out by a rounding error.
    _check(-_SLACK <= x0 < x1 <= shape[1] + _SLACK and -_SLACK <= y0 < y1 <= shape[0] + _SLACK, "box")
    chest_wall, area = value.get("chest_wall"), _number(value.get("area"))
    _check(chest_wall in ("left", "right") and 0.0 <= area <= 1.0 + _SLACK, "breast")
    sides = _list(value.get("mask"))
    _check(len(sides) == 2, "mask")
    height, width = (_whole(side) for side in sides)
    _check(len(trailer) == -(-height * width // 8), "mask")
    bits = np.unpackbits(np.frombuffer(trailer, np.uint8), count=height * width)
    return Breast((x0, y0, x1, y1), str(chest_wall), bits.reshape(height, width) * np.uint8(255), area)
