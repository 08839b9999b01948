"""The quality gate: mammograms pass, what is none is refused, with the code that the table names."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mammolens.errors import InputError, NoBreast, NotAMammogram
from mammolens.imaging.quality import assess
from mammolens.imaging.reading import mammogram_from_array, read_mammogram

Maker = Callable[..., NDArray[np.uint16]]


def grid(height: int = 400, width: int = 320) -> tuple[NDArray[Any], NDArray[Any]]:
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return y / height, x / width


def noise() -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 256, (400, 320)).astype(np.uint8)


def text_page() -> NDArray[Any]:
    page = np.full((500, 400), 245, np.uint8)
    for line in range(30):
        cv2.putText(page, "the quick brown fox jumps over", (20, 30 + 15 * line), 0, 0.45, 20, 1)
    turn = cv2.getRotationMatrix2D((200, 250), 4.0, 1.0)
    return cv2.warpAffine(page, turn, (400, 500), borderValue=245)


def chart() -> NDArray[Any]:
    y, x = grid()
    return np.where((np.floor(8 * y) + np.floor(8 * x)) % 2 == 0, 30, 220).astype(np.uint8)


def bars() -> NDArray[Any]:
    return np.repeat(np.linspace(0, 255, 8).astype(np.uint8)[:, None], 50, axis=0).repeat(320, axis=1)


def head_slice() -> NDArray[Any]:
    """Bright ring around a grey oval in the middle of black air, as in CT and MR."""
    y, x = grid()
    radius = np.hypot((x - 0.5) / 0.36, (y - 0.5) / 0.42)
    return np.where(radius < 0.9, 110 + 20 * np.sin(30 * x), np.where(radius < 1.0, 240, 3)).astype(np.uint8)


def chest() -> NDArray[Any]:
    """Two dark lungs in a bright trunk that fills the picture's width."""
    y, x = grid(400, 400)
    lungs = np.minimum(np.hypot((x - 0.3) / 0.15, (y - 0.45) / 0.3), np.hypot((x - 0.7) / 0.15, (y - 0.45) / 0.3))
    return np.clip(60 + 130 * np.clip(lungs, 0, 1.3) + 20 * np.sin(40 * y), 0, 255).astype(np.uint8)


def landscape() -> NDArray[Any]:
    """Sky that fades to the horizon, hills and a textured foreground."""
    y, x = grid(320, 480)
    hills = 0.55 + 0.06 * np.sin(9 * x) + 0.03 * np.sin(23 * x)
    ground = 70 + 40 * np.sin(60 * x * y) + np.random.default_rng(1).normal(0, 15, y.shape)
    return np.clip(np.where(y < hills, 230 - 90 * y, ground), 0, 255).astype(np.uint8)


def ultrasound() -> NDArray[Any]:
    """A speckled sector that hangs from the middle of the upper border."""
    y, x = grid()
    inside = (np.hypot(x - 0.5, y + 0.1) < 0.95) & (np.abs(x - 0.5) < 0.55 * (y + 0.1)) & (y > 0.05)
    return np.where(inside, np.random.default_rng(2).rayleigh(60, y.shape), 2).clip(0, 255).astype(np.uint8)


def ultrasound_panel() -> NDArray[Any]:
    """A linear probe's rectangular field beside a caption, its deep end fading away unevenly."""
    y, x = grid(480, 640)
    speckle = np.random.default_rng(3).rayleigh(60, y.shape)
    depth = 0.75 + 0.05 * np.sin(40 * x)
    inside = (x > 0.05) & (x < 0.7) & (y > 0.12) & (y < depth)
    picture = np.where(inside, cv2.GaussianBlur(speckle, (0, 0), 2.0) * (1.2 - y), 2).clip(0, 255).astype(np.uint8)
    return cv2.putText(picture, "L12-3  35 mm", (460, 40), 0, 0.7, 230, 2)


def trunk_slice() -> NDArray[Any]:
    """A trunk from one side of the picture to the other, with a dark middle, as in coronal MR."""
    y, x = grid(400, 400)
    bright = 140 + 30 * np.sin(12 * x) * np.sin(9 * y)
    return np.where(np.hypot((x - 0.5) / 0.32, (y + 0.1) / 0.6) < 1.0, 3, bright).astype(np.uint8)


