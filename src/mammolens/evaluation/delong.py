"""The variance of areas under ROC curves, and the paired comparison of two, without resampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammolens.evaluation.resampling import Estimate

Z = 1.959963984540054
"""97.5th percentile of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same pictures.

    Attributes
    ----------
    difference : Estimate
        AUC of the first less that of the second, with its 95 % interval.
    z : float
        Difference over its standard error; 0 where both models rank alike.
    p : float
        Two-sided.
    """

    difference: Estimate
    z: float
    p: float


def covariance(
    labels: NDArray[np.generic], scores: NDArray[np.generic], clusters: NDArray[np.generic] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas under the ROC curves of several models on the same pictures, and their covariance.

    Parameters
    ----------
    labels : ndarray, shape (N,)
        1: malignant; both classes must occur.
    scores : ndarray, shape (M, N)
        Of M models.
    clusters : ndarray, shape (N,), optional
        What belongs together (the woman); None takes every picture as independent.

    Returns
    -------
    areas : ndarray of float64, shape (M,)
    covariance : ndarray of float64, shape (M, M)

    References
    ----------
    E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson, Biometrics 44:837–845, 1988; by mid-ranks as in X. Sun and
    W. Xu, IEEE Signal Processing Letters 21:1389–1393, 2014. With clusters: N. A. Obuchowski, "Nonparametric analysis
    of clustered ROC curve data", Biometrics 53:567–578, 1997.
    """
    y = np.asarray(labels) > 0.5
    s = np.atleast_2d(np.asarray(scores, np.float64))
    m, n = int(y.sum()), int((~y).sum())
    together = np.stack([_midranks(row) for row in s])
    # Of each malignant picture the share of benign ones below it; of each benign one, of malignant ones above it.
    v10 = (together[:, y] - np.stack([_midranks(row[y]) for row in s])) / n
    v01 = 1.0 - (together[:, ~y] - np.stack([_midranks(row[~y]) for row in s])) / m
    areas = v10.mean(axis=1)
    _, index = np.unique(np.arange(len(y)) if clusters is None else np.asarray(clusters), return_inverse=True)
    count = int(index.max()) + 1
    d10 = _sums(v10 - areas[:, None], index[y], count)
    d01 = _sums(v01 - areas[:, None], index[~y], count)
    i10, i01 = len(np.unique(index[y])), len(np.unique(index[~y]))
    s10 = d10 @ d10.T * i10 / max(i10 - 1, 1) / m
    s01 = d01 @ d01.T * i01 / max(i01 - 1, 1) / n
    s11 = d10 @ d01.T * count / max(count - 1, 1)
    return areas, s10 / m + s01 / n + (s11 + s11.T) / (m * n)


def delong(
    labels: NDArray[np.generic], scores: NDArray[np.generic], clusters: NDArray[np.generic] | None = None
) -> Estimate:
    """Area under the ROC curve with a 95 % interval by DeLong's variance, cut at 0 and 1.

    Parameters
    ----------
    labels, scores : ndarray, shape (N,)
    clusters : ndarray, shape (N,), optional
        See `covariance`.

    Returns
    -------
    Estimate
        NaN where one class is missing; without an interval where one has a single picture.
    """
    y = np.asarray(labels) > 0.5
    if not 0 < int(y.sum()) < len(y):
        return Estimate(math.nan, math.nan, math.nan)
    areas, variance = covariance(y, scores, clusters)
    if min(int(y.sum()), int((~y).sum())) < 2:
        return Estimate(float(areas[0]), math.nan, math.nan)
    spread = Z * math.sqrt(max(float(variance[0, 0]), 0.0))
    area = float(areas[0])
    return Estimate(area, max(area - spread, 0.0), min(area + spread, 1.0))


def compare(
    labels: NDArray[np.generic],
    scores: NDArray[np.generic],
    others: NDArray[np.generic],
    clusters: NDArray[np.generic] | None = None,
) -> Comparison:
    """Hold the AUC of one model against another's on the same pictures.

    Parameters
    ----------
    labels, scores, others : ndarray, shape (N,)
    clusters : ndarray, shape (N,), optional
        See `covariance`.

    Returns
    -------
    Comparison
    """
    areas, variance = covariance(labels, np.stack([scores, others]), clusters)
    difference = float(areas[0] - areas[1])
    error = math.sqrt(max(float(variance[0, 0] + variance[1, 1] - 2.0 * variance[0, 1]), 0.0))
    z = difference / error if error > 1e-12 else 0.0
    p = math.erfc(abs(z) / math.sqrt(2.0))
    return Comparison(Estimate(difference, difference - Z * error, difference + Z * error), z, p)


def _midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank of each value from 1, the mean one where values are equal."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2.0)[inverse], np.float64)


def _sums(values: NDArray[np.float64], index: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """Sum the columns that belong together, shape (M, count)."""
    return np.stack([np.bincount(index, weights=row, minlength=count) for row in values])
