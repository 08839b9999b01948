"""PNG writer: exact pixels, nothing but pixels, whole files only."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mammolens.errors import InputError, OutputError
from mammolens.imaging.png import encode_png, write_png


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Names and bodies of a PNG's chunks; checks every checksum on the way."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        assert checksum == zlib.crc32(name + body)
        found.append((name, body))
        at += length + 12
    assert at == len(data)
    return found


def random_picture(shape: tuple[int, ...], dtype: type, seed: int = 0) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, shape, dtype, endpoint=True)


def test_two_by_two_grey_gives_the_bytes_worked_by_hand() -> None:
    parts = chunks(encode_png(np.array([[1, 2], [3, 255]], np.uint8)))
    assert [name for name, _ in parts] == [b"IHDR", b"IDAT", b"IEND"]
    assert parts[0][1] == bytes.fromhex("00000002 00000002 08 00 00 00 00")
    # Filter 2 (Up): the first line less nothing, the second less the first: 3-1=2, 255-2=253.
    assert zlib.decompress(parts[1][1]) == bytes([2, 1, 2, 2, 2, 253])


def test_sixteen_bits_are_written_most_significant_byte_first() -> None:
    parts = chunks(encode_png(np.array([[0x0102]], np.uint16)))
    assert parts[0][1] == bytes.fromhex("00000001 00000001 10 00 00 00 00")
    assert zlib.decompress(parts[1][1]) == bytes([2, 1, 2])


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (33, 20), (33, 20, 3), (1, 1, 3)])
def test_pillow_reads_eight_bit_pixels_back(shape: tuple[int, ...]) -> None:
    picture = random_picture(shape, np.uint8)
    with Image.open(io.BytesIO(encode_png(picture))) as image:
        assert image.mode == ("L" if len(shape) == 2 else "RGB")
        np.testing.assert_array_equal(np.asarray(image), picture)


def test_pillow_reads_sixteen_bit_grey_back() -> None:
    picture = random_picture((40, 31), np.uint16)
    with Image.open(io.BytesIO(encode_png(picture))) as image:
        assert image.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(image), picture)


def test_opencv_reads_sixteen_bit_colour_back() -> None:
    picture = random_picture((12, 9, 3), np.uint16)
    read = cv2.imdecode(np.frombuffer(encode_png(picture), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read[..., ::-1], picture)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    colour=st.booleans(),
    deep=st.booleans(),
    level=st.integers(0, 12),
    seed=st.integers(0, 99),
)
def test_any_picture_survives_the_round_trip(
    height: int, width: int, colour: bool, deep: bool, level: int, seed: int
) -> None:
    shape = (height, width, 3) if colour else (height, width)
    picture = random_picture(shape, np.uint16 if deep else np.uint8, seed)
    data = encode_png(picture, level=level)
    assert [name for name, _ in chunks(data)] == [b"IHDR", b"IDAT", b"IEND"]
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read[..., ::-1] if colour else read, picture)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2"])
def test_views_and_foreign_byte_orders_are_written_as_seen(dtype: str) -> None:
    whole = random_picture((30, 40), np.uint16).astype(dtype)
    for view in (whole[::2, 5:31:3], whole[:, ::-1], whole.T, np.asfortranarray(whole)):
        read = cv2.imdecode(np.frombuffer(encode_png(view), np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(read, view.astype(view.dtype.newbyteorder("=")))


def test_equal_pictures_give_equal_bytes() -> None:
    picture = np.arange(64 * 48 * 3, dtype=np.uint32).reshape(64, 48, 3).astype(np.uint8)
    assert encode_png(picture) == encode_png(picture.copy())
    # The pixels' own hash after decoding is fixed by the input alone.
    with Image.open(io.BytesIO(encode_png(picture))) as image:
        assert hashlib.sha256(image.tobytes()).digest() == hashlib.sha256(picture.tobytes()).digest()


def test_large_streams_are_cut_into_several_data_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mammolens.imaging.png._CHUNK_BYTES", 100)
    picture = random_picture((50, 50), np.uint8)
    data = encode_png(picture)
    names = [name for name, _ in chunks(data)]
    assert names.count(b"IDAT") > 20
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image), picture)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2), np.float32),
        np.zeros((2, 2), np.int16),
        np.zeros((2, 2, 4), np.uint8),
        np.zeros((2, 2, 1), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((4, 0, 3), np.uint16),
        np.zeros((1, 2, 2, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_picture_are_refused(array: np.ndarray) -> None:
    with pytest.raises(InputError):
        encode_png(array)


@pytest.mark.parametrize("level", [-1, 13])
def test_levels_that_do_not_exist_are_refused(level: int) -> None:
    with pytest.raises(InputError):
        encode_png(np.zeros((2, 2), np.uint8), level=level)


def test_a_path_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    picture = random_picture((9, 9), np.uint8)
    write_png(target, picture)
    assert target.read_bytes() == encode_png(picture)
    assert os.listdir(tmp_path) == ["out.png"]


def test_the_file_has_the_users_own_permissions(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        write_png(tmp_path / "out.png", np.zeros((2, 2), np.uint8))
    finally:
        os.umask(umask)
    assert (tmp_path / "out.png").stat().st_mode & 0o777 == 0o640


def test_a_buffer_receives_the_same_bytes() -> None:
    picture, buffer = random_picture((9, 9, 3), np.uint8), io.BytesIO()
    write_png(buffer, picture)
    assert buffer.getvalue() == encode_png(picture)


def test_a_missing_folder_is_a_typed_error_without_the_path(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        write_png(tmp_path / "DOE^JANE" / "out.png", np.zeros((2, 2), np.uint8))
    assert "DOE" not in str(caught.value)


def test_a_failed_replacement_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    (tmp_path / "out.png").mkdir()
    with pytest.raises(OutputError):
        write_png(tmp_path / "out.png", np.zeros((2, 2), np.uint8))
    assert os.listdir(tmp_path) == ["out.png"]
