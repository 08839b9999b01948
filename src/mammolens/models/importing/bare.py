"""Find the layers of an EfficientNet in a file of weights alone, which describes no network.

Names decide where the file has the registry's (those of ``keras.applications``). Where it
has none of them, the order does, as when Keras itself loads such a file: layers of one
class lie in the order of the network. A file that has some of the names is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mammolens.errors import ModelIncomplete
from mammolens.models.efficientnet import features_of, kernels
from mammolens.models.importing.config import Layer, shown
from mammolens.models.importing.head import LOGIT, Units
from mammolens.models.importing.shelf import COUNTED, ambiguous, kind_of_tensors
from mammolens.models.importing.source import Source, SourceTensor
from mammolens.models.transfer import normalisation_of

_CLASSES = {
    "conv2d": "Conv2D",
    "depthwise_conv2d": "DepthwiseConv2D",
    "batch_normalization": "BatchNormalization",
    "normalization": "Normalization",
    "dense": "Dense",
}


@dataclass(frozen=True, slots=True)
class Leaf:
    """Tensors that lie at one place, and the layer that they seem to be."""

    place: tuple[str, ...]
    kind: str
    count: int
    tensors: tuple[SourceTensor, ...]

    @property
    def name(self) -> str:
        """Name of the layer where the file tells it."""
        return self.tensors[0].label or self.place[-1]

    def layer(self, *, biased: bool) -> Layer:
        """Give the layer, set as Keras does unless told otherwise; with a bias if it must have or has one."""
        names = {tensor.name.rpartition("_")[2] for tensor in self.tensors}
        settings = {"use_bias": biased or bool(names & {"bias", "b", "1"})}
        return Layer((*self.place[:-1], self.name), self.place, self.kind, True, False, settings)


@dataclass(frozen=True, slots=True)
class Bare:
    """What a file of weights holds.

    Attributes
    ----------
    layers : dict of str to Layer
        By our registry's names.
    units : {1, 2}
        Of the head.
    channels : int
        That the first convolution takes.
    normalisation : Layer or None
        That scales the input.
    ordered : bool
        Whether order, not names, told the layers apart.
    """

    layers: dict[str, Layer]
    units: Units
    channels: int
    normalisation: Layer | None
    ordered: bool


def find(source: Source, architecture: str) -> Bare:
    """Find all layers of one architecture.

    Parameters
    ----------
    source : Source
    architecture : str
        A key of `mammolens.models.efficientnet.VARIANTS`.

    Raises
    ------
    ModelIncomplete
        If a layer is missing, or two places fit one layer.
    """
    leaves = list(_leaves(source))
    logit, units = _head(leaves, features_of(architecture))
    normalisation = _single([leaf for leaf in leaves if leaf.kind == "Normalization"], "the input's normalisation")
    found, ordered = _named(leaves, architecture), False
    if found is None:
        found, ordered = _ordered(leaves, architecture, counted=source.format in COUNTED), True
    stem = found["stem_conv"]
    channels = stem.tensors[0].shape[2] if len(stem.tensors[0].shape) == 4 else 3
    # Convolutions without a normalisation have a bias, and so has the head: if it is missing, the file is not whole.
    layers = {name: leaf.layer(biased=normalisation_of(name) is None) for name, leaf in found.items()}
    layers[LOGIT] = logit.layer(biased=True)
    scaling = normalisation.layer(biased=False) if normalisation is not None else None
    return Bare(layers, units, channels, scaling, ordered)


def _leaves(source: Source) -> Iterator[Leaf]:
    """All layers with weights that an EfficientNet may have, in the file's order."""
    places: dict[tuple[str, ...], list[SourceTensor]] = {}
    for tensor in source.tensors:
        if tensor.layer:
            places.setdefault(tensor.layer, []).append(tensor)
    for place, tensors in places.items():
        match = re.fullmatch(r"(.+?)(?:_(\d+))?", place[-1])
        base, count = (match[1], int(match[2] or 0)) if match else (place[-1], 0)
        kind = _CLASSES.get(base, "") if source.format in COUNTED else kind_of_tensors(tensors)
        if kind:
            yield Leaf(place, kind, count, tuple(tensors))


