"""What a manifest keeps of an evaluation: score counts, the ROC curve with its interval, calibration, subgroups."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.evaluation.calibration import apply, cross_fitted, expected_calibration_error
from mammolens.evaluation.metrics import resampled
from mammolens.models.manifest import Calibration, CalibrationBin, Evaluation, RocPoint, Subgroup

SCORE_BINS = 20
"""Bins of equal width that scores are counted in."""

_RATES = np.round(np.linspace(0.0, 1.0, 41), 3)
_CALIBRATION_BINS = 10
_DRAWS = 1000


def counts(probabilities: NDArray[np.generic], bins: int = SCORE_BINS) -> tuple[int, ...]:
    """Count probabilities in bins of equal width from 0 to 1; 1 itself falls in the last."""
    return tuple(int(n) for n in np.histogram(np.asarray(probabilities, np.float64), bins, (0.0, 1.0))[0])


def sensitivities(
    labels: NDArray[np.generic], scores: NDArray[np.generic], rates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Read the ROC curve at given false positive rates, linear between its corners.

    Parameters
    ----------
    labels, scores : ndarray, shape (N,)
    rates : ndarray of float64, shape (K,)
        0 to 1.

    Returns
    -------
    ndarray of float64, shape (K,)
        Where the curve rises upright, its upper end; ties are one slanted piece (Fawcett, "An introduction to ROC
        analysis", Pattern Recognition Letters 27, 2006).
    """
    positive = np.asarray(labels) > 0.5
    _, inverse = np.unique(-np.asarray(scores, np.float64), return_inverse=True)
    called = np.cumsum(
        np.stack([np.bincount(inverse[part], minlength=inverse.max() + 1) for part in (~positive, positive)]), 1
    )
    false, true = (np.concatenate([[0.0], row / row[-1]]) for row in called)
    # Of points above each other np.interp must see the highest alone.
    last = np.concatenate([false[1:] > false[:-1], [True]])
    return np.asarray(np.interp(rates, false[last], true[last]))


def roc(
    labels: NDArray[np.generic], scores: NDArray[np.generic], women: NDArray[np.generic], *, seed: int = 0
) -> tuple[RocPoint, ...]:
    """ROC curve with a 95 % band, by resampling women.

    Returns
    -------
    tuple of RocPoint
        At 41 false positive rates from 0 to 1; the interval is that of the sensitivity at each of them.
    """
    y, s = np.asarray(labels) > 0.5, np.asarray(scores, np.float64)
    drawn = [
        sensitivities(y[rows], s[rows], _RATES)
        for rows in resampled(women, _DRAWS, seed)
        if 0 < np.count_nonzero(y[rows]) < len(rows)
    ]
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    return tuple(
        RocPoint(false_positive_rate=float(rate), sensitivity=float(value), low=float(a), high=float(b))
        for rate, value, a, b in zip(_RATES, sensitivities(y, s, _RATES), low, high, strict=True)
    )


def calibration_bins(labels: NDArray[np.generic], probabilities: NDArray[np.generic]) -> tuple[CalibrationBin, ...]:
    """Give promised and observed frequency in ten bins of like many pictures, as the calibration error has them."""
    y, p = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    parts = np.array_split(np.argsort(p, kind="stable"), _CALIBRATION_BINS)
    return tuple(
        CalibrationBin(images=len(part), predicted=float(p[part].mean()), observed=float(y[part].mean()))
        for part in parts
        if len(part)
    )


def record(
    labels: NDArray[np.generic],
    logits: NDArray[np.generic],
    folds: NDArray[np.generic],
    women: NDArray[np.generic],
    *,
    calibration: Calibration,
    strata: dict[str, Any],
    protocol: str,
) -> Evaluation:
    """Make the part of a manifest that says how the model answered out of fold.

    Parameters
    ----------
    labels, logits, folds, women : ndarray, shape (N,)
        Of images; each logit by the model that saw none of its woman.
    calibration : Calibration
        That of the bundle: scores are counted as the bundle gives them.
    strata : dict
        ``strata`` of `mammolens.training.finish.figures`.
    protocol : str

    Returns
    -------
    Evaluation
    """
    y = np.asarray(labels, np.float64)
    served, crossed = apply(calibration, logits), cross_fitted(y, logits, folds)
    return Evaluation(
        protocol=protocol,
        scores_benign=counts(served[y < 0.5]),
        scores_malignant=counts(served[y > 0.5]),
        roc=roc(y, logits, women),
        calibration=calibration_bins(y, crossed),
        expected_calibration_error=expected_calibration_error(y, crossed),
        brier=float(np.mean((crossed - y) ** 2)),
        subgroups=tuple(
            Subgroup(group=group, value=value, **figure)
            for group, values in strata.items()
            for value, figure in values.items()
        ),
    )
