"""One stretch of training, resumable at any moment: batches, a loss, and so many epochs of them.

A fit is one stage or several, one after the other: what warms the network up on
another task first, and the fine-tune at the end. Each keeps its checkpoint and its log
in a folder of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mammolens.training import checkpoint
from mammolens.training.batches import Batches, Feed
from mammolens.training.checkpoint import Position
from mammolens.training.journal import Journal
from mammolens.training.optimisation import averaged, take_average

CHECKPOINT, BEST = "checkpoint.npz", "best.npz"


@dataclass(frozen=True, slots=True)
class Stage:
    """What is done to a network.

    Attributes
    ----------
    batches : Batches
    epochs : int
    build : callable
        Makes the compiled network, without weights, for pictures of a height and width.
    size : tuple of int
        ``(height, width)`` that the network is left for.
    watch : callable
        Score of a network at the end of an epoch, for the log; NaN where there is none.
    watch_epochs : int
        Epochs between two looks (and once at the end).
    stop : callable or None
        Score of a network by which the stage ends early, and its best epoch is kept.
    patience : int
        Epochs without a better score after which it ends; needs ``stop``.
    checkpoint_steps : int
        Batches between two checkpoints.
    workers : int
        Threads that make batches; see `mammolens.training.batches.Feed`.
    """

    batches: Batches
    epochs: int
    build: Callable[[tuple[int, int]], Any]
    size: tuple[int, int]
    watch: Callable[[Any], float] = lambda model: float("nan")
    watch_epochs: int = 1
    stop: Callable[[Any], float] | None = None
    patience: int = 0
    checkpoint_steps: int = 50
    workers: int = 0

    @property
    def steps(self) -> int:
        """Batches of the whole stage."""
        return self.batches.per_epoch * self.epochs

    def over(self, position: Position) -> bool:
        """Whether the score has not risen for as many epochs as one is patient for."""
        epoch = position.step // self.batches.per_epoch
        return bool(self.patience and position.best_epoch and epoch - position.best_epoch >= self.patience)


@dataclass(slots=True)
class _Epoch:
    """What an epoch has given so far."""

    losses: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)


def run(stage: Stage, begin: Callable[[], Any], folder: Path, digest: str) -> Any:
    """Do a stage, or go on where it was interrupted.

    Parameters
    ----------
    stage : Stage
    begin : callable
        Makes the compiled network that the stage begins with; not called where there is a
        checkpoint.
    folder : Path
        Gets the checkpoint, the log, the weights after each epoch (``epoch1.npz`` and so on:
        arrays in the order of ``Model.get_weights``, which nothing here reads; they are for
        looking back), and those of the best one where the stage may end early.
    digest : str
        Of the configuration.

    Returns
    -------
    keras.Model
        With the weights of the best epoch, or the average of the weights, or the last.

    Raises
    ------
    TrainingError
        If the folder holds a checkpoint of another configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    saved, position = folder / CHECKPOINT, Position()
    if saved.exists():
        model = stage.build(stage.size)
        position = checkpoint.restore(saved, model, digest)
    else:
        model = begin()
    feed = Feed(stage.batches, position.step, stage.steps, stage.workers)
    with Journal(folder) as journal, _progress() as progress, feed:
        bar = progress.add_task(folder.name, total=stage.steps, completed=position.step, loss=float("nan"), waits=0.0)
        epoch = _Epoch()
        while position.step < stage.steps and not stage.over(position):
            model = _sized(stage, model, stage.batches.size(position.step))
            epoch.losses.append(float(model.train_on_batch(*feed.next())))
            position = replace(position, step=position.step + 1)
            waits = feed.waited / max(time.monotonic() - epoch.began, 1e-9)
            progress.update(bar, advance=1, loss=float(np.mean(epoch.losses[-50:])), waits=waits)
            whole = position.step % stage.batches.per_epoch == 0
            if whole:
                model = _sized(stage, model, stage.size) if _looks(stage, position) else model
                position = _finish_epoch(stage, model, position, epoch, feed, journal, folder)
                epoch, feed.waited = _Epoch(), 0.0
            if position.step % stage.checkpoint_steps == 0 or position.step == stage.steps or (whole and stage.stop):
                checkpoint.save(saved, model, position, digest)
    model = _sized(stage, model, stage.size)
    take_average(model)
    if stage.patience and position.best_epoch:
        with np.load(folder / BEST) as best:
            model.set_weights([best[name] for name in best.files])
    return model


def _looks(stage: Stage, position: Position) -> bool:
    """Whether held-out women are looked at after this epoch."""
    epoch = position.step // stage.batches.per_epoch
    return stage.stop is not None or position.step == stage.steps or epoch % stage.watch_epochs == 0


def _finish_epoch(
    stage: Stage, model: Any, position: Position, done: _Epoch, feed: Feed, journal: Journal, folder: Path
) -> Position:
    """Look at held-out women, write the log and the weights of an epoch."""
    epoch = position.step // stage.batches.per_epoch
    seconds = time.monotonic() - done.began
    watched = stopping = float("nan")
    if _looks(stage, position):
        with averaged(model):
            if position.step == stage.steps or epoch % stage.watch_epochs == 0:
                watched = stage.watch(model)
            if stage.stop is not None:
                stopping = stage.stop(model)
                if stopping > position.best:
                    position = replace(position, best=stopping, best_epoch=epoch)
                    np.savez(folder / BEST, *model.get_weights())
    values = {"epoch": epoch, "loss": float(np.mean(done.losses)), "watch_auc": watched, "seconds": seconds}
    values["waited"] = feed.waited / max(seconds, 1e-9)
    if stage.stop is not None:
        values["stop_auc"] = stopping
    journal.write(position.step, values)
    # Before the checkpoint: a power failure while it is written costs no more than writing it again.
    np.savez(folder / f"epoch{epoch}.npz", *model.get_weights())
    return position


def _sized(stage: Stage, model: Any, size: tuple[int, int]) -> Any:
    """Build the same network for another input size, in the same state of training."""
    if size == tuple(side for side in _input_shape(model)[1:] if side != 1):
        return model
    other = stage.build(size)
    other.set_weights(model.get_weights())
    for now, before in ((other.optimizer.variables, model.optimizer.variables), (_seeds(other), _seeds(model))):
        for variable, value in zip(now, before, strict=True):
            variable.assign(value)
    return other


_seeds = checkpoint.seeds


def _input_shape(model: Any) -> tuple[int, ...]:
    shape = model.input_shape
    return tuple(shape[0] if isinstance(shape, list) else shape)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}, waits for data {task.fields[waits]:.0%}"),
        TimeRemainingColumn(),
    )
