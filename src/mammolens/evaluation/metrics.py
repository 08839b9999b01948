"""Figures of merit with intervals by bootstrap over women."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mammolens.evaluation.curve import Curve
from mammolens.evaluation.resampling import Estimate, estimates, resampled

__all__ = ["Estimate", "auc", "bootstrap_auc", "bootstrap_difference", "by_group", "resampled"]


def auc(labels: NDArray[np.generic], scores: NDArray[np.generic]) -> float:
    """Area under the ROC curve, as the Mann–Whitney statistic with ties counted half.

    Parameters
    ----------
    labels : ndarray, shape (N,)
        0 or 1.
    scores : ndarray, shape (N,)

    Returns
    -------
    float
        0 to 1; NaN where one class is missing.

    References
    ----------
    J. A. Hanley and B. J. McNeil, Radiology 143:29–36, 1982.
    """
    return float(Curve(labels, scores).area()[0])


def bootstrap_auc(
    labels: NDArray[np.generic],
    scores: NDArray[np.generic],
    women: NDArray[np.generic],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Estimate:
    """AUC with a 95 % percentile interval by resampling women, each with all her images.

    Parameters
    ----------
    labels, scores, women : ndarray, shape (N,)
    draws : int
        Bootstrap samples.
    seed : int

    Returns
    -------
    Estimate
    """
    return estimates(lambda w: {"auc": Curve(labels, scores, w).area()}, women, draws=draws, seed=seed)["auc"]


def bootstrap_difference(
    labels: NDArray[np.generic],
    scores: NDArray[np.generic],
    others: NDArray[np.generic],
    women: NDArray[np.generic],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Estimate:
    """AUC of ``scores`` less that of ``others``, paired: both see the same women in every sample.

    Parameters
    ----------
    labels, scores, others, women : ndarray, shape (N,)
    draws : int
        Bootstrap samples.
    seed : int

    Returns
    -------
    Estimate
        With a 95 % percentile interval.
    """

    def difference(w: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {"loss": Curve(labels, scores, w).area() - Curve(labels, others, w).area()}

    return estimates(difference, women, draws=draws, seed=seed)["loss"]


def by_group(
    labels: NDArray[np.generic], scores: NDArray[np.generic], groups: NDArray[np.generic]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Mean score and highest label of each group (for example each breast).

    Returns
    -------
    labels, scores : ndarray of float64, shape (G,)
    first : ndarray of int, shape (G,)
        A row of each group, to look up what belongs to it.
    """
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    counts = np.bincount(inverse)
    means = np.bincount(inverse, weights=np.asarray(scores, np.float64)) / counts
    highest = np.zeros(len(counts))
    np.maximum.at(highest, inverse, np.asarray(labels, np.float64))
    return highest, means, first
