"""Pictures to look at: the file's own grey values as a viewer shows them.

Nothing here feeds the model. A DICOM frame goes through the modality transformation,
then the first VOI LUT or window that the file carries (PS3.3 C.11.2), and is turned
where MONOCHROME1 or an inverse presentation LUT asks for it (C.7.6.3.1.2, C.11.6).
Whole-number frames are shown through a table of all their possible values, so a
picture of any size is computed once per grey value and the rest is one look-up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ConfigurationError, InputError, NoBreast
from mammolens.imaging.breast import find_breast, is_negative
from mammolens.imaging.dicom_file import DicomFile, open_dicom
from mammolens.imaging.dicom_header import DicomHeader, read_header
from mammolens.imaging.dicom_pixels import StoredFrame, decode_frame, grey, modality_values
from mammolens.imaging.limits import Limits
from mammolens.imaging.preprocess import integral_box
from mammolens.imaging.raster import read_jpeg, read_png
from mammolens.imaging.sniff import sniff
from mammolens.imaging.source import file_bytes
from mammolens.imaging.voi import Window, apply_table, apply_window

Rendered = NDArray[np.uint8] | NDArray[np.uint16]

MOST_SIZE = 16384
"""Longest side that a picture may be enlarged to, pixels."""

_PRESENTATION_LUT_SHAPE = 0x20500020


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """How a picture is shown.

    Attributes
    ----------
    crop : bool
        Show the box around the breast only.
    size : int or None
        Longest side of the result, pixels; that of the source where ``None``.
    window : tuple of float or None
        ``(centre, width)`` in modality values (of a PNG or JPEG: in its grey values),
        instead of what the file says; LINEAR of PS3.3 C.11.2.1.2.1.
    bits : {8, 16}
        Depth of the result.
    frame : int or None
        Frame of a multi-frame file, from 0; the central one where ``None``.
    limits : Limits
        What the file may ask for.
    """

    crop: bool = False
    size: int | None = None
    window: tuple[float, float] | None = None
    bits: int = 8
    frame: int | None = None
    limits: Limits = field(default_factory=Limits.from_settings)

    def __post_init__(self) -> None:
        """Refuse what can't be shown."""
        if self.bits not in (8, 16):
            raise ConfigurationError("A picture is shown with 8 or 16 bits.")
        if self.size is not None and not 1 <= self.size <= MOST_SIZE:
            raise ConfigurationError(f"The longest side of a picture is 1 to {MOST_SIZE} pixels.")
        if self.frame is not None and self.frame < 0:
            raise ConfigurationError("Frames are counted from 0.")
        if self.window is not None:
            Window(*self.window)


@dataclass(frozen=True, slots=True, eq=False)
class _Scale:
    """How stored values become grey.

    Attributes
    ----------
    base : callable
        Stored values to the values that windows are meant for, float32.
    shade : callable or None
        Those to [0, 1]; ``None`` stretches the smallest to 0 and the largest to 1.
    inverted : bool
        Whether 0 is shown white.
    padding : tuple of int or None
        Closed range of stored values that are no picture.
    """

    base: Callable[[NDArray[Any]], NDArray[np.float32]]
    shade: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None
    inverted: bool = False
    padding: tuple[int, int] | None = None


def render(source: Path | str | bytes, options: RenderOptions | None = None) -> Rendered:
    """Make a picture to look at from a DICOM, PNG or JPEG file.

    What has no window of its own is stretched from its smallest to its largest value.
    Pixel padding is black, and so is what lies below a window.

    Parameters
    ----------
    source : path or bytes
        A file, or its content.
    options : RenderOptions, optional

    Returns
    -------
    ndarray of uint8 or uint16, shape (h, w)

    Raises
    ------
    InputError
        As `mammolens.imaging.reading.read_mammogram`, but for the quality gate: what is
        no mammogram is shown all the same.
    NoBreast
        If a crop is asked for and no breast is found.
    """
    options = RenderOptions() if options is None else options
    data = file_bytes(source, options.limits)
    kind = sniff(data[:256])
    picture, positive = _dicom(data, options) if kind == "dicom" else _raster(data, kind, options)
    if options.crop:
        picture = _cropped(picture, positive())
    return picture if options.size is None else _resized(picture, options.size)


def _dicom(data: bytes, options: RenderOptions) -> tuple[Rendered, Callable[[], NDArray[Any]]]:
    """One frame as shown, and what makes it bright = dense for finding the breast."""
    file = open_dicom(data, options.limits)
    header = read_header(file, options.frame)
    frame = decode_frame(file, header, _frame_index(header.format.frames, options.frame), options.limits)
    scale = _dicom_scale(file, header, frame, options.window)
    return _shown(frame.values, scale, options.bits), lambda: grey(frame, header)


def _raster(data: bytes, kind: str, options: RenderOptions) -> tuple[Rendered, Callable[[], NDArray[Any]]]:
    _frame_index(1, options.frame)
    values = (read_png if kind == "png" else read_jpeg)(data, options.limits).values
    shade = None if options.window is None else _windowing(Window(*options.window))
    picture = _shown(values, _Scale(lambda stored: stored.astype(np.float32), shade), options.bits)
    return picture, lambda: values


