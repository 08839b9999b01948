"""The report of an evaluation as data: everything that its page and the model card say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mammolens import __version__
from mammolens.datasets import Case
from mammolens.errors import EvaluationError
from mammolens.evaluation import bcsc, figures
from mammolens.evaluation.calibration import grouped_folds, of_the_others
from mammolens.evaluation.delong import compare, delong
from mammolens.evaluation.figures import Sample
from mammolens.evaluation.levels import LEVELS, sample
from mammolens.evaluation.metrics import bootstrap_difference
from mammolens.evaluation.protocol import Protocol, limits, words
from mammolens.evaluation.resampling import DRAWS
from mammolens.evaluation.scores import Scores
from mammolens.evaluation.subgroups import subgroups
from mammolens.models.manifest import Calibration, OperatingPoint

SCHEMA = "mammolens.evaluation/1"

ROC_RATES = np.round(np.linspace(0.0, 1.0, 41), 3)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is evaluated, on what and how.

    Attributes
    ----------
    model : mapping
        ``name``, ``version``, ``architecture``, ``size`` (height, width), ``looks``, perhaps ``members``
        (1 otherwise), ``training`` (as in the manifest, or None) and ``sha256`` (None for a bundle that is being made).
    dataset, terms : str
        Of the pictures.
    protocol : Protocol
        Where the scores come from.
    calibration : Calibration or None
        That of the bundle.
    points : sequence of OperatingPoint
    hashes : mapping of str to str
        What must be the same for the figures to be the same, by its name.
    command : str
        That gives them again; empty where there is none.
    limits : sequence of str
        What else must be said of the data, one sentence each.
    """

    model: Mapping[str, Any]
    dataset: str
    terms: str
    protocol: Protocol
    calibration: Calibration | None
    points: Sequence[OperatingPoint]
    hashes: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    limits: Sequence[str] = ()


