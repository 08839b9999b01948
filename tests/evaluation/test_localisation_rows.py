"""What a map says of a picture, on cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mammolens.datasets.table import Outline
from mammolens.evaluation.localisation_outlines import Place
from mammolens.evaluation.localisation_rows import THRESHOLDS, Picture, reduction_of, row
from mammolens.types import CropGeometry

SIZE = (96, 64)


def picture(*outlines: Outline, mirrored: bool = False) -> Picture:
    """Input of 96 × 64, cut out of 192 × 160 at (16, 0), twice as large."""
    geometry = CropGeometry((16.0, 0.0, 144.0, 192.0), mirrored, SIZE)
    places = [Place(outline, 192, 160) for outline in outlines]
    return Picture("w", geometry, 192, 160, 1, np.full(SIZE, 255, np.uint8), places)


def bump(y: int, x: int, height: float = 1.0, radius: float = 6.0) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    values = height * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2.0 * radius**2))
    return np.where(values < 0.01 * height, 0.0, values).astype(np.float32)


def circle(x: float, y: float, radius: float) -> Outline:
    return Outline(circle=(x, y, radius))


def test_the_peak_is_put_on_source_pixels_by_the_geometry() -> None:
    # Pixel (40, 20) has its middle at (20.5, 40.5); in the source 16 + 41 = 57 across, 81 down.
    assert row(picture(circle(57.0, 81.0, 0.1)), bump(40, 20)).inside is True
    assert row(picture(circle(58.0, 81.0, 0.9)), bump(40, 20)).inside is False
    assert row(picture(circle(58.0, 81.0, 0.9)), bump(40, 20)).near is True
    # Mirrored: 16 + (64 - 20.5) * 2.
    assert row(picture(circle(103.0, 81.0, 0.1), mirrored=True), bump(40, 20)).inside is True


def test_energy_and_overlap_of_a_box_and_a_level_map() -> None:
    heat = np.zeros(SIZE, np.float32)
    heat[24:48, 16:48] = 1.0
    # In the source the map is 1 on 48..96 × 48..112. The box takes its left half, and as much outside it.
    found = row(picture(Outline(box=(16.0, 48.0, 80.0, 96.0))), heat)
    assert found.energy == pytest.approx(0.5, abs=0.01)
    at_half = found.overlaps[list(THRESHOLDS).index(0.5)]
    assert at_half == pytest.approx(1.0 / 3.0, abs=0.01)


def test_overlap_is_that_of_the_pixels_above_each_share_of_the_peak() -> None:
    heat, place = bump(48, 32, height=7.0), circle(80.0, 97.0, 12.0)
    shot = picture(place)
    found = row(shot, heat)
    from mammolens.explain.source import on_source

    shown = on_source(heat, shot.geometry, 192, 160)
    for share, overlap in zip(THRESHOLDS, found.overlaps, strict=True):
        above, inside = shown >= share * heat.max(), shot.places[0].inside
        assert overlap == pytest.approx((above & inside).sum() / (above | inside).sum(), abs=1e-3)


def test_each_lesion_gets_its_highest_region_and_the_rest_are_false() -> None:
    heat = np.maximum.reduce([bump(20, 20, 2.0), bump(70, 40, 4.0), bump(20, 50, 1.0)])
    found = row(picture(circle(57.0, 41.0, 10.0), circle(120.0, 150.0, 4.0)), heat)
    assert found.found[0] == pytest.approx(2.0, rel=1e-3)
    assert found.found[1] == -np.inf
    assert sorted(found.false) == pytest.approx([1.0, 4.0], rel=1e-3)
    assert found.inside is False


def test_without_lesions_all_regions_are_false_and_nothing_is_pointed_at() -> None:
    found = row(picture(), bump(20, 20, 3.0))
    assert found.inside is None
    assert np.isnan(found.energy)
    assert found.found == ()
    assert found.false == pytest.approx([3.0], rel=1e-3)


def test_a_silent_map_misses() -> None:
    found = row(picture(circle(57.0, 41.0, 10.0)), np.zeros(SIZE, np.float32))
    assert found.silent
    assert (found.inside, found.near, found.energy) == (False, False, 0.0)
    assert found.found == (-np.inf,)
    assert not found.overlaps.any()


def test_chance_is_the_share_of_the_breast() -> None:
    # The crop is 128 × 192; the box lies wholly in it.
    inside, near = picture(Outline(box=(40.0, 40.0, 72.0, 88.0))).chance()
    assert inside == pytest.approx(32 * 48 / (128 * 192), rel=0.01)
    assert near == pytest.approx(40 * 60 / (128 * 192), rel=0.01)


@pytest.mark.parametrize(("shape", "reduction"), [((1024, 700), 1), ((1025, 700), 2), ((5355, 4915), 6)])
def test_areas_are_counted_on_at_most_1024_pixels(shape: tuple[int, int], reduction: int) -> None:
    assert reduction_of(*shape) == reduction
