"""CBIS-DDSM's three layouts, on trees made of small tables; masks told from cut-outs by content."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from mammolens.datasets import DATASETS, CaseTable, cbis_files, outlines, two_valued
from mammolens.datasets.counts import count
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.reading import read_mammogram

load = DATASETS["cbis-ddsm"]
WOMEN = 13


@pytest.fixture(scope="module")
def tables(cbis_tree: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = cbis_tree.made_tables(tmp_path_factory.mktemp("tables"), WOMEN)
    return folder


@pytest.fixture(scope="module", params=["archive", "jpeg", "png"])
def tree(
    cbis_tree: ModuleType, tables: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    out = tmp_path_factory.mktemp("trees") / request.param
    cbis_tree.generate(tables, out, request.param)
    return out


def test_every_layout_gives_the_cases_of_the_tables(tree: Path, tables: Path, home: Path) -> None:
    assert cbis_files.find(tree).layout == tree.name
    table, plain = load(tree), load(tables)
    assert count(table) == count(plain)
    assert all(case.path.is_file() for case in table)
    assert [(case.woman, case.view, case.split, case.malignant) for case in table] == [
        (case.woman, case.view, case.split, case.malignant) for case in plain
    ]


def test_every_mask_is_found_whatever_its_name(tree: Path, tables: Path, cbis_tree: ModuleType, home: Path) -> None:
    """The generator knows where it put each lesion; the mask that was chosen has to lie there."""
    pictures = {picture.findings[0].place: picture for picture in cbis_tree.pictures(tables)}
    checked = 0
    for case in load(tree):
        pixels, places = cbis_tree.draw(pictures[case.provenance])
        for abnormality, (x, y, radius) in zip(case.abnormalities, places, strict=True):
            assert abnormality.outline is not None
            inside = outlines.inside(abnormality.outline, *pixels.shape, pixels.shape)
            expected = np.zeros(pixels.shape, np.uint8)
            cv2.circle(expected, (round(x), round(y)), round(radius), 1, cv2.FILLED)
            union = (inside | (expected > 0)).sum()
            # JPEG and masks of another size move an edge by a pixel.
            assert (inside & (expected > 0)).sum() > 0.75 * union
            checked += 1
    assert checked == sum(len(picture.findings) for picture in pictures.values())


def test_part_of_the_tree_has_crop_and_mask_exchanged(tree: Path, tables: Path, home: Path) -> None:
    """Otherwise the test above would show nothing: names alone must fail on this tree."""
    named = {finding.folder: finding for picture in cbis_tables(tables) for finding in picture.findings}
    wrong = 0
    for case in load(tree):
        for abnormality in case.abnormalities:
            assert abnormality.outline is not None
            mask = abnormality.outline.mask
            assert mask is not None
            folder = next((name for name in named if name in mask.parts), None)
            if folder is not None:
                expected = int(named[folder].mask.strip().rsplit("/", 1)[1].split(".")[0]) + 1
                wrong += int(mask.stem.split("-")[-1]) != expected
    assert wrong > 0 or tree.name == "jpeg"


def cbis_tables(folder: Path) -> list:
    from mammolens.datasets.cbis_tables import pictures

    return pictures(folder)


def test_names_are_told_from_descriptive_folders(tables: Path, cbis_tree: ModuleType, tmp_path: Path) -> None:
    cbis_tree.generate(tables, tmp_path, "archive")
    folders = [path.name for path in (tmp_path / "CBIS-DDSM").glob("*/*/*")]
    assert any(name.startswith("1-ROI mask images") for name in folders)
    assert any(name.startswith("1-full_mammogram_images") for name in folders)


def test_a_tree_may_lie_deeper_and_a_missing_picture_is_seen_when_it_is_read(
    tables: Path, cbis_tree: ModuleType, tmp_path: Path, home: Path
) -> None:
    cbis_tree.generate(tables, tmp_path / "manifest-1", "png")
    (tmp_path / "csv").symlink_to(tmp_path / "manifest-1" / "csv")
    (gone,) = (tmp_path / "manifest-1" / "CBIS-DDSM" / "Mass-Test_P_00005_LEFT_CC").glob("*/*/*.png")
    gone.unlink()
    table: CaseTable = load(tmp_path)
    missing = [case for case in table if not case.path.exists()]
    assert [(case.woman, case.view) for case in missing] == [("P_00005", "CC")]


def test_what_was_looked_into_once_is_not_looked_into_again(
    tables: Path, cbis_tree: ModuleType, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cbis_tree.generate(tables, tmp_path, "archive")
    first = load(tmp_path)
    monkeypatch.setattr(two_valued, "looks_like_a_mask", None)
    assert [case.abnormalities for case in load(tmp_path)] == [case.abnormalities for case in first]


def test_two_grey_values_make_a_mask_and_compression_does_not_unmake_it() -> None:
    mask = np.zeros((300, 200), np.uint8)
    cv2.circle(mask, (90, 140), 40, 255, cv2.FILLED)
    assert two_valued.two_valued(mask)
    packed = cv2.imencode(".jpg", mask, [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    assert two_valued.two_valued(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE))
    assert not two_valued.two_valued(np.random.default_rng(1).normal(3000, 300, (40, 40)))
    # A cut-out at the edge of the film, three quarters of it black.
    edge = np.zeros((40, 40), np.uint16)
    edge[:, :10] = np.random.default_rng(2).integers(20000, 40000, (40, 10))
    assert not two_valued.two_valued(edge)


def test_the_real_files_that_are_called_masks_are_cut_outs(shared: Path) -> None:
    files = sorted((shared / "data" / "cbis-ddsm" / "dicom").glob("*.dcm"))
    assert sum("ROI_mask" in path.name for path in files) == 2
    assert [two_valued.looks_like_a_mask(path) for path in files] == [False, False, False]


def test_a_mask_of_another_size_is_brought_to_its_picture(tmp_path: Path) -> None:
    from mammolens.datasets import Outline

    mask = np.zeros((400, 300), np.uint8)
    mask[100:200, 30:60] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    inside = outlines.inside(Outline(mask=tmp_path / "mask.png"), 800, 600, (200, 150))
    rows, columns = np.nonzero(inside)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (50, 99, 15, 29)


def test_originals_are_written_as_the_archive_has_them(tables: Path, cbis_tree: ModuleType, tmp_path: Path) -> None:
    cbis_tree.generate(tables, tmp_path, "archive")
    path = next((tmp_path / "CBIS-DDSM" / "Mass-Training_P_00001_LEFT_CC").rglob("*.dcm"))
    mammogram = read_mammogram(path, ReadOptions())
    assert mammogram.pixels.dtype == np.uint16
    assert mammogram.source == "dicom"
