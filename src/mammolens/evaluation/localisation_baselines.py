"""Maps that know nothing of the model: what an explanation must be better than."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.types import ModelInput

_SMOOTHING = 1.0 / 24.0
"""Deviation for the brightest tissue, as a share of the longer side: half a cell of EfficientNet's last features."""


def centre(made: ModelInput) -> NDArray[np.float32]:
    """Fall evenly from the breast's centre of mass to the radius of the circle of its area, in source pixels.

    Parameters
    ----------
    made : ModelInput

    Returns
    -------
    ndarray of float32, shape (H, W)
        0 to 1; 0 outside the breast.
    """
    breast = made.mask > 0
    height, width = breast.shape
    x0, y0, x1, y1 = made.geometry.box
    # The input is stretched; distances are those of the source.
    y = (np.arange(height)[:, None] + 0.5) * (y1 - y0) / height
    x = (np.arange(width)[None, :] + 0.5) * (x1 - x0) / width
    share = breast / breast.sum()
    distance = np.hypot(x - (share * x).sum(), y - (share * y).sum())
    radius = np.sqrt(breast.mean() * (x1 - x0) * (y1 - y0) / np.pi)
    return np.asarray(np.where(breast, np.maximum(1.0 - distance / radius, 0.0), 0.0), np.float32)


def brightest(made: ModelInput) -> NDArray[np.float32]:
    """Grey values smoothed inside the breast, as the model is given them.

    Parameters
    ----------
    made : ModelInput

    Returns
    -------
    ndarray of float32, shape (H, W)
        0 to 1; 0 outside the breast.
    """
    breast = (made.mask > 0).astype(np.float32)
    deviation = _SMOOTHING * max(breast.shape)
    grey = cv2.GaussianBlur(made.image.astype(np.float32) / 255.0 * breast, (0, 0), deviation)
    share = cv2.GaussianBlur(breast, (0, 0), deviation)
    return np.asarray(np.where(breast > 0, grey / np.maximum(share, 1e-6), 0.0), np.float32)


BASELINES: dict[str, Callable[[ModelInput], NDArray[np.float32]]] = {
    "centre of the breast": centre,
    "brightest tissue": brightest,
}
"""Name of a baseline and the function that gives its heat map on the model's input grid."""

RANDOMISED = "randomised model"
"""Name of the baseline that is Grad-CAM of the same network with all its weights shuffled."""
