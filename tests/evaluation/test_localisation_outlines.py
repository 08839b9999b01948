"""Outlines on their pictures: circles, boxes and masks, within and near, exact at points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mammolens.datasets.table import Outline
from mammolens.errors import TrainingDataError
from mammolens.evaluation.localisation_outlines import Place


def test_a_circle_holds_its_points_to_the_last_digit() -> None:
    place = Place(Outline(circle=(50.0, 40.0, 10.0)), 100, 120)
    assert place.holds(60.0, 40.0)
    assert not place.holds(60.001, 40.0)
    assert place.holds(60.001, 40.0, near=True)
    assert place.holds(50.0, 52.5, near=True)
    assert not place.holds(50.0, 52.51, near=True)


@pytest.mark.parametrize("reduction", [1, 2, 3])
def test_a_circle_has_its_area_at_every_reduction(reduction: int) -> None:
    place = Place(Outline(circle=(150.0, 140.0, 60.0)), 300, 300, reduction)
    assert place.inside.shape == (-(-300 // reduction),) * 2
    assert place.inside.sum() * reduction**2 == pytest.approx(np.pi * 60.0**2, rel=0.02)
    assert place.near.sum() * reduction**2 == pytest.approx(np.pi * 75.0**2, rel=0.02)


def test_a_box_is_stretched_about_its_middle() -> None:
    place = Place(Outline(box=(20.0, 30.0, 60.0, 50.0)), 100, 100)
    assert place.inside.sum() == 40 * 20
    assert place.holds(20.0, 30.0)
    assert not place.holds(19.9, 40.0)
    # A quarter of half the side on each side: 5 across, 2.5 down.
    assert place.holds(15.0, 27.5, near=True)
    assert not place.holds(14.9, 40.0, near=True)
    assert not place.holds(40.0, 27.4, near=True)


def test_a_mask_of_another_size_is_brought_to_its_picture(tmp_path: Path) -> None:
    mask = np.zeros((200, 100), np.uint8)
    mask[80:120, 30:50] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    place = Place(Outline(mask=tmp_path / "mask.png"), 400, 200)
    expected = np.zeros((400, 200), bool)
    expected[160:240, 60:100] = True
    np.testing.assert_array_equal(place.inside, expected)
    # The circle of 3,200 pixels has a radius of 31.9: a quarter of it is 7.98.
    assert place.holds(80.0, 246.0, near=True)
    assert not place.holds(80.0, 249.0, near=True)
    assert not place.holds(80.0, 246.0)


def test_a_mask_that_covers_most_of_its_picture_is_not_taken_for_a_negative(tmp_path: Path) -> None:
    mask = np.full((80, 80), 255, np.uint8)
    mask[20:40, 30:50] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    place = Place(Outline(mask=tmp_path / "mask.png"), 80, 80)
    assert place.inside.sum() == 80 * 80 - 400
    assert not place.holds(40.0, 30.0)


def test_an_outline_without_a_form_and_an_empty_mask_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError):
        Place(Outline(), 10, 10)
    mask = np.zeros((80, 80), np.uint8)
    mask[3, 3] = 1
    Image.fromarray(mask).save(tmp_path / "dot.png")
    with pytest.raises(TrainingDataError):
        Place(Outline(mask=tmp_path / "dot.png"), 20, 20)
