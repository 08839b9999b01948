"""Outlines of lesions laid on their pictures."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.datasets.table import Outline
from mammolens.errors import TrainingDataError
from mammolens.explain.source import reduced_shape
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.sandbox import default_pool

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
        self._outline = outline
        self._shape = (rows, columns)
        height, width = reduced_shape(rows, columns, reduction)
        y = ((np.arange(height) + 0.5) * rows / height)[:, None]
        x = ((np.arange(width) + 0.5) * columns / width)[None, :]
        if outline.mask is not None:
            self.inside = _mask(outline.mask, (height, width))
            reach = (NEAR - 1.0) * math.sqrt(float(self.inside.sum()) / math.pi)
            distance = cv2.distanceTransform((~self.inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            self.near = np.asarray(distance <= reach)
        elif outline.circle is not None or outline.box is not None:
            self.inside, self.near = self._within(x, y, 1.0), self._within(x, y, NEAR)
        else:
            raise TrainingDataError("An outline has neither a mask, nor a circle, nor a box. Check the data set.")

    def _within(self, x: NDArray[np.float64], y: NDArray[np.float64], reach: float) -> NDArray[np.bool_]:
        if self._outline.circle is not None:
            cx, cy, radius = self._outline.circle
            return np.asarray((x - cx) ** 2 + (y - cy) ** 2 <= (reach * radius) ** 2)
        assert self._outline.box is not None  # noqa: S101 - the constructor has made sure
        x0, y0, x1, y1 = self._outline.box
        mx, my, wide, tall = (x0 + x1) / 2, (y0 + y1) / 2, reach * (x1 - x0) / 2, reach * (y1 - y0) / 2
        return np.asarray((abs(x - mx) <= wide) & (abs(y - my) <= tall))

    def holds(self, x: float, y: float, *, near: bool = False) -> bool:
        """Whether a source position lies within the outline, or near it."""
        if self._outline.mask is None:
            return bool(self._within(np.array(x), np.array(y), NEAR if near else 1.0))
        pixels = self.near if near else self.inside
        row = min(int(y * pixels.shape[0] / self._shape[0]), pixels.shape[0] - 1)
        column = min(int(x * pixels.shape[1] / self._shape[1]), pixels.shape[1] - 1)
        return bool(pixels[row, column])


def _mask(path: Path, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Read a mask and bring it to a shape (h, w); it may differ from its picture in size."""
    read = default_pool().read(path, ReadOptions(any_modality=True))
    pixels = read.pixels.astype(np.float32)
    # Two grey values may look like a negative; for a mask the stored ones count.
    pixels = pixels.max() - pixels if read.negative else pixels
    above = (pixels > 0.5 * pixels.max()).astype(np.float32)
    inside = cv2.resize(above, (shape[1], shape[0]), interpolation=cv2.INTER_AREA) > 0.5
    if not inside.any():
        raise TrainingDataError("A lesion's mask shows no lesion. Check the data set's masks.")
    return np.asarray(inside)
