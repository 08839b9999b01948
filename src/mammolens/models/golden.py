"""Golden inputs: pictures made from whole numbers alone, the same on every machine.

A bundle records the hash of what preprocessing makes of them and the logit that
the model gives; `mammolens models verify` repeats both.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from mammolens.imaging import preprocess
from mammolens.types import Mammogram, ModelInput

SEEDS = (1, 2, 3, 4)


def picture(seed: int) -> NDArray[np.uint16]:
    """Breast-shaped picture of shape (600, 480) by integer arithmetic.

    Parameters
    ----------
    seed : int
        Changes shape, side and texture.

    Returns
    -------
    ndarray of uint16, shape (600, 480)
        12-bit, bright = dense.
    """
    rows, columns = 600, 480
    y, x = np.mgrid[0:rows, 0:columns].astype(np.int64)
    half_height, width = 200 + 17 * seed, 260 + 31 * seed
    inside = ((y - 300) * width) ** 2 + (x * half_height) ** 2 < (width * half_height) ** 2
    coarse = (((x // 24) * 73856093) ^ ((y // 24) * 19349663) ^ (seed * 83492791)) % 701
    fine = (((x // 3) * 2654435761) ^ ((y // 3) * 40503) ^ (seed * 97)) % 257
    grey = 900 + 3 * np.minimum(x, 200) + coarse + fine
    radius = (x - 120 - 11 * seed) ** 2 + (y - 280) ** 2
    grey += np.where(radius < (20 + 4 * seed) ** 2, 1200, 0)
    made = np.where(inside, grey, 0).astype(np.uint16)
    return np.ascontiguousarray(made[:, ::-1]) if seed % 2 else made


def model_input(seed: int, size: tuple[int, int]) -> ModelInput:
    """Golden picture, preprocessed for an input of ``size`` (height, width)."""
    pixels = picture(seed)
    return preprocess.prepare(Mammogram(pixels=pixels, rows=pixels.shape[0], columns=pixels.shape[1]), size)


def variations(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Give 16 pictures: each golden one as it is, upside down, dark and as a negative.

    Two models that agree on all of them agree on the scale of the input, on its axes and
    where activations saturate.

    Parameters
    ----------
    size : tuple of int
        ``(height, width)``.

    Returns
    -------
    ndarray of uint8, shape (16, height, width)
        The first four are those of `SEEDS` in their order.
    """
    made = np.stack([model_input(seed, size).image for seed in SEEDS])
    return np.concatenate([made, made[:, ::-1], made // 4, 255 - made])


def digest(made: ModelInput) -> str:
    """SHA-256 of a model input's bytes."""
    return hashlib.sha256(made.image.tobytes()).hexdigest()
