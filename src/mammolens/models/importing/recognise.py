"""From a model file to a plan: which of our networks it is, what it expects and what its answer means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from mammolens.errors import ContractUnknown, ModelUnsupported
from mammolens.models.efficientnet import IMAGENET_DEVIATION, VARIANTS
from mammolens.models.importing import backbone, bare, front, head
from mammolens.models.importing.config import Graph, Layer, flatten, shown
from mammolens.models.importing.head import LOGIT
from mammolens.models.importing.shelf import Shelf
from mammolens.models.importing.source import Asked, Fate, Format, Plan, Source, Step
from mammolens.models.importing.walk import HINT, Walk
from mammolens.models.network import InputContract


def plan(source: Source, asked: Asked) -> Plan:
    """Decide how a file becomes one of our networks; only statistics of an input's normalisation are read.

    Parameters
    ----------
    source : Source
    asked : Asked
        What the user states. What the file tells itself must not contradict it, but for
        the scale of the input, which the user knows better.

    Returns
    -------
    Plan

    Raises
    ------
    ModelUnsupported
        If the network is none of ours, or not the one that was asked for.
    ContractUnknown
        If something can neither be found nor was asked for; the message names the option.
    ModelIncomplete
        If weights alone lack a layer, or two places fit one.
    ModelFileMalformed
        If the description contradicts itself.
    ModelFileUnsafe
        If a layer is code.
    """
    if asked.architecture is not None and asked.architecture not in VARIANTS:
        raise ModelUnsupported(f"--arch knows {', '.join(VARIANTS)}. {HINT}")
    if source.format is Format.ONNX:
        raise ModelUnsupported("An ONNX file goes the second road: --foreign.")
    return _described(source, asked) if source.config is not None else _weights_alone(source, asked)


def _described(source: Source, asked: Asked) -> Plan:
    graph = flatten(source.config or {})
    shelf = Shelf(source, [call.layer for call in graph.calls])
    walk = Walk(graph, lambda layer: bool(shelf.within(layer)))
    classifier = head.find(walk)
    network = backbone.find(walk, classifier.top)
    if asked.architecture not in (None, network.architecture):
        raise ModelUnsupported(f"The file holds {network.architecture}, not {asked.architecture} as --arch says.")
    before = front.find(walk, network.entry)
    size = _size(graph, before.size, asked.size)
    backbone.check_paddings(network, size)
    scale, scaling = front.scale_of(before.steps, shelf.statistics, asked.scale)
    answer, meaning = head.decide(classifier.kind, classifier.units, asked.classes)
    layers = dict(network.layers) | _head_layers(classifier)
    assumed = (*walk.assumed.values(), *_subclasses(graph), *_reordered(shelf, layers), *scaling, *meaning)
    return Plan(
        network.architecture,
        InputContract(*size, channels=_channels(graph, shelf, network, tripled=before.tripled), scale=scale),
        answer,
        tuple("/".join(step.layer.path) for step in before.steps),
        tuple(dict.fromkeys(assumed)),
        {name: layer.path for name, layer in layers.items()},
        tuple(walk.ignored.values()),
        layers,
        before.steps,
        tuple(_built(walk, layers, network.architecture)),
        before.tripled,
    )


def _built(walk: Walk, layers: Mapping[str, Layer], architecture: str) -> Iterator[Fate]:
    """Activations, paddings, additions and the like, which our network has as well."""
    named = {"/".join(layer.path) for layer in layers.values()} | walk.ignored.keys()
    for call in walk.graph.calls:
        name = "/".join(call.layer.path)
        if name not in named:
            named.add(name)
            yield Fate(name, target=f"part of {architecture}")


def _head_layers(classifier: head.Classifier) -> dict[str, Layer]:
    names = (f"{LOGIT}_bn_{index}" if index else f"{LOGIT}_bn" for index in range(len(classifier.normalisations)))
    return {LOGIT: classifier.dense} | dict(zip(names, classifier.normalisations, strict=True))


def _subclasses(graph: Graph) -> list[str]:
    """Models of classes of the training script: Keras' own training with another step, most often."""
    return [
        f"model {shown(model.path)} of the class {shown(model.kind)} answers as its layers do"
        for model in graph.models
        if model.kind not in ("Model", "Functional", "Sequential") or not model.own
    ]


