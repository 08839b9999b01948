"""Ways to make probabilities of logits, the choice between them, and how well a probability keeps its promise."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import EvaluationError, TrainingError
from mammolens.evaluation.logistic import logistic_regression
from mammolens.models.manifest import Calibration

LEAST_FOR_STEPS = 100
"""Malignant pictures below which isotonic calibration is not tried."""

_STEPS = 100


def platt(labels: NDArray[np.generic], logits: NDArray[np.generic]) -> Calibration:
    """Fit slope and intercept on logits that the model gave for women it has not seen.

    Parameters
    ----------
    labels, logits : ndarray, shape (N,)

    Returns
    -------
    Calibration

    Raises
    ------
    TrainingError
        If the scores do not rise with the label: such a model must not be shipped.

    References
    ----------
    J. Platt, "Probabilistic outputs for support vector machines", 1999.
    """
    y = np.asarray(labels, np.float32)
    weights, bias = logistic_regression(np.asarray(logits, np.float32)[:, None], y, 0.0)
    if not weights[0] > 0:
        raise TrainingError("The scores of women not seen do not rise with the label; there is nothing to calibrate.")
    return Calibration(slope=float(weights[0]), intercept=bias, prevalence=float(y.mean()))


def temperature(labels: NDArray[np.generic], logits: NDArray[np.generic]) -> Calibration:
    """Fit one slope, the inverse temperature, that leaves a logit of 0 where it is.

    Raises
    ------
    TrainingError
        If the scores do not rise with the label.

    References
    ----------
    C. Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    y, x = np.asarray(labels, np.float64), np.asarray(logits, np.float64)
    slope = 0.0
    for _ in range(_STEPS):
        p = _sigmoid(slope * x)
        step = float(x @ (y - p)) / (float((x * x) @ (p * (1.0 - p))) + 1e-12)
        # The loss is convex; a bounded step can't leap over its minimum for ever.
        step = min(max(step, -2.0), 2.0)
        slope += step
        if abs(step) < 1e-10:
            break
    if not slope > 0:
        raise TrainingError("The scores of women not seen do not rise with the label; there is nothing to calibrate.")
    return Calibration(method="temperature", slope=slope, intercept=0.0, prevalence=float(y.mean()))


def isotonic(labels: NDArray[np.generic], logits: NDArray[np.generic]) -> Calibration:
    """Fit the rising curve nearest to the labels, linear between the centres of its steps.

    Pictures of different score keep their order but for those beyond the outermost centres. No probability comes
    nearer to 0 or 1 than one in two more than there are pictures.

    References
    ----------
    R. E. Barlow et al., "Statistical inference under order restrictions", 1972 (pool adjacent violators); A. P. Oron
    and N. Flournoy, "Centered isotonic regression", Statistics in Biopharmaceutical Research 9:258–267, 2017.
    """
    y, x = np.asarray(labels, np.float64), np.asarray(logits, np.float64)
    blocks: list[tuple[float, float, float]] = []
    values, index, counts = np.unique(x, return_inverse=True, return_counts=True)
    for value, count, malignant in zip(values, counts, np.bincount(index, weights=y), strict=True):
        blocks.append((float(count), float(value * count), float(malignant)))
        while len(blocks) > 1 and blocks[-2][2] / blocks[-2][0] >= blocks[-1][2] / blocks[-1][0]:
            upper, lower = blocks.pop(), blocks.pop()
            blocks.append((lower[0] + upper[0], lower[1] + upper[1], lower[2] + upper[2]))
    least = 1.0 / (len(y) + 2.0)
    knots = tuple((total / n, min(max(sick / n, least), 1.0 - least)) for n, total, sick in blocks)
    return Calibration(method="isotonic", slope=1.0, intercept=0.0, prevalence=float(y.mean()), knots=knots)


METHODS: dict[str, Callable[[NDArray[np.generic], NDArray[np.generic]], Calibration]] = {
    "temperature": temperature,
    "platt": platt,
    "isotonic": isotonic,
}
"""Ways to calibrate, the simplest first."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which way of calibrating gives the smallest loss on women it was not fitted to.

    Attributes
    ----------
    method : str
        A key of `METHODS`.
    losses : dict of str to float
        Mean log loss of each; infinite where it can't be fitted.
    """

    method: str
    losses: dict[str, float]


