"""The inputs of threats.md that once took minutes and gigabytes: refused within 2 s and 100 MB."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate

Maker = Callable[..., bytes]

READER = """
import json, resource, sys, time
import numpy as np
from mammolens.errors import InputError
from mammolens.imaging.reading import ReadOptions, mammogram_from_array, read_mammogram

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

for warm in sys.argv[2:]:
    read_mammogram(warm, ReadOptions(any_modality=True))
before, began = peak(), time.perf_counter()
try:
    read_mammogram(sys.argv[1], ReadOptions(any_modality=True))
    code = "read"
except InputError as error:
    code = error.code
print(json.dumps([code, time.perf_counter() - began, peak() - before]))
"""


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))


def png_bomb(rows: int, columns: int, depth: int = 8) -> bytes:
    packer = zlib.compressobj(9)
    line = bytes(1 + columns * depth // 8)
    body = b"".join(packer.compress(line) for _ in range(rows)) + packer.flush()
    head = struct.pack(">LLBBBBB", columns, rows, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    long = vr in (b"OB", b"OW", b"UN")
    size = struct.pack("<HL", 0, len(value)) if long else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + vr + size + value


def image_elements(rows: int, columns: int, bits: int = 16) -> bytes:
    def short(value: int) -> bytes:
        return struct.pack("<H", value)

    return b"".join(
        (
            element(0x28, 0x02, b"US", short(1)),
            element(0x28, 0x04, b"CS", b"MONOCHROME2 "),
            element(0x28, 0x10, b"US", short(rows)),
            element(0x28, 0x11, b"US", short(columns)),
            element(0x28, 0x100, b"US", short(bits)),
            element(0x28, 0x101, b"US", short(bits)),
            element(0x28, 0x102, b"US", short(bits - 1)),
            element(0x28, 0x103, b"US", short(0)),
        )
    )


def dicom_file(syntax: str, body: bytes) -> bytes:
    uid = syntax.encode() + b"\x00" * (len(syntax) % 2)
    return bytes(128) + b"DICM" + element(0x02, 0x10, b"UI", uid) + body


def deflated_bomb(kind: str) -> bytes:
    """About 1 MB that inflates to 1 GiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    before = b"" if kind == "before the pixels" else image_elements(512, 512)
    if kind == "a large picture":
        before = image_elements(23170, 23170)
    tag = struct.pack("<HH", 0x09, 0x1001) if kind == "before the pixels" else struct.pack("<HH", 0x7FE0, 0x10)
    if kind == "after the pixels":
        before += element(0x7FE0, 0x10, b"OW", bytes(512 * 512 * 2))
        tag = struct.pack("<HH", 0xFFFC, 0xFFFC)
    parts = [packer.compress(before + tag + b"OB\x00\x00" + struct.pack("<L", 1 << 30))]
    parts += [packer.compress(zeros) for _ in range(1024)]
    return dicom_file("1.2.840.10008.1.2.1.99", b"".join(parts) + packer.flush())


