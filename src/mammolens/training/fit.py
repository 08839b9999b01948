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
from mammolens.models.looks import Looks, Size
from mammolens.training import checkpoint, stage
from mammolens.training.batches import ImageBatches, Images, batched
from mammolens.training.config import TrainingConfig
from mammolens.training.networks import load_start, make_model, network, without_side_head
from mammolens.training.protocol import Split
from mammolens.training.side_tasks import SideTasks, start_side_head
from mammolens.training.warm_ups import WARM_UPS

WEIGHTS = "model.weights.h5"
"""Weights at the end of a fit."""


@dataclass(frozen=True, slots=True)
class Fit:
    """All that one fit is made of.

    Attributes
    ----------
    config : TrainingConfig
    images : ndarray of uint8, shape (N, H, W), or PairedImages
    labels : ndarray of float32, shape (N,)
    split : Split
    folder : Path
        Of this fit; each stage in front of the fine-tune has a folder in it.
    seed : int
        Of the order, the augmentation and the dropout.
    cases : sequence of Case, length N
        What else is known of the images; may be empty.
    before : Path, optional
        Folder of the finished fit of the same split that this one goes on from.
    """

    config: TrainingConfig
    images: Images
    labels: NDArray[np.float32]
    split: Split
    folder: Path
    seed: int
    cases: Sequence[Case] = ()
    before: Path | None = None


def predict(
    model: Any,
    images: Images,
    rows: NDArray[np.int64],
    looks: Looks | None = None,
    at: Callable[[Size], Any] | None = None,
    batch: int = 32,
) -> NDArray[np.float32]:
    """Logits of the images at ``rows``.

    Parameters
    ----------
    model : keras.Model
        For pictures as large as the images.
    images : ndarray of uint8, shape (N, H, W), or PairedImages
    rows : ndarray of int64, shape (n,)
    looks : Looks, optional
        Default: one look.
    at : callable, optional
        Builds the configuration's network, without weights, for a height and width; needed where ``looks`` has a
        second size.
    batch : int
        Images that go through the network together.

    Returns
    -------
    ndarray of float32, shape (n,)
    """
    looks = looks or Looks((images.shape[-2], images.shape[-1]))
    models = {looks.size: model}
    for size in looks.sizes[1:]:
        if at is None:
            raise TypeError("a second size needs what builds the network for it")
        models[size] = at(size)
        models[size].set_weights(model.get_weights())
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(rows), batch):
        seen = looks.at(images[rows[start : start + batch]])
        answers = [np.asarray(models[size].predict_on_batch(batched(look)))[:, 0] for size, look in seen]
        parts.append(np.asarray(np.mean(answers, axis=0), np.float32))
    return np.concatenate(parts)


def start_head(
    model: Any,
    images: Images,
    labels: NDArray[np.float32],
    split: Split,
    penalty: float,
    tasks: SideTasks | None = None,
) -> None:
    """Phase one: set the head, and that of the side tasks, to linear probes of the frozen backbone's features."""
    import keras

    last = "fusion" if len(model.inputs) == 2 else "avg_pool"
    pooled = keras.Model(model.inputs, model.get_layer(last).output)
    features = np.concatenate(
        [
            np.asarray(pooled.predict_on_batch(batched(images[split.fit[start : start + 32]])))
            for start in range(0, len(split.fit), 32)
        ]
    )
    weights, bias = logistic_regression(features, labels[split.fit], penalty)
    model.get_layer("logit").set_weights([weights[:, None].astype(np.float32), np.array([bias], np.float32)])
    if tasks is not None:
        start_side_head(model, features, tasks, split.fit, penalty)


def start(asked: Fit, steps: int, tasks: SideTasks | None = None) -> Any:
    """Phase one: ImageNet's weights, what warms them up, and the head as the linear probe of their features.

    A fit that goes on from another begins with that one's network instead, heads and all.

    Parameters
    ----------
    asked : Fit
    steps : int
        Batches of the fine-tune that is to follow.
    tasks : SideTasks, optional

    Returns
    -------
    keras.Model
        Compiled.
    """
    import keras

    config = asked.config
    keras.utils.set_random_seed(asked.seed)
    model = make_model(config, config.model.size, steps, tasks)
    if asked.before is not None:
        _take_up(model, asked.before, config)
        return model
    load_start(model, config)
    for warm_up in WARM_UPS:
        warm_up(asked, model)
    start_head(model, asked.images, asked.labels, asked.split, config.fit.probe_penalty, tasks)
    return model


def _take_up(model: Any, before: Path, config: TrainingConfig) -> None:
    """Give a network the weights with which another fit ended."""
    # The checkpoint knows the side tasks' head as well; the weights, which epoch or average the fit ended with.
    checkpoint.restore_weights(before / stage.CHECKPOINT, model)
    left = network(config, config.model.size)
    left.load_weights(before / WEIGHTS)
    for layer in left.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())


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
    names, tasks = config.fit.side_tasks, None
    if names:
        tasks = SideTasks.of(names, asked.cases, split.fit)
    batches = ImageBatches(images, labels, split, config.fit, asked.seed, tasks.targets if tasks else None)
    steps = batches.per_epoch * config.fit.epochs

    def score(model: Any, rows: NDArray[np.int64]) -> float:
        return auc(labels[rows], predict(model, images, rows)) if len(rows) else float("nan")

    fine_tune = stage.Stage(
        batches=batches,
        epochs=config.fit.epochs,
        build=lambda size: make_model(config, size, steps, tasks),
        size=config.model.size,
        watch=lambda model: score(model, split.watch),
        watch_epochs=config.fit.watch_epochs,
        stop=(lambda model: score(model, split.stop)) if len(split.stop) else None,
        patience=config.fit.patience if len(split.stop) else 0,
        checkpoint_steps=config.fit.checkpoint_steps,
        workers=config.fit.workers,
    )
    fitted = stage.run(fine_tune, lambda: start(asked, steps, tasks), asked.folder, config.digest)
    return without_side_head(fitted, config) if tasks else fitted
