"""What a reader sees: the grey picture, the tint on it, and the files written."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mammolens.explain import overlay as module
from mammolens.explain.overlay import display_reduction, overlay, picture, write_artifacts
from mammolens.explain.source import on_source
from mammolens.imaging.breast import find_breast, is_negative
from mammolens.types import Mammogram, Prediction

Maker = Callable[..., Mammogram]
Answer = Callable[..., Prediction]


def colourfulness(image: np.ndarray) -> np.ndarray:
    """Distance between a pixel's largest and smallest channel; 0 on grey."""
    return (image.max(axis=2).astype(int) - image.min(axis=2)).astype(np.float64)


def test_picture_is_the_same_from_eight_and_sixteen_bits(half_ellipse: Maker) -> None:
    eight, sixteen = picture(half_ellipse()), picture(half_ellipse(dtype="uint16"))
    floats = picture(half_ellipse(dtype="float32"))
    assert eight.dtype == np.uint8
    assert eight.shape == (400, 320)
    assert np.abs(eight.astype(int) - sixteen).max() <= 1
    assert np.abs(eight.astype(int) - floats).max() <= 1


def test_picture_is_the_same_whether_opencv_looks_up_sixteen_bits_or_not(
    half_ellipse: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    mammogram = half_ellipse(dtype="uint16")
    usual = picture(mammogram)
    monkeypatch.setattr(module, "_WIDE_TABLES", not module._WIDE_TABLES)
    if int(cv2.__version__.partition(".")[0]) < 5:
        with pytest.raises(cv2.error):
            picture(mammogram)
    else:
        np.testing.assert_array_equal(picture(mammogram), usual)


def test_picture_fills_the_grey_scale_and_keeps_air_black(half_ellipse: Maker) -> None:
    mammogram = half_ellipse()
    shown = picture(mammogram)
    breast = mammogram.pixels > 0
    assert not shown[~breast].any()
    assert shown.max() == 255
    assert 80 < np.median(shown[breast]) < 140


def test_a_marker_beside_the_breast_does_not_change_how_it_is_shown(half_ellipse: Maker, answer: Answer) -> None:
    mammogram = half_ellipse(dtype="uint16")
    box = answer(mammogram).geometry.box
    marked = mammogram.pixels.copy()
    marked[20:40, 280:310] = 65535
    shown = picture(mammogram, box=box)
    with_marker = picture(replace(mammogram, pixels=marked), box=box)
    np.testing.assert_array_equal(with_marker[mammogram.pixels > 0], shown[mammogram.pixels > 0])


@pytest.mark.parametrize(
    ("rows", "columns", "reduction", "expected"),
    [
        (640, 640, 1, 1),
        (2048, 1000, 1, 1),
        (2049, 1000, 1, 2),
        (4144, 2600, 1, 3),
        (5355, 4915, 4, 4),
        (5355, 4915, 2, 4),
    ],
)
def test_reduction_is_the_smallest_that_fits(rows: int, columns: int, reduction: int, expected: int) -> None:
    pixels = np.zeros((-(-rows // reduction), -(-columns // reduction)), np.uint8)
    mammogram = Mammogram(pixels=pixels, rows=rows, columns=columns, reduction=reduction)
    assert display_reduction(mammogram) == expected
    assert picture(mammogram).shape == (-(-rows // expected), -(-columns // expected))


def test_without_evidence_the_picture_stays_grey(half_ellipse: Maker, answer: Answer) -> None:
    prediction = answer(half_ellipse())
    assert prediction.regions == ()
    shown = overlay(prediction)[:, :320]
    grey = picture(prediction.mammogram, box=prediction.geometry.box)
    np.testing.assert_array_equal(shown, np.repeat(grey[:, :, None], 3, axis=2))


def test_low_evidence_does_not_tint_the_breast(half_ellipse: Maker, answer: Answer) -> None:
    prediction = answer(half_ellipse(), (4, 2, 0.1), (2, 3, 0.08))
    assert prediction.heatmap.max() > 0.05
    assert not colourfulness(overlay(prediction, colour_bar=False)).any()


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("size", [(400, 320), (1000, 800), (2301, 1701)])
def test_tint_lies_where_the_evidence_is(
    half_ellipse: Maker, answer: Answer, mirrored: bool, size: tuple[int, int]
) -> None:
    prediction = answer(half_ellipse(*size, mirrored=mirrored), (4, 2, 0.9))
    assert prediction.geometry.mirrored is mirrored
    shown = overlay(replace(prediction, regions=()), threshold=1.0, colour_bar=False)
    weight = colourfulness(shown)
    y, x = np.mgrid[: shown.shape[0], : shown.shape[1]] + 0.5
    factor = display_reduction(prediction.mammogram)
    # Cell (4, 2) of 8 × 6 on 256 × 192 has its middle at row 144, column 80.
    expected = prediction.geometry.to_source(80.0, 144.0)
    allowed = 0.02 * max(size)
    assert abs((weight * x).sum() / weight.sum() * factor - expected[0]) < allowed
    assert abs((weight * y).sum() / weight.sum() * factor - expected[1]) < allowed
    (region,) = prediction.regions
    assert abs(region.centre[0] + 0.5 - expected[0]) < allowed
    assert abs(region.centre[1] + 0.5 - expected[1]) < allowed


def test_the_mirrored_breast_gives_the_mirrored_overlay(half_ellipse: Maker, answer: Answer) -> None:
    there = overlay(replace(answer(half_ellipse(), (4, 2, 0.9)), regions=()), threshold=1.0, colour_bar=False)
    turned = answer(half_ellipse(mirrored=True), (4, 2, 0.9))
    back = overlay(replace(turned, regions=()), threshold=1.0, colour_bar=False)[:, ::-1]
    assert np.abs(there.astype(int) - back).max() <= 6
    assert np.abs(there.astype(int) - back).mean() < 0.3


def test_more_evidence_gives_a_stronger_tint(half_ellipse: Maker, answer: Answer) -> None:
    strengths = [
        colourfulness(
            overlay(replace(answer(half_ellipse(), (4, 2, height)), regions=()), threshold=1.0, colour_bar=False)
        )
        for height in (0.2, 0.4, 0.6, 0.8)
    ]
    sums = [strength.sum() for strength in strengths]
    assert sums == sorted(sums)
    assert sums[0] > 0


def test_colour_bar_stands_beside_the_picture(half_ellipse: Maker, answer: Answer) -> None:
    prediction = answer(half_ellipse(), (4, 2, 0.9))
    with_bar, without = overlay(prediction), overlay(prediction, colour_bar=False)
    assert without.shape == (400, 320, 3)
    assert with_bar.shape[0] == 400
    assert 320 < with_bar.shape[1] < 400
    np.testing.assert_array_equal(with_bar[:, :320], without)
    assert colourfulness(with_bar[:, 320:]).max() > 60


def test_contour_is_drawn_at_the_threshold(half_ellipse: Maker, answer: Answer) -> None:
    prediction = replace(answer(half_ellipse(800, 640), (4, 2, 0.9)), regions=())
    plain = overlay(prediction, threshold=1.0, colour_bar=False).astype(int)
    lined = overlay(prediction, threshold=0.5, colour_bar=False).astype(int)
    drawn = np.abs(lined - plain).max(axis=2) > 60
    heat = on_source(prediction.heatmap, prediction.geometry, 800, 640)
    assert drawn.sum() > 50
    assert heat[drawn].min() > 0.4
    assert heat[drawn].max() < 0.6


def test_boxes_are_drawn_where_the_regions_are(half_ellipse: Maker, answer: Answer) -> None:
    prediction = answer(half_ellipse(800, 640), (4, 2, 0.9))
    x0, y0, x1, y1 = prediction.regions[0].box
    shown = overlay(prediction, colour_bar=False)
    for side in (shown[y0, x0:x1], shown[y1 - 1, x0:x1], shown[y0:y1, x0], shown[y0:y1, x1 - 1]):
        assert (side == 255).all()


def test_files_lie_on_the_same_pixels_and_hold_the_same_map(
    half_ellipse: Maker, answer: Answer, tmp_path: Path
) -> None:
    prediction = answer(half_ellipse(2301, 1701, mirrored=True), (4, 2, 0.9))
    paths = write_artifacts(prediction, tmp_path / "new" / "folder", "case_1.L-CC")
    assert paths == {
        "overlay": str(tmp_path / "new" / "folder" / "case_1.L-CC.overlay.png"),
        "heatmap": str(tmp_path / "new" / "folder" / "case_1.L-CC.heatmap.png"),
        "heatmap_array": str(tmp_path / "new" / "folder" / "case_1.L-CC.heatmap.npy"),
    }
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == sorted(
        Path(p).name for p in paths.values()
    )
    with Image.open(paths["overlay"]) as file:
        assert not file.info
        shown = np.asarray(file)
    with Image.open(paths["heatmap"]) as file:
        map_picture = np.asarray(file)
    array = np.load(paths["heatmap_array"], allow_pickle=False)
    np.testing.assert_array_equal(shown, overlay(prediction))
    assert map_picture.dtype == np.uint8
    assert map_picture.shape == array.shape == (1151, 851)
    assert shown.shape[0] == 1151
    expected = on_source(prediction.heatmap, prediction.geometry, 2301, 1701, 2)
    np.testing.assert_array_equal(array, expected.astype(np.float16))
    assert np.abs(map_picture / 255.0 - expected).max() <= 0.5 / 255.0 + 1e-6


def test_equal_predictions_give_equal_bytes(half_ellipse: Maker, answer: Answer, tmp_path: Path) -> None:
    first = write_artifacts(answer(half_ellipse(), (4, 2, 0.9)), tmp_path, "first")
    second = write_artifacts(answer(half_ellipse(), (4, 2, 0.9)), tmp_path, "second")
    for key in ("overlay", "heatmap", "heatmap_array"):
        assert Path(first[key]).read_bytes() == Path(second[key]).read_bytes()


def test_a_small_picture_gets_its_overlay(answer: Answer) -> None:
    y, x = np.mgrid[:40, :30]
    pixels = np.where((x / 20) ** 2 + ((y - 20) / 16) ** 2 < 1, 120 + (x * 7 + y * 3) % 50, 0).astype(np.uint8)
    prediction = answer(Mammogram(pixels=pixels, rows=40, columns=30), (4, 2, 0.9))
    assert overlay(prediction).shape[0] == 40


def test_overlays_of_real_breasts_lie_on_the_breast(shared: Path, answer: Answer) -> None:
    folder = shared / "data" / "rsna-640"
    with (folder / "labels.csv").open(newline="") as file:
        files = [row["file"] for row in csv.DictReader(file)][::400]
    looked_at = 0
    for name in files:
        pixels = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
        assert pixels is not None
        if is_negative(pixels) or (breast := find_breast(pixels)) is None:
            continue
        looked_at += 1
        mammogram = Mammogram(pixels=np.asarray(pixels, np.uint8), rows=pixels.shape[0], columns=pixels.shape[1])
        prediction = replace(answer(mammogram, (3, 1, 0.9), (5, 2, 0.6)), regions=())
        tinted = colourfulness(overlay(prediction, threshold=1.0, colour_bar=False)) > 8
        x0, y0, x1, y1 = (round(edge) for edge in breast.box)
        mask = np.zeros(pixels.shape, np.uint8)
        mask[y0:y1, x0:x1] = cv2.resize(breast.mask, (x1 - x0, y1 - y0))
        near = cv2.dilate(mask, np.ones((7, 7), np.uint8)) > 0
        assert tinted.any()
        assert not (tinted & ~near).any()
    assert looked_at >= 5
