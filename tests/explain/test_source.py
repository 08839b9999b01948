"""A heat map lands on the source pixels it belongs to."""

from __future__ import annotations

import numpy as np
import pytest

from mammolens.explain.source import on_source, reduced_box
from mammolens.types import CropGeometry

SIZE = (256, 192)


def blob(x: float, y: float, spread: float = 9.0) -> np.ndarray:
    """Gaussian at an input position (pixel ``i`` covers ``i`` to ``i + 1``)."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.exp(-((columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2) / (2 * spread**2)).astype(np.float32)


GEOMETRIES = [
    CropGeometry(box=(0.0, 0.0, 192.0, 256.0), mirrored=False, size=SIZE),
    CropGeometry(box=(13.0, 40.0, 301.0, 390.0), mirrored=False, size=SIZE),
    CropGeometry(box=(13.0, 40.0, 301.0, 390.0), mirrored=True, size=SIZE),
    CropGeometry(box=(120.37, 10.81, 917.55, 1300.4), mirrored=True, size=SIZE),
    CropGeometry(box=(1801.25, 7.5, 2600.0, 4100.75), mirrored=True, size=SIZE),
]


@pytest.mark.parametrize("reduction", [1, 2, 3, 4])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_centroid_of_a_blob_is_within_half_a_source_pixel(geometry: CropGeometry, reduction: int) -> None:
    rows, columns = int(geometry.box[3]) + 31, int(geometry.box[2]) + 17
    placed = on_source(blob(70.3, 101.6), geometry, rows, columns, reduction).astype(np.float64)
    height, width = placed.shape
    assert (height, width) == (-(-rows // reduction), -(-columns // reduction))
    x = (placed.sum(axis=0) * (np.arange(width) + 0.5)).sum() / placed.sum() * columns / width
    y = (placed.sum(axis=1) * (np.arange(height) + 0.5)).sum() / placed.sum() * rows / height
    expected = geometry.to_source(70.3, 101.6)
    assert abs(x - expected[0]) < 0.5
    assert abs(y - expected[1]) < 0.5


@pytest.mark.parametrize("reduction", [1, 3])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_pixel_is_the_bilinear_value_at_its_own_position(geometry: CropGeometry, reduction: int) -> None:
    rows, columns = int(geometry.box[3]) + 31, int(geometry.box[2]) + 17
    heat = blob(70.3, 101.6)
    placed = on_source(heat, geometry, rows, columns, reduction)
    left, top, right, bottom = reduced_box(geometry, rows, columns, reduction)
    fx, fy = columns / placed.shape[1], rows / placed.shape[0]
    x = np.array([geometry.to_input((i + 0.5) * fx, 0.0)[0] - 0.5 for i in range(left, right)])
    y = np.array([geometry.to_input(0.0, (i + 0.5) * fy)[1] - 0.5 for i in range(top, bottom)])
    across = np.array([np.interp(x, np.arange(SIZE[1]), row) for row in heat])
    expected = np.array([np.interp(y, np.arange(SIZE[0]), column) for column in across.T]).T
    # OpenCV places a warp to 1/32 pixel; the blob's steepest slope is 0.067 per pixel.
    np.testing.assert_allclose(placed[top:bottom, left:right], expected, atol=0.067 / 32 + 1e-4)
    outside = placed.copy()
    outside[top:bottom, left:right] = 0.0
    assert not outside.any()


def test_at_the_models_own_size_the_map_comes_back_unchanged() -> None:
    heat = np.random.default_rng(0).uniform(0.0, 1.0, SIZE).astype(np.float32)
    geometry = CropGeometry(box=(5.0, 9.0, 197.0, 265.0), mirrored=False, size=SIZE)
    placed = on_source(heat, geometry, 300, 200)
    np.testing.assert_allclose(placed[9:265, 5:197], heat, atol=1e-6)
    mirrored = CropGeometry(box=geometry.box, mirrored=True, size=SIZE)
    np.testing.assert_allclose(on_source(heat, mirrored, 300, 200)[9:265, 5:197], heat[:, ::-1], atol=1e-6)


def test_a_crop_smaller_than_a_reduced_pixel_gives_an_empty_map() -> None:
    geometry = CropGeometry(box=(10.0, 10.0, 10.4, 10.4), mirrored=False, size=SIZE)
    assert not on_source(np.ones(SIZE, np.float32), geometry, 100, 100, 8).any()
