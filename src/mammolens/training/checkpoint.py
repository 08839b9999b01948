"""Checkpoints that survive ``kill -9``: written beside, then renamed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mammolens.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Position:
    """How far a stage has come.

    Attributes
    ----------
    step : int
        Batches done.
    best : float
        Highest score so far of the women that say when to stop; -inf before the first.
    best_epoch : int
        The epoch that had it, counted from 1.
    """

    step: int = 0
    best: float = float("-inf")
    best_epoch: int = 0


def seeds(model: Any) -> list[Any]:
    """States of the random generators (dropout's), which Keras does not count among the weights."""
    return [variable for variable in model.variables if "seed" in variable.path]


def save(path: Path, model: Any, position: Position, digest: str) -> None:
    """Write weights, optimiser state, random state and position.

    The optimiser's variables hold, where they are asked for, the average of the weights
    and the gradients accumulated so far.

    Parameters
    ----------
    path : Path
        An ``.npz`` file.
    model : keras.Model
        Compiled, its optimiser built.
    position : Position
    digest : str
        Of the configuration.
    """
    arrays = {f"w{i}": value for i, value in enumerate(model.get_weights())}
    arrays |= {f"o{i}": np.asarray(v) for i, v in enumerate(model.optimizer.variables)}
    arrays |= {f"s{i}": np.asarray(v) for i, v in enumerate(seeds(model))}
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        step=position.step,
        best=position.best,
        best_epoch=position.best_epoch,
        digest=digest,
        **arrays,
    )
    partial.replace(path)


def restore(path: Path, model: Any, digest: str) -> Position:
    """Read a checkpoint back if there is one.

    Returns
    -------
    Position
        Of the checkpoint; the beginning where there is none.

    Raises
    ------
    TrainingError
        If the checkpoint is of another configuration.
    """
    if not path.exists():
        return Position()
    with np.load(path) as state:
        if str(state["digest"]) != digest:
            raise TrainingError("The run folder holds a checkpoint of another configuration; give another output.")
        _set_weights(model, state)
        for i, variable in enumerate(model.optimizer.variables):
            variable.assign(state[f"o{i}"])
        for i, variable in enumerate(seeds(model)):
            variable.assign(state[f"s{i}"])
        if "best" not in state.files:
            return Position(int(state["step"]))
        return Position(int(state["step"]), float(state["best"]), int(state["best_epoch"]))


def restore_weights(path: Path, model: Any) -> None:
    """Read the weights of a checkpoint, and nothing else of it.

    Parameters
    ----------
    path : Path
    model : keras.Model
        Of the same layers as the one that was saved.
    """
    with np.load(path) as state:
        _set_weights(model, state)


def _set_weights(model: Any, state: Any) -> None:
    model.set_weights([state[f"w{i}"] for i in range(len(model.get_weights()))])
