"""Recognise the classifier at the end of a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mammolens.errors import ContractUnknown
from mammolens.models.importing.config import Layer
from mammolens.models.importing.source import Head
from mammolens.models.importing.walk import Walk, activation_of, inner_activation, kind_of, refuse, setting

LOGIT = "logit"
"""Our name of the last dense layer."""

MALIGNANT = "malignant"

Kind = Literal["sigmoid", "softmax", "linear"]
Units = Literal[1, 2]

_KINDS: dict[str, Kind] = {"sigmoid": "sigmoid", "softmax": "softmax", "linear": "linear"}


@dataclass(frozen=True, slots=True)
class Classifier:
    """What stands between the last features and the answer.

    Attributes
    ----------
    kind : {"sigmoid", "softmax", "linear"}
        Activation of the last layer.
    units : {1, 2}
    dense : Layer
    normalisations : tuple of Layer
        Batch normalisations before it, in the order of the data.
    top : int
        Place of the last features in the graph.
    """

    kind: Kind
    units: Units
    dense: Layer
    normalisations: tuple[Layer, ...]
    top: int


def find(walk: Walk) -> Classifier:
    """Follow a graph from its output to the last features.

    Raises
    ------
    ModelUnsupported
        If the head is another than global average pooling and one linear layer.
    """
    place = walk.past(walk.graph.output, strangers=True)
    applied = activation_of(walk.call(place))
    if applied:
        place = walk.past(walk.before(place), strangers=True)
    dense = walk.call(place).layer
    if kind_of(dense) != "Dense":
        refuse(dense, "ends the network, where a dense layer of one or two units is needed")
    kind, units = _answer(dense, applied)
    normalisations: list[Layer] = []
    place = walk.past(walk.before(place), strangers=True)
    while (found := kind_of(walk.call(place).layer)) in ("BatchNormalization", "Flatten"):
        if found == "BatchNormalization":
            normalisations.insert(0, _normalisation(walk.call(place).layer))
        place = walk.past(walk.before(place), strangers=True)
    place = _pooling(walk, place)
    # A normalisation is linear, so before or after the average it is the same.
    place = walk.past(place)
    while kind_of(walk.call(place).layer) == "BatchNormalization" and _is_extra(walk, place):
        normalisations.insert(0, _normalisation(walk.call(place).layer))
        place = walk.past(walk.before(place))
    return Classifier(kind, units, dense, tuple(normalisations), place)


def _answer(dense: Layer, applied: str) -> tuple[Kind, Units]:
    inner = inner_activation(dense)
    if applied and inner != "linear":
        refuse(dense, "has an activation of its own and another one after it")
    name, units = applied or inner, setting(dense, "units")
    if units not in (1, 2) or isinstance(units, bool):
        refuse(dense, "has another number of units than one or two")
    if name not in _KINDS or (name == "softmax" and units == 1):
        refuse(dense, "gives no sigmoid, softmax of two, or logit")
    return _KINDS[name], 1 if units == 1 else 2


def _pooling(walk: Walk, place: int) -> int:
    """Place of what is pooled."""
    layer = walk.call(place).layer
    kind = kind_of(layer)
    if kind == "GlobalMaxPooling2D":
        refuse(layer, "takes the maximum instead of the average, so that the head is not linear")
    if kind == "Dense":
        refuse(layer, "is a hidden layer, so that the head is not linear")
    if kind != "GlobalAveragePooling2D":
        refuse(layer, "stands in the head, where only global average pooling and one dense layer are understood")
    if setting(layer, "data_format") != "channels_last":
        refuse(layer, "takes channels first, which is not understood")
    return walk.before(place)


def _normalisation(layer: Layer) -> Layer:
    if setting(layer, "axis") not in (1, 3, -1, (1,), (3,), (-1,)):
        refuse(layer, "normalises along another axis than the features")
    return layer


def _is_extra(walk: Walk, place: int) -> bool:
    """Whether a normalisation stands behind the last activation, and not before it as the network's own."""
    return activation_of(walk.call(walk.past(walk.before(place)))) == "silu"


def decide(kind: Kind, units: Units, classes: tuple[str, str] | None) -> tuple[Head, tuple[str, ...]]:
    """Settle which output means malignant.

    Parameters
    ----------
    kind : {"sigmoid", "softmax", "linear"}
        Activation of the last layer.
    units : {1, 2}
    classes : tuple of str, optional
        As the user states them, in the order of the outputs; for one output, what its low
        and its high end mean.

    Returns
    -------
    head : Head
    assumed : tuple of str

    Raises
    ------
    ContractUnknown
        If there are two outputs and no classes, or not exactly one class is "malignant".
    """
    assumed = []
    if kind == "linear":
        meaning = "logit of the sigmoid" if units == 1 else "logits of a softmax"
        assumed.append(f"the head has no activation: its output is taken as the {meaning}")
    if classes is None:
        if units == 2:
            raise ContractUnknown(
                "The model has two outputs, and the file can't tell which one means malignant. Say it with --classes, "
                "in the order of the outputs: --classes benign,malignant."
            )
        malignant = 1
        assumed.append("a high output means malignant")
    else:
        named = [name.strip().lower() == MALIGNANT for name in classes]
        if named.count(True) != 1:
            raise ContractUnknown('One of the two --classes must be "malignant": --classes benign,malignant.')
        malignant = named.index(True)
    return Head(kind, units, 1 if malignant == 1 else 0), tuple(assumed)
