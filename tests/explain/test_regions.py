"""Regions: peaks and boxes of a heat map in source pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammolens.explain.regions import find_regions
from mammolens.types import CropGeometry

SIZE = (256, 192)
SAME = CropGeometry(box=(0.0, 0.0, 192.0, 256.0), mirrored=False, size=SIZE)


def blobs(*places: tuple[float, float, float, float]) -> np.ndarray:
    """Highest of some Gaussians ``(x, y, spread, height)``, in pixel indices."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
    heat = np.zeros(SIZE)
    for x, y, spread, height in places:
        heat = np.maximum(heat, height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread**2)))
    return heat.astype(np.float32)


def test_one_blob_gives_the_box_at_half_its_height() -> None:
    # exp(-r² / 2 s²) is 0.5 at r = 1.1774 s: 11.77 pixels, so the pixels from 48 - 11 to 48 + 11.
    (region,) = find_regions(blobs((48, 100, 10, 0.8)), SAME, (256, 192))
    assert region.centre == (48, 100)
    assert region.box == (37, 89, 60, 112)
    assert region.score == pytest.approx(0.8, abs=1e-6)


def test_box_and_centre_of_a_mirrored_crop() -> None:
    # Input pixel i of 192 covers source 500 - 2 (i + 1) to 500 - 2 i; input row j covers 30 + 3 j to 33 + 3 j.
    geometry = CropGeometry(box=(116.0, 30.0, 500.0, 798.0), mirrored=True, size=SIZE)
    (region,) = find_regions(blobs((48, 100, 10, 0.8)), geometry, (900, 512))
    assert region.box == (500 - 2 * 60, 30 + 3 * 89, 500 - 2 * 37, 30 + 3 * 112)
    assert region.centre == (500 - 2 * 48 - 2, 30 + 3 * 100 + 1)


def test_highest_comes_first_and_the_limit_holds() -> None:
    heat = blobs((40, 40, 6, 0.6), (130, 60, 6, 0.9), (60, 200, 6, 0.75), (140, 210, 6, 0.5))
    regions = find_regions(heat, SAME, (256, 192), limit=3)
    assert [region.centre for region in regions] == [(130, 60), (60, 200), (40, 40)]


def test_equal_peaks_come_from_top_to_bottom_then_from_the_chest_wall() -> None:
    heat = blobs((150, 40, 6, 0.7), (40, 40, 6, 0.7), (90, 200, 6, 0.7), (20, 120, 6, 0.7))
    centres = [region.centre for region in find_regions(heat, SAME, (256, 192))]
    assert centres == [(40, 40), (150, 40), (20, 120), (90, 200)]


def test_nothing_below_the_threshold() -> None:
    assert find_regions(blobs((48, 100, 10, 0.39)), SAME, (256, 192), threshold=0.4) == ()
    assert find_regions(np.zeros(SIZE, np.float32), SAME, (256, 192)) == ()


def test_a_clipped_top_has_its_centre_in_the_middle() -> None:
    heat = np.minimum(blobs((80, 120, 20, 3.0)), 1.0)
    (region,) = find_regions(heat, SAME, (256, 192))
    assert region.centre == (80, 120)
    assert region.score == 1.0


def test_a_shoulder_belongs_to_its_peak_and_a_second_peak_does_not() -> None:
    shoulder = find_regions(blobs((80, 120, 12, 1.0), (98, 120, 12, 0.7)), SAME, (256, 192))
    assert [region.centre for region in shoulder] == [(80, 120)]
    first, second = find_regions(blobs((60, 120, 12, 1.0), (96, 120, 12, 0.9)), SAME, (256, 192))
    assert first.centre == (60, 120)
    assert second.centre == (96, 120)
    assert first.box[2] <= second.box[0]


def test_a_contour_at_the_threshold_lies_inside_the_box() -> None:
    heat = blobs((80, 120, 14, 1.0))
    (region,) = find_regions(heat, SAME, (256, 192), threshold=0.3)
    rows, columns = np.nonzero(heat >= 0.3)
    assert region.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


quarter = st.integers(0, 4 * 3000).map(lambda n: n / 4)
peaks = st.lists(
    st.tuples(
        st.floats(0, SIZE[1] - 1),
        st.floats(0, SIZE[0] - 1),
        st.floats(2, 30),
        st.floats(0.2, 2.0),
    ),
    min_size=1,
    max_size=7,
)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[CropGeometry, tuple[int, int]]:
    """A crop inside a picture, and the picture's shape."""
    x0, y0 = draw(quarter), draw(quarter)
    x1, y1 = x0 + 1 + draw(quarter), y0 + 1 + draw(quarter)
    shape = (int(np.ceil(y1)) + draw(st.integers(0, 50)), int(np.ceil(x1)) + draw(st.integers(0, 50)))
    return CropGeometry(box=(x0, y0, x1, y1), mirrored=draw(st.booleans()), size=SIZE), shape


@settings(max_examples=60, deadline=None)
@given(peaks, pictures())
def test_centre_lies_in_its_box_and_the_box_in_the_picture(
    places: list[tuple[float, float, float, float]], picture: tuple[CropGeometry, tuple[int, int]]
) -> None:
    geometry, shape = picture
    heat = np.minimum(blobs(*places), 1.0)
    regions = find_regions(heat, geometry, shape)
    assert len(regions) <= 5
    assert bool(regions) == bool(heat.max() >= 0.4)
    assert [r.score for r in regions] == sorted((r.score for r in regions), reverse=True)
    for region in regions:
        x0, y0, x1, y1 = region.box
        assert 0 <= x0 <= region.centre[0] < x1 <= shape[1]
        assert 0 <= y0 <= region.centre[1] < y1 <= shape[0]
        assert 0.4 <= region.score <= 1.0


@settings(max_examples=60, deadline=None)
@given(peaks, pictures())
def test_the_mirrored_picture_gives_the_mirrored_regions(
    places: list[tuple[float, float, float, float]], picture: tuple[CropGeometry, tuple[int, int]]
) -> None:
    geometry, shape = picture
    columns = shape[1]
    x0, y0, x1, y1 = geometry.box
    turned = CropGeometry(box=(columns - x1, y0, columns - x0, y1), mirrored=not geometry.mirrored, size=SIZE)
    heat = np.minimum(blobs(*places), 1.0)
    there, back = find_regions(heat, geometry, shape), find_regions(heat, turned, shape)
    assert [(columns - r.box[2], r.box[1], columns - r.box[0], r.box[3]) for r in back] == [r.box for r in there]
    assert [(columns - 1 - r.centre[0], r.centre[1]) for r in back] == [r.centre for r in there]
    assert [r.score for r in back] == [r.score for r in there]