def _frame_index(frames: int, wanted: int | None) -> int:
    if wanted is None:
        return frames // 2
    if wanted >= frames:
        raise InputError(f"There is no such frame: the file has {frames}, counted from 0.")
    return wanted


def _dicom_scale(
    file: DicomFile, header: DicomHeader, frame: StoredFrame, window: tuple[float, float] | None
) -> _Scale:
    palette, padding = header.palette, None
    if header.padding is not None and frame.values.dtype.kind == "u":
        padding = header.padding[0] + frame.offset, header.padding[1] + frame.offset

    def modality(stored: NDArray[Any]) -> NDArray[np.float32]:
        return modality_values(replace(frame, values=stored), header)

    def luma(stored: NDArray[Any]) -> NDArray[np.float32]:
        return (stored if palette is None else palette.apply(stored.astype(np.int64) - frame.offset)).astype(np.float32)

    if frame.colour or palette is not None:
        top = float((1 << (frame.bits if palette is None else palette.bits)) - 1)
        shade = _windowing(Window(*window)) if window else lambda values: np.minimum(values / np.float32(top), 1.0)
        return _Scale(luma, shade, padding=padding)
    inverted = header.format.photometric == "MONOCHROME1" or _inverse_presentation(file)
    return _Scale(modality, _voi(header, window), inverted, padding)


def _voi(
    header: DicomHeader, window: tuple[float, float] | None
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]] | None:
    """Choose the window asked for, else the file's first table, else its first window."""
    if window is not None:
        return _windowing(Window(*window))
    if header.voi_luts:
        table = header.voi_luts[0]
        return lambda values: apply_table(values, table)
    return _windowing(header.windows[0]) if header.windows else None


def _windowing(window: Window) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    return lambda values: apply_window(values, window)


def _inverse_presentation(file: DicomFile) -> bool:
    """Whether PresentationLUTShape is INVERSE; with MONOCHROME1 it says the same thing once more."""
    value = getattr(file.dataset.get(_PRESENTATION_LUT_SHAPE), "value", "")
    return str(value).strip("\x00 ").upper() == "INVERSE"


def _shown(values: NDArray[Any], scale: _Scale, bits: int) -> Rendered:
    """Show stored values, shape (h, w), as grey of this depth."""
    if values.dtype not in (np.uint8, np.uint16):
        base = scale.base(values)
        finite = base[np.isfinite(base)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        return _graded(np.nan_to_num(base, nan=low, posinf=high, neginf=low), scale, (low, high), bits)
    # Every value that the type can hold is shaded once; the picture is then looked up.
    levels = np.arange(1 << (8 * values.itemsize), dtype=values.dtype)
    histogram = cv2.calcHist([values], [0], None, [len(levels)], [0, len(levels)]).ravel()
    padding = np.zeros(len(levels), bool)
    if scale.padding is not None:
        padding[max(scale.padding[0], 0) : max(scale.padding[1] + 1, 0)] = True
    present = scale.base(levels[(histogram > 0) & ~padding][None])
    extent = (float(present.min()), float(present.max())) if present.size else (0.0, 0.0)
    table = _graded(scale.base(levels[None]), scale, extent, bits)[0]
    table[padding] = 0
    picture: Rendered = table[values]
    return picture


def _graded(base: NDArray[np.float32], scale: _Scale, extent: tuple[float, float], bits: int) -> Rendered:
    """Values that windows are meant for as grey; ``extent`` is what a stretch runs over."""
    if scale.shade is None:
        low, high = extent
        shaded = np.clip((base.astype(np.float64) - low) / max(high - low, 1e-6), 0.0, 1.0)
    else:
        shaded = scale.shade(base).astype(np.float64)
    whole = np.rint((1.0 - shaded if scale.inverted else shaded) * ((1 << bits) - 1))
    return whole.astype(np.uint8) if bits == 8 else whole.astype(np.uint16)


def _cropped(picture: Rendered, positive: NDArray[Any]) -> Rendered:
    if is_negative(positive):
        positive = positive.max() - positive
    breast = find_breast(positive)
    if breast is None:
        raise NoBreast("No breast was found in this picture, so there is nothing to crop to. Show it without the crop.")
    x0, y0, x1, y1 = integral_box(breast, (picture.shape[0], picture.shape[1]))
    return picture[y0:y1, x0:x1].copy()


def _resized(picture: Rendered, size: int) -> Rendered:
    """Resize so that the longest side has this many pixels: averaging where it shrinks, linear where it grows."""
    height, width = picture.shape
    longest = max(height, width)
    shape = max(1, round(width * size / longest)), max(1, round(height * size / longest))
    method = cv2.INTER_AREA if size < longest else cv2.INTER_LINEAR
    # OpenCV keeps the type, which its own annotations don't know.
    return cv2.resize(picture, shape, interpolation=method)  # type: ignore[return-value]
