"""How well a label can be told without looking at the breast: by what is known of the picture alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets.table import CaseTable
from mammolens.errors import TrainingDataError
from mammolens.evaluation.calibration import grouped_folds
from mammolens.evaluation.curve import Curve
from mammolens.evaluation.logistic import logistic_regression
from mammolens.evaluation.resampling import estimates

FOLDS = 5

_PENALTY = 0.01
_FEWEST = 10
_NUMERIC_FROM = 12
_FEWEST_WOMEN = 10


@dataclass(frozen=True, slots=True)
class MetadataLeakage:
    """Figure of a logistic regression on metadata, each woman scored by the one fit that has not seen her.

    Attributes
    ----------
    auc, low, high : float
        Per image, in each of five folds and averaged, with a 95 % interval by bootstrap over
        women. About 0.5: the metadata say nothing. What it is above that a network may learn from traces of the machine
        instead of the breast.
    alone : mapping of str to float
        The same of each attribute alone, highest first.
    images, women : int
    """

    auc: float
    low: float
    high: float
    alone: Mapping[str, float]
    images: int
    women: int

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON has it."""
        return asdict(self)


def attributes(table: CaseTable, sizes: Mapping[int, tuple[int, int]] | None = None) -> dict[str, list[str]]:
    """Collect what is known of each picture beside its pixels.

    Parameters
    ----------
    table : CaseTable
    sizes : mapping of int to tuple of int, optional
        Rows and columns of the pictures, by row of the table.

    Returns
    -------
    dict of str to list of str
        Each attribute that varies, one value a row, empty where it is not known.
    """
    names = sorted({name for case in table for name in case.strata})
    found = {name: [str(case.strata.get(name, "")) for case in table] for name in names}
    found["laterality"] = [case.laterality for case in table]
    found["view"] = [case.view for case in table]
    if not any(found.get("density", [])):
        found["density"] = [case.density for case in table]
    if sizes:
        for index, name in enumerate(("rows", "columns")):
            found[name] = [str(sizes[row][index]) if row in sizes else "" for row in range(len(table))]
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def metadata_leakage(
    table: CaseTable, sizes: Mapping[int, tuple[int, int]] | None = None, *, seed: int = 0
) -> MetadataLeakage:
    """Measure how well metadata alone predict the label.

    Parameters
    ----------
    table : CaseTable
    sizes : mapping of int to tuple of int, optional
        Rows and columns of the pictures, by row of the table.
    seed : int
        Of the bootstrap.

    Returns
    -------
    MetadataLeakage

    Raises
    ------
    TrainingDataError
        If there is one class only, or there are fewer than ten women of either.
    """
    labels = np.array([case.malignant for case in table], np.float32)
    women = np.array([case.woman for case in table])
    if labels.min() == labels.max():
        raise TrainingDataError("All images have one label; there is nothing that metadata could tell apart.")
    for name, chosen in (("with", labels > 0), ("without", labels <= 0)):
        if len(np.unique(women[chosen])) < _FEWEST_WOMEN:
            raise TrainingDataError(f"There are fewer than {_FEWEST_WOMEN} women {name} a malignant image: too few.")
    coded = {name: _coded(values) for name, values in attributes(table, sizes).items()}
    coded = {name: columns for name, columns in coded.items() if columns.shape[1]}
    folds = grouped_folds(women, labels, FOLDS)
    one = np.ones((1, len(labels)))
    alone = {name: _within(labels, _out_of_fold(x, labels, folds), folds, one) for name, x in coded.items()}
    every = np.concatenate(list(coded.values()), axis=1) if coded else np.zeros((len(labels), 1), np.float32)
    scores = _out_of_fold(every, labels, folds)
    figure = estimates(lambda w: {"auc": _within(labels, scores, folds, w)}, women, seed=seed)["auc"]
    return MetadataLeakage(
        auc=figure.value,
        low=figure.low,
        high=figure.high,
        alone=dict(sorted(((name, float(value[0])) for name, value in alone.items()), key=lambda item: -item[1])),
        images=len(labels),
        women=len(np.unique(women)),
    )


def _within(
    labels: NDArray[np.float32], scores: NDArray[np.float64], folds: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """AUC in each fold, averaged by pairs, shape (B,): scores of two fits are not compared with each other."""
    areas, pairs = [], []
    for fold in np.unique(folds):
        curve = Curve(labels[folds == fold], scores[folds == fold], weights[:, folds == fold])
        areas.append(np.nan_to_num(curve.area()))
        pairs.append(curve.positive * curve.negative)
    total = np.sum(pairs, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.sum(np.array(areas) * np.array(pairs), axis=0) / total, np.float64)


def _coded(values: list[str]) -> NDArray[np.float32]:
    """Numbers of an attribute, shape (N, K): itself and whether it is known, or one column for each frequent value."""
    numbers = np.array([_number(value) for value in values])
    known = np.isfinite(numbers)
    if len(set(values)) >= _NUMERIC_FROM and known.sum() > 0.5 * len(values):
        filled = np.where(known, numbers, numbers[known].mean())
        return np.column_stack([filled, known]).astype(np.float32)
    frequent = [value for value, count in sorted(Counter(values).items()) if count >= _FEWEST]
    columns = [[value == wanted for value in values] for wanted in frequent]
    return np.array(columns, np.float32).reshape(len(frequent), len(values)).T


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return float("nan")


def _out_of_fold(
    features: NDArray[np.float32], labels: NDArray[np.float32], folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    scores = np.zeros(len(labels))
    for fold in np.unique(folds):
        fit, held = folds != fold, folds == fold
        weights, bias = logistic_regression(features[fit], labels[fit], _PENALTY)
        scores[held] = features[held] @ weights + bias
    return scores
