"""How the layers of a foreign model are called on each other, written anew in Keras 3's words."""

from __future__ import annotations

from collections.abc import Mapping

from mammolens.errors import ModelFileMalformed, ModelUnsupported
from mammolens.models.importing.config import shown
from mammolens.models.importing.foreign_layers import Json, number

MOST_CALLS = 5000
"""Calls of one layer, and layers of one model."""

OPERATIONS_MODULE = "keras.src.ops.numpy"
"""Where Keras 3 keeps its bare operations."""


def references(raw: Json) -> list[tuple[str, int, int]]:
    """Tensors named as inputs or outputs."""
    if isinstance(raw, Mapping):
        raw = list(raw.values())
    if not isinstance(raw, list | tuple):
        raise ModelFileMalformed("The file's description of the model does not name its inputs and outputs.")
    return [_reference(each) for each in ([raw] if len(raw) == 3 and isinstance(raw[0], str) else raw)]


def _reference(raw: Json) -> tuple[str, int, int]:
    if isinstance(raw, list | tuple) and len(raw) >= 3:
        name, index, tensor = raw[:3]
        if isinstance(name, str) and isinstance(index, int) and tensor == 0 and 0 <= index < MOST_CALLS:
            return name, index, 0
    raise ModelFileMalformed("The file's description of the model refers to a layer in no known way.")


def call(raw: Json, layer: Mapping[str, Json], nested: Mapping[str, str]) -> Json:
    """Write one call of a layer anew, in Keras 3's words; ``nested`` are the models beside it."""
    if isinstance(raw, Mapping):
        args, named = raw.get("args", []), raw.get("kwargs", {})
    else:
        entries = [raw] if isinstance(raw, list) and raw and isinstance(raw[0], str) else raw
        if not isinstance(entries, list | tuple):
            raise ModelFileMalformed("The file's description of the model calls a layer in no known way.")
        tensors = [{"class_name": "__keras_tensor__", "config": {"keras_history": each}} for each in entries]
        args = [tensors if len(tensors) > 1 else tensors[0]] if tensors else []
        named = {}
        for each in entries:
            if isinstance(each, list | tuple) and len(each) > 3 and isinstance(each[3], Mapping):
                named |= each[3]
    if not isinstance(args, list | tuple) or not isinstance(named, Mapping):
        raise ModelFileMalformed("The file's description of the model calls a layer in no known way.")
    for key, value in named.items():
        if key == "y" and layer["module"] == OPERATIONS_MODULE:
            # TensorFlow's functions in Keras 2 take their second operand by name.
            args = [*args, value]
            continue
        if value is None or (key == "training" and value is False) or key in ("mask", "name"):
            continue
        raise ModelUnsupported(f"The layer {shown(layer['name'])} is called with {shown(str(key))}.")
    return {"args": [_argument(each, layer, nested, 0) for each in args], "kwargs": {}}


def _argument(raw: Json, layer: Mapping[str, Json], nested: Mapping[str, str], depth: int) -> Json:
    if isinstance(raw, list | tuple) and depth < 2:
        return [_argument(each, layer, nested, depth + 1) for each in raw]
    if isinstance(raw, Mapping) and raw.get("class_name") == "__keras_tensor__":
        config = raw.get("config")
        name, index, _ = _reference(config.get("keras_history") if isinstance(config, Mapping) else None)
        history = {"shape": [None], "dtype": "float32", "keras_history": [name, 0 if name in nested else index, 0]}
        return {"class_name": "__keras_tensor__", "config": history}
    if layer["module"] == OPERATIONS_MODULE:
        try:
            return number(raw)
        except ValueError:
            pass
    raise ModelUnsupported(f"The layer {shown(layer['name'])} is called with something that is no tensor.")
