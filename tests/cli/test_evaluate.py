"""``mammolens evaluate`` and ``mammolens calibrate``, on pictures that are made up."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mammolens.evaluation import scores as scoring
from mammolens.evaluation.scores import of_cases

Run = Callable[..., Any]

FILES = ("report.html", "report.json", "MODEL_CARD.md", "scores.csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A table of 160 pictures of 80 women; the pictures themselves are never opened here."""
    place = tmp_path / "data"
    place.mkdir()
    with (place / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "malignant", "woman", "laterality", "view"])
        for number in range(160):
            woman = number // 2
            writer.writerow([f"{number}.png", int(woman % 3 == 0), f"w{woman}", "L", ("CC", "MLO")[number % 2]])
    return place


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Answers at random, better for cancers; gives the numbers of pictures asked for."""
    asked: list[int] = []

    def by_predictor(table: Any, predictor: Any, **more: Any) -> scoring.Scores:
        asked.append(len(table))
        random = np.random.default_rng(1)
        return of_cases(list(table), random.normal([1.0 * case.malignant for case in table], 1.0))

    monkeypatch.setattr("mammolens.evaluation.run.by_predictor", by_predictor)
    monkeypatch.setattr("mammolens.evaluation.scores.by_predictor", by_predictor)
    return asked


def test_a_report_is_written_twice_to_the_byte(run: Run, folder: Path, scored: list[int], tmp_path: Path) -> None:
    out = [tmp_path / "one", tmp_path / "two"]
    for place in out:
        result = run("evaluate", "default", "labelled", folder, "--out", place, "--prevalence", "0.01")
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines()[-1] == str(place / "report.html")
    assert scored == [160, 160]
    for name in FILES:
        assert (out[0] / name).read_bytes() == (out[1] / name).read_bytes()
    report = json.loads((out[0] / "report.json").read_text())
    assert report["protocol"]["kind"] == "held-out"
    assert report["bcsc"]["woman"]["prevalence"] == 0.01


def test_scores_of_a_table_are_measured_without_the_network(
    run: Run, folder: Path, scored: list[int], tmp_path: Path
) -> None:
    run("evaluate", "default", "labelled", folder, "--out", tmp_path / "one")
    rows = (tmp_path / "one" / "scores.csv").read_text().splitlines()
    table = tmp_path / "out_of_fold.csv"
    cells = [line.split(",") for line in rows[1:]]
    for n, row in enumerate(cells):
        row[4] = str(1 + n // 2 % 4)
    table.write_text("\n".join([rows[0], *(",".join(row) for row in cells)]) + "\n")
    scored.clear()
    result = run("evaluate", "default", "labelled", folder, "--scores", table, "--out", tmp_path / "two")
    assert result.exit_code == 0, result.output
    assert scored == []
    report = json.loads((tmp_path / "two" / "report.json").read_text())
    assert report["protocol"]["kind"] == "out-of-fold"
    assert report["data"]["folds"] == 4
    table.write_text(table.read_text().replace("malignant", "cancer", 1))
    result = run("evaluate", "default", "labelled", folder, "--scores", table, "--out", tmp_path / "three")
    assert result.exit_code == 2
    assert result.stderr == "error [evaluation-error]: The table of scores lacks the columns: malignant.\n"


@pytest.mark.parametrize("prevalence", ["0", "1.5", "-1"])
def test_a_prevalence_that_is_none_is_refused_before_anything_is_scored(
    run: Run, folder: Path, scored: list[int], tmp_path: Path, prevalence: str
) -> None:
    result = run("evaluate", "default", "labelled", folder, "--prevalence", prevalence, "--out", tmp_path / "one")
    assert result.exit_code == 2
    assert "prevalence must be above 0" in result.stderr
    assert scored == []


def test_an_unknown_data_set_names_the_known_ones(run: Run, folder: Path) -> None:
    result = run("evaluate", "default", "nothing", folder)
    assert result.exit_code == 2
    assert "rsna-640" in result.stderr


def test_a_site_gets_a_bundle_that_says_so(
    run: Run, folder: Path, scored: list[int], tmp_path: Path, home: Path
) -> None:
    result = run("calibrate", "default", "labelled", folder, "--by", "Our site")
    assert result.exit_code == 0, result.output
    place = home / "models" / "mammolens-b0-site"
    assert result.stdout.splitlines()[-1] == str(place)
    manifest = json.loads((place / "manifest.json").read_text())
    assert manifest["name"] == "mammolens-b0-site"
    assert manifest["calibration"]["on"] == {
        "by": "Our site",
        "dataset": "labelled",
        "images": 160,
        "women": 80,
        "malignant": 54,
    }
    told = run("models", "info", "mammolens-b0-site")
    assert "by Our site on 160 images of 80 women (labelled)" in told.stdout
