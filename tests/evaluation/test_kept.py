"""Scoring a data set through the predictor, and going on after an interruption."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mammolens.datasets import Case, CaseTable
from mammolens.errors import EvaluationError
from mammolens.evaluation.kept import NAME, KeptScores
from mammolens.evaluation.scores import by_predictor
from mammolens.inference import Predictor
from mammolens.phantom import make


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> CaseTable:
    """Three generated pictures and one that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    cases = []
    for number in range(3):
        pixels = make("CC", "LR"[number % 2], "mass" if number else None, 640, 520, number).pixels
        path = folder / f"{number}.png"
        Image.fromarray((np.clip(pixels / pixels.max(), 0, 1) * 255).astype(np.uint8)).save(path)
        cases.append(Case(path, f"w{number}", "LR"[number % 2], "CC", bool(number)))
    (folder / "broken.png").write_bytes(b"no picture")
    return CaseTable("labelled", [*cases, Case(folder / "broken.png", "w9", "L", "CC", False)])


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_bundle("default", threads=1)


def test_scores_are_the_networks_logits_and_the_served_probabilities(table: CaseTable, predictor: Predictor) -> None:
    found = by_predictor(table, predictor)
    assert found.refused == {"unknown-format": 1}
    assert found.files.tolist() == ["0.png", "1.png", "2.png"]
    calibration = predictor.bundle.manifest.calibration
    assert calibration is not None
    assert found.probabilities is not None
    for row, case in enumerate(table[:3]):
        served = predictor.predict(case.path)
        assert found.probabilities[row] == pytest.approx(served.probability, abs=1e-9)
        raw = (math.log(served.probability / (1 - served.probability)) - calibration.intercept) / calibration.slope
        assert found.logits[row] == pytest.approx(raw, abs=1e-9)


def test_an_interrupted_run_scores_only_what_is_missing(
    table: CaseTable, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    answer = Predictor._answer

    def counting(self: Predictor, source: Path, options: object) -> object:
        asked.append(source)
        return answer(self, source, options)  # type: ignore[arg-type]

    monkeypatch.setattr(Predictor, "_answer", counting)
    with KeptScores(tmp_path, "a" * 64) as kept:
        whole = by_predictor(table, predictor, kept=kept)
    assert len(asked) == 4
    lines = (tmp_path / NAME).read_bytes().splitlines(keepends=True)
    # Killed while the second line was written.
    (tmp_path / NAME).write_bytes(lines[0] + lines[1][:30])
    asked.clear()
    with KeptScores(tmp_path, "a" * 64) as kept:
        again = by_predictor(table, predictor, kept=kept)
    assert [path.name for path in asked] == ["1.png", "2.png", "broken.png"]
    assert again.logits.tolist() == whole.logits.tolist()
    assert len((tmp_path / NAME).read_bytes().splitlines()) == 3
    asked.clear()
    with KeptScores(tmp_path, "b" * 64) as kept:
        by_predictor(table, predictor, kept=kept)
    assert len(asked) == 4, "scores of another bundle are not taken"


def test_where_every_picture_is_refused_the_codes_are_told(table: CaseTable, predictor: Predictor) -> None:
    with pytest.raises(EvaluationError, match="unknown-format 1"):
        by_predictor(table[3:], predictor)