def choose(
    labels: NDArray[np.generic],
    logits: NDArray[np.generic],
    folds: NDArray[np.generic],
) -> Choice:
    """Choose how to calibrate by the cross-validated log loss; of equal ones the simplest.

    Parameters
    ----------
    labels, logits, folds : ndarray, shape (N,)
        A woman's pictures are in one fold; see `grouped_folds`.

    Returns
    -------
    Choice
        Isotonic calibration, which has many parameters, is tried from `LEAST_FOR_STEPS` malignant pictures on.

    Raises
    ------
    EvaluationError
        If there are fewer than two folds, or one leaves a class out.
    TrainingError
        If the scores do not rise with the label; steps would hide that.
    """
    y, x, folds = np.asarray(labels, np.float64), np.asarray(logits, np.float64), np.asarray(folds)
    platt(y, x)
    losses = {}
    for method in METHODS:
        if method == "isotonic" and int((y > 0.5).sum()) < LEAST_FOR_STEPS:
            continue
        try:
            p = np.clip(cross_fitted(y, x, folds, method), 1e-12, 1.0 - 1e-12)
            losses[method] = float(-np.mean(np.log(np.where(y > 0.5, p, 1.0 - p))))
        except TrainingError:
            losses[method] = float("inf")
    return Choice(min(losses, key=lambda name: losses[name]), losses)


def apply(calibration: Calibration, logits: NDArray[np.generic]) -> NDArray[np.float64]:
    """Calibrated probabilities of raw logits, shape (N,)."""
    return _sigmoid(calibration.logits(np.asarray(logits, np.float64)))


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(z, -500.0, 500.0))))


def cross_fitted(
    labels: NDArray[np.generic], logits: NDArray[np.generic], folds: NDArray[np.generic], method: str | None = "platt"
) -> NDArray[np.float64]:
    """Probabilities of each fold by the calibration of the other folds: none is judged on what it was fitted to.

    Parameters
    ----------
    labels, logits, folds : ndarray, shape (N,)
    method : str or None
        A key of `METHODS`; None: chosen anew from the other folds each time, so that the choice is judged too.

    Returns
    -------
    ndarray of float64, shape (N,)

    Raises
    ------
    EvaluationError
        If there are fewer than two folds (three where the method is chosen), or all but one fold are of one class.
    TrainingError
        If the scores do not rise with the label.
    """
    folds, logits = np.asarray(folds), np.asarray(logits)
    out = np.zeros(len(folds))
    for fold, calibration in of_the_others(labels, logits, folds, method).items():
        out[folds == fold] = apply(calibration, logits[folds == fold])
    return out


def of_the_others(
    labels: NDArray[np.generic], logits: NDArray[np.generic], folds: NDArray[np.generic], method: str | None = "platt"
) -> dict[int, Calibration]:
    """Calibration of each fold, fitted to the other folds; see `cross_fitted`."""
    y, logits, folds = np.asarray(labels), np.asarray(logits), np.asarray(folds)
    names = np.unique(folds)
    if len(names) < (3 if method is None else 2):
        raise EvaluationError(f"There are {len(names)} folds; calibration across folds needs more.")
    made = {}
    for fold in names:
        others = folds != fold
        if not 0.0 < float(np.mean(y[others])) < 1.0:
            raise EvaluationError(f"Without fold {fold} all pictures are of one class.")
        chosen = method or choose(y[others], logits[others], folds[others]).method
        made[int(fold)] = METHODS[chosen](y[others], logits[others])
    return made


def grouped_folds(women: NDArray[np.generic], labels: NDArray[np.generic], folds: int = 5) -> NDArray[np.int64]:
    """Deal women to folds, those with a malignant picture evenly; the same in every run.

    Parameters
    ----------
    women, labels : ndarray, shape (N,)
    folds : int

    Returns
    -------
    ndarray of int64, shape (N,)
        1 to ``folds``.
    """
    names, index = np.unique(np.asarray(women), return_inverse=True)
    malignant = np.zeros(len(names), np.bool_)
    np.logical_or.at(malignant, index, np.asarray(labels) > 0.5)
    keys = [hashlib.sha256(str(name).encode()).hexdigest() for name in names]
    order = sorted(range(len(names)), key=lambda i: (not malignant[i], keys[i]))
    dealt = np.zeros(len(names), np.int64)
    dealt[order] = np.arange(len(names)) % folds + 1
    return np.asarray(dealt[index], np.int64)


def expected_calibration_error(
    labels: NDArray[np.generic], probabilities: NDArray[np.generic], bins: int = 10
) -> float:
    """Mean distance of observed from promised frequency over equally filled bins.

    Parameters
    ----------
    labels, probabilities : ndarray, shape (N,)
    bins : int

    Returns
    -------
    float
        0 to 1.

    References
    ----------
    Guo et al., "On calibration of modern neural networks", ICML 2017 (with bins of
    equal count).
    """
    y, p = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    order = np.argsort(p, kind="stable")
    parts = np.array_split(order, bins)
    return float(sum(len(part) * abs(y[part].mean() - p[part].mean()) for part in parts if len(part)) / len(y))
