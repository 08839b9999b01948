"""A stage on a network of a few weights: averages, accumulation, early stopping, and going on after an interruption."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from mammolens.training import stage  # noqa: E402
from mammolens.training.optimisation import averaged, compile_model, loss_of, schedule  # noqa: E402
from mammolens.training.sections import FitConfig  # noqa: E402

SIZE = (8, 6)


class Noise:
    """Batches of noise whose mean tells the class."""

    per_epoch = 7

    def size(self, step: int) -> tuple[int, int]:
        return SIZE

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng((5, step))
        labels = random.integers(0, 2, (6, 1)).astype(np.float32)
        return random.normal(labels[:, :, None, None], 1.0, (6, *SIZE, 1)).astype(np.float32), labels


def tiny(config: FitConfig, steps: int, rate: Any = None) -> Any:
    image = keras.Input((*SIZE, 1))
    x = keras.layers.Dense(4, activation="relu", name="dense")(keras.layers.Flatten()(image))
    x = keras.layers.Dense(1, name="logit")(keras.layers.Dropout(0.3)(x))
    model = keras.Model(image, x)
    compile_model(model, config, schedule(config, steps) if rate is None else rate)
    return model


def begun(config: FitConfig, steps: int) -> Any:
    keras.utils.set_random_seed(3)
    return tiny(config, steps)


def stretch(config: FitConfig, **more: Any) -> stage.Stage:
    batches = more.pop("batches", Noise())
    return stage.Stage(
        batches=batches,
        epochs=config.epochs,
        build=lambda size: tiny(config, batches.per_epoch * config.epochs),
        size=SIZE,
        checkpoint_steps=config.checkpoint_steps,
        patience=config.patience,
        **more,
    )


def done(config: FitConfig, folder: Path, **more: Any) -> Any:
    made = stretch(config, **more)
    return stage.run(made, lambda: begun(config, made.steps), folder, "digest")


def weights(model: Any) -> np.ndarray:
    return np.concatenate([value.ravel() for value in model.get_weights()])


OPTIONS = FitConfig(epochs=3, learning_rate=1e-2, ema=0.9, accumulate=3, checkpoint_steps=4, loss="focal", warmup=0.2)


class PowerFailure(Exception):
    """Somebody pulled the plug."""


@pytest.mark.parametrize("step", [3, 11, 13])
def test_average_and_accumulated_gradients_survive_an_interruption(tmp_path: Path, step: int) -> None:
    whole = done(OPTIONS, tmp_path / "whole")

    class Failing(Noise):
        def __call__(self, asked: int) -> tuple[np.ndarray, np.ndarray]:
            if asked == step:
                raise PowerFailure
            return super().__call__(asked)

    with pytest.raises(PowerFailure):
        done(OPTIONS, tmp_path / "cut", batches=Failing())
    keras.utils.set_random_seed(99)
    resumed = done(OPTIONS, tmp_path / "cut")
    np.testing.assert_allclose(weights(resumed), weights(whole), rtol=1e-5, atol=1e-7)
    with (tmp_path / "cut" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows][-1] == 21
    assert all(0.0 <= float(row["waited"]) <= 1.0 for row in rows)


def test_what_is_left_is_the_average_of_the_weights(tmp_path: Path) -> None:
    config = FitConfig(epochs=1, learning_rate=1e-2, ema=0.9, dropout=0.0)
    model = begun(config, 7)
    average = None
    for step in range(7):
        model.train_on_batch(*Noise()(step))
        # By hand; the first step's weights are where the average begins.
        average = weights(model) if average is None else 0.9 * average + 0.1 * weights(model)
    own = weights(model)
    with averaged(model):
        np.testing.assert_allclose(weights(model), average, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(weights(model), own)
    np.testing.assert_allclose(weights(done(config, tmp_path)), average, rtol=1e-4, atol=1e-6)


def test_accumulated_batches_make_the_step_of_one_large_batch() -> None:
    config = FitConfig(epochs=1, label_smoothing=0.0)
    whole, parts = tiny(config, 9, 1e-2), tiny(FitConfig(epochs=1, label_smoothing=0.0, accumulate=3), 9, 1e-2)
    for model in (whole, parts):
        model.get_layer(index=3).rate = 0.0
    parts.set_weights(whole.get_weights())
    before = weights(whole)
    batches = [Noise()(step) for step in range(3)]
    for number, batch in enumerate(batches):
        np.testing.assert_array_equal(weights(parts), before, err_msg=f"after {number} batches")
        parts.train_on_batch(*batch)
    whole.train_on_batch(*(np.concatenate(each) for each in zip(*batches, strict=True)))
    assert np.abs(weights(whole) - before).max() > 1e-3
    np.testing.assert_allclose(weights(parts), weights(whole), rtol=1e-3, atol=1e-6)


def test_focal_loss_is_that_of_the_paper() -> None:
    logits, labels = np.array([[2.0], [-1.0], [0.5]], np.float32), np.array([[1.0], [1.0], [0.0]], np.float32)
    p = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    right = np.where(labels > 0, p, 1.0 - p)
    config = FitConfig(epochs=1, loss="focal", focal_gamma=1.5, label_smoothing=0.0)
    # Lin et al. 2017, equation 4: (1 - p_t)^gamma times the cross-entropy.
    assert float(loss_of(config)(labels, logits)) == pytest.approx(
        float(np.mean(-((1 - right) ** 1.5) * np.log(right)))
    )
    plain = FitConfig(epochs=1, label_smoothing=0.1)
    smooth = 0.9 * labels + 0.05
    expected = float(np.mean(-smooth * np.log(p) - (1 - smooth) * np.log(1 - p)))
    assert float(loss_of(plain)(labels, logits)) == pytest.approx(expected, rel=1e-5)


def test_stage_stops_when_the_score_rises_no_more_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    scores, kept = iter([0.6, 0.8, 0.7, 0.8, 0.9]), []

    def score(model: Any) -> float:
        kept.append(weights(model))
        return next(scores)

    config = FitConfig(epochs=9, learning_rate=1e-2, patience=2)
    model = done(config, tmp_path, stop=score)
    assert len(kept) == 4, "two epochs without a better score end it"
    np.testing.assert_array_equal(weights(model), kept[1])
    with (tmp_path / "log.csv").open() as file:
        assert [float(row["stop_auc"]) for row in csv.DictReader(file)] == [0.6, 0.8, 0.7, 0.8]
    again = done(config, tmp_path, stop=score)
    assert len(kept) == 4, "a stage that has ended is not gone on with"
    np.testing.assert_array_equal(weights(again), kept[1])


def test_early_stopping_resumes_with_the_best_it_had(tmp_path: Path) -> None:
    config = FitConfig(epochs=9, learning_rate=1e-2, patience=2)

    def run(folder: Path, fail_at: int = 99) -> tuple[Any, list[int]]:
        seen: list[int] = []

        def score(model: Any) -> float:
            epoch = int(np.ceil(float(model.optimizer.iterations) / 7))
            if epoch == fail_at:
                raise PowerFailure
            seen.append(epoch)
            return {1: 0.6, 2: 0.8}.get(epoch, 0.7)

        return done(config, folder, stop=score), seen

    whole, _ = run(tmp_path / "whole")
    with pytest.raises(PowerFailure):
        run(tmp_path / "cut", fail_at=4)
    resumed, seen = run(tmp_path / "cut")
    assert seen == [4]
    np.testing.assert_allclose(weights(resumed), weights(whole), rtol=1e-6)


PROGRAM = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_stage
from mammolens.training import stage
if sys.argv[3] == "slowly":
    save = stage.checkpoint.save
    def slow(*arguments):
        save(*arguments)
        time.sleep(0.3)
    stage.checkpoint.save = slow
test_stage.done(test_stage.OPTIONS, Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_stage_with_every_option_survives_kill_9(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    command = [sys.executable, "-c", PROGRAM]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*command, str(whole), here, "fast"], check=True, env=environment, capture_output=True)
    with subprocess.Popen([*command, str(cut), here, "slowly"], env=environment, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 120
        while not (cut / "checkpoint.npz").exists() and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
    with np.load(cut / "checkpoint.npz") as state:
        assert 0 < int(state["step"]) < 21
    subprocess.run([*command, str(cut), here, "fast"], check=True, env=environment, capture_output=True)
    with np.load(whole / "checkpoint.npz") as a, np.load(cut / "checkpoint.npz") as b:
        assert sorted(a.files) == sorted(b.files)
        for name in a.files:
            if name != "digest":
                np.testing.assert_allclose(b[name], a[name], rtol=1e-5, atol=1e-7)
