"""Decode one compressed frame with imagecodecs, after its codestream was checked.

imagecodecs wraps libjpeg-turbo (JPEG, 8 and 12 bits, and JPEG Lossless), CharLS
(JPEG-LS) and OpenJPEG (JPEG 2000, HTJ2K); Pillow's OpenJPEG serves reduced
resolutions, which imagecodecs does not offer.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from mammolens.errors import DecodeError, MalformedFile, UnsupportedEncoding
from mammolens.imaging.boundary import translated
from mammolens.imaging.codestream import StreamInfo, jpeg_2000_info, jpeg_info
from mammolens.imaging.dicom_file import HTJ2K_SYNTAXES, JPEG_2000_SYNTAXES, JPEG_LS_SYNTAXES, JPEG_SYNTAXES

UNDECODABLE = "The compressed pixels can't be decoded. Export or copy the file again."
_RLE_HEADER = 64


def stream_info(frame: bytes, transfer_syntax: str) -> StreamInfo:
    """Read a compressed frame's own description.

    Parameters
    ----------
    frame : bytes
    transfer_syntax : str
        UID of a JPEG, JPEG-LS, JPEG 2000 or HTJ2K transfer syntax.

    Returns
    -------
    StreamInfo

    Raises
    ------
    MalformedFile, UnsupportedEncoding, TooLarge
    """
    if transfer_syntax in JPEG_2000_SYNTAXES or transfer_syntax in HTJ2K_SYNTAXES:
        return jpeg_2000_info(frame)
    if transfer_syntax in JPEG_SYNTAXES or transfer_syntax in JPEG_LS_SYNTAXES:
        return jpeg_info(frame)
    raise UnsupportedEncoding("This compression is not decoded here. Give an uncompressed image.")


def decode_stream(frame: bytes, info: StreamInfo) -> NDArray[Any]:
    """Decode a JPEG family frame at full resolution.

    Parameters
    ----------
    frame : bytes
    info : StreamInfo
        As `stream_info` gave it, checked against the limits.

    Returns
    -------
    ndarray of uint8, uint16, int8 or int16, shape (rows, columns) or (rows, columns, components)
        A JPEG's components are those stored (Y first where it is YCbCr); JPEG 2000's colour
        transformation is undone.

    Raises
    ------
    MalformedFile, DecodeOutOfMemory
    """
    with translated(MalformedFile, UNDECODABLE):
        if info.coding == "jpeg-2000":
            array = imagecodecs.jpeg2k_decode(frame[info.start :])
        elif info.coding == "jpeg-ls":
            array = decode_jpeg_ls(frame)
        elif info.components == 3:
            # Naming the same colour space on both sides turns libjpeg's conversion off.
            array = imagecodecs.jpeg8_decode(frame, colorspace="RGB", outcolorspace="RGB")
        else:
            array = imagecodecs.jpeg8_decode(frame)
    if array.shape[:2] != (info.rows, info.columns):
        raise DecodeError("The decoded picture is not of the size that it declares. Export the file again.")
    return np.asarray(array)


def decode_jpeg_ls(data: bytes) -> NDArray[Any]:
    """Decode a JPEG-LS stream.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    ndarray of uint8 or uint16
    """
    # Where the end-of-image marker is cut off, CharLS 2.4 counts zero bits for seconds before it gives up.
    return np.asarray(imagecodecs.jpegls_decode(data + b"\xff\xd9"))


def decode_reduced(frame: bytes, info: StreamInfo, halvings: int) -> NDArray[Any]:
    """Decode a grey JPEG 2000 frame at a fraction of its resolution.

    Parameters
    ----------
    frame : bytes
    info : StreamInfo
        One component, at most 16 bits, at least ``halvings`` levels.
    halvings : int
        How often rows and columns are halved, rounding up.

    Returns
    -------
    ndarray of uint8 or uint16
        Values as stored; where the codestream is signed, ``2**(precision - 1)`` was added.

    Raises
    ------
    MalformedFile, DecodeOutOfMemory
    """
    # The class itself, not Image.open: the size has been checked, and Pillow's own limit is a global.
    with (
        translated(MalformedFile, UNDECODABLE),
        Jpeg2KImageFile(io.BytesIO(frame[info.start :])) as image,
    ):
        _halve(image, (-(-info.columns >> halvings), -(-info.rows >> halvings)), halvings)
        image.load()
        array: NDArray[Any] = np.asarray(image)
    container = 8 if array.dtype == np.uint8 else 16
    shift = container - info.precision
    # Pillow scales values up to its container; an 8-bit picture is left as it is.
    return array >> shift if shift > 0 else array


def _halve(image: Jpeg2KImageFile, size: tuple[int, int], halvings: int) -> None:
    """Ask for a reduced resolution.

    Pillow's own ``reduce`` rounds the size to the nearest, the standard rounds it up
    (ISO/IEC 15444-1 equation B-15), and where the two differ Pillow fails.
    """
    tile = image.tile[0]
    if not isinstance(tile.args, tuple):
        raise DecodeError(UNDECODABLE)
    codec, _, *rest = tile.args
    image.tile = [tile._replace(extents=(0, 0, *size), args=(codec, halvings, *rest))]
    image._size = size


def decode_rle(frame: bytes, shape: tuple[int, int, int], bits: int) -> NDArray[Any]:
    """Decode an RLE Lossless frame; PS3.5 annex G.

    Parameters
    ----------
    frame : bytes
    shape : tuple of int
        ``(rows, columns, samples)`` by the DICOM header.
    bits : int
        BitsAllocated: 8, 16 or 32.

    Returns
    -------
    ndarray of uint8, uint16 or uint32, shape (rows, columns, samples)

    Raises
    ------
    MalformedFile, DecodeOutOfMemory
    """
    rows, columns, samples = shape
    planes = samples * bits // 8
    if len(frame) < _RLE_HEADER:
        raise MalformedFile(UNDECODABLE)
    count, *offsets = struct.unpack_from("<16L", frame)
    offsets = offsets[:count]
    bounds = [*offsets[1:], len(frame)]
    if count != planes or any(not _RLE_HEADER <= a <= b <= len(frame) for a, b in zip(offsets, bounds, strict=True)):
        raise MalformedFile(UNDECODABLE)
    # Two bytes make at most 128, so a short frame can't fill a large picture.
    if rows * columns * planes > 64 * len(frame) + 128 * planes:
        raise MalformedFile(UNDECODABLE)
    out = np.zeros(rows * columns * planes, dtype=np.uint8)
    with translated(MalformedFile, UNDECODABLE):
        decoded = imagecodecs.dicomrle_decode(frame, f"<u{bits // 8}", out=out.data)
    if len(decoded) < len(out):
        raise MalformedFile(UNDECODABLE)
    return np.moveaxis(out.view(f"<u{bits // 8}").reshape(samples, rows, columns), 0, -1)
