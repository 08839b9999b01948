"""Augmentation of model inputs: what differs between machines, women and readers' windows."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ROTATION, STRONG_ROTATION = 12.0, 20.0
"""Largest rotation, degrees."""

_MOST_HOLES = 3
_HOLE = (1 / 12, 1 / 5)
"""Least and largest side of what is painted over, as a share of the picture's."""

_NOISE = (2.0, 8.0)
"""Least and largest deviation of noise, in grey values of 255."""


def augment(image: NDArray[np.uint8], random: np.random.Generator, *, strong: bool = False) -> NDArray[np.float32]:
    """Draw one variation of a model input.

    Flip top to bottom, rotate, scale, stretch and shift a little; then a grey curve
    (window and gamma), and sometimes blur, as detectors and exports differ in them.
    Left and right are never exchanged: the chest wall stays on the left.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W)
    random : numpy.random.Generator
    strong : bool
        Rotate farther, paint rectangles over, and add noise.

    Returns
    -------
    ndarray of float32, shape (H, W)
        In 0..255.
    """
    rotation = STRONG_ROTATION if strong else ROTATION
    out = recoloured(moved(image, geometry((image.shape[0], image.shape[1]), random, rotation)), random)
    return _spoiled(out, random) if strong else out


def geometry(shape: tuple[int, int], random: np.random.Generator, rotation: float = ROTATION) -> NDArray[np.float64]:
    """Draw where a picture's points come from.

    Parameters
    ----------
    shape : tuple of int
        ``(height, width)``.
    random : numpy.random.Generator
    rotation : float
        Largest rotation, degrees.

    Returns
    -------
    ndarray of float64, shape (2, 3)
        Affine map of ``(x, y, 1)``, as OpenCV takes it.
    """
    height, width = shape
    angle = np.deg2rad(random.uniform(-rotation, rotation))
    scale, stretch = np.exp(random.uniform(-0.15, 0.15)), np.exp(random.uniform(-0.08, 0.08))
    flip = -1.0 if random.random() < 0.5 else 1.0
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    linear = np.array([[cosine * stretch, -sine], [sine * flip, cosine * flip / stretch]])
    centre = np.array([width / 2, height / 2])
    shift = centre - linear @ centre + random.uniform(-0.06, 0.06, 2) * (width, height)
    return np.column_stack([linear, shift])


def moved(image: NDArray[Any], matrix: NDArray[np.float64]) -> NDArray[Any]:
    """Move a picture by `geometry`; black comes in at its edges."""
    height, width = image.shape
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR))


def recoloured(image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.float32]:
    """Draw a grey curve for a picture, and perhaps blur; the result is float32 in 0..255."""
    out = _grey_curve(image.astype(np.float32) / 255.0, random)
    if random.random() < 0.2:
        out = np.asarray(cv2.GaussianBlur(out, (0, 0), random.uniform(0.3, 0.9)), np.float32)
    return np.clip(out, 0.0, 1.0) * np.float32(255.0)


def _spoiled(image: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """Paint up to three rectangles over in the mean of what they hide (random erasing), and now and then add noise.

    References
    ----------
    Z. Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, arXiv:1708.04896.
    """
    height, width = image.shape
    for _ in range(random.integers(0, _MOST_HOLES + 1)):
        rows, columns = (max(1, int(side * random.uniform(*_HOLE))) for side in (height, width))
        top, left = random.integers(0, height - rows + 1), random.integers(0, width - columns + 1)
        hole = image[top : top + rows, left : left + columns]
        hole[...] = hole.mean()
    if random.random() < 0.3:
        noise = random.normal(0.0, random.uniform(*_NOISE), image.shape).astype(np.float32)
        return np.asarray(np.clip(image + noise, 0.0, 255.0), np.float32)
    return image


def _grey_curve(image: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """Apply a random gamma and, now and then, a sigmoid window as DICOM viewers apply it."""
    out = np.power(image, np.float32(np.exp(random.uniform(-0.4, 0.4))))
    if random.random() < 0.3:
        centre, slope = random.uniform(0.35, 0.65), random.uniform(2.0, 6.0)
        low, high = 1 / (1 + np.exp(slope * centre)), 1 / (1 + np.exp(-slope * (1 - centre)))
        out = ((1 / (1 + np.exp(-slope * (out - centre))) - low) / (high - low)).astype(np.float32)
    return out.astype(np.float32)
