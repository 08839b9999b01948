"""The mask's morphology is OpenCV's, whatever short cut is taken."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mammolens.imaging import breast


def blobs(seed: int, side: int = 300) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mask = np.zeros((side, side), np.uint8)
    for _ in range(60):
        centre = tuple(int(v) for v in generator.integers(0, side, 2))
        cv2.circle(mask, centre, int(generator.integers(1, 45)), int(generator.choice((0, 255))), cv2.FILLED)
    return mask


def ellipse(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("radius", [3, 5])
def test_opening_is_that_of_the_ellipse(seed: int, radius: int) -> None:
    mask = blobs(seed)
    padded = cv2.copyMakeBorder(mask, radius, radius, radius, radius, cv2.BORDER_REPLICATE)
    expected = cv2.morphologyEx(padded, cv2.MORPH_OPEN, ellipse(radius))[radius:-radius, radius:-radius]
    assert np.array_equal(breast._opened(mask, radius), expected)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("radius", [1, 8, 11, 16, 19])
def test_sweeping_is_erosion_and_dilation_by_the_ellipse(seed: int, radius: int) -> None:
    mask = np.pad(blobs(seed), 2 * radius)
    assert np.array_equal(breast._swept(mask, radius, np.minimum), cv2.erode(mask, ellipse(radius)))
    assert np.array_equal(breast._swept(mask, radius, np.maximum), cv2.dilate(mask, ellipse(radius)))
