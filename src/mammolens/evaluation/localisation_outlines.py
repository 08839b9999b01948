"""Outlines of lesions laid on their pictures."""

from __future__ import annotations

import math

import cv2
import numpy as np

from mammolens.datasets.outlines import inside as laid
from mammolens.datasets.table import Outline
from mammolens.errors import TrainingDataError
from mammolens.explain.source import reduced_shape

NEAR = 1.25
"""Reach of a generous hit, in radii of a circle."""


class Place:
    """Where a lesion lies in a picture: exact for points, and as pixels of the picture reduced.

    Of a circle, ``near`` is within `NEAR` radii. A box is stretched about its middle by the
    same factor, a mask is grown by a quarter of the radius of the circle of its area.

    Parameters
    ----------
    outline : Outline
        Has one of its three forms.
    rows, columns : int
        Size of the source picture, in pixels.
    reduction : int
        By how much the pixels of `inside` and `near` are larger than the source's.

    Attributes
    ----------
    inside, near : ndarray of bool, shape (ceil(rows / reduction), ceil(columns / reduction))
        Pixels whose middle lies within the outline, and near it.

    Raises
    ------
    TrainingDataError
        If the outline has no form, or its mask shows nothing.
    InputError
        If its mask can't be read.
    """

    def __init__(self, outline: Outline, rows: int, columns: int, reduction: int = 1) -> None:
        shape = reduced_shape(rows, columns, reduction)
        self._outline, self._stretched, self._size = outline, _stretched(outline), (rows, columns)
        self.inside = laid(outline, rows, columns, shape)
        if self._stretched is not None:
            self.near = laid(self._stretched, rows, columns, shape)
            return
        if not self.inside.any():
            raise TrainingDataError("A lesion's mask shows no lesion. Check the data set's masks.")
        reach = (NEAR - 1.0) * math.sqrt(float(self.inside.sum()) / math.pi)
        distance = cv2.distanceTransform((~self.inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        self.near = np.asarray(distance <= reach)

    def holds(self, x: float, y: float, *, near: bool = False) -> bool:
        """Whether a source position lies within the outline, or near it."""
        outline = self._stretched if near else self._outline
        if outline is not None and outline.circle is not None:
            middle_x, middle_y, radius = outline.circle
            return (x - middle_x) ** 2 + (y - middle_y) ** 2 <= radius**2
        if outline is not None and outline.box is not None:
            x0, y0, x1, y1 = outline.box
            return x0 <= x < x1 and y0 <= y < y1
        pixels = self.near if near else self.inside
        row = min(int(y * pixels.shape[0] / self._size[0]), pixels.shape[0] - 1)
        column = min(int(x * pixels.shape[1] / self._size[1]), pixels.shape[1] - 1)
        return bool(pixels[row, column])


def _stretched(outline: Outline) -> Outline | None:
    """Circle or box that is `NEAR` times as large; None for a mask."""
    if outline.mask is not None:
        return None
    if outline.circle is not None:
        x, y, radius = outline.circle
        return Outline(circle=(x, y, NEAR * radius))
    if outline.box is not None:
        x0, y0, x1, y1 = outline.box
        wide, tall = 0.5 * (NEAR - 1.0) * (x1 - x0), 0.5 * (NEAR - 1.0) * (y1 - y0)
        return Outline(box=(x0 - wide, y0 - tall, x1 + wide, y1 + tall))
    raise TrainingDataError("An outline has neither a mask, nor a circle, nor a box. Check the data set.")