def fragmented(syntax: str, rows: int, columns: int, frame: bytes) -> bytes:
    value = encapsulate([frame])
    head = struct.pack("<HH", 0x7FE0, 0x10) + b"OB\x00\x00\xff\xff\xff\xff"
    return dicom_file(syntax, image_elements(rows, columns) + head + value + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00")


def rle_bomb() -> bytes:
    frame = struct.pack("<16L", 2, 64, 200, *([0] * 13)) + b"\x81\x00" * 150
    return fragmented("1.2.840.10008.1.2.5", 65535, 65535, frame)


def looping_jp2() -> bytes:
    """84 bytes: a signature box, then a box of length 0."""
    stream = b"\x00\x00\x00\x0cjP  \r\n\x87\n" + struct.pack(">L4s", 0, b"jp2h")
    return fragmented("1.2.840.10008.1.2.4.90", 64, 64, stream + bytes(84 - len(stream)))


def boastful_codestream(kind: str) -> bytes:
    """A codestream that declares far more pixels than the header around it."""
    if kind == "jpeg-2000":
        siz = struct.pack(">HHH8LH", 0xFF51, 41, 0, 60000, 60000, 0, 0, 60000, 60000, 0, 0, 1) + b"\x0f\x01\x01"
        return fragmented("1.2.840.10008.1.2.4.90", 64, 64, b"\xff\x4f" + siz + b"\xff\x90" + bytes(64))
    if kind == "tiles":
        siz = struct.pack(">HHH8LH", 0xFF51, 41, 0, 9000, 9000, 0, 0, 1, 1, 0, 0, 1) + b"\x0f\x01\x01"
        return fragmented("1.2.840.10008.1.2.4.90", 9000, 9000, b"\xff\x4f" + siz + b"\xff\x90" + bytes(64))
    marker = b"\xf7" if kind == "jpeg-ls" else b"\xc3"
    frame = b"\xff\xd8\xff" + marker + struct.pack(">HBHHB", 11, 16, 65000, 65000, 1) + b"\x01\x11\x00" + b"\xff\xda"
    return fragmented("1.2.840.10008.1.2.4." + ("80" if kind == "jpeg-ls" else "70"), 64, 64, frame + bytes(64))


def jpeg_bomb() -> bytes:
    frame = struct.pack(">HBHHB", 11, 8, 65000, 65000, 1) + b"\x01\x11\x00"
    return b"\xff\xd8\xff\xc0" + frame + b"\xff\xda\x00\x02" + bytes(64) + b"\xff\xd9"


def nested_sequences() -> bytes:
    """A hundred thousand sequences, one in the other."""
    item = struct.pack("<HH", 0x0008, 0x1115) + b"SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return dicom_file("1.2.840.10008.1.2.1", item * 100_000)


BOMBS: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "deflate: element before the pixels": (lambda: deflated_bomb("before the pixels"), {"too-large"}),
    "deflate: pixel data longer than the picture": (lambda: deflated_bomb("longer"), {"too-large"}),
    "deflate: element after the pixels": (lambda: deflated_bomb("after the pixels"), {"too-large"}),
    "deflate: a large picture": (lambda: deflated_bomb("a large picture"), {"too-large"}),
    "RLE of 65535 x 65535": (rle_bomb, {"too-large"}),
    "JP2 box of length 0": (looping_jp2, {"malformed-file"}),
    "JPEG 2000 codestream of 60000 x 60000": (lambda: boastful_codestream("jpeg-2000"), {"too-large"}),
    "JPEG 2000 of 81 million tiles": (lambda: boastful_codestream("tiles"), {"too-large"}),
    "JPEG-LS of 65000 x 65000": (lambda: boastful_codestream("jpeg-ls"), {"too-large"}),
    "JPEG Lossless of 65000 x 65000": (lambda: boastful_codestream("jpeg-lossless"), {"too-large"}),
    "JPEG file of 65000 x 65000": (jpeg_bomb, {"too-large"}),
    "PNG of 177 megapixels": (lambda: png_bomb(13312, 13312), {"too-large"}),
    "PNG of 100 megapixels in 100 kB": (lambda: png_bomb(10000, 10000), {"too-large"}),
    "nested sequences": (nested_sequences, {"malformed-file"}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_refused_in_time_and_memory(name: str, dicom: Maker, tmp_path: Path) -> None:
    build, codes = BOMBS[name]
    bomb, warm = tmp_path / "bomb", tmp_path / "warm"
    bomb.write_bytes(build())
    warm.write_bytes(dicom(np.arange(4096, dtype=np.uint16).reshape(64, 64)))
    done = subprocess.run(
        [sys.executable, "-c", READER, str(bomb), str(warm)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    code, seconds, growth = json.loads(done.stdout)
    assert code in codes
    assert seconds < 2.0
    assert growth - bomb.stat().st_size < 100 << 20
