"""Read PNG and JPEG pictures as grey values, their headers checked before any decoder runs."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from mammolens.errors import DecodeError, MalformedFile, UnsupportedEncoding
from mammolens.imaging.boundary import translated
from mammolens.imaging.codecs import decode_jpeg_ls
from mammolens.imaging.codestream import StreamInfo, jpeg_info
from mammolens.imaging.colour import luminance
from mammolens.imaging.limits import Limits

_BROKEN_PNG = "The PNG file is damaged or cut off. Export or copy it again."
_BROKEN_JPEG = "The JPEG file is damaged or cut off. Export or copy it again."
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PNG_DECODED = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_MOST_CHUNKS = 1 << 17
_ORIENTATION_TAG = 0x0112
_COLOURED = 24
_THUMBNAIL_STEP = 128


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded PNG or JPEG.

    Attributes
    ----------
    values : ndarray of uint8 or uint16, shape (h, w)
        Grey values after the EXIF orientation.
    colour : float
        Share of pixels that are plainly coloured, 0 to 1.
    """

    values: NDArray[Any]
    colour: float = 0.0


def read_png(data: bytes, limits: Limits) -> Picture:
    """Decode a PNG: 1 to 16 bits, grey, palette or RGB, with or without alpha.

    Only the chunks that make the picture reach the decoder, so compressed text and
    colour profiles are never inflated. Transparent pixels become black; of an
    animation the first frame is read.

    Parameters
    ----------
    data : bytes
    limits : Limits

    Returns
    -------
    Picture

    Raises
    ------
    MalformedFile, TooLarge, DecodeOutOfMemory
    """
    chunks, plain = _png_chunks(data)
    columns, rows, depth, kind, _, _, interlace = struct.unpack(">LLBBBBB", chunks[0][1])
    if depth not in _PNG_DEPTHS.get(kind, ()) or interlace > 1:
        raise MalformedFile(_BROKEN_PNG)
    samples = 4 if kind == 3 else _PNG_SAMPLES[kind]
    limits.check_picture(rows, columns, samples, max(depth, 8))
    compressed = sum(len(body) for name, body in chunks if name == b"IDAT")
    limits.check_expansion(compressed, rows * (columns * _PNG_SAMPLES[kind] * depth // 8))
    if not plain:
        data = _PNG_SIGNATURE + b"".join(_png_chunk(name, body) for name, body in chunks)
    with translated(MalformedFile, _BROKEN_PNG):
        array = np.asarray(imagecodecs.png_decode(data))
    if array.shape[:2] != (rows, columns):
        raise DecodeError(_BROKEN_PNG)
    return _flattened(array)


def read_jpeg(data: bytes, limits: Limits) -> Picture:
    """Decode a JPEG: grey, colour or CMYK, 8 or 12 bits, turned as its EXIF orientation says.

    Parameters
    ----------
    data : bytes
    limits : Limits

    Returns
    -------
    Picture

    Raises
    ------
    MalformedFile, UnsupportedEncoding, TooLarge, DecodeOutOfMemory
    """
    info = jpeg_info(data)
    limits.check_picture(info.rows, info.columns, info.components, 8 if info.precision <= 8 else 16)
    scan = data.find(b"\xff\xda")
    if scan < 0 or data.rfind(b"\xff\xd9") < scan:
        raise MalformedFile(_BROKEN_JPEG)
    with translated(MalformedFile, _BROKEN_JPEG):
        picture = _jpeg_pixels(data, info)
    if picture.values.shape != (info.rows, info.columns):
        raise DecodeError(_BROKEN_JPEG)
    return Picture(_turned(picture.values, _orientation(data[:scan])), picture.colour)


def _png_chunks(data: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Chunks that make the picture, and whether the file holds no others."""
    chunks: list[tuple[bytes, bytes]] = []
    plain, position = True, len(_PNG_SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        if position + 12 > len(data):
            break
        length, name = struct.unpack_from(">L4s", data, position)
        if position + 12 + length > len(data):
            break
        if (name == b"IHDR") != (not chunks) or (name == b"IHDR" and length != 13):
            break
        if name in _PNG_DECODED:
            body = data[position + 8 : position + 8 + length]
            if zlib.crc32(name + body) != struct.unpack_from(">L", data, position + 8 + length)[0]:
                break
            chunks.append((name, body))
        else:
            plain = False
        position += 12 + length
        if name == b"IEND":
            if not any(kind == b"IDAT" for kind, _ in chunks):
                break
            return chunks, plain
    raise MalformedFile(_BROKEN_PNG)


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))


def _flattened(array: NDArray[Any]) -> Picture:
    """Grey values of a decoded picture of 1 to 4 channels; alpha last."""
    if array.ndim == 2:
        return Picture(array)
    alpha = array[..., -1] if array.shape[2] in (2, 4) else None
    colours = array[..., :3] if array.shape[2] >= 3 else array[..., 0]
    values = luminance(colours) if colours.ndim == 3 else colours
    if alpha is not None:
        top = int(np.iinfo(array.dtype).max)
        if int(alpha.min()) < top:
            values = (values.astype(np.uint32) * alpha // top).astype(array.dtype)
    return Picture(np.ascontiguousarray(values), _colour(colours) if colours.ndim == 3 else 0.0)


def _colour(rgb: NDArray[Any]) -> float:
    """Share of plainly coloured pixels in an RGB (or BGR) picture, sampled evenly."""
    step = max(1, min(rgb.shape[:2]) // _THUMBNAIL_STEP)
    some = rgb[::step, ::step].astype(np.int32)
    spread = some.max(axis=2) - some.min(axis=2)
    scale = int(np.iinfo(rgb.dtype).max) // 255
    return float((spread > _COLOURED * scale).mean())


def _jpeg_pixels(data: bytes, info: StreamInfo) -> Picture:
    if info.coding == "jpeg-ls":
        return _flattened(decode_jpeg_ls(data))
    if info.components == 1:
        return Picture(np.asarray(imagecodecs.jpeg8_decode(data)))
    if info.components == 3 and (info.colour == "rgb" or info.coding != "jpeg" or info.precision > 8):
        return _flattened(np.asarray(imagecodecs.jpeg8_decode(data)))
    if info.components == 3:
        # The luma is stored as such; the colours matter for one figure only, so an eighth of them will do.
        values = np.asarray(imagecodecs.jpeg8_decode(data, outcolorspace="GRAYSCALE"))
        flags = cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_IGNORE_ORIENTATION
        small = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        return Picture(values, _colour(small) if small is not None else 0.0)
    if info.components == 4:
        # The class itself, not Image.open: the size was checked above, and Pillow's own limit is a global.
        with JpegImageFile(io.BytesIO(data)) as image:
            return _flattened(np.asarray(image.convert("RGB")))
    raise UnsupportedEncoding("A JPEG with this number of colours is not decoded here. Give a grey picture.")


def _orientation(head: bytes) -> int:
    """EXIF orientation, 1 to 8, from a JPEG's bytes before its first scan; 1 where there is none.

    JEITA CP-3451 section 4.6.4; a damaged EXIF block counts as none.
    """
    start = head.find(b"Exif\x00\x00")
    tiff = head[start + 6 :] if start >= 0 else b""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 10:
        return 1
    directory = struct.unpack_from(f"{order}L", tiff, 4)[0]
    if directory + 2 > len(tiff):
        return 1
    count = struct.unpack_from(f"{order}H", tiff, directory)[0]
    for index in range(count):
        entry = directory + 2 + 12 * index
        if entry + 12 > len(tiff):
            break
        tag, kind, number, value = struct.unpack_from(f"{order}HHLH", tiff, entry)
        if tag == _ORIENTATION_TAG and kind == 3 and number == 1 and 1 <= value <= 8:
            return int(value)
    return 1


def _turned(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Picture as it is meant to be looked at."""
    if orientation >= 5:
        values = values.T
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)
