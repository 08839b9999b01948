"""Both views of a breast as one picture of two planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras")

from mammolens.datasets import Case
from mammolens.errors import TrainingDataError
from mammolens.training.batches import ImageBatches
from mammolens.training.pairs import PairedImages, pairs_of
from mammolens.training.protocol import Split
from mammolens.training.sections import FitConfig


def case(woman: str, side: str, view: str, number: int = 0) -> Case:
    return Case(Path(f"{woman}{side}{view}{number}.png"), woman, side, view, False)


def test_views_of_one_breast_are_paired_and_no_others() -> None:
    cases = [
        *(case("a", "L", "MLO"), case("a", "L", "CC"), case("a", "R", "CC"), case("b", "R", "MLO")),
        *(case("b", "L", "CC"), case("b", "L", "MLO"), case("b", "L", "MLO", 1), case("b", "L", "CC", 1)),
    ]
    assert pairs_of(cases).tolist() == [[1, 0], [4, 5]]
    with pytest.raises(TrainingDataError, match="CC and an MLO"):
        pairs_of([case("a", "L", "CC"), case("a", "R", "MLO"), case("b", "L", "MLO")])


def test_pairs_are_batched_as_two_inputs_that_are_varied_apart() -> None:
    images = np.random.default_rng(0).integers(1, 255, (6, 32, 24)).astype(np.uint8)
    paired = PairedImages(images, np.array([[0, 0], [2, 3], [4, 5], [1, 0]]))
    assert paired.shape == (4, 2, 32, 24)
    np.testing.assert_array_equal(paired[np.array([1, 3])], images[[[2, 3], [1, 0]]])
    labels = np.array([0, 1, 0, 1], np.float32)
    config = FitConfig(epochs=1, batch_size=4, low_epochs=1, low_size=(16, 12))
    (cc, mlo), found = ImageBatches(paired, labels, Split("t", np.arange(4), np.arange(0)), config, 1)(0)
    assert cc.shape == mlo.shape == (4, 16, 12, 1)
    # The first pair is one picture twice.
    row = int(np.random.default_rng((1, 0)).permutation(np.arange(4)).tolist().index(0))
    assert found[row] == 0
    assert not np.array_equal(cc[row], mlo[row])
