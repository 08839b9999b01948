"""Made lesions: where they say that they are, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mammolens.training import lesions


@pytest.fixture
def breast() -> NDArray[np.uint8]:
    """Half a disc of even tissue with a little texture; the chest wall on the left."""
    rows, columns = np.mgrid[:384, :288]
    inside = np.hypot((rows - 192) / 185, columns / 270) < 1
    texture = np.random.default_rng(0).normal(110, 6, (384, 288))
    return np.where(inside, np.clip(texture, 60, 200), 0).astype(np.uint8)


def test_a_lesion_changes_the_picture_where_it_is_marked(breast: NDArray[np.uint8]) -> None:
    inside, outside = [], []
    for seed in range(60):
        made = lesions.make(breast, breast, np.random.default_rng(seed), lesion=True)
        changed = np.abs(made.picture - breast / 255.0)
        assert made.lesion.max() == 1.0
        inside.append(changed[made.lesion > 0].mean())
        outside.append(changed[(made.lesion == 0) & (breast > 0)].mean())
    assert np.mean(inside) > 0.05
    assert np.mean(inside) > 8 * np.mean(outside)


def test_without_a_lesion_nothing_is_marked_though_harmless_things_are_drawn(breast: NDArray[np.uint8]) -> None:
    made = [lesions.make(breast, breast, np.random.default_rng(seed), lesion=False) for seed in range(60)]
    assert all(not one.lesion.any() for one in made)
    changed = [np.abs(one.picture - breast / 255.0).max() > 0.02 for one in made]
    assert 0.3 < np.mean(changed) < 0.9  # two of three pictures get one thing or two; an untouched one is among them


def test_air_stays_air_and_grey_values_stay_in_range(breast: NDArray[np.uint8]) -> None:
    for seed in range(60):
        made = lesions.make(breast, breast, np.random.default_rng(seed), lesion=True)
        assert not made.picture[breast == 0].any()
        assert made.picture.dtype == np.float32
        assert 0.0 <= made.picture.min() <= made.picture.max() <= 1.0


def test_the_same_seed_draws_the_same(breast: NDArray[np.uint8]) -> None:
    first, second = (lesions.make(breast, breast, np.random.default_rng(5), lesion=True) for _ in range(2))
    np.testing.assert_array_equal(first.picture, second.picture)
    np.testing.assert_array_equal(first.lesion, second.lesion)


def test_lesions_keep_their_share_of_the_breast_at_other_sizes(breast: NDArray[np.uint8]) -> None:
    def marked(image: NDArray[np.uint8]) -> float:
        made = [lesions.make(image, image, np.random.default_rng(seed), lesion=True) for seed in range(80)]
        return float(np.mean([one.lesion.mean() for one in made]))

    assert marked(breast[::2, ::2]) == pytest.approx(marked(breast), rel=0.35)


@pytest.mark.parametrize("fill", [0, 1])
def test_a_picture_without_room_for_a_lesion_is_no_failure(fill: int) -> None:
    bare = np.full((96, 72), fill, np.uint8)
    bare[40:44, :4] = 120
    made = lesions.make(bare, bare, np.random.default_rng(1), lesion=True)
    assert np.isfinite(made.picture).all()
