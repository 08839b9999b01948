"""The benchmark program runs and prints what it measured; how fast anything is, is not asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env=environment,
    )


def test_a_part_prints_its_table_and_records_its_figures(tmp_path: Path) -> None:
    done = run("--quick", "--only", "help", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    head = next(index for index, line in enumerate(lines) if line.startswith("| process |"))
    assert lines[head + 1] == "| --- | --- | --- | --- |"
    assert lines[head + 2].startswith("| mammolens --help |")
    assert "(target ≤ 0.5 s: " in lines[head + 2]

    record = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert record["schema"] == "mammolens.benchmark/1"
    assert list(record["parts"]) == ["help"]
    measured = record["parts"]["help"]["runs"]["mammolens --help"]
    assert len(measured["values"]) == 3
    assert min(measured["values"]) == measured["best"] > 0.0
    assert {"processor", "cores", "load_average", "versions", "model"} <= record["facts"].keys()


def test_engines_are_held_against_each_other_and_against_the_floor(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    only = ("--only", "efficientnet-b0", "--size", "224", "--engine", "onnxruntime")
    done = run("engines", "--quick", *only, "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("| efficientnet-b0 | 224 × 224 | onnxruntime |")
    (result,) = json.loads((tmp_path / "engines.json").read_text(encoding="utf-8"))["results"]
    # Tan and Le 2019, table 2: 0.39 thousand million for three channels, whose stem takes 7 million more than one's.
    assert result["multiply_adds"] == pytest.approx(0.39e9 - 7.2e6, rel=0.02)
    measured = result["engines"]["onnxruntime"]
    assert 0.0 < min(measured["latency_ms"]) <= 1e3 * measured["start_s"]
    assert measured["peak_kib"] >= measured["before_kib"]


def test_the_worklist_is_measured_page_by_page(tmp_path: Path) -> None:
    pytest.importorskip("flask", reason="the web application is not installed")
    done = run("web", "--quick", "--only", "worklist", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "## The worklist with 10,000 cases, 40,000 pictures" in done.stdout
    part = json.loads((tmp_path / "web.json").read_text(encoding="utf-8"))["parts"]["worklist"]
    assert part["cases"] == 10_000
    assert {"first page", "by suspicion", "a page far down", "search by number"} <= part["pages_ms"].keys()
    assert all(len(values) == 5 and min(values) > 0.0 for values in part["pages_ms"].values())
    assert part["processor_ms"].keys() == part["pages_ms"].keys()


def test_a_part_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    done = run("--only", "no-such-part", "--output", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "no-such-part" in done.stderr
    assert not (tmp_path / "none").exists()


def test_what_heat_maps_show_is_printed_and_recorded(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    pictures = ("--curves", "rsna-640", str(shared / "data" / "rsna-640"), "--pictures", "2", "--steps", "2")
    done = run("localisation", *pictures, "--methods", "grad-cam", "eigen-cam", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "| eigen-cam | " in done.stdout
    record = json.loads((tmp_path / "localisation.json").read_text(encoding="utf-8"))
    assert record["faithfulness"]["pictures"] == 2
    assert set(record["faithfulness"]["against"]) == {"eigen-cam", "centre of the breast", "brightest tissue"}
