"""The warm-up on made lesions: what an epoch shows, and what a network has learned from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("keras")

from mammolens.errors import ConfigurationError
from mammolens.training import lesion_search
from mammolens.training.config import DataConfig, FitConfig, ModelConfig, TrainingConfig, load
from mammolens.training.fit import Fit
from mammolens.training.lesion_search import LesionBatches
from mammolens.training.lesions import Made
from mammolens.training.networks import make_model
from mammolens.training.protocol import Split

SIZE = (96, 64)
EVERY = np.arange(12)


@pytest.fixture
def images() -> NDArray[np.uint8]:
    """Twelve breasts of even tissue, each of another grey."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    inside = np.hypot((rows - 48) / 46, columns / 60) < 1
    return np.stack([np.where(inside, 60 + 4 * number, 0) for number in range(12)]).astype(np.uint8)


def configured(folder: Path, **fit: object) -> TrainingConfig:
    model = ModelConfig("m", "efficientnet-b0", SIZE, "none")
    return TrainingConfig(model, DataConfig("t", folder), FitConfig(epochs=1, batch_size=4, **fit), folder)  # type: ignore[arg-type]


def test_an_epoch_shows_each_picture_once_with_a_lesion_and_once_without(
    images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[int, bool]] = []
    make = lesion_search.make

    def watched(image: NDArray[np.uint8], *rest: object, lesion: bool) -> object:
        shown.append(((int(image.max()) - 60) // 4, lesion))
        return make(image, *rest, lesion=lesion)  # type: ignore[arg-type]

    monkeypatch.setattr(lesion_search, "make", watched)
    batches = LesionBatches(images, EVERY[:8], SIZE, 4, seed=1)
    assert batches.per_epoch == 4
    for step in range(4):
        batches(step)
    assert sorted(shown) == [(number, lesion) for number in range(8) for lesion in (False, True)]


def test_targets_lie_where_the_lesion_is_after_it_was_moved(
    images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lesion that is a white disc on black: the cells that are bright are those of the target."""

    def disc(image: NDArray[np.uint8], other: object, random: np.random.Generator, *, lesion: bool) -> Made:
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
        y, x = random.uniform(20, 76), random.uniform(16, 48)
        plane = (np.hypot(rows - y, columns - x) < 14).astype(np.float32) * lesion
        return Made(plane, plane)

    monkeypatch.setattr(lesion_search, "make", disc)
    batches = LesionBatches(images, EVERY, SIZE, 12, seed=3)
    for step in range(2):
        pictures, targets = batches(step)
        assert targets.shape == (12, 3 * 2 + 1)
        bright = (pictures[..., 0] > 128).reshape(12, 3, 32, 2, 32).mean((2, 4)).reshape(12, 6)
        np.testing.assert_allclose(np.clip(bright / 0.12, 0, 1), targets[:, :-1], atol=0.25)
        assert set(targets[:, -1]) == {0.0, 1.0}
        np.testing.assert_array_equal(targets[:, :-1].max(1) > 0, targets[:, -1] > 0)


def test_the_same_seed_and_step_give_the_same_batch(images: NDArray[np.uint8]) -> None:
    first, second = (LesionBatches(images, EVERY, SIZE, 4, seed=2)(5) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_only_fitted_images_without_a_cancer_are_drawn_on_and_the_head_stays(
    tmp_path: Path, images: NDArray[np.uint8], small_b0: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[NDArray[np.int64]] = []
    original = LesionBatches.__init__

    def watched(self: LesionBatches, images: object, rows: NDArray[np.int64], *rest: object) -> None:
        drawn.append(rows)
        original(self, images, rows, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(LesionBatches, "__init__", watched)
    labels = (EVERY % 3 == 0).astype(np.float32)
    split = Split("fold1", EVERY[:9], EVERY[9:])
    asked = Fit(configured(tmp_path, lesion_epochs=1), images, labels, split, tmp_path / "fold1-seed1", 1)
    model = make_model(asked.config, SIZE, 4)
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    lesion_search.warm_up(asked, model)
    assert drawn[0].tolist() == [1, 2, 4, 5, 7, 8]
    changed = {
        layer.name
        for layer in model.layers
        if layer.weights and not all(map(np.array_equal, before[layer.name], layer.get_weights()))
    }
    assert {"stem_conv", "top_conv"} <= changed
    assert "logit" not in changed

    # Another seed's fit begins alike: from the checkpoint at the end of the stage.
    again = make_model(asked.config, SIZE, 4)
    lesion_search.warm_up(replace(asked, folder=tmp_path / "fold1-seed2", seed=2), again)
    for name in sorted(changed):
        for one, other in zip(model.get_layer(name).get_weights(), again.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_nothing_is_done_where_no_warm_up_is_asked_for(
    tmp_path: Path, images: NDArray[np.uint8], small_b0: None
) -> None:
    asked = Fit(
        configured(tmp_path), images, np.zeros(12, np.float32), Split("f", EVERY, EVERY[:0]), tmp_path / "fit", 1
    )
    lesion_search.warm_up(asked, None)
    assert not list(tmp_path.iterdir())


def test_sizes_that_the_stride_does_not_divide_are_refused(tmp_path: Path) -> None:
    text = """
        [model]
        name = "m"
        architecture = "efficientnet-b0"
        size = [384, 288]
        imagenet = "none"
        [data]
        dataset = "rsna-640"
        folder = "."
        [fit]
        epochs = 1
        lesion_epochs = 2
    """
    path = tmp_path / "c.toml"
    path.write_text(text, encoding="utf-8")
    assert load(path).fit.lesion_epochs == 2
    with pytest.raises(ConfigurationError, match="multiples of 32"):
        load(path, ["fit.lesion_size=[250, 192]"])


def test_loss_is_that_of_cells_and_picture_worked_by_hand() -> None:
    """Two cells and the picture at logit 0: every cross-entropy is log 2."""
    targets = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]], np.float32)
    loss = np.asarray(lesion_search._loss(targets, np.zeros((2, 3), np.float32)))
    # Cells: (6 + 1) / 2 and (1 + 1) / 2 times log 2, by six; the picture: half of log 2.
    np.testing.assert_allclose(loss, np.log(2) * np.array([6 * 3.5 + 0.5, 6 * 1.0 + 0.5]), rtol=1e-5)
    sure = np.asarray(lesion_search._loss(targets, np.where(targets > 0, 20.0, -20.0).astype(np.float32)))
    np.testing.assert_allclose(sure, 0.0, atol=1e-5)