def _reordered(shelf: Shelf, layers: Mapping[str, Layer]) -> list[str]:
    """Models whose layers were renamed after they had been built."""
    groups = dict.fromkeys(layer.path[0] for layer in layers.values() if len(layer.path) > 1)
    return [f"layers of one class lie in {shown(group)} in its order" for group in groups if shelf.renamed(group)]


def _size(graph: Graph, resized: tuple[int, int] | None, asked: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width of the input: the file's own, or what was asked for where it leaves them open."""
    height, width = graph.shape[:2]
    told = (height, width) if height is not None and width is not None else None
    if resized is not None and told is not None and told != resized:
        raise ModelUnsupported(f"The model resizes its input from {_by(told)} to {_by(resized)}. {HINT}")
    told = told or resized
    if told is not None and asked is not None and told != asked:
        raise ModelUnsupported(f"The file says that the input is of {_by(told)}, not of {_by(asked)} as --size says.")
    size = told or asked
    if size is None:
        raise ContractUnknown(
            "The model takes pictures of any size. Say with --size height×width what it was trained on: --size 512x384."
        )
    return size


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"


def _channels(graph: Graph, shelf: Shelf, network: backbone.Backbone, *, tripled: bool) -> Literal[1, 3]:
    """Channels of the input; where the file leaves them open, the first convolution's kernel tells them."""
    channels = graph.shape[2]
    if channels is None:
        kernel = shelf.of(network.layers["stem_conv"]).get("kernel")
        channels = 1 if tripled else kernel.shape[2] if kernel is not None and len(kernel.shape) == 4 else None
    if channels == 1:
        return 1
    if channels != 3 or tripled:
        raise ModelUnsupported(f"The model takes pictures of other than one or three channels. {HINT}")
    return 3


def _weights_alone(source: Source, asked: Asked) -> Plan:
    if asked.architecture is None or asked.size is None:
        raise ContractUnknown(
            "The file holds weights alone, without the network. Say with --arch and --size what they belong to: "
            f"--arch {next(iter(VARIANTS))} --size 512x384."
        )
    found = bare.find(source, asked.architecture)
    steps, assumed = _usual_steps(source, found)
    scale, scaling = front.scale_of(steps, Shelf(source).statistics, asked.scale)
    answer, meaning = head.decide("sigmoid" if found.units == 1 else "softmax", found.units, asked.classes)
    if found.channels not in (1, 3):
        raise ModelUnsupported(f"The model takes pictures of other than one or three channels. {HINT}")
    activation = f"the head ends in a {answer.kind}"
    order = ("layers of one class lie in the order of the network",) if found.ordered else ()
    return Plan(
        asked.architecture,
        InputContract(*asked.size, channels=1 if found.channels == 1 else 3, scale=scale),
        answer,
        tuple("/".join(step.layer.path) for step in steps),
        (activation, *order, *assumed, *scaling, *meaning),
        {name: layer.path for name, layer in found.layers.items()},
        (),
        found.layers,
        steps,
    )


def _usual_steps(source: Source, found: bare.Bare) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """Scaling inside a network of ``keras.applications``, of which only the normalisation has weights.

    It divides by 255 and normalises. Since TensorFlow 2.10 it also divides by the root of
    ImageNet's deviation where it was made with ImageNet's weights, whose "variance" is
    the deviation (tensorflow issue 49930).
    """
    if found.normalisation is None:
        return (), ("nothing scales the input inside the network",)
    steps = [_rescaling("rescaling", (1.0 / 255.0,)), Step(found.normalisation)]
    assumed = ["the network divides its input by 255 and normalises it, as that of keras.applications does"]
    variance = Shelf(source).statistics(found.normalisation)[1]
    if variance.size == 3 and abs(variance - IMAGENET_DEVIATION).max() < 1e-4 and _since(source.keras_version, (2, 10)):
        steps.append(_rescaling("rescaling_1", tuple(deviation**-0.5 for deviation in IMAGENET_DEVIATION)))
        assumed.append("it divides by the root of ImageNet's deviation too, as since TensorFlow 2.10")
    return tuple(steps), tuple(assumed)


def _rescaling(name: str, factor: tuple[float, ...]) -> Step:
    return Step(Layer((name,), (name,), "Rescaling", True, False, {}), factor, (0.0,))


def _since(version: str, first: tuple[int, int]) -> bool:
    """Whether a version of Keras is not older than another; one that is not told is taken for new."""
    match = re.match(r"(\d+)\.(\d+)", version)
    return match is None or (int(match[1]), int(match[2])) >= first
