"""How much of a picture's resolution a model input needs.

Every picture comes to the model about as fine: JPEG 2000 is decoded at a fraction of its
size, everything else is averaged down, and from a quarter on only half as far: averages are
softer than what JPEG 2000 leaves. So one picture gives one answer however it was stored.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

MOST_HALVINGS = 3
ROWS_NEEDED, COLUMNS_NEEDED = 2, 3
"""A breast covers about half of a picture's rows and a third of its columns."""


def halvings(rows: int, columns: int, min_size: tuple[int, int] | None) -> int:
    """How often a picture may be halved for a model input.

    Parameters
    ----------
    rows, columns : int
        Of the picture.
    min_size : tuple of int or None
        ``(height, width)`` of the model input; ``None`` keeps the picture whole.

    Returns
    -------
    int
        0 to 3.
    """
    if min_size is None:
        return 0
    height, width = min_size
    fits = [
        n
        for n in range(MOST_HALVINGS + 1)
        if rows >> n >= ROWS_NEEDED * height and columns >> n >= COLUMNS_NEEDED * width
    ]
    return max(fits, default=0)


def halved(pixels: NDArray[Any], times: int) -> NDArray[Any]:
    """Average a picture down to half its rows and columns, ``times`` times over, rounding sizes up.

    Parameters
    ----------
    pixels : ndarray of uint8, uint16 or float32, shape (h, w)
    times : int

    Returns
    -------
    ndarray of the same type, shape (ceil(h / 2**times), ceil(w / 2**times))
    """
    if times == 0:
        return pixels
    step = 1 << times
    height, width = -(-pixels.shape[0] // step), -(-pixels.shape[1] // step)
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))
