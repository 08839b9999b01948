"""Finding the breast: frames and tape are left out, everything else stays where it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mammolens.imaging.breast import find_breast, is_negative
from mammolens.imaging.preprocess import prepare
from mammolens.imaging.reading import read_mammogram
from mammolens.types import Mammogram

Maker = Callable[..., NDArray[np.uint16]]


def test_box_of_a_known_half_ellipse(breast: Maker) -> None:
    found = find_breast(breast(640, 512))
    assert found is not None
    # Semi-axes of 0.7 of the width and 0.46 of the height.
    assert found.box == pytest.approx((0, 0.04 * 640, 0.7 * 512, 0.96 * 640), abs=6)
    assert found.area == pytest.approx(np.pi / 2 * 0.7 * 0.46, rel=0.03)


def test_mirroring_mirrors_the_box(breast: Maker) -> None:
    left, right = find_breast(breast()), find_breast(breast(mirrored=True))
    assert left is not None
    assert right is not None
    assert (left.chest_wall, right.chest_wall) == ("left", "right")
    assert right.box[0] == pytest.approx(256 - left.box[2], abs=0.6)
    assert np.array_equal(left.mask, right.mask[:, ::-1])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_polarity_is_told_whatever_the_type(breast: Maker, kind: type) -> None:
    picture = (breast() // 16).astype(kind)
    assert not is_negative(picture)
    assert is_negative(255 - picture)


def test_breast_found_while_reading_is_not_looked_for_again(breast: Maker) -> None:
    picture = breast()
    plain = Mammogram(picture, *picture.shape)
    known = Mammogram(picture, *picture.shape, breast=find_breast(picture))
    assert plain == known
    assert np.array_equal(prepare(plain, (64, 48)).image, prepare(known, (64, 48)).image)


@pytest.mark.parametrize(
    ("name", "free"),
    [
        ("Calc-Test_P_00127_RIGHT_MLO", "right"),
        ("Calc-Test_P_00202_RIGHT_CC", "left"),
        ("Calc-Test_P_00202_RIGHT_MLO", "left"),
    ],
)
def test_film_frames_are_left_out(shared: Path, name: str, free: str) -> None:
    found = read_mammogram(shared / "data" / "cbis-ddsm" / "images" / f"{name}.png")
    assert found.breast is not None
    x0, _, x1, _ = found.breast.box
    gap = x0 if free == "left" else found.columns - x1
    # By eye, the breast keeps clear of the far border by more than a tenth of the picture.
    assert gap > 0.1 * found.columns
    assert found.breast.chest_wall != free
