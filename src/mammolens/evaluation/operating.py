"""Operating points: thresholds with what they gave on women not seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mammolens.evaluation.curve import Curve
from mammolens.models.manifest import OperatingPoint

DEFAULT = "balanced"
"""The point of highest sensitivity plus specificity."""

_EDGE = 1e-9


def rates(labels: NDArray[np.generic], probabilities: NDArray[np.generic], threshold: float) -> tuple[float, float]:
    """Sensitivity and specificity of calling everything from ``threshold`` malignant."""
    positive, called = np.asarray(labels) > 0.5, np.asarray(probabilities) >= threshold
    return float(called[positive].mean()), float((~called[~positive]).mean())


def corners(curve: Curve) -> dict[str, NDArray[np.intp]]:
    """Corner of the ROC curve that each operating point is at.

    Parameters
    ----------
    curve : Curve
        Of B samples.

    Returns
    -------
    dict of str to ndarray of int, shape (B,)
        ``balanced`` (highest Youden index), ``sensitivity-80`` (the acceptable reader's sensitivity),
        ``sensitivity-87`` and ``specificity-89`` (the BCSC's mean sensitivity and specificity, see
        `mammolens.evaluation.bcsc`); 0 where only calling nothing is specific enough.
    """
    last = curve.true.shape[1] - 1
    youden = (curve.true - curve.false)[:, ::-1]
    return {
        DEFAULT: last - youden.argmax(axis=1),
        "sensitivity-80": np.argmax(curve.true >= 0.80 - _EDGE, axis=1),
        "sensitivity-87": np.argmax(curve.true >= 0.869 - _EDGE, axis=1),
        "specificity-89": np.count_nonzero(curve.false <= 1.0 - 0.889 + _EDGE, axis=1) - 1,
    }


def operating_points(labels: NDArray[np.generic], probabilities: NDArray[np.generic]) -> tuple[OperatingPoint, ...]:
    """Points at which the model may be run.

    Parameters
    ----------
    labels, probabilities : ndarray, shape (N,)
        Out of fold.

    Returns
    -------
    tuple of OperatingPoint
        Those of `corners`.
    """
    curve = Curve(labels, probabilities)
    # Between the highest probability and 1 lies the threshold that nothing reaches.
    thresholds = np.append((curve.thresholds[1] + 1.0) / 2.0, curve.thresholds[1:])
    # A probability that was rounded to 0 or 1 is no threshold.
    thresholds = np.clip(thresholds, np.finfo(np.float64).tiny, np.nextafter(1.0, 0.0))
    found = []
    for name, (at,) in corners(curve).items():
        threshold = float(thresholds[at])
        sensitivity, specificity = rates(labels, probabilities, threshold)
        found.append(OperatingPoint(name=name, threshold=threshold, sensitivity=sensitivity, specificity=specificity))
    return tuple(found)
