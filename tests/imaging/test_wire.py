"""What a decoding process says is checked field by field; what does not hold is ValueError."""

from __future__ import annotations

import json
import math
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mammolens import errors
from mammolens.imaging import wire
from mammolens.imaging.channel import Channel
from mammolens.types import Breast, Mammogram, Notice, PixelSpacing

MAMMOGRAM = Mammogram(
    np.arange(24, dtype=np.uint16).reshape(4, 6),
    rows=7,
    columns=12,
    reduction=2,
    sha256="0f" * 32,
    source="dicom",
    laterality="R",
    view="CC",
    view_modifiers=("implant displaced",),
    pixel_spacing=PixelSpacing(0.07, 0.08, "calibrated"),
    negative=True,
    notices=(Notice("code", "What was seen."),),
)
MASK = np.where(np.random.default_rng(0).random((37, 53)) > 0.5, 255, 0).astype(np.uint8)
FOUND = replace(MAMMOGRAM, breast=Breast((0.0, 1.25, 5.5, 4.0), "left", MASK, 0.4))
PLAIN = Mammogram(np.zeros((1, 1), np.uint8), rows=1, columns=1, sha256="a" * 64, source="png")


def sent(mammogram: Mammogram) -> tuple[dict[str, Any], bytes]:
    header, trailer = wire.describe_mammogram(mammogram)
    header = json.loads(json.dumps({**header, "trailer": len(trailer)}))
    return header, bytes(wire.bytes_of(mammogram.pixels)) + trailer


def received(header: dict[str, Any], body: bytes, max_pixels: int = 1000) -> Mammogram:
    end = len(body) - wire.trailer_size(header)
    array = wire.array_from(header, end, max_pixels)
    wire.room_of(array)[:] = body[:end]
    return wire.mammogram_from(header, array, body[end:])


@pytest.mark.parametrize("mammogram", [MAMMOGRAM, FOUND, PLAIN])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, ">u2", ">f4"])
def test_a_mammogram_survives_the_way(mammogram: Mammogram, dtype: Any) -> None:
    mammogram = replace(mammogram, pixels=mammogram.pixels.astype(dtype)[:, ::-1])
    arrived = received(*sent(mammogram))
    np.testing.assert_array_equal(arrived.pixels, mammogram.pixels)
    assert arrived.pixels.dtype == mammogram.pixels.dtype.newbyteorder("=")
    assert replace(arrived, pixels=mammogram.pixels) == mammogram
    assert (arrived.breast is None) == (mammogram.breast is None)
    if arrived.breast is not None and mammogram.breast is not None:
        np.testing.assert_array_equal(arrived.breast.mask, MASK)
        assert arrived.breast.box == (0.0, 1.25, 5.5, 4.0)
        assert (arrived.breast.chest_wall, arrived.breast.area) == ("left", 0.4)


BREAST = sent(FOUND)[0]["breast"]
LIES = {
    "large shape": {"shape": [65535, 65535]},
    "another shape": {"shape": [4, 7]},
    "negative shape": {"shape": [-4, -6]},
    "flat shape": {"shape": [24]},
    "boolean shape": {"shape": [True, 24]},
    "fractional shape": {"shape": [4.0, 6.0]},
    "no shape": {"shape": None},
    "object dtype": {"dtype": "|O"},
    "other dtype": {"dtype": "<f8"},
    "list dtype": {"dtype": ["<u2"]},
    "rows": {"rows": 9},
    "rows as text": {"rows": "7"},
    "odd reduction": {"reduction": 3},
    "large reduction": {"reduction": 1 << 40},
    "endless spacing": {"pixel_spacing": [10**400, 1, "imager"]},
    "infinite spacing": {"pixel_spacing": [math.inf, 1, "imager"]},
    "no number": {"pixel_spacing": [math.nan, 1, "imager"]},
    "negative spacing": {"pixel_spacing": [-1, 1, "imager"]},
    "spacing origin": {"pixel_spacing": [1, 1, "DOE^JANE"]},
    "short spacing": {"pixel_spacing": [1, 1]},
    "hash": {"sha256": "DOE^JANE"},
    "source": {"source": "pickle"},
    "laterality": {"laterality": "DOE^JANE"},
    "listed laterality": {"laterality": ["L"]},
    "view": {"view": "DOE^JANE"},
    "line break": {"view_modifiers": ["a\nb"]},
    "long text": {"view_modifiers": ["a" * 10000]},
    "no list": {"view_modifiers": "abc"},
    "half a notice": {"notices": [["only one"]]},
    "many notices": {"notices": [["a", "b"]] * 1000},
    "negative": {"negative": "yes"},
    "no trailer": {"trailer": 0},
    "large trailer": {"trailer": 1 << 40},
    "negative trailer": {"trailer": -1},
    "forgotten breast": {"breast": None},
    "listed breast": {"breast": []},
    "box outside": {"breast": {**BREAST, "box": [0, 0, 60, 4]}},
    "box inside out": {"breast": {**BREAST, "box": [4, 0, 1, 4]}},
    "box without end": {"breast": {**BREAST, "box": [0, 0, math.inf, 4]}},
    "chest wall": {"breast": {**BREAST, "chest_wall": "DOE^JANE"}},
    "area": {"breast": {**BREAST, "area": math.nan}},
    "mask": {"breast": {**BREAST, "mask": [4000, 4000]}},
}


