"""What a manifest keeps of an evaluation: score counts, the ROC curve with its interval, calibration, subgroups."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.evaluation.calibration import apply, cross_fitted, expected_calibration_error
from mammolens.evaluation.curve import Curve
from mammolens.evaluation.resampling import bootstrap
from mammolens.models.manifest import Calibration, CalibrationBin, Evaluation, RocPoint, Subgroup

SCORE_BINS = 20
"""Bins of equal width that scores are counted in."""

_RATES = np.round(np.linspace(0.0, 1.0, 41), 3)
_CALIBRATION_BINS = 10
_DRAWS = 1000


def counts(probabilities: NDArray[np.generic], bins: int = SCORE_BINS) -> tuple[int, ...]:
    """Count probabilities in bins of equal width from 0 to 1; 1 itself falls in the last."""
    return tuple(int(n) for n in np.histogram(np.asarray(probabilities, np.float64), bins, (0.0, 1.0))[0])


def roc(
    labels: NDArray[np.generic], scores: NDArray[np.generic], women: NDArray[np.generic], *, seed: int = 0
) -> tuple[RocPoint, ...]:
    """ROC curve with a 95 % band, by resampling women.

    Returns
    -------
    tuple of RocPoint
        At 41 false positive rates from 0 to 1; the interval is that of the sensitivity at each of them.
    """
    found = bootstrap(lambda w: {"roc": Curve(labels, scores, w).sensitivities(_RATES)}, women, draws=_DRAWS, seed=seed)
    return tuple(
        RocPoint(false_positive_rate=float(rate), sensitivity=float(value), low=float(low), high=float(high))
        for rate, value, low, high in zip(_RATES, *found["roc"], strict=True)
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
    method: str | None = "platt",
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
    method : str or None
        Way of calibrating across folds, as `mammolens.evaluation.calibration.cross_fitted` takes it.

    Returns
    -------
    Evaluation
    """
    y = np.asarray(labels, np.float64)
    served, crossed = apply(calibration, logits), cross_fitted(y, logits, folds, method)
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
