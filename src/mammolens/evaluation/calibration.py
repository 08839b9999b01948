"""Platt scaling, and how well a probability keeps its promise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import TrainingError
from mammolens.evaluation.logistic import logistic_regression
from mammolens.models.manifest import Calibration


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


def apply(calibration: Calibration, logits: NDArray[np.generic]) -> NDArray[np.float64]:
    """Calibrated probabilities of raw logits, shape (N,)."""
    z = calibration.slope * np.asarray(logits, np.float64) + calibration.intercept
    return np.asarray(1.0 / (1.0 + np.exp(-z)))


def cross_fitted(
    labels: NDArray[np.generic], logits: NDArray[np.generic], folds: NDArray[np.generic]
) -> NDArray[np.float64]:
    """Probabilities of each fold by the calibration of the other folds: none is judged on what it was fitted to.

    Returns
    -------
    ndarray of float64, shape (N,)
    """
    labels, logits, folds = np.asarray(labels), np.asarray(logits), np.asarray(folds)
    out = np.zeros(len(labels))
    for fold in np.unique(folds):
        held = folds == fold
        out[held] = apply(platt(labels[~held], logits[~held]), logits[held])
    return out


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
