"""Read a mammogram: from bytes to grey values that a model may be asked about.

The one road for training and serving. It runs in the process that calls it; what
comes from outside goes through `mammolens.imaging.sandbox`, which runs it in a
bounded child.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import InputError, MalformedFile, NoPixels
from mammolens.imaging.breast import find_breast, is_negative, is_negative_thumbnail
from mammolens.imaging.dicom_file import open_dicom
from mammolens.imaging.dicom_header import DicomHeader, read_header
from mammolens.imaging.dicom_pixels import decode_frame, grey, padding_hides
from mammolens.imaging.gate import check_header, header_notices
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.quality import assess, check_size, look
from mammolens.imaging.raster import read_jpeg, read_png
from mammolens.imaging.resolution import halved, halvings
from mammolens.imaging.sniff import sniff
from mammolens.imaging.source import file_bytes
from mammolens.types import Mammogram, Notice

__all__ = ["ReadOptions", "mammogram_from_array", "read_mammogram", "turned"]

_HEAD = 256
_WORTH_A_THREAD = 1 << 20
_NEGATIVE = Notice("negative-turned", "The picture is a negative (dark tissue on bright ground); it was turned.")
_COLOUR = Notice("colour", "The picture is stored in colour; its brightness was taken.")


def read_mammogram(source: Path | str | bytes, options: ReadOptions | None = None) -> Mammogram:
    """Read a mammogram from a DICOM, PNG or JPEG file, recognised by its content.

    Parameters
    ----------
    source : path or bytes
        A file, or its content.
    options : ReadOptions, optional

    Returns
    -------
    Mammogram
        With the breast found, unless ``any_modality`` is set and there is none.

    Raises
    ------
    FileMissing, UnknownFormat, MalformedFile, UnsupportedEncoding, NoPixels, TooLarge, TooSmall
        The file can't be read.
    DecodeError
        Its pixels can't be decoded.
    WrongModality, ForProcessing, BlankImage, NoBreast, NotAMammogram
        It is no mammogram that a model may answer for (``docs/quality-gate.md``).
    """
    options = ReadOptions() if options is None else options
    data = file_bytes(source, options.limits)
    kind = sniff(data[:_HEAD])
    digest = _digest(data)
    if kind == "dicom":
        return _read_dicom(data, digest, options)
    picture = read_png(data, options.limits) if kind == "png" else read_jpeg(data, options.limits)
    height, width = picture.values.shape
    plain = Mammogram(picture.values, height, width, sha256=digest(), source=kind)
    return _gated(_fitted(plain, options.min_size), picture.colour, options.any_modality)


def mammogram_from_array(
    pixels: NDArray[Any], *, any_modality: bool = False, min_size: tuple[int, int] | None = None
) -> Mammogram:
    """Take an array for a mammogram, after the same quality gate as a file.

    Parameters
    ----------
    pixels : ndarray, shape (h, w)
        Grey values of any integer or float type, linear, in either polarity.
    any_modality : bool
        Skip the quality gate.
    min_size : tuple of int, optional
        ``(height, width)`` of the model input that the picture is for.

    Returns
    -------
    Mammogram

    Raises
    ------
    MalformedFile
        If the array is not two-dimensional, has no pixels or values that are not finite.
    TooSmall, BlankImage, NoBreast, NotAMammogram
    """
    array = np.asarray(pixels)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "buif" or not np.isfinite(array).all():
        raise MalformedFile("The array is not a picture: give finite grey values of shape (height, width).")
    digest = hashlib.sha256(np.ascontiguousarray(array).data.cast("B")).hexdigest()
    if array.dtype not in (np.uint8, np.uint16):
        array = array.astype(np.uint8 if array.dtype.kind == "b" else np.float32)
    height, width = array.shape
    plain = Mammogram(np.ascontiguousarray(array), height, width, sha256=digest)
    return _gated(_fitted(plain, min_size), 0.0, any_modality)


def _fitted(plain: Mammogram, min_size: tuple[int, int] | None) -> Mammogram:
    """Average a whole picture down to what the model needs, nearly as far as a reduced JPEG 2000 comes decoded.

    An average of sixteen pixels is softer than what JPEG 2000 leaves of them, and the score hears it; an average of
    four is close enough to both that and the whole picture.
    """
    times = halvings(plain.rows, plain.columns, min_size)
    if plain.reduction == 1:
        times = min(times, max(1, times - 1))
    times = max(0, times - (plain.reduction.bit_length() - 1))
    return replace(plain, pixels=halved(plain.pixels, times), reduction=plain.reduction << times)


def _digest(data: bytes) -> Callable[[], str]:
    """SHA-256 of a file; of a large one on a thread of its own, while the decoder works."""
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(hashlib.sha256(data).hexdigest()))
    try:
        if len(data) < _WORTH_A_THREAD:
            thread.run()
            return found.pop
        thread.start()
    except RuntimeError:
        # No room for a thread: then it takes its turn.
        thread.run()
        return found.pop

    def result() -> str:
        thread.join()
        return found.pop()

    return result


def _read_dicom(data: bytes, digest: Callable[[], str], options: ReadOptions) -> Mammogram:
    file = open_dicom(data, options.limits)
    if file.pixels is None:
        raise NoPixels("This DICOM object holds no pixels. Give an image object.")
    header = read_header(file, options.frame)
    form = header.format
    frame = form.frames // 2 if options.frame is None else options.frame
    if not 0 <= frame < form.frames:
        raise InputError(f"The file has {form.frames} frames; give a frame from 0 to {form.frames - 1}.")
    if not options.any_modality:
        check_header(header)
        check_size(form.rows, form.columns)
    stored = decode_frame(file, header, frame, options.limits, options.min_size)
    if padding_hides(stored, header):
        stored = decode_frame(file, header, frame, options.limits)
    notices = header_notices(header, frame)
    if stored.colour:
        notices.append(_COLOUR)
    plain = _described(grey(stored, header), header, stored.reduction, digest(), notices)
    return _gated(_fitted(plain, options.min_size), 0.0, options.any_modality)


def _described(
    pixels: NDArray[Any], header: DicomHeader, reduction: int, digest: str, notices: list[Notice]
) -> Mammogram:
    return Mammogram(
        pixels=pixels,
        rows=header.format.rows,
        columns=header.format.columns,
        reduction=reduction,
        sha256=digest,
        source="dicom",
        laterality=header.laterality,
        view=header.view,
        view_modifiers=header.view_modifiers,
        pixel_spacing=header.spacing,
        notices=tuple(notices),
    )


def _gated(plain: Mammogram, colour: float, any_modality: bool) -> Mammogram:
    """Turn a negative, then look at the picture as the quality gate does."""
    pixels, notices = plain.pixels, plain.notices
    if any_modality:
        negative = min(pixels.shape) > 1 and is_negative(pixels)
        pixels = turned(pixels) if negative else pixels
        notices = (*notices, _NEGATIVE) if negative else notices
        return replace(plain, pixels=pixels, negative=negative, notices=notices, breast=find_breast(pixels))
    scaled = look(pixels)
    negative = is_negative_thumbnail(scaled)
    if negative:
        pixels, scaled, notices = turned(pixels), 1.0 - scaled, (*notices, _NEGATIVE)
    breast, seen = assess(pixels, colour, scaled)
    return replace(plain, pixels=pixels, negative=negative, notices=(*notices, *seen), breast=breast)


def turned(pixels: NDArray[Any]) -> NDArray[Any]:
    """Negative of a picture, its darkest value 0: a turned negative is the positive, bit for bit.

    Parameters
    ----------
    pixels : ndarray of uint8, uint16 or float32, shape (h, w)

    Returns
    -------
    ndarray, same shape and type
    """
    if pixels.dtype.kind == "f":
        return -pixels
    negative: NDArray[Any] = pixels.max() - pixels
    return negative
