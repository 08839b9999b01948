"""``mammolens data``: prepare, show and audit, on CBIS-DDSM trees of made-up tables and on one's own table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support import cbis

Run = Callable[..., Any]
WOMEN = 13


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = cbis.generator().made_tables(tmp_path_factory.mktemp("tables"), WOMEN)
    return folder


@pytest.fixture(scope="module")
def tree(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tree")
    cbis.generator().generate(tables, out, "png")
    return out


def test_prepare_fills_the_cache_that_training_reads(run: Run, tree: Path, tmp_path: Path, home: Path) -> None:
    from mammolens.datasets import DATASETS, prepared
    from mammolens.training import cache

    result = run("data", "prepare", "cbis-ddsm", tree, tmp_path / "cache", "--size", "64x48", "--jobs", 2)
    assert result.exit_code == 0, result.output
    table = DATASETS["cbis-ddsm"](tree)
    assert f"{len(table)} of {len(table)} images prepared at 64x48" in result.stderr
    (place,) = (tmp_path / "cache").iterdir()
    written = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    inputs = cache.prepare(table, (64, 48), tmp_path / "cache")
    assert inputs.images.shape == (len(table), 64, 48)
    assert {path: path.stat().st_mtime_ns for path in written if path.suffix == ".npz"} == {
        path: time for path, time in written.items() if path.suffix == ".npz"
    }
    assert place.name == f"inputs-{prepared.key(table, (64, 48))}"


def test_refused_images_end_prepare_with_status_3_and_are_named_by_row(run: Run, tmp_path: Path, home: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,malignant\na.png,1\nb.png,0\n")
    (tmp_path / "a.png").write_bytes(b"nothing")
    result = run("data", "prepare", "labelled", tmp_path, tmp_path / "cache")
    assert result.exit_code == 3
    assert "refused [unknown-format]: labels.csv, row 2" in result.stderr
    assert "refused [file-missing]: labels.csv, row 3" in result.stderr


def test_show_counts_and_draws_outlines(run: Run, tree: Path, tmp_path: Path, home: Path) -> None:
    result = run("data", "show", "cbis-ddsm", tree, tmp_path / "out.png", "--count", 4, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["women"], figures["shared"]) == (WOMEN, 1)
    assert figures["images"] == figures["parts"]["train"] + figures["parts"]["test"]
    picture = cv2.imread(str(tmp_path / "out.png")).astype(int)
    assert picture.shape == (800, 720, 3)
    blue, _, red = (picture[..., channel] for channel in range(3))
    # Outlines of malignant lesions and of others.
    assert np.count_nonzero(red - blue > 60) > 20
    assert np.count_nonzero(blue - red > 60) > 20


def test_show_prints_lines_without_a_picture(run: Run, tables: Path, home: Path) -> None:
    result = run("data", "show", "cbis-ddsm", tables)
    assert result.exit_code == 0, result.output
    assert f"women              {WOMEN}" in result.stdout
    refused = run("data", "show", "cbis-ddsm", tables, tables / "x.png")
    assert refused.exit_code == 2
    assert "None of the data set's pictures" in refused.stderr


def test_audit_of_tables_alone_names_the_women_and_ends_with_status_1(run: Run, tables: Path, home: Path) -> None:
    result = run("data", "audit", "cbis-ddsm", tables)
    assert result.exit_code == 1
    assert "women in both parts          1: P_00004" in result.stdout
    assert "Only the tables were looked at" in result.stdout
    clean = run("data", "audit", "cbis-ddsm", tables, "--protocol", "patient-clean", "--json")
    assert clean.exit_code == 0, clean.output
    assert json.loads(clean.stdout)["women_in_both_parts"] == []


def test_audit_looks_at_the_pictures_of_a_prepared_cache(run: Run, tree: Path, tmp_path: Path, home: Path) -> None:
    cache = tmp_path / "cache"
    run("data", "prepare", "cbis-ddsm", tree, cache, "--size", "96x72")
    result = run("data", "audit", "cbis-ddsm", tree, "--prepared", cache, "--size", "96x72", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["women_in_both_parts"] == ["P_00004"]
    # Her views stand in the tables of both lesion types, so the same pictures lie in both parts.
    assert report["pictures_looked_at"]
    assert {woman for pair in report["same_picture_across"] for woman in pair["women"]} == {"P_00004"}
    assert all(pair["same_pixels"] for pair in report["same_picture_across"])
    assert report["same_picture_within"]
    assert report["unreadable"] == []
    # Without her in training nothing leaks, and no second cache is made for that.
    clean = run(
        "data", "audit", "cbis-ddsm", tree, "--protocol", "patient-clean", "--prepared", cache, "--size", "96x72"
    )
    assert clean.exit_code == 0, clean.output
    assert "same picture in two parts    0" in clean.stdout
    assert len(list(cache.iterdir())) == 1


def test_the_real_tables_give_31_women(run: Run, shared: Path, home: Path) -> None:
    result = run("data", "audit", "cbis-ddsm", shared / "data" / "cbis-ddsm" / "csv", "--json")
    assert result.exit_code == 1
    assert len(json.loads(result.stdout)["women_in_both_parts"]) == 31


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,woman\na.png,w\n", 'row 1: the header lacks the column "malignant"'),
        ("file,malignant,woman,split\na.png,1,w7,train\nb.png,0,w7,test\n", "row 3: the woman w7 is in both parts"),
        ("file,malignant,woman,fold\na.png,1,w7,1\nb.png,0,w7,2\n", "row 3: the woman w7 is in two folds"),
    ],
)
def test_a_table_that_breaks_the_rules_is_refused(run: Run, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    for command in (("prepare", "labelled", tmp_path, tmp_path / "c"), ("audit", "labelled", tmp_path)):
        result = run("data", *command)
        assert result.exit_code == 2
        assert message in result.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("prepare", "nothing", ".", "out"), "Unknown data set"),
        (("show", "labelled", "nowhere"), "folder is missing"),
        (("prepare", "labelled", ".", "out", "--size", "big"), "such as 384x288"),
        (("prepare", "labelled", ".", "out", "--size", "8x8"), "from 32 to 8192"),
    ],
)
def test_wrong_usage_ends_with_status_2(run: Run, command: tuple[str, ...], message: str) -> None:
    result = run("data", *command)
    assert result.exit_code == 2
    assert message in result.stderr
