"""Baselines point where their names say."""

from __future__ import annotations

import numpy as np
import pytest

from mammolens.evaluation.localisation_baselines import brightest, centre
from mammolens.types import CropGeometry, ModelInput


def made(image: np.ndarray, mask: np.ndarray) -> ModelInput:
    height, width = image.shape
    # Stretched: a source of 400 × 100 for an input of 200 × 100.
    return ModelInput(image, mask, CropGeometry((0.0, 0.0, 100.0, 400.0), False, (height, width)))


def half_disc() -> np.ndarray:
    y, x = np.mgrid[:200, :100]
    return np.where(((y - 99.5) / 90.0) ** 2 + ((x + 0.5) / 80.0) ** 2 <= 1.0, 255, 0).astype(np.uint8)


def test_the_centre_is_the_centre_of_mass() -> None:
    mask = half_disc()
    heat = centre(made(np.full((200, 100), 90, np.uint8), mask))
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    # A half ellipse has its centre of mass at 4 / (3 π) of its half axis.
    assert x + 0.5 == pytest.approx(80.0 * 4.0 / (3.0 * np.pi), abs=1.0)
    assert y + 0.5 == pytest.approx(100.0, abs=1.0)
    assert not heat[mask == 0].any()


def test_distances_from_the_centre_are_those_of_the_source() -> None:
    heat = centre(made(np.full((200, 100), 90, np.uint8), np.full((200, 100), 255, np.uint8)))
    # 20 input pixels down are 40 source pixels, as far as 40 across.
    assert heat[120, 50] == pytest.approx(heat[100, 90], abs=0.01)


def test_the_brightest_is_the_brightest_patch_and_no_bright_pixel_nor_edge() -> None:
    image = np.full((200, 100), 80, np.uint8)
    image[60:90, 30:60] = 200
    image[150, 20] = 255
    mask = half_disc()
    heat = brightest(made(np.where(mask > 0, image, 0).astype(np.uint8), mask))
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    assert (y, x) == (pytest.approx(74.5, abs=2), pytest.approx(44.5, abs=2))
    # Next to the air the level tissue is as bright as within.
    inside = mask > 0
    assert heat[100, 78] == pytest.approx(80 / 255, abs=0.01)
    assert heat[inside].min() >= 79 / 255
