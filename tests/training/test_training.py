"""Training on tiny data: learns, logs, resumes as it would have gone on."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from mammolens.errors import TrainingError  # noqa: E402
from mammolens.training import checkpoint, config, fit  # noqa: E402
from mammolens.training.augment import augment  # noqa: E402
from mammolens.training.batches import ImageBatches  # noqa: E402
from mammolens.training.protocol import Split  # noqa: E402

SIZE = (64, 48)

pytestmark = pytest.mark.usefixtures("small_b0")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> config.TrainingConfig:
    folder = tmp_path_factory.mktemp("run")
    return config.TrainingConfig(
        model=config.ModelConfig("tiny", "efficientnet-b0", SIZE, "none", frozen=("stem", "block1", "block2")),
        data=config.DataConfig("rsna-640", folder),
        fit=config.FitConfig(epochs=2, batch_size=8, learning_rate=1e-3, checkpoint_steps=2),
        output=folder,
    )


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, Split]:
    random = np.random.default_rng(0)
    labels = np.tile([0.0, 1.0], 20).astype(np.float32)
    images = random.integers(60, 120, (40, *SIZE)).astype(np.uint8)
    images[labels > 0, 20:40, 10:30] += 100
    return images, labels, Split("tiny", np.arange(32), np.arange(32, 40))


def test_digest_tells_runs_apart_by_what_their_weights_depend_on(settings: config.TrainingConfig) -> None:
    settings = replace(settings, model=replace(settings.model, imagenet=Path("c")))

    def changed(room: str, **values: object) -> str:
        return replace(settings, **{room: replace(getattr(settings, room), **values)}).digest

    # By hand: SHA-256 of the sorted JSON without output, paths, names and what only reports or saves.
    same = config.TrainingConfig(
        config.ModelConfig(
            "other", "efficientnet-b0", (64, 48), Path("x"), "9", ("stem", "block1", "block2"), 2, "average"
        ),
        config.DataConfig("rsna-640", Path("elsewhere")),
        config.FitConfig(
            epochs=2,
            batch_size=8,
            learning_rate=1e-3,
            checkpoint_steps=7,
            watch_epochs=3,
            seeds=(3, 4),
            checkpointing=True,
        ),
        Path("there"),
    )
    assert settings.digest == same.digest == "6603a2ad7f9851b7"
    others = [
        changed("fit", epochs=3),
        changed("fit", low_epochs=1),
        changed("fit", low_size=(32, 32)),
        changed("fit", precision="mixed_bfloat16"),
        changed("model", frozen=()),
        changed("model", size=(48, 64)),
        changed("data", dataset="other"),
        changed("model", imagenet="none"),
        changed("model", views=2),
        changed("data", protocol="official"),
        changed("fit", ema=0.9),
        changed("fit", loss="focal"),
    ]
    assert len({settings.digest, *others}) == 13
    assert settings.digest == changed("fit", workers=3) == changed("model", final="ensemble")


def test_batches_depend_on_seed_and_step_alone(
    settings: config.TrainingConfig, data: tuple[np.ndarray, np.ndarray, Split]
) -> None:
    images, labels, split = data
    one, two = (ImageBatches(images, labels, split, settings.fit, 1) for _ in range(2))
    for _ in range(3):
        one(5)
    np.testing.assert_array_equal(one(6)[0], two(6)[0])
    assert not np.array_equal(one(6)[0], one(7)[0])
    other = ImageBatches(images, labels, split, settings.fit, 2)
    assert not np.array_equal(one(6)[0], other(6)[0])


def test_an_epoch_shows_every_image_once(
    settings: config.TrainingConfig, data: tuple[np.ndarray, np.ndarray, Split]
) -> None:
    images, _, split = data
    batches = ImageBatches(images, np.arange(40, dtype=np.float32), split, settings.fit, 1)
    seen = np.concatenate([batches(step)[1][:, 0] for step in range(batches.per_epoch)])
    assert sorted(seen.astype(int)) == split.fit.tolist()


def test_head_starts_at_the_linear_probe_and_fitting_learns(
    settings: config.TrainingConfig, data: tuple[np.ndarray, np.ndarray, Split], tmp_path: Path
) -> None:
    images, labels, split = data
    model = fit.run(fit.Fit(settings, images, labels, split, tmp_path, 1))
    logits = fit.predict(model, images, split.watch)
    assert logits[labels[split.watch] > 0].min() > logits[labels[split.watch] == 0].max()
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [4, 8]
    assert float(rows[-1]["watch_auc"]) == 1.0
    assert any((tmp_path / "events").iterdir())
    frozen = model.get_layer("block2a_dwconv")
    reference = fit.start(fit.Fit(settings, images, labels, split, tmp_path, 1), 8).get_layer("block2a_dwconv")
    np.testing.assert_array_equal(frozen.get_weights()[0], reference.get_weights()[0])
    with np.load(tmp_path / "epoch1.npz") as first, np.load(tmp_path / "epoch2.npz") as last:
        weights = model.get_weights()
        assert len(first.files) == len(last.files) == len(weights)
        assert not all(np.array_equal(first[name], last[name]) for name in last.files)
        for name, value in zip(last.files, weights, strict=True):
            np.testing.assert_array_equal(last[name], value)


def test_interrupted_fit_goes_on_as_it_would_have(
    settings: config.TrainingConfig,
    data: tuple[np.ndarray, np.ndarray, Split],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Power fails between two checkpoints; the second run gives the weights of an undisturbed one."""
    images, labels, split = data
    settings = replace(settings, fit=replace(settings.fit, learning_rate=1e-4))
    whole = fit.run(fit.Fit(settings, images, labels, split, tmp_path / "whole", 1))

    class PowerFailure(Exception):
        pass

    original = ImageBatches.__call__

    def failing(self: ImageBatches, step: int) -> object:
        if step == 5:
            raise PowerFailure
        return original(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(ImageBatches, "__call__", failing)
        with pytest.raises(PowerFailure):
            fit.run(fit.Fit(settings, images, labels, split, tmp_path / "cut", 1))
    resumed = fit.run(fit.Fit(settings, images, labels, split, tmp_path / "cut", 1))
    a, b = fit.predict(whole, images, split.watch), fit.predict(resumed, images, split.watch)
    np.testing.assert_allclose(a, b, atol=2e-2 * float(np.abs(a).max()))


@pytest.mark.parametrize(
    ("precision", "optimizer"),
    [("mixed_float16", keras.optimizers.LossScaleOptimizer), ("mixed_bfloat16", keras.optimizers.AdamW)],
)
def test_configured_precision_reaches_convolutions_and_optimiser_but_no_weight(
    settings: config.TrainingConfig, precision: str, optimizer: type
) -> None:
    saving = replace(settings, fit=replace(settings.fit, precision=precision))
    model = fit.make_model(saving, SIZE, 10)
    assert model.get_layer("block1a_dwconv").compute_dtype == precision.removeprefix("mixed_")
    assert {str(weight.dtype) for weight in model.trainable_variables} == {"float32"}
    assert type(model.optimizer) is optimizer


@pytest.mark.slow
def test_configured_checkpointing_changes_no_step(
    settings: config.TrainingConfig, data: tuple[np.ndarray, np.ndarray, Split], tmp_path: Path
) -> None:
    images, labels, split = data
    losses = []
    for checkpointing in (False, True):
        chosen = replace(settings, fit=replace(settings.fit, checkpointing=checkpointing, dropout=0.0))
        model = fit.start(fit.Fit(chosen, images, labels, split, tmp_path, 1), 10)
        losses.append(
            [float(model.train_on_batch(*ImageBatches(images, labels, split, chosen.fit, 1)(0))) for _ in "12"]
        )
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.slow
def test_low_epochs_come_first_and_the_model_ends_at_full_size(
    settings: config.TrainingConfig, data: tuple[np.ndarray, np.ndarray, Split], tmp_path: Path
) -> None:
    images, labels, split = data
    small = replace(settings, fit=replace(settings.fit, low_size=(32, 32), low_epochs=1))
    batches = ImageBatches(images, labels, split, small.fit, 1)
    assert [batches(step)[0].shape[1:3] for step in (0, 3, 4)] == [(32, 32), (32, 32), SIZE]
    model = fit.run(fit.Fit(small, images, labels, split, tmp_path, 1))
    assert model.input_shape[1:3] == SIZE


def test_mean_of_weights_is_taken_tensor_by_tensor(settings: config.TrainingConfig, tmp_path: Path) -> None:
    from mammolens.models.efficientnet import build
    from mammolens.training.crossval import average

    model = build("efficientnet-b0", SIZE, folded=True, dropout=0.0)
    shapes = [weight.shape for weight in model.get_weights()]
    for number in (1.0, 4.0):
        model.set_weights([np.full(shape, number, np.float32) for shape in shapes])
        model.save_weights(tmp_path / f"{number:.0f}.weights.h5")
    target = tmp_path / "mean" / "scored.weights.h5"
    average(settings, [tmp_path / "1.weights.h5", tmp_path / "4.weights.h5"], target)
    model.load_weights(target)
    assert all((weight == 2.5).all() for weight in model.get_weights())


def test_checkpoint_of_another_configuration_is_refused(
    settings: config.TrainingConfig, data: tuple[np.ndarray, np.ndarray, Split], tmp_path: Path
) -> None:
    images, labels, split = data
    other = replace(settings, fit=replace(settings.fit, dropout=0.1, epochs=1))
    fit.run(fit.Fit(other, images, labels, split, tmp_path, 1))
    with pytest.raises(TrainingError, match="another configuration"):
        fit.run(fit.Fit(settings, images, labels, split, tmp_path, 1))


def test_fits_of_another_configuration_are_not_taken_for_this_ones(
    settings: config.TrainingConfig, data: tuple[np.ndarray, np.ndarray, Split], tmp_path: Path
) -> None:
    from mammolens.training.crossval import _fit_one

    images, labels, split = data
    here = replace(settings, output=tmp_path)
    (tmp_path / "tiny-seed1").mkdir()
    done = tmp_path / "tiny-seed1" / "done.json"
    done.write_text(f'{{"digest": "{here.digest}"}}')
    _fit_one(fit.Fit(here, images, labels, split, tmp_path / "tiny-seed1", 1))
    assert not (tmp_path / "tiny-seed1" / "model.weights.h5").exists(), "a finished fit was fitted again"
    done.write_text('{"digest": "0000000000000000"}')
    with pytest.raises(TrainingError, match="another configuration"):
        _fit_one(fit.Fit(here, images, labels, split, tmp_path / "tiny-seed1", 1))


def test_checkpoint_is_replaced_whole(tmp_path: Path, settings: config.TrainingConfig) -> None:
    model = fit.make_model(settings, SIZE, 4)
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(path, model, checkpoint.Position(3), "d")
    checkpoint.save(path, model, checkpoint.Position(4, 0.75, 2), "d")
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.npz"]
    assert checkpoint.restore(path, model, "d") == checkpoint.Position(4, 0.75, 2)


@pytest.mark.parametrize("strong", [False, True])
def test_augmentation_keeps_range_shape_and_the_chest_wall_side(strong: bool) -> None:
    image = np.zeros((96, 72), np.uint8)
    image[:, :30] = 200
    random = np.random.default_rng(0)
    for _ in range(50):
        varied = augment(image, random, strong=strong)
        assert varied.shape == image.shape
        assert varied.dtype == np.float32
        assert 0.0 <= varied.min() <= varied.max() <= 255.0
        assert varied[:, :24].mean() > varied[:, -24:].mean()


def test_strong_augmentation_paints_rectangles_over() -> None:
    rows, columns = np.mgrid[:96, :72]
    image = (90 + 60 * np.sin(rows / 3) * np.cos(columns / 3)).astype(np.uint8)

    def flat(varied: np.ndarray) -> int:
        """Picture elements in a neighbourhood of one grey value within the breast."""
        middle = varied[16:80, 12:60]
        same = (np.abs(np.diff(middle, axis=0))[:, :-1] < 1e-3) & (np.abs(np.diff(middle, axis=1))[:-1] < 1e-3)
        return int((same & (middle[:-1, :-1] > 1)).sum())

    holes = [
        [flat(augment(image, np.random.default_rng(seed), strong=strong)) > 25 for seed in range(40)]
        for strong in (False, True)
    ]
    assert not any(holes[0])
    # No rectangle in a quarter of the pictures, noise over them in three tenths of the rest; some fall outside.
    assert 8 <= sum(holes[1]) <= 30
