"""Logistic regression with a ridge penalty, by Newton's method."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def logistic_regression(
    features: NDArray[np.float32], labels: NDArray[np.float32], penalty: float, steps: int = 30
) -> tuple[NDArray[np.float64], float]:
    """Fit weights and bias by Newton's method on standardised features.

    Parameters
    ----------
    features : ndarray of float32, shape (N, C)
    labels : ndarray of float32, shape (N,)
        0 or 1.
    penalty : float
        Ridge penalty on the standardised weights, as a multiple of N.
    steps : int
        Most Newton steps.

    Returns
    -------
    weights : ndarray of float64, shape (C,)
        For features as they were given, not standardised.
    bias : float
    """
    mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64) + 1e-6
    x = np.column_stack([(features - mean) / deviation, np.ones(len(features))])
    y = labels.astype(np.float64)
    ridge = np.full(x.shape[1], penalty * len(x))
    ridge[-1] = 0.0
    beta = np.zeros(x.shape[1])
    beta[-1] = np.log(y.mean() / (1 - y.mean()))
    for _ in range(steps):
        p = 1.0 / (1.0 + np.exp(-(x @ beta)))
        gradient = x.T @ (p - y) + ridge * beta
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(ridge + 1e-9)
        step = np.linalg.solve(hessian, gradient)
        beta = beta - step
        if float(np.abs(step).max()) < 1e-8:
            break
    weights = beta[:-1] / deviation
    return weights, float(beta[-1] - weights @ mean)
