"""Peaks of a heat map as boxes in source pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.types import CropGeometry, Region

REGION_THRESHOLD = 0.4
"""Lowest peak that makes a region, as a share of the evidence of a strong finding."""

BOX_SHARES = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
"""A box holds what is above this share of its peak: the first that keeps other peaks out."""

_SPACING = 1.0 / 24.0
"""Radius within which only the highest pixel is a peak, as a share of the map's longer side."""


Box = tuple[int, int, int, int]
"""``(x0, y0, x1, y1)``, half open."""


@dataclass(frozen=True, slots=True)
class _Peak:
    """A local maximum, on the input grid."""

    x: int
    y: int
    height: float


def find_regions(
    heatmap: NDArray[np.float32],
    geometry: CropGeometry,
    shape: tuple[int, int],
    threshold: float = REGION_THRESHOLD,
    limit: int = 5,
) -> tuple[Region, ...]:
    """Find the places that a score rests on.

    A peak is a pixel that none within a small radius exceeds, and from which one
    must go down by a quarter to reach a higher one. Its box holds the connected
    pixels above half the peak (above ``threshold`` where that is lower, so that a
    contour drawn there lies inside); where another peak would be among them, the
    share rises until it is not.

    Parameters
    ----------
    heatmap : ndarray of float32, shape (H, W)
        On the model's input grid, 0 to 1.
    geometry : CropGeometry
        Way from the input grid to source pixels.
    shape : tuple of int
        ``(rows, columns)`` of the source picture.
    threshold : float
        Lowest peak that makes a region, above 0.
    limit : int
        Most regions.

    Returns
    -------
    tuple of Region
        Highest first; of equal peaks the upper, then the one nearer to the chest
        wall comes first. Each centre lies in its box, each box in the picture, and
        the mirrored picture gives the mirrored regions in the same order.
    """
    values = np.ascontiguousarray(heatmap, np.float32)
    threshold = max(threshold, 1e-6)
    if limit < 1 or values.max(initial=0.0) < threshold:
        return ()
    peaks: list[_Peak] = []
    for peak in _candidates(values, threshold):
        if len(peaks) >= limit:
            break
        _, above = _component(values, peak, BOX_SHARES[-1])
        if not any(_holds(above, higher) for higher in peaks):
            peaks.append(peak)
    return tuple(_region(peak, _box(values, peak, peaks, threshold), geometry, shape) for peak in peaks)


def _candidates(values: NDArray[np.float32], threshold: float) -> list[_Peak]:
    """Local maxima of at least ``threshold``, highest first, one for each plateau."""
    radius = max(1, round(max(values.shape) * _SPACING))
    side = 2 * radius + 1
    # Only pixels of at least the threshold can exceed one another there, so their bounding box is enough.
    left, top, width, height = cv2.boundingRect((values >= threshold).astype(np.uint8))
    values = values[top : top + height, left : left + width]
    # A square window is separable: two passes of 2 r + 1 instead of one of (2 r + 1)².
    highest = cv2.dilate(values, cv2.getStructuringElement(cv2.MORPH_RECT, (side, side)))
    tops = ((values >= highest) & (values >= threshold)).astype(np.uint8)
    count, labels, stats, centroids = cv2.connectedComponentsWithStats(tops, connectivity=8)
    found: list[tuple[float, int, int]] = []
    for label in range(1, count):
        x0, y0, wide, tall = (int(v) for v in stats[label, :4])
        ys, xs = np.nonzero(labels[y0 : y0 + tall, x0 : x0 + wide] == label)
        cx, cy = centroids[label]
        nearest = int(np.argmin((xs + x0 - cx) ** 2 + (ys + y0 - cy) ** 2))
        x, y = int(xs[nearest]) + x0, int(ys[nearest]) + y0
        found.append((-float(values[y, x]), y + top, x + left))
    return [_Peak(x=x, y=y, height=-depth) for depth, y, x in sorted(found)]


def _component(values: NDArray[np.float32], peak: _Peak, share: float) -> tuple[Box, NDArray[np.uint8]]:
    """Pixels connected to the peak above a share of it: their box, and a mask with one pixel of margin around."""
    filled = np.zeros((values.shape[0] + 2, values.shape[1] + 2), np.uint8)
    flags = 8 | (255 << 8) | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY
    below = peak.height * (1.0 - share)
    _, _, _, (x, y, width, height) = cv2.floodFill(values, filled, (peak.x, peak.y), 0.0, below, 1.0, flags)
    return (x, y, x + width, y + height), filled


def _holds(component: NDArray[np.uint8], peak: _Peak) -> bool:
    return bool(component[peak.y + 1, peak.x + 1])


def _box(values: NDArray[np.float32], peak: _Peak, peaks: Sequence[_Peak], threshold: float) -> Box:
    """Box of the peak's component at the lowest share that keeps the other peaks out."""
    others = [other for other in peaks if other != peak]
    for share in (min(BOX_SHARES[0], threshold / peak.height), *BOX_SHARES):
        box, component = _component(values, peak, share)
        if not any(_holds(component, other) for other in others):
            break
    return box


def _region(peak: _Peak, box: Box, geometry: CropGeometry, shape: tuple[int, int]) -> Region:
    """Region in source pixels: the box rounded outwards, both clipped to the picture."""
    rows, columns = shape
    left, top = geometry.to_source(box[0], box[1])
    right, bottom = geometry.to_source(box[2], box[3])
    left, right = min(left, right), max(left, right)
    x0, x1 = _clipped_range(left, right, columns)
    y0, y1 = _clipped_range(top, bottom, rows)
    cx, cy = geometry.to_source(peak.x + 0.5, peak.y + 0.5)
    # A position between two pixels goes to the right one, in a mirrored crop to the left one: so that
    # mirroring the picture mirrors the answer.
    x = math.ceil(_snapped(cx)) - 1 if geometry.mirrored else math.floor(_snapped(cx))
    y = math.floor(_snapped(cy))
    centre = (min(max(x, x0), x1 - 1), min(max(y, y0), y1 - 1))
    return Region(box=(x0, y0, x1, y1), centre=centre, score=min(max(peak.height, 0.0), 1.0))


def _snapped(value: float) -> float:
    """Value without the last digits that rounding in the map leaves behind."""
    return round(value, 6)


def _clipped_range(low: float, high: float, length: int) -> tuple[int, int]:
    """Half-open range of whole pixels around ``low``–``high``, at least one pixel, inside ``length``."""
    first = min(max(math.floor(_snapped(low)), 0), length - 1)
    return first, min(max(math.ceil(_snapped(high)), first + 1), length)
