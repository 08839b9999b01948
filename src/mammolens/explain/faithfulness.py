"""Whether the score really falls where the heat map says that it comes from.

References
----------
W. Samek et al., "Evaluating the Visualization of What a Deep Neural Network Has
Learned", IEEE TNNLS 28(11), 2017, arXiv:1509.06321; V. Petsiuk, A. Das and
K. Saenko, "RISE", BMVC 2018, arXiv:1806.07421 (deletion).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class DeletionCurve:
    """How a score falls as a picture is deleted piece by piece.

    Attributes
    ----------
    fractions : ndarray of float64, shape (steps + 1,)
        Share of the deletable cells that is gone, 0 to 1.
    scores : ndarray of float64, shape (steps + 1,)
        Score after deleting the cells with most heat first.
    random_scores : ndarray of float64, shape (steps + 1,)
        Mean score after deleting as many cells in random orders.
    area : float
        Area under ``scores`` (trapezia). Lower is more faithful.
    random_area : float
        Area under ``random_scores``.
    """

    fractions: NDArray[np.float64]
    scores: NDArray[np.float64]
    random_scores: NDArray[np.float64]
    area: float
    random_area: float

    @property
    def advantage(self) -> float:
        """Area by which the heat map's order lies below the random ones; above 0 it is faithful."""
        return self.random_area - self.area


def deletion_curve(
    score: Callable[[NDArray[Any]], float],
    image: NDArray[Any],
    heatmap: NDArray[np.float32],
    steps: int = 10,
    cell: int = 16,
    orders: int = 3,
    seed: int = 0,
) -> DeletionCurve:
    """Delete a picture in the heat map's order and in random orders.

    Whole cells go, in both: single pixels at random would only add noise. A
    deleted cell gets the median of the picture's pixels above 0, so that no edge
    to black is made up. Cells that are 0 throughout (air) are no candidates.

    Parameters
    ----------
    score : callable
        From a picture, shape (H, W), to a number.
    image : ndarray, shape (H, W)
        Model input; 0 outside the breast.
    heatmap : ndarray of float32, shape (H, W)
    steps : int
        Into how many equal parts the deletion is divided, at least 1.
    cell : int
        Side of a cell, in pixels.
    orders : int
        How many random orders are averaged, at least 1.
    seed : int
        Of the random orders.

    Returns
    -------
    DeletionCurve

    Raises
    ------
    ConfigurationError
        If the shapes differ, a number is below 1 or the picture is all 0.
    """
    if min(steps, cell, orders) < 1:
        raise ConfigurationError("Steps, cell and orders must be at least 1.")
    ranked = _ranked(image, heatmap, cell)
    # Drawn from the cells in their own order, so that two maps of one picture are held against the same orders.
    candidates = np.sort(ranked)
    generator = np.random.default_rng(seed)
    fractions = np.linspace(0.0, 1.0, steps + 1)
    scores = _scores(score, image, ranked, steps, cell)
    random_scores = np.mean(
        [_scores(score, image, generator.permutation(candidates), steps, cell) for _ in range(orders)], axis=0
    )
    return DeletionCurve(
        fractions=fractions,
        scores=scores,
        random_scores=random_scores,
        area=float(np.trapezoid(scores, fractions)),
        random_area=float(np.trapezoid(random_scores, fractions)),
    )


def _ranked(image: NDArray[Any], heatmap: NDArray[np.float32], cell: int) -> NDArray[np.intp]:
    """Flat indices of the cells that can be deleted, those with most heat first."""
    if image.shape != heatmap.shape or image.ndim != 2:
        raise ConfigurationError("The picture and the heat map must be planes of one size.")
    heat, present = _cell_sums(heatmap, cell), _cell_sums(image > 0, cell)
    candidates = np.flatnonzero(present.ravel() > 0)
    if candidates.size == 0:
        raise ConfigurationError("There is nothing to delete: the picture is 0 throughout.")
    return candidates[np.argsort(-heat.ravel()[candidates], kind="stable")]


def _scores(
    score: Callable[[NDArray[Any]], float], image: NDArray[Any], order: NDArray[np.intp], steps: int, cell: int
) -> NDArray[np.float64]:
    """Scores as cells go in an order (of their flat indices), shape (steps + 1,)."""
    breast = image > 0
    fill = np.median(image[breast]).astype(image.dtype)
    rows, columns = (-(-side // cell) for side in image.shape)
    scores = []
    for step in range(steps + 1):
        gone = np.zeros(rows * columns, bool)
        gone[order[: round(order.size * step / steps)]] = True
        deleted = np.kron(gone.reshape(rows, columns), np.ones((cell, cell), bool))
        deleted = deleted[: image.shape[0], : image.shape[1]] & breast
        scores.append(float(score(np.where(deleted, fill, image))))
    return np.array(scores, np.float64)


def _cell_sums(plane: NDArray[Any], cell: int) -> NDArray[np.float64]:
    """Sum over each cell of ``cell`` × ``cell`` pixels; cells at the far edges may be smaller."""
    rows = np.add.reduceat(plane.astype(np.float64), np.arange(0, plane.shape[0], cell), axis=0)
    return np.add.reduceat(rows, np.arange(0, plane.shape[1], cell), axis=1)
