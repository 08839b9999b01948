"""Patches around outlines: where lesions lie on the model's input, and what an epoch shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras")

from mammolens.datasets import Abnormality, Case, Outline
from mammolens.imaging.png import encode_png
from mammolens.models import golden
from mammolens.training.patches import KINDS, Lesion, PatchBatches, cut, kind_of, lesions_of

SIZE = (160, 120)


def test_kind_is_made_of_pathology_and_type() -> None:
    here = Outline(circle=(1.0, 1.0, 1.0))
    pairs = [("mass", "benign_without_callback"), ("calcification", "benign"), ("mass", "malignant")]
    pairs += [("calcification", "malignant"), ("asymmetry", "malignant")]
    found = [KINDS[kind_of(Abnormality(kind, pathology, outline=here))] for kind, pathology in pairs]
    expected = ["benign mass", "benign calcification", "malignant mass", "malignant calcification", "malignant mass"]
    assert found == expected
    assert kind_of(Abnormality("mass", "malignant")) == kind_of(Abnormality("mass", outline=here)) == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_outline_lands_on_the_bright_disc_of_the_model_input(tmp_path: Path, seed: int) -> None:
    """Golden pictures hold a disc whose place is known; odd ones are mirrored, and the input turns them back."""
    pixels = (golden.picture(seed) / 16).astype(np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(pixels))
    x, y, radius = 120.0 + 11 * seed, 280.0, 20.0 + 4 * seed
    x = 479.0 - x if seed % 2 else x
    whole = Abnormality("mass", "malignant", outline=Outline(circle=(x + 0.5, y + 0.5, radius)))
    (lesion,) = lesions_of([Case(path, "w", "L", "CC", True, abnormalities=(whole,))], SIZE)
    image = golden.model_input(seed, SIZE).image.astype(np.float64)
    ys, xs = np.nonzero(image > np.percentile(image, 98))
    left, top, right, bottom = lesion.box
    assert left - 2 <= np.median(xs) <= right + 2
    assert (left + right) / 2 == pytest.approx(np.median(xs), abs=4)
    assert (top + bottom) / 2 == pytest.approx(np.median(ys), abs=4)
    # Two radii of the disc, on the scale of the crop: a third to a half of a pixel for each.
    assert 2 * radius * 0.2 < right - left < 2 * radius * 0.6


def test_cut_is_black_beyond_the_picture() -> None:
    picture = np.arange(1, 49, dtype=np.uint8).reshape(6, 8)
    np.testing.assert_array_equal(cut(picture, 4, 3, 4), picture[1:5, 2:6])
    corner = cut(picture, 0, 0, 4)
    np.testing.assert_array_equal(corner[2:, 2:], picture[:2, :2])
    assert corner[:2].sum() == corner[:, :2].sum() == 0
    assert cut(picture, 40, 3, 4).sum() == 0


def test_an_epoch_shows_each_lesion_once_and_as_much_background() -> None:
    images = np.full((3, 96, 96), 60, np.uint8)
    images[0, 20:40, 50:70] = images[1, 60:80, 20:40] = 255
    lesions = [Lesion(0, 3, (50, 20, 70, 40)), Lesion(1, 2, (20, 60, 40, 80))]
    batches = PatchBatches(images, lesions, np.arange(3), 32, 2, seed=1)
    assert (batches.per_epoch, batches.size(0)) == (2, (32, 32))
    shown = [batches(step) for step in range(8)]
    kinds = np.concatenate([kinds for _, kinds in shown])
    assert sorted(kinds[:4]) == sorted(kinds[4:8]) == [0, 0, 2, 3]
    patches = np.concatenate([patches for patches, _ in shown])[..., 0]
    # A lesion's patch holds much of its bright square, also varied; a background's nothing of it.
    bright = (patches > 140).mean(axis=(1, 2))
    assert bright[kinds > 0].min() > 0.1
    assert bright[kinds == 0].max() == 0.0
    np.testing.assert_array_equal(batches(5)[0], PatchBatches(images, lesions, np.arange(3), 32, 2, seed=1)(5)[0])
