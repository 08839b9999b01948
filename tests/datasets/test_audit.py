"""The auditor: what leaks between parts, what stands twice, which labels disagree."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets.test_prepared import picture
from mammolens.datasets import DATASETS, Case, CaseTable, prepared
from mammolens.datasets.audit import Audit, audit
from mammolens.datasets.duplicates import duplicates
from mammolens.datasets.splits import patient_clean

SIZE = (96, 72)


def look(cases: list[Case], cache: Path) -> Audit:
    table = CaseTable("x", cases)
    found = prepared.prepare(table, SIZE, cache)
    return audit(table, duplicates(found), found.refused)


def case(path: Path, woman: str, split: str = "train", malignant: bool = False, **more: str) -> Case:
    return Case(path, woman, "L", "CC", malignant, split=split, **more)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(8)]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), picture(number, 320, 256))
    return paths


def test_different_pictures_of_different_women_are_no_duplicates(pictures: list[Path], tmp_path: Path) -> None:
    found = look([case(path, path.stem, "train" if n % 2 else "test") for n, path in enumerate(pictures)], tmp_path)
    assert not found.leaks
    assert (found.across, found.repeats, found.conflicts, dict(found.unreadable)) == ((), (), (), {})


def test_the_same_pixels_under_another_name_are_found_across_women_and_parts(
    pictures: list[Path], tmp_path: Path
) -> None:
    # Written anew with another compression, so the files differ and the pixels do not.
    copy = tmp_path / "copy.png"
    cv2.imwrite(str(copy), picture(2, 320, 256), [cv2.IMWRITE_PNG_COMPRESSION, 0])
    assert copy.read_bytes() != pictures[2].read_bytes()
    cases = [case(path, path.stem) for path in pictures] + [case(copy, "another", "test", malignant=True)]
    found = look(cases, tmp_path / "cache")
    assert found.leaks
    assert [(pair.first, pair.second, pair.same_pixels) for pair in found.across] == [(2, 8, True)]
    assert [(conflict.first, conflict.second, conflict.why) for conflict in found.conflicts] == [(2, 8, "same pixels")]
    assert found.as_dict()["same_picture_across"][0]["women"] == ["2", "another"]


def test_a_near_duplicate_is_found_through_window_compression_and_size(pictures: list[Path], tmp_path: Path) -> None:
    altered = tmp_path / "altered.jpg"
    grey = cv2.resize(picture(5, 320, 256), (200, 250), interpolation=cv2.INTER_AREA).astype(np.float32)
    cv2.imwrite(str(altered), (255 * (grey / 255) ** 0.8).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 70])
    cases = [case(path, path.stem) for path in pictures] + [case(altered, "another", "test")]
    found = look(cases, tmp_path / "cache")
    (pair,) = found.across
    assert (pair.first, pair.second, pair.same_pixels) == (5, 8, False)
    assert 0.7 <= pair.correlation < 1.0


def test_the_same_picture_twice_of_one_woman_in_one_part_is_no_leak(pictures: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(pictures[0].read_bytes())
    found = look([case(pictures[0], "a"), case(copy, "a"), case(pictures[1], "b", "test")], tmp_path / "cache")
    assert not found.leaks
    assert [(pair.first, pair.second) for pair in found.repeats] == [(0, 1)]


def test_one_view_with_two_labels_is_a_conflict_and_unreadable_files_are_named(
    pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "7.png").write_bytes(b"")
    cases = [
        case(pictures[0], "a"),
        case(pictures[1], "a", malignant=True, provenance="t.csv, row 3"),
        case(pictures[7], "c"),
    ]
    found = look(cases, tmp_path / "cache")
    (conflict,) = found.conflicts
    assert (conflict.first, conflict.second, conflict.why) == (0, 1, "same view")
    report = json.loads(json.dumps(found.as_dict()))
    assert report["label_conflicts"][0]["rows"] == ["image 1 of the case table", "t.csv, row 3"]
    assert report["unreadable"] == [{"row": "image 3 of the case table", "code": "unknown-format"}]


def test_the_31_women_are_found_from_the_tables_alone(shared: Path) -> None:
    table = DATASETS["cbis-ddsm"](shared / "data" / "cbis-ddsm" / "csv")
    found = audit(table)
    assert found.leaks
    assert not found.pictures
    assert len(found.women) == 31
    # By the first field of the lines that begin a record, without the code under test.
    parts = {
        part: {
            line.split(",", 1)[0]
            for path in (shared / "data" / "cbis-ddsm" / "csv").glob(f"*_{part}_set.csv")
            for line in path.read_text().splitlines()
            if line.startswith("P_")
        }
        for part in ("train", "test")
    }
    assert set(found.women) == parts["train"] & parts["test"]
    clean = audit(patient_clean(table))
    assert not clean.leaks
    assert clean.women == ()
