"""Checkpoints that survive ``kill -9``: written beside, then renamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mammolens.errors import TrainingError


def _seeds(model: Any) -> list[Any]:
    """States of the random generators (dropout's), which Keras does not count among the weights."""
    return [variable for variable in model.variables if "seed" in variable.path]


def save(path: Path, model: Any, step: int, digest: str) -> None:
    """Write weights, optimiser state, random state and position.

    Parameters
    ----------
    path : Path
        An ``.npz`` file.
    model : keras.Model
        Compiled, its optimiser built.
    step : int
        Optimiser steps done.
    digest : str
        Of the configuration.
    """
    arrays = {f"w{i}": value for i, value in enumerate(model.get_weights())}
    arrays |= {f"o{i}": np.asarray(v) for i, v in enumerate(model.optimizer.variables)}
    arrays |= {f"s{i}": np.asarray(v) for i, v in enumerate(_seeds(model))}
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, step=step, digest=digest, **arrays)
    partial.replace(path)


def restore(path: Path, model: Any, digest: str) -> int:
    """Read a checkpoint back if there is one.

    Returns
    -------
    int
        Optimiser steps done; 0 where there is no checkpoint.

    Raises
    ------
    TrainingError
        If the checkpoint is of another configuration.
    """
    if not path.exists():
        return 0
    with np.load(path) as state:
        if str(state["digest"]) != digest:
            raise TrainingError("The run folder holds a checkpoint of another configuration; give another output.")
        model.set_weights([state[f"w{i}"] for i in range(len(model.get_weights()))])
        for i, variable in enumerate(model.optimizer.variables):
            variable.assign(state[f"o{i}"])
        for i, variable in enumerate(_seeds(model)):
            variable.assign(state[f"s{i}"])
        return int(state["step"])
