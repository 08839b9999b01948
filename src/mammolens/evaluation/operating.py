"""Operating points: thresholds with what they gave on women not seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mammolens.models.manifest import OperatingPoint

DEFAULT = "balanced"
"""The point of highest sensitivity plus specificity."""


def rates(labels: NDArray[np.generic], probabilities: NDArray[np.generic], threshold: float) -> tuple[float, float]:
    """Sensitivity and specificity of calling everything from ``threshold`` malignant."""
    positive, called = np.asarray(labels) > 0.5, np.asarray(probabilities) >= threshold
    return float(called[positive].mean()), float((~called[~positive]).mean())


def operating_points(labels: NDArray[np.generic], probabilities: NDArray[np.generic]) -> tuple[OperatingPoint, ...]:
    """Points at which the model may be run.

    Parameters
    ----------
    labels, probabilities : ndarray, shape (N,)
        Out of fold.

    Returns
    -------
    tuple of OperatingPoint
        ``balanced`` (highest Youden index), ``sensitivity-80`` (the acceptable reader's
        sensitivity) and ``specificity-89`` (the BCSC's mean specificity).
    """
    y, p = np.asarray(labels) > 0.5, np.asarray(probabilities, np.float64)
    candidates = np.unique(p)
    found = np.array([rates(y, p, threshold) for threshold in candidates])
    chosen = {
        DEFAULT: int(found.sum(axis=1).argmax()),
        "sensitivity-80": int(np.flatnonzero(found[:, 0] >= 0.80)[-1]),
        "specificity-89": int(np.flatnonzero(found[:, 1] >= 0.889)[0]),
    }
    return tuple(
        OperatingPoint(
            name=name,
            threshold=float(candidates[i]),
            sensitivity=float(found[i, 0]),
            specificity=float(found[i, 1]),
        )
        for name, i in chosen.items()
    )
