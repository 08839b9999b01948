"""``mammolens preview``: what is written, what is refused, and what is never overwritten."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mammolens.imaging.sandbox import default_pool
from mammolens.phantom import dicom, make

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def content() -> bytes:
    return dicom(make(rows=400, columns=320, seed=3))


@pytest.fixture
def source(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "phantom"
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module", autouse=True)
def _end_processes() -> Iterator[None]:
    yield
    default_pool().close()


def chunks(png: bytes) -> list[bytes]:
    found, at = [], 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        found.append(png[at + 4 : at + 8])
        at += 12 + length
    return found


def test_dicom_becomes_an_eight_bit_png_without_metadata(run: Run, source: Path, tmp_path: Path) -> None:
    result = run("preview", source, tmp_path / "new" / "out.png")
    assert result.exit_code == 0, result.output
    png = (tmp_path / "new" / "out.png").read_bytes()
    assert set(chunks(png)) == {b"IHDR", b"IDAT", b"IEND"}
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (picture.shape, picture.dtype) == ((400, 320), np.uint8)
    assert "320 x 400 pixels, 8 bits" in result.stderr


def test_options_reach_the_picture(run: Run, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    result = run("preview", source, target, "--crop", "--size", 200, "--bits", 16, "--window", "2047.5", "4096")
    assert result.exit_code == 0, result.output
    picture = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    assert (max(picture.shape), picture.dtype) == (200, np.uint16)
    assert picture.shape[1] < 160  # the air beside the breast is gone
    whole = tmp_path / "whole.png"
    run("preview", source, whole, "--bits", 16, "--window", "2047.5", "4096")
    # A window over all 4096 values is the identity, scaled from 12 to 16 bits.
    stored = make(rows=400, columns=320, seed=3).pixels
    shown = cv2.imread(str(whole), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(shown / 65535.0, stored / 4095.0, atol=2.5e-4)


@pytest.mark.parametrize("link", [os.link, os.symlink, None])
def test_the_input_is_never_overwritten(run: Run, content: bytes, tmp_path: Path, link: Any) -> None:
    source = tmp_path / "in.png"
    source.write_bytes(content)
    target = source
    if link is not None:
        target = tmp_path / "other.png"
        link(source, target)
    result = run("preview", source, target)
    assert result.exit_code == 2
    assert source.read_bytes() == content


@pytest.mark.parametrize(
    "arguments",
    [
        ["gone", "out.png"],
        [5000 * "n", "out.png"],
        ["phantom"],
        ["phantom", "out.jpg"],
        ["phantom", "out.png", "--size", "0"],
        ["phantom", "out.png", "--bits", "12"],
        ["phantom", "out.png", "--window", "40"],
        ["phantom", "out.png", "--window", "40", "0"],
        ["phantom", "out.png", "--frame", "-1"],
    ],
)
def test_wrong_usage_ends_with_two(
    run: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("preview", *arguments)
    assert result.exit_code == 2, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["phantom"]


def test_a_file_that_can_not_be_shown_ends_with_three(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "a.dcm"
    source.write_text("no picture")
    result = run("preview", source, tmp_path / "out.png")
    assert result.exit_code == 3
    assert result.stderr.startswith("error [unknown-format]: ")
    assert not (tmp_path / "out.png").exists()


def test_a_missing_frame_ends_with_three(run: Run, source: Path, tmp_path: Path) -> None:
    result = run("preview", source, tmp_path / "out.png", "--frame", 1)
    assert result.exit_code == 3
    assert not (tmp_path / "out.png").exists()
