"""What one map says of one picture: peak, energy, overlap and regions against the lesions' outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammolens.evaluation.localisation_outlines import Place
from mammolens.explain.regions import find_regions
from mammolens.explain.source import on_source, reduced_shape
from mammolens.types import CropGeometry

LONGEST = 1024
"""Longest side, in pixels, of the picture on which areas are counted."""

THRESHOLDS = np.round(np.arange(0.05, 1.0, 0.05), 2)
"""Shares of a map's peak from which its pixels count for the overlap, shape (19,)."""

_FAINTEST = 0.05
"""Lowest region that is looked at, as a share of the map's peak."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture with its lesions.

    Attributes
    ----------
    woman : str
    geometry : CropGeometry
    rows, columns, reduction : int
        Size of the source, and by how much that of ``places`` is smaller.
    mask : ndarray of uint8, shape (H, W)
        Above 0 on the breast, on the model's input grid.
    places : sequence of Place
        The outlined lesions that count.
    """

    woman: str
    geometry: CropGeometry
    rows: int
    columns: int
    reduction: int
    mask: NDArray[np.uint8]
    places: Sequence[Place]

    def chance(self) -> tuple[float, float]:
        """Share of the breast that lies within the outlines, and near them: hits of a point drawn at random."""
        shown = on_source((self.mask > 0).astype(np.float32), self.geometry, *self._size)
        breast = shown > 0.5
        inside, near = (np.logical_or.reduce([getattr(p, name) for p in self.places]) for name in ("inside", "near"))
        return float((breast & inside).sum() / breast.sum()), float((breast & near).sum() / breast.sum())

    @property
    def _size(self) -> tuple[int, int, int]:
        return self.rows, self.columns, self.reduction


def reduction_of(rows: int, columns: int) -> int:
    """Smallest reduction at which no side is longer than `LONGEST`."""
    reduction = 1
    while max(reduced_shape(rows, columns, reduction)) > LONGEST:
        reduction += 1
    return reduction


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One map of one picture in figures.

    Attributes
    ----------
    silent : bool
        The map is 0 throughout: it has no peak, and misses.
    inside, near : bool or None
        Whether the peak lies within an outline, and near one; None without lesions.
    energy : float
        Share of the map's sum that lies within the outlines; NaN without lesions.
    overlaps : ndarray of float64, shape (19,)
        Intersection over union of the outlines and the pixels of at least
        `THRESHOLDS` times the peak; NaN without lesions.
    found : tuple of float
        For each lesion the score of the highest region whose peak is near it; ``-inf``
        where there is none.
    false : tuple of float
        Scores of the regions whose peak is near no lesion.
    """

    silent: bool
    inside: bool | None
    near: bool | None
    energy: float
    overlaps: NDArray[np.float64]
    found: tuple[float, ...]
    false: tuple[float, ...]


def row(picture: Picture, heat: NDArray[np.float32]) -> Row:
    """Hold a map against the outlines.

    Parameters
    ----------
    picture : Picture
    heat : ndarray of float32, shape (H, W)
        On the model's input grid, at least 0, in any unit, not clipped.

    Returns
    -------
    Row
    """
    peak = float(heat.max())
    nothing = np.full(len(THRESHOLDS), np.nan if not picture.places else 0.0)
    if peak <= 0.0:
        known = False if picture.places else None
        lost = (-np.inf,) * len(picture.places)
        return Row(True, known, known, 0.0 if picture.places else np.nan, nothing, lost, ())
    found, false = _regions(picture, heat, peak)
    if not picture.places:
        return Row(False, None, None, np.nan, nothing, found, false)
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    at = picture.geometry.to_source(float(x) + 0.5, float(y) + 0.5)
    inside = any(place.holds(*at) for place in picture.places)
    near = any(place.holds(*at, near=True) for place in picture.places)
    shown = on_source(heat, picture.geometry, picture.rows, picture.columns, picture.reduction)
    lesions = np.logical_or.reduce([place.inside for place in picture.places])
    energy = float(shown[lesions].sum(dtype=np.float64) / shown.sum(dtype=np.float64))
    return Row(False, inside, near, energy, _overlaps(shown / peak, lesions), found, false)


def _overlaps(shares: NDArray[np.float32], lesions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intersection over union at each threshold."""
    edges = np.append(THRESHOLDS, np.inf)
    # From the highest threshold downwards, what lies between two of them is added.
    both, above = (np.histogram(values, edges)[0][::-1].cumsum()[::-1] for values in (shares[lesions], shares))
    return np.asarray(both / (above + lesions.sum() - both))


def _regions(picture: Picture, heat: NDArray[np.float32], peak: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scores, in the map's unit, of the highest region at each lesion, and of those at none."""
    regions = find_regions(heat / np.float32(peak), picture.geometry, (picture.rows, picture.columns), _FAINTEST)
    found, false = [-np.inf] * len(picture.places), []
    for region in regions:
        x, y = region.centre
        at = [i for i, place in enumerate(picture.places) if place.holds(x + 0.5, y + 0.5, near=True)]
        for i in at:
            found[i] = max(found[i], region.score * peak)
        if not at:
            false.append(region.score * peak)
    return tuple(found), tuple(false)
