"""A synthetic breast and answers for it, made without a network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mammolens.explain.gradcam import heatmap
from mammolens.explain.regions import find_regions
from mammolens.imaging.preprocess import prepare
from mammolens.types import Mammogram, ModelIdentity, ModelInput, Prediction, Timing

SIZE = (256, 192)


@pytest.fixture
def half_ellipse() -> Callable[..., Mammogram]:
    """Maker of a breast at the left edge, a half ellipse with a smooth texture; mirrored on request."""

    def make(rows: int = 400, columns: int = 320, dtype: str = "uint8", mirrored: bool = False) -> Mammogram:
        y, x = np.mgrid[:rows, :columns].astype(np.float64)
        inside = (x / (0.6 * columns)) ** 2 + ((y - rows / 2) / (0.42 * rows)) ** 2 < 1.0
        texture = 100.0 + 70.0 * np.sin(x / 9.0) * np.cos(y / 13.0) + 30.0 * (1.0 - x / columns)
        pixels = np.rint(np.where(inside, texture, 0.0))
        if dtype == "uint16":
            pixels = pixels * 257.0
        pixels = np.ascontiguousarray(pixels[:, ::-1] if mirrored else pixels).astype(dtype)
        return Mammogram(pixels=pixels, rows=rows, columns=columns)

    return make


@pytest.fixture
def answer() -> Callable[..., Prediction]:
    """Maker of a prediction for a mammogram whose evidence is a list of ``(y cell, x cell, height)``."""

    def make(mammogram: Mammogram, *cells: tuple[int, int, float]) -> Prediction:
        prepared: ModelInput = prepare(mammogram, SIZE)
        evidence = np.zeros((SIZE[0] // 32, SIZE[1] // 32), np.float32)
        for row, column, height in cells:
            evidence[row, column] = height
        heat = heatmap(evidence, prepared.mask, 1.0)
        regions = find_regions(heat, prepared.geometry, (mammogram.rows, mammogram.columns))
        return Prediction(
            probability=0.7,
            logit=0.85,
            threshold=0.5,
            label="malignant",
            confidence=0.7,
            mammogram=mammogram,
            heatmap=heat,
            geometry=prepared.geometry,
            regions=regions,
            notices=(),
            model=ModelIdentity("test", "1", "0" * 64),
            timing=Timing(0.0, 0.0, 0.0, 0.0, 0.0),
        )

    return make
