"""One fit: linear probe of the head, then fine-tuning, resumable at any moment."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mammolens.evaluation.logistic import logistic_regression
from mammolens.evaluation.metrics import auc
from mammolens.models.efficientnet import Economy, build
from mammolens.models.transfer import load_imagenet, randomise
from mammolens.training import checkpoint
from mammolens.training.augment import augment
from mammolens.training.config import FitConfig, TrainingConfig
from mammolens.training.journal import Journal
from mammolens.training.protocol import Split


def batched(images: NDArray[np.generic]) -> NDArray[np.float32]:
    """Float32 batch with a channel axis where Keras' data format wants it."""
    import keras

    axis = 1 if keras.config.image_data_format() == "channels_first" else -1
    return np.expand_dims(images.astype(np.float32), axis)


def schedule(config: FitConfig, steps: int) -> Any:
    """Build the learning rate: linear warm-up, then a cosine to (nearly) nothing."""
    import keras
    from keras import ops

    @keras.saving.register_keras_serializable("mammolens")
    class WarmCosine(keras.optimizers.schedules.LearningRateSchedule):
        """Linear warm-up and cosine decay."""

        def __call__(self, step: Any) -> Any:
            position = ops.cast(step, "float32") / steps
            rising = (position * steps + 1.0) / max(1.0, config.warmup * steps)
            falling = ops.clip((position - config.warmup) / (1.0 - config.warmup), 0.0, 1.0)
            decayed = 0.5 * (1.0 + ops.cos(np.pi * falling))
            return config.learning_rate * ops.minimum(rising, decayed + 1e-3)

        def get_config(self) -> dict[str, Any]:
            return {}

    return WarmCosine()


