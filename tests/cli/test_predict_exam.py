"""``mammolens predict --exam``: the files' lines as ever, then a line for each examination."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mammolens import phantom
from mammolens.inference import Predictor

Run = Callable[..., Any]

SIZE = {"rows": 640, "columns": 512}
SCORE = ["probability", "label", "confidence", "threshold", "rule"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two women's studies in one folder, the second without its LMLO, and two photographs of a third."""
    folder = tmp_path_factory.mktemp("mixed")
    for seed in (0, 1):
        for name, view in phantom.examination(seed, **SIZE).items():
            if (seed, name) != (1, "LMLO"):
                (folder / f"{name}-{seed}.dcm").write_bytes(phantom.dicom(view))
    for view in ("CC", "MLO"):
        grey = phantom.make(view, "L", "mass", seed=5, **SIZE).pixels >> 4
        Image.fromarray(grey.astype(np.uint8)).save(folder / f"z {view}.png")
    return folder


def lines(run: Run, *arguments: object) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Lines of the files, and those of the examinations that must come after them."""
    result = run("predict", *arguments, "--json", "-", "--no-artifacts", "--jobs", 2)
    assert result.exit_code == 0, result.stderr
    found = [json.loads(line) for line in result.stdout.splitlines()]
    kinds = [record["schema"] for record in found]
    assert kinds == sorted(kinds, reverse=True)
    assert set(kinds) <= {"mammolens.prediction/1", "mammolens.examination/1"}
    files = [record for record in found if record["schema"] == "mammolens.prediction/1"]
    return files, found[len(files) :]


def test_lines_of_the_files_stay_and_those_of_the_examinations_follow(run: Run, folder: Path) -> None:
    plain, none = lines(run, folder)
    files, exams = lines(run, folder, "--exam")
    assert none == []
    for record in (*plain, *files):
        del record["timing_ms"]
    assert files == plain
    assert [len(exam["breasts"]) for exam in exams] == [2, 2, 1, 1]
    first, second, *photographs = exams
    assert list(first) == ["schema", "examination", *SCORE, "breasts", "missing", "doubled", "warnings", "model"]
    assert list(first["breasts"][0]) == ["laterality", *SCORE, "views"]
    views = [view for breast in first["breasts"] for view in breast["views"]]
    assert [Path(view["path"]).name for view in views] == ["RCC-0.dcm", "RMLO-0.dcm", "LCC-0.dcm", "LMLO-0.dcm"]
    assert {view["sha256"] for view in views} <= {record["sha256"] for record in files}
    assert (first["missing"], second["missing"]) == ([], [{"laterality": "L", "view": "MLO"}])
    assert [exam["warnings"][0].partition(":")[0] for exam in photographs] == ["stands-alone", "stands-alone"]


def test_command_and_python_give_one_score(run: Run, folder: Path) -> None:
    paths = sorted(folder.glob("*-0.dcm"))
    _, (exam,) = lines(run, *reversed(paths), "--exam")
    expected = Predictor.from_bundle("default", threads=1).predict_exam(paths)
    assert exam["examination"] == expected.name
    assert exam["probability"] == pytest.approx(expected.score.probability, abs=1e-4)
    for breast, other in zip(exam["breasts"], expected.breasts, strict=True):
        assert breast["probability"] == pytest.approx(other.score.probability, abs=1e-4)
        assert breast["laterality"] == other.laterality


def test_table_of_views_makes_photographs_an_examination(run: Run, folder: Path, tmp_path: Path) -> None:
    table = folder / "views.csv.txt"
    table.write_text("file,laterality,view\nz CC.png,L,CC\nz MLO.png,L,MLO\n", encoding="utf-8")
    try:
        files, exams = lines(run, *sorted(folder.glob("*.png")), "--exam", "--views", table)
    finally:
        table.unlink()
    assert [(record["laterality"], record["view"]) for record in files] == [("L", "CC"), ("L", "MLO")]
    (exam,) = exams
    assert exam["missing"] == [{"laterality": "R", "view": "CC"}, {"laterality": "R", "view": "MLO"}]
    assert len(exam["breasts"][0]["views"]) == 2


def test_table_for_people_names_what_is_missing(run: Run, folder: Path) -> None:
    result = run("predict", *sorted(folder.glob("*-1.dcm")), "--exam", "--no-artifacts")
    assert result.exit_code == 0
    head, row = [line for line in result.stdout.splitlines() if line][-2:]
    assert head.split() == ["probability", "label", "right", "left", "pictures", "examination"]
    assert row.endswith("(missing L MLO)")


def test_no_identifier_of_a_header_is_printed(run: Run, folder: Path) -> None:
    result = run("predict", *sorted(folder.glob("*.dcm")), "--exam", "--json", "-", "--no-artifacts")
    assert not [secret for secret in ("Phantom^", "PHANTOM-", "2.25.") if secret in result.stdout + result.stderr]


def test_views_without_exam_is_wrong_usage(run: Run, folder: Path) -> None:
    assert run("predict", folder, "--views", folder / "x.csv").exit_code == 2
