"""Bootstrap over women, many samples at a time: a sample is how often each picture counts in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
"""Bootstrap samples of a figure."""

_CHUNK = 100
_VALID = 0.9
"""Least share of samples that must give a figure for its interval to be told."""

_Z = 1.959963984540054

Figures = Mapping[str, NDArray[np.float64]]
"""Figures by name, each of shape (B, …) for B samples."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval; NaN where it is not defined or too few samples give it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return ``0.712 (0.690–0.735)``."""
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"

    def as_dict(self) -> dict[str, float | None]:
        """Give value, low and high for JSON, None for what is not known."""
        named = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if value != value else float(value) for name, value in named.items()}


def weights(women: NDArray[np.generic], draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Draw as many women as there are, with replacement, each with all her pictures.

    Parameters
    ----------
    women : ndarray, shape (N,)
    draws, seed : int

    Yields
    ------
    ndarray of float64, shape (B, N)
        How often each picture counts in each of the next B samples; the B of all add up to ``draws``.
    """
    random = np.random.default_rng(seed)
    _, index = np.unique(np.asarray(women), return_inverse=True)
    count = int(index.max()) + 1
    for begin in range(0, draws, _CHUNK):
        drawn = [random.integers(0, count, count) for _ in range(min(_CHUNK, draws - begin))]
        yield np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(np.float64)[:, index]


def resampled(women: NDArray[np.generic], draws: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Give the samples of `weights` one by one, as rows that stand as often as they were drawn.

    For figures that can't be had for many samples at once.
    """
    for drawn in weights(women, draws, seed):
        for row in drawn:
            yield np.repeat(np.arange(len(row)), row.astype(np.intp))


def bootstrap(
    figures: Callable[[NDArray[np.float64]], Figures],
    women: NDArray[np.generic],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
    """Give figures with 95 % percentile intervals by resampling women.

    Parameters
    ----------
    figures : callable
        Takes how often each picture counts, shape (B, N), and gives its figures for each of the B samples.
    women : ndarray, shape (N,)
    draws, seed : int

    Returns
    -------
    dict of str to (value, low, high)
        Arrays of the figure's shape. The interval is NaN where fewer than nine in ten samples give the figure (a
        sample may lack a class).

    References
    ----------
    B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    point = figures(np.ones((1, len(women))))
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in point}
    for drawn in weights(women, draws, seed):
        for name, values in figures(drawn).items():
            parts[name].append(values)
    return {name: (point[name][0], *interval(np.concatenate(parts[name]))) for name in point}


def interval(drawn: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentiles 2.5 and 97.5 over the first axis; NaN where fewer than nine in ten values are numbers."""
    known = np.isfinite(drawn)
    enough = known.mean(axis=0) >= _VALID
    filled = np.where(known | ~enough, np.where(enough, drawn, 0.0), np.nan)
    low, high = np.nanpercentile(filled, (2.5, 97.5), axis=0)
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan)


def share(value: float, low: float, high: float, women: int) -> Estimate:
    """Give a share that no interval of resampling makes certain.

    Of 11 cancers missed, every sample misses all: resampling then says "0, for sure". Where it gives no width, Wilson's
    interval for as many independent women stands in.

    Parameters
    ----------
    value, low, high : float
        The share, 0 to 1, and its interval by resampling.
    women : int
        How many it is of.

    References
    ----------
    E. B. Wilson, Journal of the American Statistical Association 22:209–212, 1927.
    """
    if not low == high == value or women < 1:
        return Estimate(value, low, high)
    z2 = _Z * _Z
    middle = (value + z2 / (2.0 * women)) / (1.0 + z2 / women)
    spread = _Z * float(np.sqrt(value * (1.0 - value) / women + z2 / (4.0 * women * women))) / (1.0 + z2 / women)
    return Estimate(value, min(max(middle - spread, 0.0), value), max(min(middle + spread, 1.0), value))


def estimates(
    figures: Callable[[NDArray[np.float64]], Figures],
    women: NDArray[np.generic],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Give single figures with their intervals; see `bootstrap`."""
    found = bootstrap(figures, women, draws=draws, seed=seed)
    return {name: Estimate(*(float(value) for value in values)) for name, values in found.items()}