@pytest.mark.parametrize(
    "make",
    [noise, text_page, chart, bars, head_slice, chest, landscape, ultrasound, ultrasound_panel, trunk_slice],
    ids=lambda make: make.__name__,
)
def test_pictures_of_something_else_are_refused(make: Callable[[], NDArray[Any]]) -> None:
    with pytest.raises(InputError) as refusal:
        mammogram_from_array(make())
    assert refusal.value.code in ("no-breast", "not-a-mammogram")
    assert mammogram_from_array(make(), any_modality=True).pixels.shape == make().shape


@pytest.mark.parametrize("value", [0, 77, 255])
def test_blank_pictures_are_refused(value: int) -> None:
    picture = np.full((300, 300), value, np.uint8)
    picture[5, 5] = 200
    with pytest.raises(InputError) as refusal:
        mammogram_from_array(picture)
    assert refusal.value.code == "blank-image"


def test_thumbnails_are_refused(breast: Maker) -> None:
    with pytest.raises(InputError) as refusal:
        mammogram_from_array(breast(200, 127))
    assert refusal.value.code == "too-small"
    assert mammogram_from_array(breast(200, 128)).columns == 128


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("margin", [0, 60])
def test_a_breast_passes_on_either_side_with_and_without_black_margins(
    breast: Maker, mirrored: bool, margin: int
) -> None:
    found, notices = assess(np.pad(breast(mirrored=mirrored), margin))
    assert notices == ()
    assert found.chest_wall == ("right" if mirrored else "left")
    # The half ellipse spans 70 % of the width and 92 % of the height.
    x0, y0, x1, y1 = found.box
    assert (x1 - x0) == pytest.approx(0.7 * 256, abs=6)
    assert (y1 - y0) == pytest.approx(0.92 * 320, abs=6)


def test_a_film_frame_does_not_join_the_breast(breast: Maker) -> None:
    picture = breast(640, 512)
    plain, _ = assess(picture)
    framed = picture.copy()
    framed[:12], framed[-12:], framed[:, -12:] = 3000, 3000, 3000
    found, notices = assess(framed)
    assert notices == ()
    assert found.box[2] == pytest.approx(plain.box[2], abs=4)


def test_a_cut_out_without_an_outline_is_refused(breast: Maker) -> None:
    with pytest.raises(NotAMammogram):
        assess(breast(1200, 1000)[350:850, 40:440])


def test_a_breast_that_fills_the_picture_is_warned_of(breast: Maker) -> None:
    # The half ellipse without its ends: the far outline is there, next to no air is left around it.
    _, notices = assess(breast(1200, 1000)[150:1050, :680])
    assert [notice.code for notice in notices] == ["cropped-region"]


@pytest.mark.parametrize("margin", [0, 60])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_breast_cut_off_by_the_upper_border_passes_with_a_square_corner_there(
    breast: Maker, mirrored: bool, margin: int
) -> None:
    """An axilla as wide as the breast reaches the picture's border: the corner is full, but not in mid-air."""
    picture = breast(640, 512, mirrored=mirrored)
    picture[:320] = picture[320]
    found, notices = assess(np.pad(picture, margin))
    assert notices == ()
    assert found.chest_wall == ("right" if mirrored else "left")


def test_the_same_square_corner_in_mid_air_is_no_breast(breast: Maker) -> None:
    picture = breast(640, 512)
    picture[:320] = picture[320]
    picture[:60] = 0
    picture[5, 500] = 4000  # a speck, so that the air above and beyond is no padding
    with pytest.raises(NoBreast, match="square corners"):
        assess(picture)


@pytest.mark.slow
def test_no_real_mammogram_is_refused_but_the_blank_one(shared: Path) -> None:
    data = shared / "data"
    refused = {}
    for folder in ("rsna-640/images", "mini-mias/images", "cbis-ddsm/images"):
        for path in sorted((data / folder).iterdir()):
            try:
                read_mammogram(path)
            except InputError as error:
                refused[path.name] = error.code
    assert refused == {"822_1942326353.jpg": "blank-image"}


def test_negatives_are_told_from_positives(shared: Path) -> None:
    folder = shared / "data" / "rsna-640"
    with (folder / "labels.csv").open() as table:
        rows = [row for row in csv.DictReader(table) if "822_1942326353" not in row["file"]][::12]
    wrong = [row["file"] for row in rows if read_mammogram(folder / row["file"]).negative != (row["inverted"] == "1")]
    assert len(rows) > 200
    assert len(wrong) <= 1
