"""From an opened DICOM file to grey values, bright = dense.

One frame is decoded, at reduced resolution where JPEG 2000 allows and the caller
needs less. Stored values stay unsigned integers (a signed value gets a constant
added), because scale and offset mean nothing to the model.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import get_frame

from mammolens.errors import MalformedFile, NoPixels, UnsupportedEncoding
from mammolens.imaging.boundary import translated, unwarned
from mammolens.imaging.codecs import decode_reduced, decode_rle, decode_stream, stream_info
from mammolens.imaging.codestream import StreamInfo
from mammolens.imaging.colour import luminance
from mammolens.imaging.dicom_file import (
    DEFLATED_FRAMES,
    RLE,
    DicomFile,
    PixelElement,
    inflate,
    inflated_pixels,
)
from mammolens.imaging.dicom_header import DicomHeader, PixelFormat
from mammolens.imaging.limits import Limits
from mammolens.imaging.resolution import halvings

_SHORT = "The file holds fewer pixels than its header declares. Export or copy it again."
_FRAGMENTS = "The compressed pixels are not stored as DICOM asks. Export or copy the file again."
_MOST_RINGING = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class StoredFrame:
    """One decoded frame.

    Attributes
    ----------
    values : ndarray of uint8, uint16, uint32 or float32, shape (h, w)
        Stored values plus `offset`; colour already made grey.
    offset : int
        What was added to signed values; 0 for unsigned ones.
    reduction : int
        1, 2, 4 or 8.
    colour : bool
        Whether the frame was stored in colour.
    bits : int
        Bits that hold every value plus offset; 0 for floats.
    """

    values: NDArray[Any]
    offset: int
    reduction: int
    colour: bool
    bits: int


def decode_frame(
    file: DicomFile, header: DicomHeader, frame: int, limits: Limits, min_size: tuple[int, int] | None = None
) -> StoredFrame:
    """Decode one frame.

    Parameters
    ----------
    file : DicomFile
    header : DicomHeader
    frame : int
        Counted from 0; less than the number of frames.
    limits : Limits
    min_size : tuple of int, optional
        ``(height, width)`` of the model input that the frame is for. A JPEG 2000 frame is
        then halved while twice the height and three times the width remain.

    Returns
    -------
    StoredFrame

    Raises
    ------
    NoPixels, MalformedFile, UnsupportedEncoding, TooLarge, DecodeError
    """
    form = header.format
    pixels = file.pixels
    if pixels is None:
        raise NoPixels("This DICOM object holds no pixels. Give an image object.")
    limits.check_picture(form.rows, form.columns, form.samples, form.bits_allocated, form.frames)
    if not file.encapsulated:
        return _from_native(form, pixels, _native_bytes(file, pixels, form, frame, limits), file.big_endian)
    data = _fragment(file, pixels, form, frame)
    if file.transfer_syntax == DEFLATED_FRAMES:
        wanted = -(-form.frame_bits // 8)
        limits.check_expansion(len(data), wanted)
        return _from_native(form, pixels, inflate(data, wanted), False)
    if file.transfer_syntax == RLE:
        if form.bits_allocated == 1:
            packed = decode_rle(data, (1, -(-form.frame_bits // 8), 1), 8)
            return _from_native(form, pixels, packed.tobytes(), False)
        array = decode_rle(data, (form.rows, form.columns, form.samples), form.bits_allocated)
        return _from_samples(array[..., 0] if form.samples == 1 else array, form)
    info = stream_info(data, file.transfer_syntax)
    _check_stream(info, form, limits)
    times = _halvings(info, header, min_size)
    if times:
        values = decode_reduced(data, info, times)
        offset = 1 << (info.precision - 1) if info.signed else 0
        return StoredFrame(values, offset, 1 << times, False, info.precision)
    array = decode_stream(data, info)
    if array.ndim == 3:
        return _from_colour(array, _is_ybr(info, form))
    return _stored(array, form, _precision(info, form))


def grey(frame: StoredFrame, header: DicomHeader) -> NDArray[Any]:
    """Make a frame bright = dense: modality transformation, polarity, padding.

    Parameters
    ----------
    frame : StoredFrame
    header : DicomHeader

    Returns
    -------
    ndarray of uint8, uint16 or float32, shape (h, w)
        Linear in the modality values. A positive slope and the intercept are left out. Padding has the
        darkest value.
    """
    values, top = frame.values, (1 << frame.bits) - 1
    inverted = header.format.photometric == "MONOCHROME1"
    table = header.palette or header.modality_lut
    if table is not None:
        out: NDArray[Any] = table.apply(values.astype(np.int64) - frame.offset)
        top = (1 << table.bits) - 1
    else:
        out = values
        inverted = inverted != (header.slope < 0.0)
    if inverted:
        out = -out if out.dtype.kind == "f" else _inverse(out, top)
    return np.ascontiguousarray(_darkened(_compact(out), _padding_mask(frame, header)))


def _inverse(values: NDArray[Any], top: int) -> NDArray[Any]:
    """Whole numbers turned over within 0 and ``top``."""
    if int(values.max()) > top:
        values = np.minimum(values, top)
    return (top - values).astype(values.dtype, copy=False)


def _darkened(values: NDArray[Any], padding: NDArray[np.uint8] | None) -> NDArray[Any]:
    """Values with the darkest one of the picture where the mask of the padding is set."""
    if padding is None:
        return values
    picture = cv2.bitwise_not(padding)
    if not cv2.countNonZero(picture):
        return np.zeros_like(values)
    darkest = cv2.minMaxLoc(values, picture)[0]
    if cv2.minMaxLoc(values, padding)[1] <= darkest:
        # Padding is nearly always darker than the picture, and then a maximum does in one pass what a mask can't.
        return np.asarray(cv2.max(values, darkest))  # type: ignore[call-overload]
    out = values.copy()
    out[padding > 0] = darkest
    return out


def modality_values(frame: StoredFrame, header: DicomHeader) -> NDArray[np.float32]:
    """Values that windows are meant for: after the modality transformation, polarity as stored.

    Parameters
    ----------
    frame : StoredFrame
    header : DicomHeader

    Returns
    -------
    ndarray of float32, shape (h, w)
    """
    stored = frame.values.astype(np.float32) - np.float32(frame.offset)
    if header.modality_lut is not None:
        return header.modality_lut.apply(stored).astype(np.float32)
    return stored * np.float32(header.slope) + np.float32(header.intercept)


def padding_hides(frame: StoredFrame, header: DicomHeader) -> bool:
    """Whether a reduced frame has padding that is not its darkest part, so that halving blurred it into the picture.

    Parameters
    ----------
    frame : StoredFrame
    header : DicomHeader

    Returns
    -------
    bool
        Always false at full resolution, where padding is told by its exact value.
    """
    if header.padding is None or frame.reduction == 1:
        return False
    low, high = header.padding[0] + frame.offset, header.padding[1] + frame.offset
    some = frame.values[::8, ::8]
    slack = (int(some.max()) - int(some.min())) // 32
    inverted = (header.format.photometric == "MONOCHROME1") != (header.slope < 0.0)
    darker = some > high + slack if inverted else some < low - slack
    # Sharp edges ring a little past the padding's value; a picture beyond it is more than that.
    return float(darker.mean()) > _MOST_RINGING


def _compact(values: NDArray[Any]) -> NDArray[Any]:
    """Values in one of the types that a `Mammogram` may have."""
    if values.dtype in (np.uint8, np.uint16):
        return values
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        if finite.all():
            return values.astype(np.float32)
        floor = values[finite].min() if finite.any() else 0.0
        return np.where(finite, values, floor).astype(np.float32)
    return values.astype(np.uint16 if int(values.max()) <= 0xFFFF else np.float32)


def _padding_mask(frame: StoredFrame, header: DicomHeader) -> NDArray[np.uint8] | None:
    """255 on padding; ``None`` where there is none, or the frame is reduced and its values are mixed."""
    values = frame.values
    if header.padding is None or values.dtype.kind == "f" or frame.reduction > 1:
        return None
    low = max(header.padding[0] + frame.offset, 0)
    high = min(header.padding[1] + frame.offset, int(np.iinfo(values.dtype).max))
    if low > high:
        return None
    if values.dtype in (np.uint8, np.uint16):
        mask = np.asarray(cv2.inRange(values, low, high), np.uint8)
    else:
        mask = ((values >= low) & (values <= high)).astype(np.uint8) * np.uint8(255)
    return mask if cv2.countNonZero(mask) else None


def _native_bytes(file: DicomFile, pixels: PixelElement, form: PixelFormat, frame: int, limits: Limits) -> bytes:
    """Bytes that hold one uncompressed frame."""
    first_bit = frame * form.frame_bits
    start, stop = pixels.offset + first_bit // 8, pixels.offset - (-(first_bit + form.frame_bits) // 8)
    if pixels.length is None or stop > pixels.offset + pixels.length:
        raise MalformedFile(_SHORT)
    if file.deflated:
        end = pixels.offset - (-form.frames * form.frame_bits // 8)
        data = inflated_pixels(file, start, stop, end, limits)
    else:
        data = file.body[start:stop]
    if len(data) < stop - start:
        raise MalformedFile(_SHORT)
    return data if first_bit % 8 == 0 else _shifted(data, first_bit % 8)


def _shifted(data: bytes, bits: int) -> bytes:
    """Bits of one-bit pixels moved so that the frame starts with the first byte."""
    unpacked = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[bits:]
    return np.packbits(unpacked, bitorder="little").tobytes()


def _from_native(form: PixelFormat, pixels: PixelElement, data: bytes, big_endian: bool) -> StoredFrame:
    rows, columns, samples = form.rows, form.columns, form.samples
    if len(data) * 8 < form.frame_bits:
        raise MalformedFile(_SHORT)
    order = ">" if big_endian else "<"
    if pixels.kind != "integer":
        values = np.frombuffer(data, f"{order}f{form.bits_allocated // 8}", rows * columns).reshape(rows, columns)
        return StoredFrame(values.astype(np.float32), 0, 1, False, 0)
    if form.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), count=rows * columns, bitorder="little")
        return StoredFrame(bits.reshape(rows, columns), 0, 1, False, 1)
    if big_endian and pixels.words and form.bits_allocated == 8:
        # Two pixels to a word whose most significant byte comes first (PS3.5 section 8.1.1).
        flat = np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").view(np.uint8)
    else:
        flat = np.frombuffer(data, f"{order}u{form.bits_allocated // 8}")
    if form.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        # Y1 Y2 CB CR for every two pixels (PS3.3 C.7.6.3.1.2): the grey is there already.
        luma = flat[: rows * columns * 2].reshape(-1, 2, 2)[:, 0].reshape(rows, columns)
        return StoredFrame(np.ascontiguousarray(luma), 0, 1, True, form.bits_stored)
    array = flat[: rows * columns * samples].astype(flat.dtype.newbyteorder("="), copy=False)
    if samples == 1:
        return _from_samples(array.reshape(rows, columns), form)
    shaped = array.reshape((samples, rows, columns) if form.planar else (rows, columns, samples))
    return _from_samples(np.moveaxis(shaped, 0, -1) if form.planar else shaped, form)


def _fragment(file: DicomFile, pixels: PixelElement, form: PixelFormat, frame: int) -> bytes:
    """Compressed bytes of one frame."""
    stream = io.BytesIO(file.body)
    stream.seek(pixels.offset)
    tables = tuple(getattr(file.dataset.get(tag), "value", None) for tag in (0x7FE00001, 0x7FE00002))
    extended = tables if all(isinstance(table, bytes) and table for table in tables) else None
    with translated(MalformedFile, _FRAGMENTS), unwarned():
        data = get_frame(stream, frame, number_of_frames=form.frames, extended_offsets=extended)  # type: ignore[arg-type]
    if not data:
        raise MalformedFile(_SHORT)
    return data


def _check_stream(info: StreamInfo, form: PixelFormat, limits: Limits) -> None:
    limits.check_picture(info.rows, info.columns, info.components, 32 if info.coding == "jpeg-2000" else 16)
    if (info.rows, info.columns, info.components) != (form.rows, form.columns, form.samples):
        raise MalformedFile("The compressed picture is not of the size that the header declares. Export it again.")
    if info.precision > 16:
        raise UnsupportedEncoding("The pixels have more than 16 bits. Give an image with up to 16 bits.")


def _halvings(info: StreamInfo, header: DicomHeader, min_size: tuple[int, int] | None) -> int:
    """How often a frame may be halved for a model input of this size."""
    form = header.format
    if (
        min_size is None
        or info.coding != "jpeg-2000"
        or info.components != 1
        or info.signed != form.signed
        or header.palette is not None
        or header.modality_lut is not None
    ):
        return 0
    return min(info.levels, halvings(info.rows, info.columns, min_size))


def _is_ybr(info: StreamInfo, form: PixelFormat) -> bool:
    """Whether a decoded frame's first component is the luma.

    A JPEG's own markers outrank the header, as in pydicom; JPEG Lossless and JPEG-LS
    carry them without meaning, and JPEG 2000's transformation has been undone.
    """
    if info.coding == "jpeg" and info.colour:
        return info.colour == "ybr"
    return form.photometric.startswith("YBR") and form.photometric not in ("YBR_ICT", "YBR_RCT")


def _precision(info: StreamInfo, form: PixelFormat) -> int:
    """Bits that hold a decoded value: the codestream knows, but for JPEG Lossless, which may be coded wider."""
    return form.bits_stored if info.coding == "jpeg-lossless" else info.precision


def _from_colour(array: NDArray[Any], ybr: bool) -> StoredFrame:
    values = np.ascontiguousarray(array[..., 0]) if ybr else luminance(array)
    return StoredFrame(values, 0, 1, True, 8 * array.dtype.itemsize)


def _stored(array: NDArray[Any], form: PixelFormat, bits: int, unused: int = 0) -> StoredFrame:
    """Take unused bits off decoded values and move signed ones to unsigned."""
    if array.dtype.kind == "i":
        array = array.view(f"u{array.dtype.itemsize}")
    if unused:
        array = array >> unused
    mask = (1 << bits) - 1
    if bits < 8 * array.dtype.itemsize and int(array.max()) > mask:
        array = array & array.dtype.type(mask)
    if not form.signed:
        return StoredFrame(array, 0, 1, False, bits)
    # Flipping the sign bit of a two's complement number adds half the range.
    return StoredFrame(array ^ array.dtype.type(1 << (bits - 1)), 1 << (bits - 1), 1, False, bits)


def _from_samples(array: NDArray[Any], form: PixelFormat) -> StoredFrame:
    """Frame from uncompressed samples, shape (rows, columns) or (rows, columns, 3)."""
    if array.ndim == 3:
        return _from_colour(array, form.photometric.startswith("YBR"))
    return _stored(array, form, form.bits_stored, form.high_bit + 1 - form.bits_stored)
