"""Tell a file's format by its first bytes, never by its name."""

from __future__ import annotations

import struct
from typing import Literal

from mammolens.errors import UnknownFormat

Format = Literal["dicom", "png", "jpeg"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_PREAMBLE = 128
_FIRST_GROUPS = (0x0002, 0x0008)
_EXPLICIT_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)
_LONGEST_FIRST_ELEMENT = 1 << 16
_OTHERS = (
    ((b"GIF8",), "a GIF picture"),
    ((b"II*\x00", b"MM\x00*"), "a TIFF picture"),
    ((b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"), "a bare JPEG 2000 picture"),
    ((b"BM",), "a BMP picture"),
    ((b"%PDF",), "a PDF document"),
    ((b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!"), "an archive"),
)


def _is_headless_dicom(head: bytes) -> bool:
    """Whether the bytes start with a data element of group 0002 or 0008, in any encoding."""
    if len(head) < 8:
        return False
    for order in "<>":
        group, element, length = struct.unpack(f"{order}HHL", head[:8])
        if group not in _FIRST_GROUPS or element > 0x1000:
            continue
        if head[4:6] in _EXPLICIT_VRS or length < _LONGEST_FIRST_ELEMENT:
            return True
    return False


def dicom_start(head: bytes) -> int | None:
    """Where the data elements of a DICOM file begin.

    Parameters
    ----------
    head : bytes
        The file's first 144 bytes or more.

    Returns
    -------
    int or None
        Bytes to skip: the preamble and the ``DICM`` mark, as far as they are there.
        ``None`` where nothing looks like DICOM.
    """
    if head[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        return _PREAMBLE + 4
    if head[:4] == b"DICM":
        return 4
    if _is_headless_dicom(head):
        return 0
    if not any(head[:_PREAMBLE]):
        return next((at for at in (_PREAMBLE + 4, _PREAMBLE) if _is_headless_dicom(head[at : at + 8])), None)
    return None


def sniff(head: bytes) -> Format:
    """Format of the file that starts with these bytes.

    Parameters
    ----------
    head : bytes
        The file's first 144 bytes or more.

    Returns
    -------
    {"dicom", "png", "jpeg"}
        DICOM with or without its preamble, its ``DICM`` mark and its file meta
        information.

    Raises
    ------
    UnknownFormat
    """
    # The DICM mark goes first: a preamble may hold anything, another format's header too.
    if head[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        return "dicom"
    if head.startswith(_PNG):
        return "png"
    if head.startswith(_JPEG):
        return "jpeg"
    if dicom_start(head) is not None:
        return "dicom"
    if not head:
        raise UnknownFormat("The file is empty. Copy or export it again.")
    for marks, name in _OTHERS:
        if head.startswith(marks):
            raise UnknownFormat(f"This is {name}. Give a mammogram as DICOM, PNG or JPEG.")
    raise UnknownFormat("The bytes are neither DICOM nor PNG nor JPEG. Give a mammogram in one of these formats.")