def _head(leaves: Sequence[Leaf], features: int) -> tuple[Leaf, Units]:
    """Find the dense layer of one or two units on the last features."""
    shapes = (features, 1), (features, 2)
    fitting = [leaf for leaf in leaves if leaf.kind == "Dense" and leaf.tensors[0].shape in shapes]
    leaf = _single(fitting, f"the head of {features} features")
    if leaf is None:
        others = [leaf.tensors[0] for leaf in leaves if leaf.kind == "Dense"]
        turned = any(sorted(tensor.shape) in (sorted(shape) for shape in shapes) for tensor in others)
        raise ModelIncomplete(
            f"The file holds no dense layer of one or two units on {features} features, so it can't answer. "
            + "".join(f"{shown(tensor.path)} is of the shape {tensor.shape}. " for tensor in others[:1])
            + ("It seems to be transposed." if turned else "--arch may say another architecture than the file's.")
        )
    return leaf, 1 if leaf.tensors[0].shape[1] == 1 else 2


def _single(leaves: Sequence[Leaf], place: str) -> Leaf | None:
    if len(leaves) > 1:
        raise ambiguous(leaves[0].tensors[0], leaves[1].tensors[0], place)
    return leaves[0] if leaves else None


def _expected(architecture: str) -> Iterator[tuple[str, str]]:
    """Names and classes of an architecture's layers with weights, in its order."""
    for name in kernels(architecture):
        yield name, "DepthwiseConv2D" if name.endswith("dwconv") else "Conv2D"
        normalisation = normalisation_of(name)
        if normalisation is not None:
            yield normalisation, "BatchNormalization"


def _named(leaves: Sequence[Leaf], architecture: str) -> dict[str, Leaf] | None:
    """Layers by the registry's names, which TensorFlow may have numbered; None if the file has none of them."""
    found, missing = {}, ""
    for name, kind in _expected(architecture):
        exact = [leaf for leaf in leaves if leaf.name == name]
        numbered = [leaf for leaf in leaves if re.fullmatch(re.escape(name) + r"_\d+", leaf.name)]
        leaf = _single(exact or numbered, name)
        if leaf is None:
            missing = missing or f"{name} ({kind})"
        else:
            found[name] = leaf
    if found and missing:
        raise ModelIncomplete(
            f"The file holds no layer {missing}, although it names {len(found)} of the layers of {architecture}. It is "
            "incomplete, or of another architecture than --arch says."
        )
    return found or None


def _ordered(leaves: Sequence[Leaf], architecture: str, *, counted: bool) -> dict[str, Leaf]:
    """Layers by their order within each class."""
    expected = list(_expected(architecture))
    backbones = dict.fromkeys(leaf.place[:-1] for leaf in leaves if leaf.kind == "DepthwiseConv2D")
    if len(backbones) > 1 and counted:
        first, second = (next(leaf for leaf in leaves if leaf.place[:-1] == place) for place in list(backbones)[:2])
        raise ambiguous(first.tensors[0], second.tensors[0], f"the layers of {architecture}")
    found: dict[str, Leaf] = {}
    for kind in ("Conv2D", "DepthwiseConv2D", "BatchNormalization"):
        names = [name for name, each in expected if each == kind]
        held = [leaf for leaf in leaves if leaf.kind == kind and (not counted or leaf.place[:-1] in backbones)]
        if counted:
            held.sort(key=lambda leaf: leaf.count)
        if len(held) < len(names):
            raise ModelIncomplete(_shortage(held, names, kind, architecture, counted=counted))
        found |= zip(names, held, strict=False)
    return {name: found[name] for name, _ in expected}


def _shortage(held: Sequence[Leaf], names: Sequence[str], kind: str, architecture: str, *, counted: bool) -> str:
    """Say which layer is missing, where counts leave a gap."""
    said = f"The file holds {len(held)} layers of the class {kind}, but {architecture} has {len(names)}."
    gaps = sorted(set(range(len(names))) - {leaf.count for leaf in held})
    if counted and held and gaps:
        place = re.sub(r"_\d+$", "", "/".join(held[0].place)) + (f"_{gaps[0]}" if gaps[0] else "")
        return f"{said} {shown(place)} ({names[gaps[0]]}) is missing."
    return f"{said} It is incomplete, or of another architecture than --arch says."
