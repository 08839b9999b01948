"""Side tasks: what they ask, what they cost, and that nothing of them stays in the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras")

from mammolens.datasets import Case
from mammolens.errors import ConfigurationError
from mammolens.evaluation.ridge import ridge_regression
from mammolens.training import fit
from mammolens.training.batches import ImageBatches
from mammolens.training.config import DataConfig, FitConfig, ModelConfig, TrainingConfig
from mammolens.training.fit import Fit
from mammolens.training.protocol import Split
from mammolens.training.side_tasks import LAYER, SideTasks, loss

SIZE = (64, 48)
ROWS = np.arange(12)


def cases() -> list[Case]:
    """Twelve pictures; the age of two is not known, nor whether one was recalled."""
    known = []
    for number in range(12):
        labels = {"age": 40.0 + 2 * number, "recalled": float(number % 3 == 0), "same": 1.0}
        if number in (3, 7):
            del labels["age"]
        if number == 5:
            del labels["recalled"]
        known.append(Case(Path(f"{number}.png"), str(number), "L", "CC", number % 2 == 0, 1, side_labels=labels))
    return known


def test_numbers_are_standardised_by_the_images_to_fit_and_questions_are_not() -> None:
    tasks = SideTasks.of(("age", "recalled"), cases(), ROWS[:6])
    assert tasks.questions == (False, True)
    ages = tasks.targets[[0, 1, 2, 4, 5], 0]
    assert ages.mean() == pytest.approx(0, abs=1e-6)
    assert ages.std() == pytest.approx(1, abs=1e-6)
    assert np.isnan(tasks.targets[[3, 7], 0]).all()
    assert np.isnan(tasks.targets[5, 1])
    assert tasks.targets[[0, 3, 6], 1].tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["same", "unheard of"])
def test_what_nothing_can_be_learned_of_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{name}'.*It knows: age, recalled, same"):
        SideTasks.of((name,), cases(), ROWS)


def test_the_loss_is_that_of_the_label_and_of_what_is_known_beside_it() -> None:
    tasks = SideTasks(np.zeros((1, 2), np.float32), (False, True))
    config = FitConfig(epochs=1, label_smoothing=0.0, side_weight=0.5)
    targets = np.array([[1, 2, 1], [0, np.nan, 1], [0, -1, np.nan]], np.float32)
    answers = np.array([[0.3, 1.5, -0.2], [1.0, 9.0, 0.4], [-2.0, 0.0, 7.0]], np.float32)

    def cross(label: float, logit: float) -> float:
        return float(np.log1p(np.exp(-logit if label else logit)))

    expected = [
        cross(1, 0.3) + 0.5 * (0.5 * 0.25 + cross(1, -0.2)),
        cross(0, 1.0) + 0.5 * cross(1, 0.4),
        cross(0, -2.0) + 0.5 * 0.5,
    ]
    np.testing.assert_allclose(np.asarray(loss(config, tasks)(targets, answers)), expected, rtol=1e-5)


def test_ridge_regression_minimises_what_it_says() -> None:
    random = np.random.default_rng(1)
    features = random.normal(3, 2, (40, 3)).astype(np.float32)
    targets = features @ np.array([0.5, -1.0, 0.0]) + random.normal(0, 0.1, 40)
    weights, bias = ridge_regression(features, targets, 0.1)
    spread = features.std(0, dtype=np.float64) + 1e-6

    def cost(w: np.ndarray, b: float) -> float:
        return float(((features @ w + b - targets) ** 2).sum() + 0.1 * 40 * ((w * spread) ** 2).sum())

    least = cost(weights, bias)
    for direction in np.vstack([np.eye(3), -np.eye(3)]) * 1e-3:
        assert cost(weights + direction, bias) > least
    assert cost(weights, bias + 1e-3) > least
    assert cost(weights, bias - 1e-3) > least


@pytest.mark.parametrize("views", [1, 2])
def test_a_fit_with_side_tasks_leaves_the_plain_network(small_b0: None, tmp_path: Path, views: int) -> None:
    random = np.random.default_rng(0)
    shape = (12, *SIZE) if views == 1 else (12, 2, *SIZE)
    images = random.integers(0, 255, shape, np.uint8)
    labels = np.array([case.malignant for case in cases()], np.float32)
    model = ModelConfig("m", "efficientnet-b0", SIZE, "none", views=views)  # type: ignore[arg-type]
    asked = FitConfig(epochs=2, batch_size=4, side_tasks=("age", "recalled"), balance="weights")
    config = TrainingConfig(model, DataConfig("t", tmp_path), asked, tmp_path)
    split = Split("fold1", ROWS[:8], ROWS[8:])
    one = Fit(config, images, labels, split, tmp_path / "fold1-seed1", 1, cases())
    made = fit.run(one)
    assert made.output_shape == (None, 1)
    assert LAYER not in {layer.name for layer in made.layers}
    assert np.isfinite(fit.predict(made, images, ROWS)).all()
    again = fit.run(one)
    np.testing.assert_array_equal(fit.predict(made, images, ROWS), fit.predict(again, images, ROWS))
    alone = replace(config, fit=replace(asked, side_tasks=()))
    other = fit.run(Fit(alone, images, labels, split, tmp_path / "alone", 1, cases()))
    assert not np.array_equal(fit.predict(made, images, ROWS), fit.predict(other, images, ROWS))


def test_targets_of_a_batch_stand_beside_its_labels() -> None:
    tasks = SideTasks.of(("age", "recalled"), cases(), ROWS)
    labels = np.array([case.malignant for case in cases()], np.float32)
    images = np.zeros((12, *SIZE), np.uint8)
    config = FitConfig(epochs=1, batch_size=12)
    _, targets = ImageBatches(images, labels, Split("t", ROWS, ROWS[:0]), config, 1, tasks.targets)(0)
    expected = np.column_stack([labels, tasks.targets])
    order = np.random.default_rng((1, 0)).permutation(ROWS)
    np.testing.assert_array_equal(targets, expected[order])
