"""Builders of hostile model files, and the table that the tests go through."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np

from mammolens.errors import ModelFileError

KERNEL = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)

Build = Callable[[Path], Path]
"""Makes a hostile file in a folder."""

Refused = Callable[[Path, type[ModelFileError]], str]
"""The fixture ``refused``: holds a file against the rule, gives the message."""

Table = dict[str, tuple[type[ModelFileError], Build]]


def table() -> tuple[Table, Callable[[type[ModelFileError]], Callable[[Build], Build]]]:
    """An empty table of hostile files by name, and the decorator that enters a builder with its error."""
    hostile: Table = {}

    def enter_as(error: type[ModelFileError]) -> Callable[[Build], Build]:
        def enter(build: Build) -> Build:
            hostile[build.__name__] = error, build
            return build

        return enter

    return hostile, enter_as


def whole_model(folder: Path, config: object, name: str = "model.h5") -> Path:
    """A whole model of Keras 2 whose description is ``config``."""
    path = folder / name
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)
        group = file.create_group("model_weights/out")
        file["model_weights"].attrs["layer_names"] = [b"out"]
        group.attrs["weight_names"] = [b"out/kernel:0"]
        group["out/kernel:0"] = KERNEL
    return path


def members(config: object) -> Mapping[str, bytes]:
    """What lies in a .keras file whose description is ``config``."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["layers/dense/vars/0"] = KERNEL
    return {
        "metadata.json": b'{"keras_version": "3.15.1"}',
        "config.json": json.dumps(config).encode(),
        "model.weights.h5": content.getvalue(),
    }
