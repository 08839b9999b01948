"""Read what a compressed picture says about itself, before any decoder sees it.

A codestream may declare another size than the header around it, and decoders
believe the codestream. All loops here move forward by construction, so a
stream that points at itself can't hold them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mammolens.errors import MalformedFile, TooLarge, UnsupportedEncoding

_J2K_START = b"\xff\x4f\xff\x51"
_JP2_START = b"\x00\x00\x00\x0cjP  "
_BROKEN = "The compressed picture is damaged. Export or copy the file again."
_MOST_MARKERS = 4096
_MOST_TILES = 65535
_JPEG_LS = 0xF7
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {_JPEG_LS}
_JPEG_LOSSLESS = frozenset((0xC3, 0xC7, 0xCB, 0xCF))
_JPEG_UNDECODED = frozenset((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xCB))
_JPEG_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a codestream declares.

    Attributes
    ----------
    coding : {"jpeg", "jpeg-lossless", "jpeg-ls", "jpeg-2000"}
    rows, columns : int
    components : int
    precision : int
        Bits per value.
    signed : bool
        JPEG 2000 only.
    levels : int
        How often the picture can be halved when decoded; JPEG 2000 only.
    start : int
        Where the codestream begins; JPEG 2000 only.
    colour : {"", "rgb", "ybr"}
        What a JPEG's markers say of its three components; empty where they are silent.
    """

    coding: str
    rows: int
    columns: int
    components: int
    precision: int
    signed: bool = False
    levels: int = 0
    start: int = 0
    colour: str = ""


def jpeg_info(data: bytes) -> StreamInfo:
    """Read the frame header of a JPEG, JPEG Lossless or JPEG-LS stream.

    Parameters
    ----------
    data : bytes
        Starts with SOI; ITU-T T.81 annex B, T.87 annex C.

    Returns
    -------
    StreamInfo

    Raises
    ------
    MalformedFile, UnsupportedEncoding
    """
    if data[:2] != b"\xff\xd8":
        raise MalformedFile(_BROKEN)
    position, colour = 2, ""
    for _ in range(_MOST_MARKERS):
        position = data.find(b"\xff", position)
        if position < 0 or position + 4 > len(data):
            break
        marker = data[position + 1]
        if marker in (0x00, 0xFF):
            position += 1
            continue
        if marker in _JPEG_ALONE:
            position += 2
            continue
        if marker in (0xD9, 0xDA):
            break
        length = struct.unpack_from(">H", data, position + 2)[0]
        if marker == 0xEE and data[position + 4 : position + 9] == b"Adobe" and length >= 14:
            colour = "rgb" if data[position + 15 : position + 16] == b"\x00" else "ybr"
        elif marker == 0xE0 and data[position + 4 : position + 8] == b"JFIF":
            colour = colour or "ybr"
        if marker in _JPEG_FRAMES:
            return _jpeg_frame(data, position, marker, colour)
        position += 2 + max(length, 2)
    raise MalformedFile(_BROKEN)


def _jpeg_frame(data: bytes, position: int, marker: int, colour: str) -> StreamInfo:
    if position + 10 > len(data):
        raise MalformedFile(_BROKEN)
    if marker in _JPEG_UNDECODED:
        raise UnsupportedEncoding("Hierarchical JPEG is not decoded here. Convert the picture to baseline JPEG or PNG.")
    precision, rows, columns, components = struct.unpack_from(">BHHB", data, position + 4)
    ids = data[position + 10 : position + 10 + 3 * components : 3]
    if not (rows and columns and components and 2 <= precision <= 16):
        raise MalformedFile(_BROKEN)
    coding = "jpeg-lossless" if marker in _JPEG_LOSSLESS else "jpeg-ls" if marker == _JPEG_LS else "jpeg"
    if ids in (b"RGB", b"rgb"):
        colour = "rgb"
    return StreamInfo(coding, rows, columns, components, precision, colour=colour)


def jpeg_2000_info(data: bytes) -> StreamInfo:
    """Read SIZ and COD of a JPEG 2000 or HTJ2K codestream, bare or in a JP2 file.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    StreamInfo
        Of the reference grid (ISO/IEC 15444-1 annex A.5.1).

    Raises
    ------
    MalformedFile, UnsupportedEncoding, TooLarge
    """
    start = 0 if data.startswith(_J2K_START) else _jp2_codestream(data)
    if data[start : start + 4] != _J2K_START or start + 4 + 41 > len(data):
        raise MalformedFile(_BROKEN)
    x1, y1, x0, y0, tile_w, tile_h, tile_x, tile_y, components = struct.unpack_from(">8LH", data, start + 8)
    columns, rows = x1 - x0, y1 - y0
    if rows <= 0 or columns <= 0 or not components or not tile_w or not tile_h or tile_x > x0 or tile_y > y0:
        raise MalformedFile(_BROKEN)
    tiles = -(-(x1 - tile_x) // tile_w) * -(-(y1 - tile_y) // tile_h)
    if tiles > _MOST_TILES:
        raise TooLarge("The compressed picture is cut into more tiles than its standard allows. Export it again.")
    per_component = data[start + 42 : start + 42 + 3 * components]
    if len(per_component) < 3 * components:
        raise MalformedFile(_BROKEN)
    depths, steps = set(per_component[0::3]), set(per_component[1::3]) | set(per_component[2::3])
    if len(depths) != 1 or steps != {1}:
        raise UnsupportedEncoding(
            "The compressed picture's components differ in size or depth, which is not decoded here. "
            "Give a grey picture."
        )
    depth = depths.pop()
    # Off the grid's origin a halved picture is not the half of its size rounded up, and Pillow misplaces halved tiles.
    levels = 0 if x0 or y0 or tiles > 1 else _j2k_levels(data, start + 2)
    return StreamInfo("jpeg-2000", rows, columns, components, (depth & 0x7F) + 1, bool(depth & 0x80), levels, start)


def _j2k_levels(data: bytes, position: int) -> int:
    """Fewest wavelet decompositions that COD and COC of the main header name."""
    levels: list[int] = []
    for _ in range(_MOST_MARKERS):
        if position + 4 > len(data):
            break
        marker, length = struct.unpack_from(">HH", data, position)
        if marker in (0xFF90, 0xFFD9) or length < 2:
            break
        if marker == 0xFF52 and position + 10 <= len(data):
            levels.append(data[position + 9])
        elif marker == 0xFF53:
            return 0
        position += 2 + length
    return min(levels, default=0)


def _jp2_codestream(data: bytes) -> int:
    """Where the codestream begins in a JP2 file."""
    if not data.startswith(_JP2_START):
        raise MalformedFile(_BROKEN)
    position = 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">L4s", data, position)
        header = 8
        if length == 1:
            if position + 16 > len(data):
                break
            length, header = struct.unpack_from(">Q", data, position + 8)[0], 16
        if kind == b"jp2c":
            return position + header
        # A length of 0 means "to the end of the file": no codestream can follow.
        if length < header:
            break
        position += length
    raise MalformedFile(_BROKEN)