def evaluate(
    scores: Scores,
    subject: Subject,
    *,
    other: tuple[str, Scores] | None = None,
    prevalence: float = bcsc.BENCHMARK.prevalence,
    localisation: Mapping[str, Any] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure everything.

    Parameters
    ----------
    scores : Scores
    subject : Subject
    other : (str, Scores), optional
        Name and scores of another model, for the pictures that both have scored.
    prevalence : float
        Cancers per woman that recall, detection and predictive values are projected to.
    localisation : mapping, optional
        ``as_dict()`` of `mammolens.evaluation.localisation.Localisation`.
    draws, seed : int
        Of the bootstrap over women. Equal input gives an equal report.

    Returns
    -------
    dict
        For JSON; see ``docs/evaluation.md``.

    Raises
    ------
    EvaluationError
        If the pictures are of one class, or those outside a fold are, or the prevalence is none.
    """
    scores.needs_both_classes()
    scores, crossed = _calibrated(scores, subject)
    thresholds = {point.name: point.threshold for point in subject.points}
    measured = {
        level: _measured(sample(scores, level, crossed), thresholds, {"draws": draws, "seed": seed}) for level in LEVELS
    }
    data = _data(scores, subject, women_with_cancer=measured["woman"]["malignant"])
    return {
        "schema": SCHEMA,
        "model": dict(subject.model),
        "data": data,
        "protocol": {
            "kind": subject.protocol.value,
            "words": words(subject.protocol, scores, draws, subject.calibration, crossed),
            "draws": draws,
            "seed": seed,
        },
        "limits": [*limits(subject.dataset, data, subject.protocol), *subject.limits],
        "levels": measured,
        "subgroups": subgroups(scores, draws=draws, seed=seed, folds=subject.protocol is Protocol.OUT_OF_FOLD),
        "calibration": None if subject.calibration is None else subject.calibration.model_dump(mode="json"),
        "operating_points": [point.model_dump(mode="json") for point in subject.points],
        "bcsc": {level: bcsc.compare(measured[level]["points"], prevalence) for level in ("woman", "image")},
        "comparison": None if other is None else _comparison(scores, *other, draws=draws, seed=seed),
        "localisation": None if localisation is None else _plain(localisation),
        "reproduce": {
            "command": subject.command,
            "mammolens": __version__,
            "hashes": {**subject.hashes, "scores": scores.sha256},
        },
    }


def _calibrated(scores: Scores, subject: Subject) -> tuple[Scores, Calibration | dict[int, Calibration] | None]:
    """Give the scores, in parts, and the calibration that each part is judged by: none that was fitted to it."""
    if subject.protocol is Protocol.OUT_OF_FOLD:
        # With two folds the other one alone is left, on which nothing can be chosen.
        method = None if len(np.unique(scores.folds)) > 2 else "platt"
        return scores, of_the_others(scores.labels, scores.logits, scores.folds, method)
    if subject.protocol is Protocol.HELD_OUT_PART:
        scores = replace(scores, folds=grouped_folds(scores.women, scores.labels))
        return scores, of_the_others(scores.labels, scores.logits, scores.folds, None)
    return scores, subject.calibration


def _measured(at: Sample, thresholds: Mapping[str, float], how: Mapping[str, int]) -> dict[str, Any]:
    """Give the figures of one level; ``how`` has the bootstrap's draws and seed."""
    ranked = {name: found.as_dict() for name, found in figures.discrimination(at, **how).items()}
    return {
        "count": len(at.labels),
        "malignant": int(at.labels.sum()),
        **ranked,
        "auc_delong": delong(at.labels, at.scores).as_dict(),
        "auc_delong_clustered": delong(at.labels, at.scores, at.women).as_dict(),
        "calibration": {name: found.as_dict() for name, found in figures.calibration(at, **how).items()},
        "points": figures.confusion(at, thresholds, **how),
        "reliability": figures.reliability(at, **how),
        "decision": figures.decision_curve(at, **how),
        "roc": figures.roc_band(at, list(ROC_RATES), **how),
    }


def _data(scores: Scores, subject: Subject, *, women_with_cancer: int) -> dict[str, Any]:
    """Say what was measured on."""
    malignant = int(scores.labels.sum())
    return {
        "dataset": subject.dataset,
        "terms": subject.terms,
        "images": len(scores),
        "malignant": malignant,
        "breasts": len(np.unique(scores.breasts)),
        "women": len(np.unique(scores.women)),
        "women_with_cancer": women_with_cancer,
        "prevalence": malignant / len(scores),
        "folds": len(np.unique(scores.folds)),
        "refused": dict(scores.refused),
    }


def _plain(value: Any) -> Any:
    """Give what JSON can hold: None for what is no number."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and value != value else value


def _comparison(scores: Scores, name: str, others: Scores, *, draws: int, seed: int) -> dict[str, Any]:
    """Hold two models against each other on the pictures that both have scored."""
    _, rows, places = np.intersect1d(scores.files, others.files, return_indices=True)
    mine, theirs = scores.part(rows), others.part(places)
    mine.needs_both_classes("The pictures that both models have scored")
    if len(bad := np.flatnonzero((mine.labels != theirs.labels) | (mine.women != theirs.women))):
        raise EvaluationError(f"The two models' scores differ in label or woman for woman {mine.women[bad[0]]}.")
    found: dict[str, Any] = {"other": name, "images": len(mine), "levels": {}}
    for level in LEVELS:
        a, b = sample(mine, level, None), sample(theirs, level, None)
        tested = compare(a.labels, a.scores, b.scores, a.women)
        found["levels"][level] = {
            "auc": delong(a.labels, a.scores, a.women).as_dict(),
            "auc_other": delong(b.labels, b.scores, b.women).as_dict(),
            "difference": bootstrap_difference(a.labels, a.scores, b.scores, a.women, draws=draws, seed=seed).as_dict(),
            "difference_delong": tested.difference.as_dict(),
            "p": tested.p,
        }
    return found


def table_sha256(cases: Sequence[Case]) -> str:
    """Hash of a case table: each picture's file name, woman, breast, view, label and fold, in the table's order."""
    digest = hashlib.sha256()
    for case in cases:
        row = (case.path.name, case.woman, case.breast, case.view, case.malignant, case.fold)
        digest.update(repr(row).encode())
    return digest.hexdigest()
