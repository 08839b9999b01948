"""The phantom looks as it says: geometry, texture, lesions, noise."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest

from mammolens import phantom
from mammolens.imaging.breast import find_breast
from mammolens.phantom.textures import Grid, power_law

SMALL = {"rows": 574, "columns": 479}


@pytest.fixture(scope="module")
def whole() -> phantom.Phantom:
    return phantom.make("MLO", "L", "both", seed=0)


def test_default_is_a_12_bit_picture_with_a_pixel_of_a_tenth_of_a_millimetre(whole: phantom.Phantom) -> None:
    assert whole.pixels.shape == whole.mask.shape == (2294, 1914)
    assert whole.pixels.dtype == np.uint16
    assert whole.pixels.max() <= 4095
    assert whole.pixels.max() > 2500
    assert whole.pixel_spacing == pytest.approx(0.1)


def test_equal_arguments_give_equal_pictures_and_seeds_differ() -> None:
    first, again = (phantom.make("CC", "R", "both", seed=5, **SMALL) for _ in range(2))
    other = phantom.make("CC", "R", "both", seed=6, **SMALL)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert first.lesions == again.lesions
    assert (first.pixels != other.pixels).mean() > 0.2


@pytest.mark.parametrize("view", ["CC", "MLO"])
@pytest.mark.parametrize("laterality", ["L", "R"])
@pytest.mark.parametrize("seed", range(4))
def test_the_breast_is_found_where_it_was_drawn(view: str, laterality: str, seed: int) -> None:
    made = phantom.make(view, laterality, seed=seed, **SMALL)
    breast = find_breast(made.pixels)
    assert breast is not None
    assert breast.chest_wall == {"L": "left", "R": "right"}[laterality]
    x0, y0, x1, y1 = (round(side) for side in breast.box)
    found = np.zeros_like(made.mask)
    found[y0:y1, x0:x1] = cv2.resize(breast.mask, (x1 - x0, y1 - y0)) > 127
    overlap = (found & made.mask).sum() / (found | made.mask).sum()
    assert overlap > 0.97


def test_a_right_breast_has_its_chest_wall_on_the_right() -> None:
    left, right = (phantom.make("MLO", side, seed=2, **SMALL) for side in "LR")
    assert left.mask[:, 0].mean() > 0.9
    assert right.mask[:, -1].mean() > 0.9
    assert not left.mask[:, -1].any()
    assert not right.mask[:, 0].any()


def test_air_is_dark_noise_clipped_at_zero(whole: phantom.Phantom) -> None:
    ground = cv2.dilate(whole.mask.astype(np.uint8), np.ones((41, 41), np.uint8)) == 0
    air = whole.pixels[ground]
    assert air.min() == 0
    assert 0.3 < (air == 0).mean() < 0.9
    assert 0 < air.max() < 20
    assert np.percentile(whole.pixels[whole.mask], 1) > 20 * air.max()


def test_grey_values_fall_towards_the_skin(whole: phantom.Phantom) -> None:
    depth = cv2.distanceTransform(np.pad(whole.mask, ((0, 0), (1, 0)), "edge").astype(np.uint8), cv2.DIST_L2, 5)[:, 1:]
    lower = np.zeros_like(whole.mask)
    lower[1500:1900] = True
    near = whole.pixels[lower & (depth > 30) & (depth < 50)]
    far = whole.pixels[lower & (depth > 150) & (depth < 250)]
    assert np.median(near) < 0.95 * np.median(far)


def test_muscle_is_brighter_than_the_fat_beside_it_and_only_in_the_mlo_view(whole: phantom.Phantom) -> None:
    top = whole.pixels[50:300]
    assert np.median(top[:, 50:200]) > 1.25 * np.median(top[:, 620:700])
    cranial = phantom.make("CC", "L", seed=0)
    assert not cranial.mask[:200].any()


def test_texture_follows_the_power_law_asked_for() -> None:
    side, step = 512, 0.4
    texture = power_law(np.random.default_rng(3), Grid(side, side, step), beta=3.0, scales=(0.0, 500.0))
    spectrum = np.abs(np.fft.fft2(texture)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side, step), np.fft.fftfreq(side, step)))
    rings = np.geomspace(0.05, 1.0, 13)
    power = [spectrum[(frequency >= low) & (frequency < high)].mean() for low, high in pairwise(rings)]
    slope, _ = np.polyfit(np.log(np.sqrt(rings[1:] * rings[:-1])), np.log(power), 1)
    assert slope == pytest.approx(-3.0, abs=0.1)
    assert texture.std() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("kind", ["mass", "calcifications"])
@pytest.mark.parametrize("view", ["CC", "MLO"])
def test_a_lesion_lies_in_its_box_and_nowhere_else(kind: str, view: str) -> None:
    healthy = phantom.make(view, "R", None, seed=1)
    ill = phantom.make(view, "R", kind, seed=1)
    (lesion,) = ill.lesions
    assert lesion.kind == kind
    x0, y0, x1, y1 = lesion.box
    added = ill.pixels.astype(np.float64) - healthy.pixels
    assert np.square(added[y0:y1, x0:x1]).sum() > 0.98 * np.square(added).sum()
    assert added[y0:y1, x0:x1].max() > 400
    assert ill.mask[y0:y1, x0:x1].all()
    assert x0 < lesion.centre[0] < x1
    assert y0 < lesion.centre[1] < y1


def test_calcifications_are_tiny_and_cover_at_most_ten_millimetres() -> None:
    healthy, ill = (phantom.make("CC", "L", kind, seed=4) for kind in (None, "calcifications"))
    added = ill.pixels.astype(np.int32) - healthy.pixels > 250
    count, _, stats, _ = cv2.connectedComponentsWithStats(added.astype(np.uint8))
    assert count - 1 >= 8
    sides = stats[1:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]] * ill.pixel_spacing
    assert np.median(sides) < 0.8
    rows, columns = np.nonzero(added)
    assert np.hypot(np.ptp(rows), np.ptp(columns)) * ill.pixel_spacing <= 11.0


@pytest.mark.parametrize("kind", ["mass", "calcifications"])
def test_a_lesion_is_equally_far_behind_the_nipple_in_both_views(kind: str) -> None:
    behind = []
    for view in ("CC", "MLO"):
        made = phantom.make(view, "L", kind, seed=7)
        tip = np.nonzero(made.mask.any(axis=0))[0].max() + 1
        behind.append((tip - made.lesions[0].centre[0]) * made.pixel_spacing)
    assert behind[0] == pytest.approx(behind[1], abs=0.5)


def test_examination_has_four_views_and_lesions_in_one_breast() -> None:
    exam = phantom.examination(seed=0, **SMALL)
    assert list(exam) == ["RCC", "LCC", "RMLO", "LMLO"]
    assert {name: [lesion.kind for lesion in made.lesions] for name, made in exam.items()} == {
        "RCC": [],
        "LCC": ["mass", "calcifications"],
        "RMLO": [],
        "LMLO": ["mass", "calcifications"],
    }
    assert all((made.laterality + made.view) == name for name, made in exam.items())
    assert [bool(made.lesions) for made in phantom.examination(seed=1, **SMALL).values()] == [True, False, True, False]


def test_a_smaller_picture_shows_the_same_field() -> None:
    large, small = (phantom.make("CC", "L", "mass", seed=3, rows=r, columns=c) for r, c in ((2294, 1914), (574, 479)))
    assert small.pixel_spacing == pytest.approx(0.4, rel=2e-3)
    np.testing.assert_allclose(
        np.array(small.lesions[0].centre) * small.pixel_spacing, np.array(large.lesions[0].centre) * large.pixel_spacing
    )
    shrunk = cv2.resize(large.mask.astype(np.uint8) * 255, (479, 574), interpolation=cv2.INTER_AREA) > 127
    assert (shrunk == small.mask).mean() > 0.995


def test_a_wide_picture_keeps_square_pixels_and_the_breast_whole() -> None:
    made = phantom.make("MLO", "R", rows=300, columns=500, seed=1)
    assert made.pixels.shape == (300, 500)
    assert made.pixel_spacing == pytest.approx(229.4 / 300)
    assert made.mask[:, -1].any()
    assert not made.mask[:, :200].any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"view": "XCCL"},
        {"laterality": "B"},
        {"lesion": "cyst"},
        {"rows": 63},
        {"columns": 8},
        {"seed": -1},
    ],
)
def test_what_the_generator_does_not_know_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        phantom.make(**wrong)
