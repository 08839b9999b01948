"""Preprocessing, version 1: from a positive picture to the model's input, with the exact way back.

Crop to the breast, chest wall to the left, resize to a fixed height and width
(the aspect is not kept, so stretched exports and originals give the same
input), then a grey scale that depends on the breast alone: two percentiles and
the median inside the mask are moved to fixed values. That takes out every
linear window and most of the curved ones. Last, a little smoothing, which takes
out what differs between decoders, exports and resampling filters; on held-out
women it raised the AUC of a half-trained model from 0.683 to 0.695 (``docs/experiments.md``).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.errors import NoBreast
from mammolens.imaging.breast import find_breast
from mammolens.imaging.percentiles import percentiles
from mammolens.types import Breast, CropGeometry, Mammogram, ModelInput

VERSION = 1
"""Preprocessing version that this module implements; a bundle names the one it was trained with."""

SMOOTHING = 0.7
"""Standard deviation of the smoothing, in pixels of the model input."""

_LOW, _HIGH = 2.0, 99.5
_MEDIAN = 0.35
_GAMMA_LIMITS = (0.35, 3.0)
_NEARLY_BLACK = 1e-12


def integral_box(breast: Breast, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Smallest box of whole pixels around the breast, inside a picture of ``shape`` (H, W)."""
    x0, y0, x1, y1 = breast.box
    return (
        max(0, int(np.floor(x0 + 1e-6))),
        max(0, int(np.floor(y0 + 1e-6))),
        min(shape[1], int(np.ceil(x1 - 1e-6))),
        min(shape[0], int(np.ceil(y1 - 1e-6))),
    )


def resample(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize to ``size`` (height, width): area averaging where it shrinks, linear where it grows."""
    height, width = size
    out: NDArray[Any] = pixels
    if out.shape[0] >= height and out.shape[1] >= width:
        return cv2.resize(out, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    out = out.astype(np.float32)
    rows = cv2.INTER_AREA if out.shape[0] >= height else cv2.INTER_LINEAR
    out = cv2.resize(out, (out.shape[1], height), interpolation=rows)
    columns = cv2.INTER_AREA if out.shape[1] >= width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(out, (width, height), interpolation=columns), dtype=np.float32)


def grey_scale(crop: NDArray[np.float32], mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Normalise grey values by the breast alone.

    Parameters
    ----------
    crop : ndarray of float32, shape (H, W)
    mask : ndarray of uint8, shape (H, W)
        Above 127 on the breast.

    Returns
    -------
    ndarray of float32, shape (H, W)
        In [0, 1]; 0 outside the mask; the mask's 2nd percentile is 0, its 99.5th
        percentile 1 and its median 0.35 (within the limits of the exponent).
    """
    inside = mask > 127
    crop = crop - crop.min()
    values = crop[inside]
    low, high, median = percentiles(values, (_LOW, _HIGH, 50.0))
    span = max(high - low, 1e-6)
    middle = min(max((median - low) / span, 1e-3), 0.999)
    gamma = min(max(float(np.log(_MEDIAN) / np.log(middle)), _GAMMA_LIMITS[0]), _GAMMA_LIMITS[1])
    # Not quite 0, of which OpenCV takes powers six times slower; in eight bits it is as black.
    scaled: NDArray[np.float32] = np.clip((crop - low) / span, _NEARLY_BLACK, 1.0)
    cv2.pow(scaled, gamma, scaled)
    scaled[~inside] = 0.0
    return scaled


def prepare(mammogram: Mammogram, size: tuple[int, int]) -> ModelInput:
    """Make the model's input from a mammogram.

    Parameters
    ----------
    mammogram : Mammogram
    size : tuple of int
        ``(height, width)`` of the model input.

    Returns
    -------
    ModelInput
        Its geometry is in source pixels, whatever the mammogram's reduction.

    Raises
    ------
    NoBreast
        If no breast is found.
    """
    breast = mammogram.breast or find_breast(mammogram.pixels)
    if breast is None:
        raise NoBreast("No breast was found in this picture. Give a whole mammogram, not a detail or a chart.")
    return prepare_breast(mammogram, breast, size)


def prepare_breast(mammogram: Mammogram, breast: Breast, size: tuple[int, int]) -> ModelInput:
    """Make the model's input from a mammogram whose breast has been found already.

    Parameters
    ----------
    mammogram : Mammogram
    breast : Breast
        As `find_breast` gave it for ``mammogram.pixels``.
    size : tuple of int
        ``(height, width)`` of the model input.

    Returns
    -------
    ModelInput
    """
    pixels = mammogram.pixels
    x0, y0, x1, y1 = integral_box(breast, (pixels.shape[0], pixels.shape[1]))
    mirrored = breast.chest_wall == "right"
    crop = resample(pixels[y0:y1, x0:x1], size)
    outline = breast.mask
    if mirrored:
        # The outline before it is resized, as OpenCV's linear filter rounds otherwise from the other side.
        crop, outline = np.ascontiguousarray(crop[:, ::-1]), np.ascontiguousarray(outline[:, ::-1])
    mask: NDArray[Any] = cv2.resize(outline, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    mask = np.where(mask > 127, 255, 0).astype(np.uint8)
    image = np.rint(grey_scale(crop, mask) * 255.0).astype(np.uint8)
    smooth = np.asarray(cv2.GaussianBlur(image, (5, 5), SMOOTHING), np.uint8)
    fx, fy = mammogram.columns / pixels.shape[1], mammogram.rows / pixels.shape[0]
    geometry = CropGeometry(box=(x0 * fx, y0 * fy, x1 * fx, y1 * fy), mirrored=mirrored, size=size)
    return ModelInput(image=smooth, mask=mask, geometry=geometry)