def predict(
    model: Any, images: NDArray[np.uint8], rows: NDArray[np.int64], *, looks: int = 1, batch: int = 32
) -> NDArray[np.float32]:
    """Logits of the images at ``rows``, shape (len(rows),), by one look or two (see `ModelConfig.looks`)."""
    if looks == 2:
        upright = predict(model, images, rows, batch=batch)
        return (upright + predict(model, images[:, ::-1], rows, batch=batch)) / np.float32(2.0)
    parts = [
        np.asarray(model.predict_on_batch(batched(images[rows[start : start + batch]])))[:, 0]
        for start in range(0, len(rows), batch)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def start_head(
    model: Any, images: NDArray[np.uint8], labels: NDArray[np.float32], split: Split, penalty: float
) -> None:
    """Phase one: set the head to the linear probe of the frozen backbone's features."""
    import keras

    pooled = keras.Model(model.input, model.get_layer("avg_pool").output)
    features = np.concatenate(
        [
            np.asarray(pooled.predict_on_batch(batched(images[split.fit[start : start + 32]])))
            for start in range(0, len(split.fit), 32)
        ]
    )
    weights, bias = logistic_regression(features, labels[split.fit], penalty)
    model.get_layer("logit").set_weights([weights[:, None].astype(np.float32), np.array([bias], np.float32)])


def make_model(config: TrainingConfig, size: tuple[int, int], steps: int) -> Any:
    """Build the folded network for inputs of ``size``, frozen and compiled as configured, without weights."""
    economy = Economy(config.fit.precision, config.fit.checkpointing)
    model = build(config.model.architecture, size, folded=True, dropout=config.fit.dropout, economy=economy)
    for layer in model.layers:
        if layer.name.startswith(config.model.frozen):
            layer.trainable = False
    compile_model(model, config.fit, schedule(config.fit, steps))
    return model


def resized(model: Any, config: TrainingConfig, size: tuple[int, int], steps: int) -> Any:
    """Build the same network for another input size, in the same state of training."""
    if size == tuple(side for side in model.input_shape[1:] if side != 1):
        return model
    other = make_model(config, size, steps)
    other.set_weights(model.get_weights())
    for variable, value in zip(other.optimizer.variables, model.optimizer.variables, strict=True):
        variable.assign(value)
    return other


def compile_model(model: Any, config: FitConfig, rate: Any) -> None:
    """Compile with AdamW and binary cross-entropy on the logit; builds the optimiser's state."""
    import keras

    optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    if config.precision == "mixed_float16":
        # Small gradients would become zero in 16 bits.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)
    model.compile(optimizer=optimizer, loss=loss)
    optimizer.build(model.trainable_variables)


class Batches:
    """Augmented batches.

    Their content depends on seed and step alone, so a resumed run goes on as it would have.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W)
    labels : ndarray of float32, shape (N,)
    split : Split
    config : FitConfig
    seed : int
    """

    def __init__(
        self, images: NDArray[np.uint8], labels: NDArray[np.float32], split: Split, config: FitConfig, seed: int
    ) -> None:
        self._images, self._labels, self._split, self._config = images, labels, split, config
        self._seed = seed
        self.per_epoch = max(1, len(split.fit) // config.batch_size)

    def size(self, step: int) -> tuple[int, int]:
        """Height and width of the pictures at a step."""
        low = step < self._config.low_epochs * self.per_epoch
        return self._config.low_size if low else (int(self._images.shape[1]), int(self._images.shape[2]))

    def __call__(self, step: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Batch of one step: images (B, H, W, 1) float32 in 0..255 and labels (B, 1)."""
        epoch, position = divmod(step, self.per_epoch)
        order = np.random.default_rng((self._seed, epoch)).permutation(self._split.fit)
        count = self._config.batch_size
        chosen = order[position * count : (position + 1) * count]
        random = np.random.default_rng((self._seed, epoch, position))
        height, width = self.size(step)
        pictures = (cv2.resize(self._images[row], (width, height), interpolation=cv2.INTER_AREA) for row in chosen)
        made = [augment(np.asarray(picture, np.uint8), random) for picture in pictures]
        return batched(np.stack(made)), self._labels[chosen, None]


def start(
    config: TrainingConfig, images: NDArray[np.uint8], labels: NDArray[np.float32], split: Split, steps: int, seed: int
) -> Any:
    """Phase one: ImageNet's weights (or random ones), and the head as the linear probe of their features."""
    import keras

    keras.utils.set_random_seed(seed)
    model = make_model(config, config.model.size, steps)
    if config.model.imagenet == "none":
        randomise(model, config.model.architecture)
    else:
        load_imagenet(model, config.model.architecture, config.model.imagenet)
    start_head(model, images, labels, split, config.fit.probe_penalty)
    return model


def run(
    config: TrainingConfig,
    images: NDArray[np.uint8],
    labels: NDArray[np.float32],
    split: Split,
    folder: Path,
    seed: int,
) -> Any:
    """Fit one split, or go on where an interrupted fit stopped.

    Parameters
    ----------
    config : TrainingConfig
    images : ndarray of uint8, shape (N, H, W)
    labels : ndarray of float32, shape (N,)
    split : Split
    folder : Path
        Of this split: gets the checkpoint, the log, and the weights after each epoch
        (``epoch1.npz`` and so on: arrays in the order of ``Model.get_weights``, which
        nothing here reads; they are for looking back).
    seed : int
        Of the order, the augmentation and the dropout.

    Returns
    -------
    keras.Model
        Fitted, for inputs of ``config.model.size``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    batches = Batches(images, labels, split, config.fit, seed)
    total = batches.per_epoch * config.fit.epochs
    saved = folder / "checkpoint.npz"
    model, first = _begun(config, images, labels, split, saved, total, seed)
    with Journal(folder) as journal, _progress() as progress, ThreadPoolExecutor(1) as ahead:
        bar = progress.add_task(folder.name, total=total, completed=first, loss=float("nan"))
        pending = ahead.submit(batches, first)
        losses: list[float] = []
        began = time.monotonic()
        for step in range(first, total):
            model = resized(model, config, batches.size(step), total)
            batch = pending.result()
            pending = ahead.submit(batches, min(step + 1, total - 1))
            losses.append(float(model.train_on_batch(*batch)))
            progress.update(bar, advance=1, loss=float(np.mean(losses[-50:])))
            done = step + 1
            if done % batches.per_epoch == 0:
                epoch = done // batches.per_epoch
                score = float("nan")
                if len(split.watch) and (done == total or epoch % config.fit.watch_epochs == 0):
                    model = resized(model, config, config.model.size, total)
                    score = auc(labels[split.watch], predict(model, images, split.watch))
                seconds = time.monotonic() - began
                journal.write(
                    done, {"epoch": epoch, "loss": float(np.mean(losses)), "watch_auc": score, "seconds": seconds}
                )
                # Before the checkpoint: a power failure while it is written costs no more than writing it again.
                np.savez(folder / f"epoch{epoch}.npz", *model.get_weights())
                losses, began = [], time.monotonic()
            if done % config.fit.checkpoint_steps == 0 or done == total:
                checkpoint.save(saved, model, done, config.digest)
    return resized(model, config, config.model.size, total)


def _begun(
    config: TrainingConfig,
    images: NDArray[np.uint8],
    labels: NDArray[np.float32],
    split: Split,
    saved: Path,
    total: int,
    seed: int,
) -> tuple[Any, int]:
    """Model to go on with and the steps it has behind it: from the checkpoint, or after phase one."""
    if not saved.exists():
        return start(config, images, labels, split, total, seed), 0
    model = make_model(config, config.model.size, total)
    return model, checkpoint.restore(saved, model, config.digest)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
    )
