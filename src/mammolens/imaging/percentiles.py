"""Percentiles of grey values: NumPy's, sooner."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def percentiles(values: NDArray[np.float32], shares: Sequence[float]) -> tuple[float, ...]:
    """``np.percentile(values, shares)``, bit for bit, and several times sooner for whole numbers.

    Grey values of 8 and 16 bits stay whole numbers when a picture is made smaller, and a
    radix sort of those takes a fraction of what NumPy's partition of floats does.

    Parameters
    ----------
    values : ndarray of float32
        Not empty; finite.
    shares : sequence of float
        0 to 100.

    Returns
    -------
    tuple of float
        One for each share, linearly interpolated (method 7 of Hyndman and Fan).
    """
    whole = values.astype(np.uint16) if values.min() >= 0.0 and values.max() <= 65535.0 else None
    if whole is None or not np.array_equal(whole, values):
        return tuple(float(value) for value in np.percentile(values, shares))
    # NumPy takes the radix sort for "stable" on 16 bits.
    ordered = np.sort(whole, axis=None, kind="stable")
    return tuple(_between(ordered, share) for share in shares)


def _between(ordered: NDArray[np.uint16], share: float) -> float:
    """Value at a share of sorted ones, rounded just as NumPy rounds it."""
    place = share / 100.0 * (ordered.size - 1)
    before = int(place)
    low, high = float(ordered[before]), float(ordered[min(before + 1, ordered.size - 1)])
    step, part = high - low, place - before
    return high - step * (1.0 - part) if part >= 0.5 else low + step * part
