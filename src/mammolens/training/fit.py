"""One fit: ImageNet's weights, perhaps a warm-up, a linear probe of the head, then the fine-tune."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets import Case
from mammolens.evaluation.logistic import logistic_regression
from mammolens.evaluation.metrics import auc
from mammolens.models.efficientnet import Economy, build
from mammolens.models.transfer import load_imagenet, randomise
from mammolens.training import stage
from mammolens.training.batches import ImageBatches, batched
from mammolens.training.config import TrainingConfig
from mammolens.training.optimisation import compile_model, schedule
from mammolens.training.protocol import Split


@dataclass(frozen=True, slots=True)
class Fit:
    """All that one fit is made of.

    Attributes
    ----------
    config : TrainingConfig
    images : ndarray of uint8, shape (N, H, W)
    labels : ndarray of float32, shape (N,)
    split : Split
    folder : Path
        Of this fit; each stage in front of the fine-tune has a folder in it.
    seed : int
        Of the order, the augmentation and the dropout.
    cases : sequence of Case, length N
        What else is known of the images; may be empty.
    """

    config: TrainingConfig
    images: NDArray[np.uint8]
    labels: NDArray[np.float32]
    split: Split
    folder: Path
    seed: int
    cases: Sequence[Case] = ()


WARM_UPS: list[Callable[[Fit, Any], None]] = []
"""Stages in front of the fine-tune, in their order.

Each gets the fit and the network with ImageNet's weights, changes its weights (all but
the head's, which is probed afterwards), and leaves it alone where it is not asked for.
It fits ``split.fit`` and no other image, and keeps what it has done below ``folder``,
so that it is not done again after an interruption.
"""


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
    freeze(model, config.model.frozen)
    compile_model(model, config.fit, schedule(config.fit, steps))
    return model


def freeze(model: Any, prefixes: tuple[str, ...]) -> None:
    """Keep the layers whose names begin so as they are."""
    for layer in model.layers:
        if layer.name.startswith(prefixes):
            layer.trainable = False


def load_start(model: Any, config: TrainingConfig) -> None:
    """Give a folded network ImageNet's weights, or random ones where the configuration says so."""
    if config.model.imagenet == "none":
        randomise(model, config.model.architecture)
    else:
        load_imagenet(model, config.model.architecture, config.model.imagenet)


def start(asked: Fit, steps: int) -> Any:
    """Phase one: ImageNet's weights, what warms them up, and the head as the linear probe of their features.

    Parameters
    ----------
    asked : Fit
    steps : int
        Batches of the fine-tune that is to follow.

    Returns
    -------
    keras.Model
        Compiled.
    """
    import keras

    config = asked.config
    keras.utils.set_random_seed(asked.seed)
    model = make_model(config, config.model.size, steps)
    load_start(model, config)
    for warm_up in WARM_UPS:
        warm_up(asked, model)
    start_head(model, asked.images, asked.labels, asked.split, config.fit.probe_penalty)
    return model


def run(asked: Fit) -> Any:
    """Fit one split, or go on where an interrupted fit stopped.

    Parameters
    ----------
    asked : Fit

    Returns
    -------
    keras.Model
        Fitted, for inputs of ``config.model.size``.

    Raises
    ------
    TrainingError
        If the folder holds a checkpoint of another configuration.
    """
    config, split, images, labels = asked.config, asked.split, asked.images, asked.labels
    batches = ImageBatches(images, labels, split, config.fit, asked.seed)
    steps = batches.per_epoch * config.fit.epochs

    def score(model: Any, rows: NDArray[np.int64]) -> float:
        return auc(labels[rows], predict(model, images, rows)) if len(rows) else float("nan")

    fine_tune = stage.Stage(
        batches=batches,
        epochs=config.fit.epochs,
        build=lambda size: make_model(config, size, steps),
        size=config.model.size,
        watch=lambda model: score(model, split.watch),
        watch_epochs=config.fit.watch_epochs,
        stop=(lambda model: score(model, split.stop)) if len(split.stop) else None,
        patience=config.fit.patience if len(split.stop) else 0,
        checkpoint_steps=config.fit.checkpoint_steps,
        workers=config.fit.workers,
    )
    return stage.run(fine_tune, lambda: start(asked, steps), asked.folder, config.digest)
