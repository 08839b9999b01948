"""Linear regression with a ridge penalty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ridge_regression(
    features: NDArray[np.float32], targets: NDArray[np.float64], penalty: float
) -> tuple[NDArray[np.float64], float]:
    """Fit weights and bias by least squares on standardised features.

    Parameters
    ----------
    features : ndarray of float32, shape (N, C)
    targets : ndarray of float64, shape (N,)
    penalty : float
        Ridge penalty on the standardised weights, as a multiple of N.

    Returns
    -------
    weights : ndarray of float64, shape (C,)
        For features as they were given, not standardised.
    bias : float
    """
    mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64) + 1e-6
    x = (features - mean) / deviation
    middle = float(targets.mean())
    ridge = (penalty * len(x) + 1e-9) * np.eye(x.shape[1])
    weights = np.linalg.solve(x.T @ x + ridge, x.T @ (targets - middle)) / deviation
    return weights, middle - float(weights @ mean)
