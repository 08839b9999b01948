"""Whether the score really falls where the heat map says that it comes from, and rises when that is given back.

References
----------
W. Samek et al., "Evaluating the Visualization of What a Deep Neural Network Has
Learned", IEEE TNNLS 28(11), 2017, arXiv:1509.06321; V. Petsiuk, A. Das and
K. Saenko, "RISE", BMVC 2018, arXiv:1806.07421 (deletion and insertion).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ConfigurationError

Score = Callable[[NDArray[Any]], NDArray[np.floating[Any]]]
"""From pictures, shape (N, H, W), to numbers, shape (N,)."""

Kind = Literal["deletion", "insertion"]

_BLUR = 1.0 / 24.0
"""Deviation of the blur that insertion begins with, as a share of the picture's longer side."""


@dataclass(frozen=True, slots=True)
class Curve:
    """How a score changes as a picture goes, or comes back, piece by piece.

    Attributes
    ----------
    kind : {"deletion", "insertion"}
    fractions : ndarray of float64, shape (steps + 1,)
        Share of the cells that is gone (deletion) or given back (insertion), 0 to 1.
    scores : ndarray of float64, shape (steps + 1,)
        Score with the cells with most heat first.
    random_scores : ndarray of float64, shape (steps + 1,)
        Mean score with as many cells in random orders.
    area : float
        Area under ``scores`` (trapezia). Of a faithful map it is low for deletion and
        high for insertion.
    random_area : float
        Area under ``random_scores``.
    """

    kind: Kind
    fractions: NDArray[np.float64]
    scores: NDArray[np.float64]
    random_scores: NDArray[np.float64]
    area: float
    random_area: float

    @property
    def advantage(self) -> float:
        """Area by which the heat map's order is better than the random ones; above 0 it is faithful."""
        return self.random_area - self.area if self.kind == "deletion" else self.area - self.random_area


def deletion_curve(
    score: Score,
    image: NDArray[Any],
    heatmap: NDArray[np.float32],
    steps: int = 10,
    cell: int = 16,
    orders: int = 3,
    seed: int = 0,
) -> Curve:
    """Delete a picture in the heat map's order and in random orders.

    Whole cells go, in both: single pixels at random would only add noise. A
    deleted cell gets the median of the picture's pixels above 0, so that no edge
    to black is made up. Cells that are 0 throughout (air) are no candidates.

    Parameters
    ----------
    score : callable
        From pictures, shape (N, H, W), to numbers, shape (N,).
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
    Curve

    Raises
    ------
    ConfigurationError
        If the shapes differ, a number is below 1 or the picture is all 0.
    """
    return curves("deletion", score, image, [heatmap], steps, cell, orders, seed)[0]


def insertion_curve(
    score: Score,
    image: NDArray[Any],
    heatmap: NDArray[np.float32],
    steps: int = 10,
    cell: int = 16,
    orders: int = 3,
    seed: int = 0,
) -> Curve:
    """Give a blurred picture its cells back, in the heat map's order and in random orders.

    The blur is taken inside the breast alone, so its edge stays. Parameters, result
    and errors are those of `deletion_curve`.
    """
    return curves("insertion", score, image, [heatmap], steps, cell, orders, seed)[0]


