"""How the versions of Keras lay out weights in HDF5, read off a walked file.

=====================  ==============================================================
layout                 written by
=====================  ==============================================================
whole model            ``save_model_to_hdf5`` of Keras 1 to 3: attributes
                       ``model_config``, ``keras_version``, ``backend`` and, if
                       compiled, ``training_config``; groups ``model_weights`` and
                       ``optimizer_weights``
legacy weights         ``save_weights_to_hdf5_group`` of Keras 1 to 3: attribute
                       ``layer_names``; a group per layer with ``weight_names``, and
                       ``top_level_model_weights`` for variables of the model itself
Keras 3 weights        ``saving_lib`` of Keras 3, and of Keras 2.12 on: a group per
                       object, named for its class and counted
                       (``layers/conv2d_1/vars/0``); Keras 2.12 and 2.13 say
                       ``_layer_checkpoint_dependencies`` for ``layers``; later ones
                       write the layer's own name as an attribute of ``vars``
=====================  ==============================================================

References
----------
keras-team/keras: ``keras/src/legacy/saving/legacy_h5_format.py`` and
``keras/src/saving/saving_lib.py``; keras-team/tf-keras:
``tf_keras/src/saving/legacy/hdf5_format.py`` and ``tf_keras/src/saving/saving_lib.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from mammolens.errors import ModelFileMalformed, ModelIncomplete
from mammolens.models.importing import hdf5, limits
from mammolens.models.importing.contents import Contents, Entry
from mammolens.models.importing.hdf5 import Stored, Tree
from mammolens.models.importing.limits import shown
from mammolens.models.importing.source import Format

Found = tuple[Contents, tuple[Stored, ...]]
"""What a file holds, and its tensors in the order of the entries."""

_MODEL = "model_weights"
_OPTIMISER = "optimizer_weights"
_TOP_LEVEL = "top_level_model_weights"
_VARIABLES = "vars"
_CONTAINERS = frozenset(("layers", "_layer_checkpoint_dependencies"))
_TRAINING_ONLY = frozenset(("optimizer", "_optimizer", "metrics", "_metrics", "compiled_metrics", "_compile_metrics"))


def find(tree: Tree) -> Found:
    """Tell the layout of a walked HDF5 file, and list its tensors in their order.

    Raises
    ------
    ModelFileMalformed
        If it is no model file, or breaks its rules.
    ModelIncomplete
        If a tensor that it lists is missing.
    """
    root = tree.groups[()]
    description = hdf5.text(root, "model_config")
    if description is not None:
        return _whole_model(tree, description)
    for start in ((), (_MODEL,)):
        if start in tree.groups and hdf5.names(tree.groups[start], "layer_names") is not None:
            return _listed(tree, start, Format.WEIGHTS_LEGACY, None)
    if any(_VARIABLES in path for path in tree.datasets):
        return _keras_3(tree)
    raise ModelFileMalformed(
        "This is an HDF5 file, but not one that Keras wrote: it holds neither a model's configuration nor weights in "
        "a known layout. Save the model with model.save() or model.save_weights()."
    )


def _whole_model(tree: Tree, description: str) -> Found:
    config = limits.parse_json(description, "The model's configuration")
    if (_MODEL,) not in tree.groups:
        raise ModelFileMalformed("The file describes a model but holds no weights. Save it with model.save().")
    return _listed(tree, (_MODEL,), Format.MODEL_HDF5, config)


def _listed(tree: Tree, start: tuple[str, ...], kind: Format, config: dict[str, Any] | None) -> Found:
    """Tensors in the order of ``layer_names`` and ``weight_names``, then those that no list names."""
    holder = tree.groups[start]
    found: dict[tuple[str, ...], Entry] = {}
    for layer in hdf5.names(holder, "layer_names") or ():
        found |= _weights(tree, start, layer)
    if (*start, _TOP_LEVEL) in tree.groups:
        found |= _weights(tree, start, _TOP_LEVEL)
    for path, stored in tree.datasets.items():
        if path not in found and path[: len(start)] == start and path[0] != _OPTIMISER:
            inner = path[len(start) :]
            found[path] = Entry("/".join(path), inner[:-1], _plain(inner[-1]), stored.shape, stored.dtype)
    root = tree.groups[()]
    contents = Contents(
        kind,
        tuple(found.values()),
        config,
        hdf5.text(root, "keras_version") or hdf5.text(holder, "keras_version") or "",
        hdf5.text(root, "backend") or hdf5.text(holder, "backend") or "",
        (_OPTIMISER,) in tree.groups or hdf5.text(root, "training_config") is not None,
    )
    return contents, tuple(tree.datasets[path] for path in found)


def _weights(tree: Tree, start: tuple[str, ...], layer: str) -> dict[tuple[str, ...], Entry]:
    group = (*start, *layer.split("/"))
    if group not in tree.groups:
        raise ModelIncomplete(f"The file lists the layer '{shown(layer)}' but does not hold it. Save the model again.")
    found = {}
    for name in hdf5.names(tree.groups[group], "weight_names") or ():
        path = (*group, *name.split("/"))
        stored = tree.datasets.get(path)
        if stored is None:
            raise ModelIncomplete(
                f"The file lists the tensor '{shown('/'.join(path))}' but does not hold it. Save the model again."
            )
        *scope, last = name.split("/")
        layers = _layers(layer, scope)
        found[path] = Entry("/".join(path), layers, _plain(last), stored.shape, stored.dtype, layers[-1])
    return found


def _layers(layer: str, scope: list[str]) -> tuple[str, ...]:
    """Give the layers that a weight lies in: the group's, then its scopes without those that repeat the group's name.

    Keras 2 scopes a weight by its layer (``top_bn/gamma:0`` in group ``top_bn``, or
    ``top_bn_1/…`` once the name was taken), Keras 3 by the model too
    (``student/out/kernel`` in group ``out``).
    """
    again = re.compile(re.escape(layer) + r"(_\d+)?")
    repeats = [index for index, part in enumerate(scope) if again.fullmatch(part)]
    return (layer, *(scope[repeats[0] + 1 :] if repeats else scope))


def _plain(name: str) -> str:
    """Give a weight's name without TensorFlow's output number (``gamma:0``)."""
    return re.sub(r":\d+$", "", name)


def _keras_3(tree: Tree) -> Found:
    """Tensors of the layout of Keras 3, counted names in the order of their counts."""
    paths = sorted((path for path in tree.datasets if path[0] not in _TRAINING_ONLY), key=_counted)
    entries = []
    for path in paths:
        stored = tree.datasets[path]
        holder = path[:-1]
        label = hdf5.text(tree.groups[holder], "name") if holder[-1:] == (_VARIABLES,) else None
        layers = tuple(part for part in holder if part not in _CONTAINERS and part != _VARIABLES)
        entries.append(
            Entry("/".join(path), layers, path[-1], stored.shape, stored.dtype, limits.check_name(label or ""))
        )
    compiled = any(path[0] in _TRAINING_ONLY for path in tree.datasets)
    return Contents(Format.WEIGHTS_KERAS_3, tuple(entries), compiled=compiled), tuple(
        tree.datasets[path] for path in paths
    )


def _counted(path: Iterable[str]) -> list[tuple[str, int]]:
    """Sort key under which ``conv2d``, ``conv2d_1``, ``conv2d_2``, ``conv2d_10`` stand in this order."""
    key = []
    for part in path:
        match = re.fullmatch(r"(.*?)_?(\d+)", part) if part.isdigit() else re.fullmatch(r"(.+)_(\d+)", part)
        key.append((match[1], int(match[2])) if match else (part, -1))
    return key
