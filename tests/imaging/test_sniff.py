"""Formats are told by their bytes."""

from __future__ import annotations

import pytest

from mammolens.errors import UnknownFormat
from mammolens.imaging.sniff import dicom_start, sniff

GROUP_8 = bytes.fromhex("0800050043530a00") + b"ISO_IR 100"
META = bytes.fromhex("02000000554c0400d4000000")


@pytest.mark.parametrize(
    ("head", "kind", "start"),
    [
        (bytes(128) + b"DICM" + META, "dicom", 132),
        (b"\x89PNG\r\n\x1a\n" + bytes(120) + b"DICM" + META, "dicom", 132),
        (b"DICM" + META, "dicom", 4),
        (META, "dicom", 0),
        (GROUP_8, "dicom", 0),
        (bytes.fromhex("0800000004000000be000000"), "dicom", 0),
        (bytes.fromhex("0008000543530000"), "dicom", 0),
        (bytes(132) + META, "dicom", 132),
        (bytes(128) + META, "dicom", 128),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "png", None),
        (b"\xff\xd8\xff\xe0" + bytes(200), "jpeg", None),
    ],
    ids=[
        "usual",
        "png-preamble",
        "no-preamble",
        "meta-only",
        "explicit",
        "implicit",
        "big-endian",
        "no-mark",
        "short-preamble",
        "png",
        "jpeg",
    ],
)
def test_format_and_start_come_from_the_bytes(head: bytes, kind: str, start: int | None) -> None:
    assert sniff(head) == kind
    assert dicom_start(head) == start


@pytest.mark.parametrize(
    ("head", "named"),
    [
        (b"", "empty"),
        (b"GIF89a", "GIF"),
        (b"II*\x00abcd", "TIFF"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04", "archive"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"hello world, hello", "neither DICOM"),
        (bytes(300), "neither DICOM"),
    ],
)
def test_other_formats_are_refused_by_name(head: bytes, named: str) -> None:
    with pytest.raises(UnknownFormat, match=named):
        sniff(head)
