"""Figures of merit with intervals by bootstrap over women."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return ``0.712 (0.690–0.735)``."""
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


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
    positive = np.asarray(labels) > 0.5
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if n1 == 0 or n0 == 0:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2.0)[inverse]
    return float((ranks[positive].sum() - n1 * (n1 + 1) / 2.0) / (n1 * n0))


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
    labels, scores = np.asarray(labels), np.asarray(scores)
    values = [auc(labels[rows], scores[rows]) for rows in resampled(women, draws, seed)]
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return Estimate(auc(labels, scores), float(low), float(high))


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
    labels, a, b = np.asarray(labels), np.asarray(scores), np.asarray(others)
    values = [auc(labels[rows], a[rows]) - auc(labels[rows], b[rows]) for rows in resampled(women, draws, seed)]
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return Estimate(auc(labels, a) - auc(labels, b), float(low), float(high))


def resampled(women: NDArray[np.generic], draws: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Rows of samples of as many women as there are, each with all her images."""
    random = np.random.default_rng(seed)
    _, index = np.unique(women, return_inverse=True)
    order = np.argsort(index, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(index))[:-1])
    for _ in range(draws):
        yield np.concatenate([groups[i] for i in random.integers(0, len(groups), len(groups))])


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
