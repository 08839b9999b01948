"""The records that programs read: one JSON object a line, a file's or an examination's."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammolens.cli.terminal import unicode_text

if TYPE_CHECKING:
    from mammolens.types import ExamPrediction, ModelIdentity, Prediction, Score

SCHEMA = "mammolens.prediction/1"

EXAMINATION = "mammolens.examination/1"

Record = dict[str, Any]

_EXTENSION = re.compile(r"\.(dcm|dicom|ima|png|jpe?g)$", re.IGNORECASE)


def answered(path: Path, prediction: Prediction, artifacts: Mapping[str, str]) -> Record:
    """Record of an answer; every key is always there, in this order."""
    mammogram, spacing = prediction.mammogram, prediction.mammogram.pixel_spacing
    timing = prediction.timing
    return {
        "schema": SCHEMA,
        "path": unicode_text(path),
        "sha256": mammogram.sha256,
        "status": "ok",
        # Not rounded: whoever compares the probability with the threshold must come to the same label.
        "probability": prediction.probability,
        "label": prediction.label,
        "confidence": prediction.confidence,
        "threshold": prediction.threshold,
        "laterality": mammogram.laterality,
        "view": mammogram.view,
        "warnings": [f"{notice.code}: {notice.message}" for notice in prediction.notices],
        "image": {
            "rows": mammogram.rows,
            "columns": mammogram.columns,
            "pixel_spacing_mm": None if spacing is None else [spacing.row, spacing.column],
        },
        "regions": [
            {"box": list(region.box), "centre": list(region.centre), "score": round(region.score, 4)}
            for region in prediction.regions
        ],
        "model": _model(prediction.model),
        "artifacts": {name: unicode_text(place) for name, place in artifacts.items()},
        "timing_ms": {
            stage: round(getattr(timing, stage), 1) for stage in ("read", "preprocess", "infer", "explain", "total")
        },
    }


def refused(path: Path, sha256: str | None, code: str, message: str) -> Record:
    """Record of a refusal; ``sha256`` is ``None`` where the file could not be read."""
    error = {"code": code, "message": message}
    return {"schema": SCHEMA, "path": unicode_text(path), "sha256": sha256, "status": "refused", "error": error}


def examined(exam: ExamPrediction, paths: Mapping[int, Path]) -> Record:
    """Record of an examination; every key is always there, in this order.

    Parameters
    ----------
    exam : ExamPrediction
    paths : mapping of int to Path
        Where each of its predictions comes from, by the prediction's `id`.
    """
    return {
        "schema": EXAMINATION,
        "examination": exam.name,
        **_score(exam.score),
        "breasts": [
            {
                "laterality": breast.laterality,
                **_score(breast.score),
                "views": [
                    {
                        "path": unicode_text(paths[id(view)]),
                        "sha256": view.mammogram.sha256,
                        "laterality": view.mammogram.laterality,
                        "view": view.mammogram.view,
                        "view_modifiers": list(view.mammogram.view_modifiers),
                        "probability": view.probability,
                        "counted": counted,
                    }
                    for view, counted in zip(breast.views, breast.counted, strict=True)
                ],
            }
            for breast in exam.breasts
        ],
        "missing": [{"laterality": side, "view": view} for side, view in exam.missing],
        "doubled": [{"laterality": side, "view": view} for side, view in exam.doubled],
        "warnings": [f"{notice.code}: {notice.message}" for notice in exam.notices],
        "model": _model(exam.model),
    }


def _score(score: Score) -> Record:
    """Keys of a score, in their order; not rounded, as in the record of a file."""
    return {
        "probability": score.probability,
        "label": score.label,
        "confidence": score.confidence,
        "threshold": score.threshold,
        "rule": score.rule,
    }


def _model(model: ModelIdentity) -> Record:
    return {"name": model.name, "version": model.version, "sha256": model.sha256}


def line(record: Record) -> str:
    """One line of JSON: ASCII, without line breaks.

    Raises
    ------
    ValueError
        If a figure is not finite, for which JSON has no word.
    """
    return json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n"


class Stems:
    """What the names of each input's artifacts begin with; no two inputs share it.

    Parameters
    ----------
    paths : iterable of Path
        All inputs.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._count = Counter(self._key(_stem(path)) for path in paths)
        self._taken: set[str] = set()

    def take(self, path: Path, sha256: str) -> str:
        """Stem for an input: its name, with the start of its hash where another input has that name too."""
        wanted = stem = _stem(path)
        if self._count[self._key(stem)] > 1:
            wanted = stem = f"{stem}-{sha256[:8]}"
        number = 1
        while self._key(stem) in self._taken:
            number += 1
            stem = f"{wanted}-{number}"
        self._taken.add(self._key(stem))
        return stem

    @staticmethod
    def _key(stem: str) -> str:
        """Compare names as the least careful file system does."""
        from mammolens.explain.files import safe_stem

        return safe_stem(stem).casefold()


def _stem(path: Path) -> str:
    """Name without a picture's extension; what follows the last dot of a UID is part of its name."""
    return _EXTENSION.sub("", path.name) or path.name
