"""Deletion and insertion: a map of what a score rests on beats random orders, a wrong map does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mammolens.errors import ConfigurationError
from mammolens.explain.faithfulness import curves, deletion_curve, insertion_curve

BRIGHT = np.s_[32:64, 48:80]


def picture() -> np.ndarray:
    image = np.full((128, 128), 100, np.uint8)
    image[BRIGHT] = 200
    image[:, 112:] = 0
    return image


def score(images: np.ndarray) -> np.ndarray:
    """Share of the bright square that is still bright, of each picture."""
    return (images[:, *BRIGHT] > 150).mean(axis=(1, 2))


def test_the_right_map_falls_at_once_and_the_wrong_one_last() -> None:
    right = np.zeros((128, 128), np.float32)
    right[BRIGHT] = 1.0
    # 8 × 7 cells of 16 pixels hold breast; 4 of them are the square: gone after the first of 14 steps.
    curve = deletion_curve(score, picture(), right, steps=14)
    np.testing.assert_allclose(curve.scores, [1.0, *[0.0] * 14])
    assert curve.area == pytest.approx(1 / 28)
    assert 0.3 < curve.random_area < 0.7
    assert curve.advantage > 0.25
    wrong = deletion_curve(score, picture(), 1.0 - right, steps=14)
    np.testing.assert_allclose(wrong.scores, [*[1.0] * 14, 0.0])
    assert wrong.advantage < -0.25


def test_air_is_no_candidate_and_stays_air() -> None:
    seen: list[np.ndarray] = []

    def watching(images: np.ndarray) -> np.ndarray:
        seen.extend(images)
        return np.zeros(len(images))

    deletion_curve(watching, picture(), np.zeros((128, 128), np.float32), steps=2, orders=1)
    assert all(not image[:, 112:].any() for image in seen)
    assert (seen[2][:, :112] == 100).all()


def test_pictures_that_no_cell_divides_are_deleted_whole() -> None:
    image = np.full((50, 37), 9, np.uint8)
    image[0, 0] = 10
    curve = deletion_curve(lambda p: (p == 10).any(axis=(1, 2)), image, np.zeros((50, 37), np.float32), steps=3)
    assert curve.scores[0] == 1.0
    assert curve.scores[-1] == 0.0


def test_insertion_of_the_right_map_brings_the_score_back_at_once() -> None:
    right = np.zeros((128, 128), np.float32)
    right[BRIGHT] = 1.0
    # Blurred, the square's middle stays below 150 nowhere but near its core; given back first, all of it is bright.
    curve = insertion_curve(score, picture(), right, steps=14)
    np.testing.assert_allclose(curve.scores[1:], 1.0)
    assert curve.scores[0] < 1.0
    assert curve.area == pytest.approx((curve.scores[0] + 27.0) / 28.0)
    assert curve.advantage > 0.0
    assert insertion_curve(score, picture(), 1.0 - right, steps=14).advantage < 0.0


def test_the_blur_that_insertion_begins_with_takes_nothing_of_the_air() -> None:
    seen: list[np.ndarray] = []

    def watching(images: np.ndarray) -> np.ndarray:
        seen.extend(images)
        return np.zeros(len(images))

    flat = np.full((128, 128), 100, np.uint8)
    flat[:, 112:] = 0
    insertion_curve(watching, flat, np.zeros((128, 128), np.float32), steps=1, orders=1)
    np.testing.assert_array_equal(seen[0], flat)


def test_maps_of_one_order_are_scored_once_and_all_against_the_same_random_orders() -> None:
    calls: list[int] = []

    def counting(images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        return score(images)

    right = np.zeros((128, 128), np.float32)
    right[BRIGHT] = 1.0
    found = curves("deletion", counting, picture(), [right, 3.0 * right, 1.0 - right], steps=4, orders=2)
    assert calls == [5] * 4
    assert found[0].area == found[1].area == deletion_curve(score, picture(), right, steps=4, orders=2).area
    assert len({curve.random_area for curve in found}) == 1


def test_random_orders_are_the_same_every_time() -> None:
    heat = np.zeros((128, 128), np.float32)
    assert deletion_curve(score, picture(), heat).random_area == deletion_curve(score, picture(), heat).random_area


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"cell": 0},
        {"orders": 0},
        {"heatmap": np.zeros((2, 2), np.float32)},
        {"image": np.zeros((128, 128))},
    ],
)
def test_impossible_demands_are_refused(change: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"image": picture(), "heatmap": np.zeros((128, 128), np.float32)} | change
    with pytest.raises(ConfigurationError):
        deletion_curve(score, **arguments)