def curves(
    kind: Kind,
    score: Score,
    image: NDArray[Any],
    heatmaps: Sequence[NDArray[np.float32]],
    steps: int = 10,
    cell: int = 16,
    orders: int = 3,
    seed: int = 0,
) -> list[Curve]:
    """Make the curves of several maps of one picture, against the same random orders, which are scored once.

    Parameters
    ----------
    kind : {"deletion", "insertion"}
    heatmaps : sequence of ndarray of float32, shape (H, W)
    score, image, steps, cell, orders, seed
        As for `deletion_curve`.

    Returns
    -------
    list of Curve
        One for each map, in their order; maps that rank the cells alike are scored once.

    Raises
    ------
    ConfigurationError
        As for `deletion_curve`.
    """
    if min(steps, cell, orders) < 1:
        raise ConfigurationError("Steps, cell and orders must be at least 1.")
    ranks = [_ranked(image, heatmap, cell) for heatmap in heatmaps]
    walk = _Walk(score, image, kind, steps, cell)
    known: dict[bytes, NDArray[np.float64]] = {}
    for rank in ranks:
        if rank.tobytes() not in known:
            known[rank.tobytes()] = walk.scores(rank)
    # Drawn from the cells in their own order, so that two maps of one picture are held against the same orders.
    generator = np.random.default_rng(seed)
    random_scores = np.mean([walk.scores(generator.permutation(np.sort(ranks[0]))) for _ in range(orders)], axis=0)
    fractions = np.linspace(0.0, 1.0, steps + 1)
    random_area = float(np.trapezoid(random_scores, fractions))
    return [
        Curve(kind, fractions, scores, random_scores, float(np.trapezoid(scores, fractions)), random_area)
        for scores in (known[rank.tobytes()] for rank in ranks)
    ]


def _ranked(image: NDArray[Any], heatmap: NDArray[np.float32], cell: int) -> NDArray[np.intp]:
    """Flat indices of the cells that can be deleted, those with most heat first."""
    if image.shape != heatmap.shape or image.ndim != 2:
        raise ConfigurationError("The picture and the heat map must be planes of one size.")
    heat, present = _cell_sums(heatmap, cell), _cell_sums(image > 0, cell)
    candidates = np.flatnonzero(present.ravel() > 0)
    if candidates.size == 0:
        raise ConfigurationError("There is nothing to delete: the picture is 0 throughout.")
    return candidates[np.argsort(-heat.ravel()[candidates], kind="stable")]


class _Walk:
    """A picture's way from whole to empty (deletion) or from blurred to whole (insertion)."""

    def __init__(self, score: Score, image: NDArray[Any], kind: Kind, steps: int, cell: int) -> None:
        self._score, self._steps, self._cell = score, steps, cell
        self._breast = image > 0
        empty = _blurred(image) if kind == "insertion" else _filled(image)
        self._from, self._to = (empty, image) if kind == "insertion" else (image, empty)

    def scores(self, order: NDArray[np.intp]) -> NDArray[np.float64]:
        """Scores as cells change in an order (of their flat indices), shape (steps + 1,)."""
        shape, side = self._from.shape, self._cell
        rows, columns = (-(-length // side) for length in shape)
        pictures = []
        for step in range(self._steps + 1):
            changed = np.zeros(rows * columns, bool)
            changed[order[: round(order.size * step / self._steps)]] = True
            grown = np.kron(changed.reshape(rows, columns), np.ones((side, side), bool))
            pictures.append(np.where(grown[: shape[0], : shape[1]] & self._breast, self._to, self._from))
        return np.asarray(self._score(np.stack(pictures)), np.float64)


def _filled(image: NDArray[Any]) -> NDArray[Any]:
    """Picture with the breast's median in place of the breast."""
    breast = image > 0
    return np.where(breast, np.median(image[breast]).astype(image.dtype), image)


def _blurred(image: NDArray[Any]) -> NDArray[Any]:
    """Picture blurred inside the breast: what is outside has no part in it, and stays."""
    breast = image > 0
    deviation = _BLUR * max(image.shape)
    share = cv2.GaussianBlur(breast.astype(np.float32), (0, 0), deviation, borderType=cv2.BORDER_REFLECT)
    total = cv2.GaussianBlur(image.astype(np.float32), (0, 0), deviation, borderType=cv2.BORDER_REFLECT)
    return np.where(breast, np.rint(total / np.maximum(share, 1e-6)), image).astype(image.dtype)


def _cell_sums(plane: NDArray[Any], cell: int) -> NDArray[np.float64]:
    """Sum over each cell of ``cell`` × ``cell`` pixels; cells at the far edges may be smaller."""
    rows = np.add.reduceat(plane.astype(np.float64), np.arange(0, plane.shape[0], cell), axis=0)
    return np.add.reduceat(rows, np.arange(0, plane.shape[1], cell), axis=1)
