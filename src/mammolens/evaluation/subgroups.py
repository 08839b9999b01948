"""Figures of parts of the pictures, and what their number does to their intervals."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.evaluation.delong import Z, covariance
from mammolens.evaluation.metrics import bootstrap_auc
from mammolens.evaluation.scores import Scores
from mammolens.evaluation.strata import contrast

FEWEST_WOMEN = 10
"""Women below whom a part gets no figure."""

MOST_VALUES = 12
"""Values that a column may have to divide the pictures; one with more is no grouping but a name or a measure."""

NOTE = (
    "{count} parts are shown. With 95 % intervals about {expected} of {count} miss their true value by chance alone, "
    "and the lowest of many is low in part because it is the lowest: the wider intervals are drawn so that all of them "
    "hold together (Bonferroni). A part was not chosen by its figure, and none may be."
)


def subgroups(scores: Scores, *, draws: int, seed: int, folds: bool = False) -> dict[str, Any]:
    """Area under the ROC curve, per image, of each part.

    Parameters
    ----------
    scores : Scores
        Parted by view and its strata. Groups of a lesion may be told from all benign pictures; see
        `mammolens.evaluation.strata.contrast`.
    draws, seed : int
        Of the bootstrap over women.
    folds : bool
        Whether the folds are parts too: they are where each was scored by another model.

    Returns
    -------
    dict
        ``groups``, a list of ``group``, ``value``, ``images``, ``malignant``, ``women``, ``auc`` (value, low, high;
        None where a part has fewer than ten women or one class) and ``together`` (low, high: the interval that holds
        for all parts at once, by DeLong's variance clustered by woman); and ``note``.
    """
    columns: dict[str, NDArray[Any]] = {"view": scores.views, **scores.strata}
    if folds:
        columns["fold"] = scores.folds.astype(np.str_)
    parts = [
        (name, str(value), contrast(name, values, value, scores.labels))
        for name, values in columns.items()
        if 1 < len(known := [value for value in np.unique(values) if value]) <= MOST_VALUES
        for value in known
    ]
    measured = [part for part in parts if _measurable(scores, part[2])]
    found = []
    for name, value, rows in parts:
        row: dict[str, Any] = {
            "group": name,
            "value": value,
            "images": int(rows.sum()),
            "malignant": int(scores.labels[rows].sum()),
            "women": len(np.unique(scores.women[rows])),
            "auc": None,
            "together": None,
        }
        if _measurable(scores, rows):
            chosen = scores.part(rows)
            row["auc"] = bootstrap_auc(chosen.labels, chosen.logits, chosen.women, draws=draws, seed=seed).as_dict()
            row["together"] = _together(chosen, len(measured))
        found.append(row)
    note = NOTE.format(count=len(measured), expected=f"{len(measured) / 20:.1f}") if measured else ""
    return {"groups": found, "note": note}


def _measurable(scores: Scores, rows: NDArray[np.bool_]) -> bool:
    malignant = int(scores.labels[rows].sum())
    return len(np.unique(scores.women[rows])) >= FEWEST_WOMEN and 1 < malignant < int(rows.sum()) - 1


def _together(scores: Scores, count: int) -> dict[str, float]:
    """Interval at the level that holds for so many at once, cut at 0 and 1."""
    (area,), ((variance,),) = covariance(scores.labels, scores.logits, scores.women)
    z = Z if count == 1 else NormalDist().inv_cdf(1.0 - 0.025 / count)
    spread = z * float(max(variance, 0.0)) ** 0.5
    return {"low": max(float(area) - spread, 0.0), "high": min(float(area) + spread, 1.0)}
