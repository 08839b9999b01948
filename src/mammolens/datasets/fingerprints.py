"""What tells whether two pictures are the same: a hash of the pixels, a perceptual hash, a small picture."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.types import Mammogram, ModelInput

SMALL = (64, 48)
"""``(height, width)`` of the small picture."""

_DCT, _KEPT = 32, 8
_HIGH_PASS = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """Of one picture.

    Attributes
    ----------
    pixels : str
        SHA-256 of the grey values as they were read (a negative is turned).
    perceptual : int
        64 bits; pictures that look alike differ in few of them, mirrored ones too.
    small : ndarray of uint8, shape (64, 48)
        The breast, chest wall to the left.
    rows, columns : int
        Size of the source picture.
    """

    pixels: str
    perceptual: int
    small: NDArray[np.uint8]
    rows: int
    columns: int


def fingerprint(mammogram: Mammogram, prepared: ModelInput) -> Fingerprint:
    """Make a picture's fingerprint.

    Parameters
    ----------
    mammogram : Mammogram
    prepared : ModelInput
        Made of it. The crop to the breast and the grey scale of preprocessing take out
        what two exports of one picture differ in.

    Returns
    -------
    Fingerprint
    """
    pixels = np.ascontiguousarray(mammogram.pixels)
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype.str} ".encode())
    digest.update(pixels.data.cast("B"))
    small = cv2.resize(prepared.image, (SMALL[1], SMALL[0]), interpolation=cv2.INTER_AREA)
    return Fingerprint(
        pixels=digest.hexdigest(),
        perceptual=perceptual_hash(prepared.image),
        small=np.asarray(small, np.uint8),
        rows=mammogram.rows,
        columns=mammogram.columns,
    )


def perceptual_hash(image: NDArray[np.uint8]) -> int:
    """Hash a picture by the signs of its coarse structure.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w)

    Returns
    -------
    int
        64 bits: whether each of the 8 × 8 lowest coefficients of a cosine transform of the
        picture at 32 × 32 lies above their median (Zauner, "Implementation and benchmarking
        of perceptual image hash functions", 2010).
    """
    coarse = cv2.resize(image, (_DCT, _DCT), interpolation=cv2.INTER_AREA).astype(np.float32)
    lowest = cv2.dct(coarse)[:_KEPT, :_KEPT].ravel()
    return int.from_bytes(np.packbits(lowest > np.median(lowest)).tobytes(), "big")


def detail(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give a small picture's detail, to correlate two by.

    Parameters
    ----------
    picture : ndarray of uint8, shape (h, w)
        0 outside the breast.

    Returns
    -------
    ndarray of float32, shape (h, w)
        Mean 0 on the breast, 0 near its edge and beyond. What varies over more than a few
        pixels is taken out: outline and brightness are alike in all breasts.
    """
    grey = picture.astype(np.float32)
    fine = np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), _HIGH_PASS), np.float32)
    # The breast's edge is a strong detail that all pictures share.
    inside = cv2.erode((picture > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    fine[~inside] = 0.0
    if inside.any():
        fine[inside] -= fine[inside].mean()
    return fine