@pytest.mark.parametrize("lie", sorted(LIES))
def test_a_lie_is_refused(lie: str) -> None:
    header, body = sent(FOUND)
    assert received(header, body).rows == 7
    with pytest.raises(ValueError, match=r"."):
        received({**header, **LIES[lie]}, body)


@pytest.mark.parametrize("field", sorted({*sent(MAMMOGRAM)[0]} - {"laterality", "view", "pixel_spacing", "breast"}))
def test_a_missing_field_is_refused(field: str) -> None:
    header, body = sent(MAMMOGRAM)
    del header[field]
    with pytest.raises(ValueError, match=r"."):
        received(header, body)


def test_a_picture_over_the_limit_is_refused_before_it_is_allocated() -> None:
    with pytest.raises(ValueError, match="size"):
        wire.array_from({"shape": [1 << 20, 1 << 20], "dtype": "|u1"}, 1 << 40, 120_000_000)


def all_refusals(kind: type[errors.InputError] = errors.InputError) -> Iterator[type[errors.InputError]]:
    yield kind
    for lower in kind.__subclasses__():
        yield from all_refusals(lower)


@pytest.mark.parametrize("kind", sorted(all_refusals(), key=lambda kind: kind.code))
def test_every_refusal_arrives_as_its_own_class(kind: type[errors.InputError]) -> None:
    arrived = wire.error_from(json.loads(json.dumps(wire.describe_error(kind("What to do.")))))
    assert type(arrived) is kind
    assert arrived.message == "What to do."


@pytest.mark.parametrize(
    "header",
    [
        {"error": "no-such-code", "message": "x"},
        {"error": "bundle-tampered", "message": "x"},
        {"error": "decode-failed"},
        {"error": "decode-failed", "message": ["x"]},
        {"error": "decode-failed", "message": "two\nlines"},
        {"error": ["decode-failed"], "message": "x"},
    ],
)
def test_a_refusal_that_does_not_hold_is_refused(header: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.error_from(header)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel, list[int]]]:
    """Two channels that talk to each other, and their descriptors: read, write, read, write."""
    a_in, b_out = os.pipe()
    b_in, a_out = os.pipe()
    descriptors = [a_in, a_out, b_in, b_out]
    yield Channel(a_in, a_out), Channel(b_in, b_out), descriptors
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)


def test_frames_arrive_in_order_with_their_bodies(ends: tuple[Channel, Channel, list[int]]) -> None:
    here, there, _ = ends
    here.send({"a": 1}, b"body")
    here.send({"b": [2, "ü"]})
    header, size = there.receive_header()
    body = bytearray(size)
    there.receive_into(memoryview(body))
    assert (header, bytes(body)) == ({"a": 1}, b"body")
    assert there.waiting()
    assert here.unread()
    assert there.receive_header() == ({"b": [2, "ü"]}, 0)
    assert not there.waiting()
    assert not here.unread()


@pytest.mark.parametrize(
    "data",
    [
        b"GARBAGE!" * 2,
        struct.pack("<4sIQ", b"MLW1", 1 << 31, 0),
        struct.pack("<4sIQ", b"MLW1", 4, 0) + b"\xff\xfe\x00{",
        struct.pack("<4sIQ", b"MLW1", 2, 0) + b"[]",
        struct.pack("<4sIQ", b"MLW1", 60000, 0) + b"[" * 60000,
    ],
)
def test_what_is_no_frame_is_refused(ends: tuple[Channel, Channel, list[int]], data: bytes) -> None:
    _, there, descriptors = ends
    os.write(descriptors[1], data)
    with pytest.raises(ValueError, match=r"."):
        there.receive_header()


def test_silence_ends_at_the_deadline(ends: tuple[Channel, Channel, list[int]]) -> None:
    here, there, descriptors = ends
    os.write(descriptors[1], b"MLW1")
    for action in (there.receive_header, lambda deadline: here.send({}, bytes(1 << 20), deadline=deadline)):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            action(began + 0.1)
        assert 0.1 <= time.monotonic() - began < 2.0


def test_a_hung_up_channel_is_the_end(ends: tuple[Channel, Channel, list[int]]) -> None:
    here, there, descriptors = ends
    os.close(descriptors[2])
    descriptors[2] = -1
    with pytest.raises(EOFError):
        here.send({"a": 1})
    os.close(descriptors[1])
    descriptors[1] = -1
    os.close(descriptors[3])
    descriptors[3] = -1
    with pytest.raises(EOFError):
        here.receive_header()
    del there
