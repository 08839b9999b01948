"""Decode a whole picture for a viewer: every source pixel, as 16-bit grey, bright = dense.

The values are those that a `Mammogram` of the same file has; a picture of real numbers is put on 0 to 65535. The
windows and tables of the file, which are meant for modality values (PS3.3 C.11.2.1), are put in terms of the grey
values, whatever the file's slope, polarity and offset, so that a viewer needs one line of arithmetic. Nothing here
feeds the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import InputError
from mammolens.imaging.boundary import unwarned
from mammolens.imaging.breast import is_negative
from mammolens.imaging.dicom_file import DicomFile, open_dicom
from mammolens.imaging.dicom_header import DicomHeader, read_header
from mammolens.imaging.dicom_pixels import StoredFrame, decode_frame, grey
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.raster import read_jpeg, read_png
from mammolens.imaging.sniff import sniff
from mammolens.imaging.source import file_bytes
from mammolens.imaging.viewable import MOST_PRESETS, TABLE_SAMPLES, Preset, Viewable
from mammolens.imaging.voi import LookupTable, Window, apply_table

_HEAD = 256
_TOP = 0xFFFF
_STEP_WIDTH = 1e-6
"""Width of a window that is a step: LINEAR of width 1."""

_EXPLANATION = 0x00281055
_NAMES = {"NORMAL": "normal", "HARDER": "harder", "SOFTER": "softer"}

Line = tuple[float, float]
"""``(slope, intercept)`` from grey values to modality values."""


def read_viewable(source: Path | str | bytes, options: ReadOptions | None = None) -> Viewable:
    """Read a whole picture from a DICOM, PNG or JPEG file, a mammogram or not.

    Parameters
    ----------
    source : path or bytes
        A file, or its content.
    options : ReadOptions, optional
        Its frame and limits count.

    Returns
    -------
    Viewable

    Raises
    ------
    InputError
        As `mammolens.imaging.reading.read_mammogram`, but for the quality gate.
    """
    options = ReadOptions() if options is None else options
    data = file_bytes(source, options.limits)
    kind = sniff(data[:_HEAD])
    if kind != "dicom":
        values = (read_png if kind == "png" else read_jpeg)(data, options.limits).values
        pixels, _, negative = _sixteen_bits(values, None)
        return Viewable(pixels, None, (), negative)
    file = open_dicom(data, options.limits)
    header = read_header(file, options.frame)
    names = _window_names(file)
    form = header.format
    index = form.frames // 2 if options.frame is None else options.frame
    if index >= form.frames:
        raise InputError(f"The file has {form.frames} frames; give a frame from 0 to {form.frames - 1}.")
    stored = decode_frame(file, header, index, options.limits)
    line = None if stored.colour or header.palette is not None else _line(stored, header)
    pixels, line, negative = _sixteen_bits(grey(stored, header), line)
    if line is None or not all(abs(figure) <= 1e9 for figure in line) or not abs(line[0]) >= 1e-9:
        return Viewable(pixels, None, (), negative)
    presets = [*_windows(header, names, line), *_tables(header.voi_luts, pixels, line)]
    return Viewable(pixels, line, tuple(dict.fromkeys(presets))[:MOST_PRESETS], negative)


def _line(stored: StoredFrame, header: DicomHeader) -> Line:
    """From the values that `grey` makes to modality values."""
    turned = header.format.photometric == "MONOCHROME1"
    if header.modality_lut is not None:
        slope, intercept, top = 1.0, 0.0, float((1 << header.modality_lut.bits) - 1)
    else:
        slope, intercept = header.slope, header.intercept - header.slope * stored.offset
        top = 0.0 if stored.values.dtype.kind == "f" else float((1 << stored.bits) - 1)
        turned = turned != (header.slope < 0.0)
    return (-slope, intercept + slope * top) if turned else (slope, intercept)


def _sixteen_bits(values: NDArray[Any], line: Line | None) -> tuple[NDArray[np.uint16], Line | None, bool]:
    """Grey values as uint16 with a negative turned, their way to modality values, and whether it was a negative."""
    if values.dtype.kind == "f":
        low, high = float(values.min()), float(values.max())
        scale = max((high - low) / _TOP, 1e-30)
        values = np.rint((values.astype(np.float64) - low) / scale)
        line = None if line is None else (line[0] * scale, line[0] * low + line[1])
    pixels = values.astype(np.uint16)
    negative = min(pixels.shape) > 1 and is_negative(pixels)
    if negative:
        top = pixels.max()
        pixels = top - pixels
        line = None if line is None else (-line[0], line[1] + line[0] * float(top))
    return np.ascontiguousarray(pixels), line, negative


def _window_names(file: DicomFile) -> tuple[str, ...]:
    """Codes of the window explanations; empty for any other text, which is free and may say anything.

    One that breaks its VR's rules counts as none: the picture can be shown without it.
    """
    with unwarned(), suppress(ValueError, TypeError, AttributeError, LookupError, NotImplementedError, OverflowError):
        value = getattr(file.dataset.get(_EXPLANATION), "value", None)
        texts = [value] if isinstance(value, str) else list(value or ())
        return tuple(_NAMES.get(str(text).strip("\x00 ").upper(), "") for text in texts)
    return ()


def _windows(header: DicomHeader, names: tuple[str, ...], line: Line) -> Iterator[Preset]:
    """Windows of the file in terms of grey values; those that are out of all range are left out."""
    slope, intercept = line
    for place, window in enumerate(header.windows):
        centre, width = _exact(window)
        name = names[place] if len(names) == len(header.windows) else ""
        function = "SIGMOID" if window.function == "SIGMOID" else "LINEAR_EXACT"
        with suppress(ValueError):
            yield Preset(
                name,
                function,
                (centre - intercept) / slope,
                max(width / abs(slope), _STEP_WIDTH),
                (window.centre, window.width),
            )


def _exact(window: Window) -> tuple[float, float]:
    """Centre and width of the same window as LINEAR_EXACT; LINEAR ends half a step earlier (PS3.3 C.11.2.1.2.1)."""
    if window.function == "LINEAR":
        return window.centre - 0.5, window.width - 1.0
    return window.centre, window.width


def _tables(tables: tuple[LookupTable, ...], pixels: NDArray[np.uint16], line: Line) -> Iterator[Preset]:
    """VOI LUTs as what they show along the picture's grey values."""
    slope, intercept = line
    along = np.linspace(float(pixels.min()), float(pixels.max()), TABLE_SAMPLES) * slope + intercept
    for table in tables:
        shown = apply_table(along, table)
        # Grey values are dense = bright already; where that turned the modality values, what is shown turns too.
        shown = 1.0 - shown if slope < 0.0 else shown
        yield Preset("", "TABLE", values=tuple(int(value) for value in np.rint(shown * 255.0)))
