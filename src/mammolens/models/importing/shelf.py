"""Find the tensors of a layer in a file, by the way in which its format keeps them.

====================  =================================================================
format                where the kernel of ``stem_conv`` in ``efficientnetb2`` lies
====================  =================================================================
``.keras``, Keras 3   by class, counted within each model:
weights               ``layers/functional/layers/conv2d/vars/0``; the layer's own name is
                      an attribute of ``vars`` in files of newer versions. Keras 2.12 and
                      2.13 count every layer with weights twice
whole model in HDF5,  in the group of the outermost layer, by the name of the innermost:
Keras 2 weights       ``efficientnetb2/stem_conv/kernel:0``; TensorFlow may have numbered
                      the name (``stem_conv_1``) where the graph held it already. Where
                      layers were renamed after they had been built, weights keep the old
                      names, and the order tells: trainable layers first, then frozen ones
SavedModel            by the name of the innermost layer: ``stem_conv/kernel``
====================  =================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ModelFileMalformed, ModelIncomplete
from mammolens.models.importing.config import Layer, shown
from mammolens.models.importing.source import Format, Source, SourceTensor
from mammolens.models.importing.walk import kind_of

COUNTED = (Format.KERAS, Format.WEIGHTS_KERAS_3)
"""Formats that keep weights by counted class names."""

_ROLES = {
    "W": "kernel",
    "b": "bias",
    "depthwise_kernel": "kernel",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",  # Keras 1 kept the variance under this name
}
_NORMALISATION = ("gamma", "beta", "moving_mean", "moving_variance")
_WEIGHTED = ("Conv2D", "DepthwiseConv2D", "BatchNormalization", "Normalization", "Dense")


class Shelf:
    """A file's tensors, by layer.

    Parameters
    ----------
    source : Source
    layers : sequence of Layer
        All layers of the model.
    """

    def __init__(self, source: Source, layers: Sequence[Layer] = ()) -> None:
        self._source = source
        self._layers = list({layer.path: layer for layer in layers}.values())
        self._names = {layer.path[-1] for layer in layers}
        self._renamed: dict[str, dict[tuple[str, ...], tuple[str, ...]]] = {}
        self._by_place: dict[tuple[str, ...], list[SourceTensor]] = {}
        for tensor in source.tensors:
            self._by_place.setdefault(tensor.layer, []).append(tensor)
        self._doubled = source.keras_version.startswith(("2.12", "2.13")) and not any(
            re.fullmatch(r"(conv2d|batch_normalization)_\d*[13579]", place[-1]) for place in self._by_place if place
        )

    def of(self, layer: Layer) -> dict[str, SourceTensor]:
        """Tensors of a layer, by role: ``kernel``, ``bias``, ``gamma``, ``moving_mean``, ….

        Raises
        ------
        ModelIncomplete
            If two tensors claim one role; both are named.
        """
        found: dict[str, SourceTensor] = {}
        for tensor in self.at(layer):
            role = role_of(tensor, layer)
            if role in found:
                raise ambiguous(found[role], tensor, f"{layer.path[-1]} {role}")
            found[role] = tensor
        return found

    def at(self, layer: Layer) -> list[SourceTensor]:
        """Tensors that lie where a layer's weights lie."""
        if self._source.format in COUNTED:
            return self._counted(layer)
        if self._source.format is Format.SAVED_MODEL:
            return [tensor for tensor in self._source.tensors if tensor.layer[-1:] == layer.path[-1:]]
        group, leaf = layer.path[0], layer.path[-1]
        held = [tensor for tensor in self._source.tensors if tensor.layer[:1] == (group,)]
        if len(layer.path) == 1:
            return held
        exact = [tensor for tensor in held if tensor.layer[-1] == leaf and len(tensor.layer) > 1]
        if exact:
            return exact
        numbered = re.compile(re.escape(leaf) + r"_\d+")
        found = [t for t in held if numbered.fullmatch(t.layer[-1]) and t.layer[-1] not in self._names]
        place = () if found else self.renamed(group).get(layer.path, ())
        return found or [tensor for tensor in held if tensor.layer == place]

    def renamed(self, group: str) -> dict[tuple[str, ...], tuple[str, ...]]:
        """Places of the layers of a model whose weights kept the names that the layers had before.

        Parameters
        ----------
        group : str
            Name of the model.

        Returns
        -------
        dict
            Path of a layer to the place of its tensors, by order within each class; empty
            unless every layer of the model lies under another name.
        """
        if group not in self._renamed:
            self._renamed[group] = self._by_order(group)
        return self._renamed[group]

    def _by_order(self, group: str) -> dict[tuple[str, ...], tuple[str, ...]]:
        places = [place for place in self._by_place if place[0] == group and len(place) > 1]
        layers = [layer for layer in self._layers if layer.path[0] == group and kind_of(layer) in _WEIGHTED]
        names = {name for place in places for name in (place[-1], re.sub(r"_\d+$", "", place[-1]))}
        if self._source.config is None or self._source.format in COUNTED or names & self._names:
            return {}
        # sorted() keeps the network's order among the trainable and among the frozen.
        layers.sort(key=lambda layer: layer.settings.get("trainable") is False)
        found: dict[tuple[str, ...], tuple[str, ...]] = {}
        for kind in _WEIGHTED:
            held = [place for place in places if kind_of_tensors(self._by_place[place]) == kind]
            named = [layer for layer in layers if kind_of(layer) == kind]
            if len(held) != len(named):
                return {}
            found |= {layer.path: place for layer, place in zip(named, held, strict=True)}
        return found

    def _counted(self, layer: Layer) -> list[SourceTensor]:
        if self._doubled:
            return self._by_place.get(tuple(map(_twice, layer.stored)), [])
        place = self._by_place.get(layer.stored, [])
        name = layer.path[-1]
        if all(tensor.label in ("", name) for tensor in place):
            return place
        return [t for t in self._source.tensors if t.label == name and t.layer[:-1] == layer.stored[:-1]]

    def within(self, layer: Layer) -> list[SourceTensor]:
        """Weights of a layer, its parts' included; states of random generators are none."""
        if self._source.format in COUNTED:
            size = len(layer.stored)
            found = [tensor for tensor in self._source.tensors if tensor.layer[:size] == layer.stored]
        else:
            found = self.at(layer)
        return [tensor for tensor in found if not is_random_state(tensor)]

    def statistics(self, layer: Layer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Read mean and variance of a normalisation that was adapted to data.

        Raises
        ------
        ModelIncomplete
            If one is missing.
        ModelFileMalformed
            If a variance is negative.
        """
        tensors = self.of(layer)
        for role in ("mean", "variance"):
            if role not in tensors:
                raise ModelIncomplete(
                    f"The file holds no {role} of {shown(layer.path)}, which scales the input. Save the model again."
                )
        mean, variance = (np.asarray(tensors[role].read(), np.float64).ravel() for role in ("mean", "variance"))
        if mean.size not in (1, 3) or mean.size != variance.size or (variance < 0).any():
            raise ModelFileMalformed(f"The statistics of {shown(layer.path)} are none of a picture's channels.")
        return mean, variance


def role_of(tensor: SourceTensor, layer: Layer) -> str:
    """Say what a tensor is to its layer, from its name or, in Keras 3, its number."""
    if tensor.name.isdecimal():
        roles = roles_of(layer)
        index = int(tensor.name)
        return roles[index] if index < len(roles) else tensor.name
    # Keras 1: "convolution2d_1_W".
    name = tensor.name.removeprefix(layer.path[-1] + "_")
    return _ROLES.get(name, name)


def roles_of(layer: Layer) -> list[str]:
    """Roles of a layer's variables, in the order in which Keras keeps them."""
    kind = kind_of(layer)
    if kind == "BatchNormalization":
        return [role for role in _NORMALISATION if role not in _switched_off(layer.settings)]
    if kind == "Normalization":
        return ["mean", "variance", "count"]
    bias = layer.settings.get("use_bias") is not False
    return ["kernel", "bias"] if bias else ["kernel"]


def _switched_off(settings: Mapping[str, object]) -> set[str]:
    switches = {"gamma": "scale", "beta": "center"}
    return {role for role, switch in switches.items() if settings.get(switch) is False}


def _twice(part: str) -> str:
    """Count of a layer where each was counted twice: ``conv2d_3`` is ``conv2d_6``."""
    match = re.fullmatch(r"(.+)_(\d+)", part)
    return f"{match[1]}_{2 * int(match[2])}" if match else part


def kind_of_tensors(tensors: Sequence[SourceTensor]) -> str:
    """Class of the layer that tensors seem to be of, from their names and shapes; empty if of none that is known."""
    names = {tensor.name.rpartition("_")[2] for tensor in tensors}
    if {"gamma", "beta"} & names or any(tensor.name.startswith("moving") for tensor in tensors):
        return "BatchNormalization"
    if names >= {"mean", "variance"}:
        return "Normalization"
    kernel = next((tensor.shape for tensor in tensors if tensor.name.rpartition("_")[2] in ("kernel", "W")), ())
    if len(kernel) == 4:
        return "DepthwiseConv2D" if kernel[3] == 1 and kernel[0] > 1 else "Conv2D"
    return "Dense" if len(kernel) == 2 else ""


def is_random_state(tensor: SourceTensor) -> bool:
    """Whether a tensor is a random generator's state: a few integers."""
    return tensor.dtype.startswith(("int", "uint")) and len(tensor.shape) == 1 and tensor.shape[0] <= 8


def ambiguous(first: SourceTensor, second: SourceTensor, place: str) -> ModelIncomplete:
    """Give the error that names two tensors which fit one place."""
    return ModelIncomplete(
        f"Both {shown(first.path)} and {shown(second.path)} fit {shown(place)}. Save the model again from one that "
        "holds it once."
    )
