"""Descriptions of models in the words that Keras 3 takes for those of Keras 2.

Keras 3 opens files of Keras 2 as long as they are simple. What it stumbles over in the
models that students saved (measured with Keras 3.15 on files of tf_keras 2.21) is
mended here, for the proof of an import alone:

====================================  ================================================
what the file says                    what Keras 3 makes of it
====================================  ================================================
``"module": "keras.layers"`` beside   the layer as Keras 3 describes it, whose words
Keras 2's arguments (from 2.13 on)    are others (``groups``, ``axis: [3]``)
``rng_type`` of augmentation layers   an error
``output_layers: [["x", 0, 0]]`` of   a list in the place of a tensor
a model within a model
``["augment", 1, 0]``: the first      the second call, which there is not: models of
call of a model within a model        Keras 2 counted their own making as a call
====================================  ================================================
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mammolens.models.importing.classes import TRAINING_ONLY

_MODELS = ("Sequential", "Functional", "Model")

UNCHANGED = "MammolensUnchanged"
"""Class of the layers that stand for idle ones."""


def describe(config: Any, idle: Collection[str]) -> Any:
    """Describe a model so that Keras 3 takes it for one of Keras 2 and understands it.

    Parameters
    ----------
    config : Any
        A model's description, or any part of one.
    idle : collection of str
        Names of layers that do nothing at inference; those of them that are Keras' own
        become `UNCHANGED`.

    Returns
    -------
    Any
        A copy.
    """
    if isinstance(config, list):
        return [describe(part, idle) for part in config]
    if not isinstance(config, dict):
        return config
    inner = config.get("config")
    if not (isinstance(inner, dict) and "name" in inner and "class_name" in config):
        return {key: describe(_alone(key, value), idle) for key, value in _counted(config).items()}
    kept = {key: describe(config[key], idle) for key in ("name", "inbound_nodes") if key in config}
    if inner["name"] in idle and config["class_name"] in TRAINING_ONLY:
        return {"class_name": UNCHANGED, "config": {"name": inner["name"]}, **kept}
    return {"class_name": config["class_name"], "config": describe(inner, idle), **kept}


def _alone(key: str, value: Any) -> Any:
    """Name a model's only input or output by itself, not as a list of one."""
    single = key in ("input_layers", "output_layers") and isinstance(value, list) and len(value) == 1
    return value[0] if single and isinstance(value[0], list) else value


def _counted(config: dict[str, Any]) -> dict[str, Any]:
    """Count the calls of models within a functional one from 0."""
    layers = config.get("layers")
    if not isinstance(layers, list) or "output_layers" not in config:
        return config
    entries = [layer for layer in layers if isinstance(layer, dict)]
    early = {name for name, index in _references([layer.get("inbound_nodes") for layer in entries]) if index == 0}
    models = {layer.get("name") for layer in entries if layer.get("class_name") in _MODELS} - early
    # For the output, Keras 3 knows that functional models count their making.
    sequential = {layer.get("name") for layer in entries if layer.get("class_name") == "Sequential"}
    made = [
        {**layer, "inbound_nodes": _lowered(layer["inbound_nodes"], models)} if "inbound_nodes" in layer else layer
        for layer in entries
    ]
    return {**config, "layers": made, "output_layers": _lowered(config["output_layers"], models & sequential)}


def _is_reference(value: Any) -> bool:
    """Whether this is ``[layer, call, output]``, with or without arguments behind."""
    return (
        isinstance(value, list)
        and len(value) >= 3
        and isinstance(value[0], str)
        and all(isinstance(number, int) for number in value[1:3])
    )


def _references(value: Any) -> list[tuple[str, int]]:
    if _is_reference(value):
        return [(value[0], value[1])]
    return [found for part in value for found in _references(part)] if isinstance(value, list) else []


def _lowered(value: Any, names: Collection[Any]) -> Any:
    """Count calls of some models from 0 instead of 1."""
    if _is_reference(value):
        return [value[0], value[1] - (value[0] in names), *value[2:]]
    return [_lowered(part, names) for part in value] if isinstance(value, list) else value
