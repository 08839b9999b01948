"""Outlines of lesions as pixels of their picture; a mask is brought to the picture's size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.datasets.table import Outline
from mammolens.errors import TrainingDataError
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.reading import read_mammogram


def inside(outline: Outline, rows: int, columns: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Lay an outline on its picture.

    Parameters
    ----------
    outline : Outline
    rows, columns : int
        Size of the source picture.
    shape : tuple of int
        ``(h, w)`` of the picture as it is shown, of the same field.

    Returns
    -------
    ndarray of bool, shape (h, w)
        True on the lesion.

    Raises
    ------
    TrainingDataError
        If the outline has no form.
    InputError
        If its mask can't be read.
    """
    height, width = shape
    if outline.mask is not None:
        read = read_mammogram(outline.mask, ReadOptions(any_modality=True))
        # A mask that is mostly white looks like a negative; what is stored counts.
        pixels = read.pixels.astype(np.float32)
        pixels = pixels.max() - pixels if read.negative else pixels
        lesion = (pixels > 0.5 * pixels.max()).astype(np.float32)
        return np.asarray(cv2.resize(lesion, (width, height), interpolation=cv2.INTER_AREA) > 0.5)
    y = ((np.arange(height) + 0.5) * rows / height)[:, None]
    x = ((np.arange(width) + 0.5) * columns / width)[None, :]
    if outline.circle is not None:
        middle_x, middle_y, radius = outline.circle
        return np.asarray((x - middle_x) ** 2 + (y - middle_y) ** 2 <= radius**2)
    if outline.box is not None:
        x0, y0, x1, y1 = outline.box
        return np.asarray((x >= x0) & (x < x1) & (y >= y0) & (y < y1))
    raise TrainingDataError("An outline has neither a mask, nor a circle, nor a box. Check the data set.")
