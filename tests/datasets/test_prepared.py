"""The cache of preprocessed images: what it holds, and that nothing but what is whole is taken up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from mammolens.datasets import Case, CaseTable, prepared
from mammolens.imaging import preprocess
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.reading import read_mammogram

SIZE = (48, 32)


def picture(seed: int, rows: int = 160, columns: int = 128) -> np.ndarray:
    """A half ellipse of clouds against the left side."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:columns]
    depth = 1 - (x / (0.7 * columns)) ** 2 - ((y - rows / 2) / (0.4 * rows)) ** 2
    clouds = cv2.resize(rng.random((9, 9)), (columns, rows), interpolation=cv2.INTER_CUBIC)
    return np.where(depth > 0, 70 + 120 * np.sqrt(np.clip(depth, 0, 1)) * clouds, 0).clip(0, 255).astype(np.uint8)


def fill(folder: Path, count: int) -> CaseTable:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:03d}.png"), picture(number))
    return table_of(folder)


def table_of(folder: Path) -> CaseTable:
    files = sorted(folder.glob("*.png"))
    return CaseTable("x", [Case(path, f"w{n}", "L", "CC", n % 2 == 0) for n, path in enumerate(files)])


def test_images_are_what_serving_would_give_the_network(tmp_path: Path) -> None:
    table = fill(tmp_path / "pictures", 5)
    found = prepared.prepare(table, SIZE, tmp_path / "cache")
    assert found.images.shape == (5, *SIZE)
    for row, image in zip(found.rows, found.images, strict=True):
        served = preprocess.prepare(read_mammogram(table[row].path, ReadOptions(min_size=SIZE)), SIZE)
        np.testing.assert_array_equal(image, served.image)
    assert found.sizes.tolist() == [[160, 128]] * 5


def test_refused_images_are_told_with_their_code_and_leave_no_gap(tmp_path: Path) -> None:
    fill(tmp_path / "pictures", 4)
    (tmp_path / "pictures" / "001.png").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "pictures" / "002.png"), np.zeros((160, 128), np.uint8))
    found = prepared.prepare(table_of(tmp_path / "pictures"), SIZE, tmp_path / "cache", jobs=2)
    assert found.refused == {1: "unknown-format", 2: "blank-image"}
    assert found.rows.tolist() == [0, 3]
    assert found.images.shape == (2, *SIZE)


def test_a_second_call_reads_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = fill(tmp_path / "pictures", 3)
    first = prepared.prepare(table, SIZE, tmp_path / "cache")
    monkeypatch.setattr(prepared, "read_mammogram", None)
    again = prepared.prepare(table, SIZE, tmp_path / "cache")
    np.testing.assert_array_equal(first.images, again.images)
    assert first.pixels.tolist() == again.pixels.tolist()


def test_another_size_and_other_files_have_a_cache_of_their_own(tmp_path: Path) -> None:
    table = fill(tmp_path / "pictures", 3)
    assert prepared.key(table, SIZE) != prepared.key(table, (64, 48))
    before = prepared.key(table, SIZE)
    cv2.imwrite(str(tmp_path / "pictures" / "001.png"), picture(9, 200, 160))
    assert prepared.key(table, SIZE) != before


def test_a_part_of_the_files_is_taken_from_the_cache_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = fill(tmp_path / "pictures", 6)
    whole = prepared.prepare(table, SIZE, tmp_path / "cache")
    expected = np.array(whole.images)[[1, 4, 5]]
    monkeypatch.setattr(prepared, "read_mammogram", None)
    part = prepared.prepare(CaseTable("x", [table[row] for row in (1, 4, 5)]), SIZE, tmp_path / "cache")
    np.testing.assert_array_equal(part.images, expected)
    assert part.pixels.tolist() == whole.pixels[[1, 4, 5]].tolist()
    assert part.sizes.tolist() == whole.sizes[[1, 4, 5]].tolist()
    # Another size has nothing to take.
    with pytest.raises(TypeError, match="not callable"):
        prepared.prepare(CaseTable("x", [table[1]]), (64, 48), tmp_path / "cache")


@pytest.mark.parametrize("harm", ["image", "record", "tail"])
def test_a_damaged_shard_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    monkeypatch.setattr(prepared, "SHARD", 2)
    table = fill(tmp_path / "pictures", 5)
    whole = np.array(prepared.prepare(table, SIZE, tmp_path / "cache").images)
    (place,) = (tmp_path / "cache").iterdir()
    if harm == "image":
        content = bytearray((place / "images.u8").read_bytes())
        content[2 * SIZE[0] * SIZE[1] + 700] ^= 255
        (place / "images.u8").write_bytes(content)
    elif harm == "record":
        (place / "shards" / "00001.npz").write_bytes(b"PK half a record")
    else:
        os.truncate(place / "images.u8", 3 * SIZE[0] * SIZE[1])
    np.testing.assert_array_equal(prepared.prepare(table, SIZE, tmp_path / "cache").images, whole)


PROGRAM = """
import sys, time
from pathlib import Path
from mammolens.datasets import Case, CaseTable, prepared
prepared.SHARD = 4
made = prepared.preprocess.prepare
def slowly(*given):
    time.sleep(0.02)
    return made(*given)
prepared.preprocess.prepare = slowly
files = sorted(Path(sys.argv[1]).glob("*.png"))
table = CaseTable("x", [Case(path, f"w{n}", "L", "CC", n % 2 == 0) for n, path in enumerate(files)])
prepared.prepare(table, (48, 32), Path(sys.argv[2]), jobs=2)
"""


def test_after_kill_9_it_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = fill(tmp_path / "pictures", 40)
    whole = np.array(prepared.prepare(table, SIZE, tmp_path / "undisturbed").images)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "pictures"), str(tmp_path / "cache")]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while len(done := list((tmp_path / "cache").glob("*/shards/*.npz"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = sorted((tmp_path / "cache").glob("*/shards/*.npz"))
    assert 3 <= len(done) < 10
    before = {path: path.stat().st_mtime_ns for path in done}
    monkeypatch.setattr(prepared, "SHARD", 4)
    np.testing.assert_array_equal(prepared.prepare(table, SIZE, tmp_path / "cache").images, whole)
    assert {path: path.stat().st_mtime_ns for path in done} == before
