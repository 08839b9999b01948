"""The application: its commands, and the whole road through it with the built-in model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mammolens.imaging.sandbox import default_pool
from mammolens.inference import Predictor
from mammolens.phantom import dicom, make

Run = Callable[..., Any]


@pytest.fixture(scope="module", autouse=True)
def _end_processes() -> Iterator[None]:
    yield
    default_pool().close()


def test_without_a_command_the_help_is_shown(run: Run) -> None:
    result = run()
    assert result.exit_code == 2
    assert all(name in result.output for name in ("predict", "preview", "train", "models", "demo", "doctor"))
    assert "no medical device" in result.output


@pytest.mark.parametrize(("refused", "status"), [(0, 0), (2, 3)])
def test_the_demo_gets_its_arguments_and_tells_of_refusals(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int, status: int
) -> None:
    asked = []

    def run_demo(source: Path | None, out: Path) -> int:
        asked.append((source, out))
        return refused

    monkeypatch.setattr("mammolens.cli.demo.run_demo", run_demo)
    assert run("demo").exit_code == status
    assert run("demo", tmp_path, "--out", "there").exit_code == status
    assert asked == [(None, Path("demo-output")), (tmp_path, Path("there"))]


@pytest.mark.parametrize("name", ["gone", 5000 * "n"], ids=["missing", "too long to be looked up"])
def test_a_demo_on_a_missing_path_is_wrong_usage(run: Run, tmp_path: Path, name: str) -> None:
    result = run("demo", tmp_path / name)
    assert result.exit_code == 2
    assert "INPUT" in result.stderr


def test_files_go_the_whole_road(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    phantom = make("CC", "R", "mass", rows=1000, columns=800, seed=5)
    folder = tmp_path / "examination"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(dicom(phantom))
    (folder / "b").write_bytes(cv2.imencode(".png", phantom.pixels)[1].tobytes())
    (folder / "c.dcm").write_text("no picture")
    result = run("predict", "examination", "--json", "-", "--out", "pictures")
    assert result.exit_code == 3
    first, second, third = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["laterality"], first["view"], first["image"]["rows"]) == ("R", "CC", 1000)
    assert first["image"]["pixel_spacing_mm"] == pytest.approx([phantom.pixel_spacing] * 2, rel=1e-4)
    assert (second["laterality"], second["view"]) == (None, None)
    assert abs(first["probability"] - second["probability"]) <= 1e-3
    assert third["error"]["code"] == "unknown-format"
    assert first["probability"] == Predictor.from_bundle().predict(folder / "a.dcm").probability
    for record in (first, second):
        for region in record["regions"]:
            x0, y0, x1, y1 = region["box"]
            assert 0 <= x0 < x1 <= 800
            assert 0 <= y0 < y1 <= 1000
        heat = cv2.imread(record["artifacts"]["heatmap"], cv2.IMREAD_UNCHANGED)
        assert (heat.shape, heat.dtype) == ((1000, 800), np.uint8)


def test_real_mammograms_are_answered_and_the_chart_is_refused(run: Run, shared: Path) -> None:
    result = run("predict", shared / "data" / "dicom" / "mg", "--json", "-", "--no-artifacts")
    assert result.exit_code == 3
    outcomes = {
        Path(record["path"]).name: record.get("error", {}).get("code", record["status"])
        for record in map(json.loads, result.stdout.splitlines())
    }
    assert outcomes == {
        "calibration_chart_not_a_breast.dcm": "no-breast",
        "fodicom_GH133.dcm": "ok",
        "rsna_10006_1864590858.dcm": "ok",
        "rsna_10006_462822612.dcm": "ok",
    }
