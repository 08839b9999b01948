"""Occlusion: by how much the logit falls when a part of the picture is covered.

References
----------
M. D. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks",
ECCV 2014, arXiv:1311.2901, section 4.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mammolens.explain.passes import Pass

CELLS = (8, 6)
"""Places down and across at which a picture is covered, unless said otherwise."""

_WINDOW = 1.5
"""Side of the cover, in cells: neighbours overlap, so that no finding lies on an edge of all of them."""

_LEAST_BREAST = 0.1
"""Share of a cell that must be breast; others stay 0 without a look."""


def occlusion(seen: Pass, cells: tuple[int, int] = CELLS) -> NDArray[np.float32]:
    """Cover the breast cell by cell with its own median grey.

    Parameters
    ----------
    seen : Pass
    cells : tuple of int
        Rows and columns of the grid of places.

    Returns
    -------
    ndarray of float32, shape cells
        The logit less that of the covered picture: positive where what was covered
        speaks for malignancy. 0 where there is hardly any breast.
    """
    rows, columns = cells
    height, width = seen.image.shape
    breast = seen.mask > 0
    fill = np.median(seen.image[breast]).astype(seen.image.dtype)
    places, covered = [], []
    for row in range(rows):
        for column in range(columns):
            if breast[_span(row, rows, height, 1.0), _span(column, columns, width, 1.0)].mean() < _LEAST_BREAST:
                continue
            window = _span(row, rows, height, _WINDOW), _span(column, columns, width, _WINDOW)
            image = seen.image.copy()
            image[window] = np.where(breast[window], fill, image[window])
            places.append((row, column))
            covered.append(image)
    falls = np.zeros(cells, np.float32)
    if covered:
        down, across = np.transpose(places)
        falls[down, across] = seen.logit - seen.network.logits(np.stack(covered))
    return falls


def _span(index: int, cells: int, pixels: int, wide: float) -> slice:
    """Pixels of a cell, widened about its middle."""
    middle, half = (index + 0.5) * pixels / cells, 0.5 * wide * pixels / cells
    return slice(max(0, round(middle - half)), min(pixels, round(middle + half)))
