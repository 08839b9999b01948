"""Walk a model's graph from its output to its input, past the layers that do nothing at inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from mammolens.errors import ModelFileUnsafe, ModelUnsupported
from mammolens.models.importing.classes import ALIASES, ELSEWHERE_TRAINING_ONLY, KERAS, TELLING, TRAINING_ONLY
from mammolens.models.importing.config import Call, Graph, Layer, shown
from mammolens.models.importing.source import Fate

HINT = "Try --foreign, which takes other networks."

_ACTIVATIONS = {"swish": "silu", None: "linear"}
_OPERATIONS = {"Silu": "silu", "Sigmoid": "sigmoid", "Softmax": "softmax"}
_FUNCTIONS = {
    "nn.silu": "silu",
    "nn.swish": "silu",
    "math.sigmoid": "sigmoid",
    "nn.sigmoid": "sigmoid",
    "nn.softmax": "softmax",
}


class Walk:
    """Where one stands in a graph, and what one has passed.

    Parameters
    ----------
    graph : Graph
    weighted : callable
        Whether the file holds weights of a layer.

    Attributes
    ----------
    ignored : dict of str to Fate
        Layers without a part in the answer, by name.
    assumed : dict of str to str
        What had to be taken for granted of a layer, by its name.
    """

    def __init__(self, graph: Graph, weighted: Callable[[Layer], bool]) -> None:
        self.graph, self.weighted = graph, weighted
        self.ignored: dict[str, Fate] = {}
        self.assumed: dict[str, str] = {}

    def call(self, place: int) -> Call:
        """Call at a place."""
        return self.graph.calls[place]

    def before(self, place: int) -> int:
        """Place of a call's one input."""
        call = self.call(place)
        if len(call.inputs) != 1:
            refuse(call.layer, "takes something else than one tensor")
        return call.inputs[0]

    def past(self, place: int, strangers: bool = False) -> int:
        """Nearest place, this one or before it, whose layer does something.

        Parameters
        ----------
        place : int
        strangers : bool
            Whether a layer of an unknown class without weights is passed too.

        Raises
        ------
        ModelUnsupported
            For a layer that answers at random, and one of an unknown class with weights.
        ModelFileUnsafe
            For a layer that is code.
        """
        while self._idle(self.call(place), strangers):
            place = self.before(place)
        return place

    def _idle(self, call: Call, strangers: bool) -> bool:
        layer = call.layer
        if layer.kind == "Lambda":
            raise ModelFileUnsafe(
                f"The layer {shown(layer.path)} is a Lambda, which is code. Mammolens runs no code of a model file; "
                "build the model without it."
            )
        name = "/".join(layer.path)
        idle = layer.own and (layer.kind in TRAINING_ONLY or activation_of(call) == "linear" or _is_cast(call))
        if idle or (layer.kind in ELSEWHERE_TRAINING_ONLY and not self.weighted(layer)):
            self.ignored[name] = Fate(name, reason="identity at inference")
            return True
        if not strangers or layer.operation or (layer.own and layer.kind in KERAS):
            return False
        if self.weighted(layer):
            refuse(layer, "is of an unknown class and has weights")
        if any(part in layer.kind.lower() for part in TELLING) and not layer.kind.lower().startswith("random"):
            refuse(layer, "is of an unknown class, and by its name it changes its input at inference too")
        self.ignored[name] = Fate(name, reason="identity at inference (assumed)")
        self.assumed[name] = f"layer {shown(name)} of the class {shown(layer.kind)} changes nothing at inference"
        return True

    def expect(self, place: int, kind: str, role: str, **settings: Any) -> Call:
        """Call at a place, if it is of one of Keras' own classes and set as needed."""
        call = self.call(place)
        if kind_of(call.layer) != kind:
            refuse(call.layer, f"is of the class {shown(call.layer.kind)} where EfficientNet has {role}")
        for key, value in settings.items():
            if setting(call.layer, key) != value:
                refuse(call.layer, f"has another {key.replace('_', ' ')} than EfficientNet's {role}")
        return call


def refuse(layer: Layer, why: str) -> NoReturn:
    """Raise the error that names a layer."""
    raise ModelUnsupported(f"The layer {shown(layer.path)} {why}. {HINT}")


def kind_of(layer: Layer) -> str:
    """Class of a layer by its usual name; empty if it is not Keras' own."""
    return ALIASES.get(layer.kind, layer.kind) if layer.own and not layer.operation else ""


def activation_of(call: Call) -> str:
    """Name the function of one input that a call applies; empty if it applies none that is known."""
    layer = call.layer
    if not layer.own:
        return ""
    if layer.operation:
        return _OPERATIONS.get(layer.kind, "")
    if layer.kind == "TFOpLambda":
        return _FUNCTIONS.get(str(layer.settings.get("function")), "")
    if layer.kind == "Softmax" and setting(layer, "axis") in (-1, 1):
        return "softmax"
    return inner_activation(layer) if layer.kind == "Activation" else ""


def inner_activation(layer: Layer) -> str:
    """Activation that a layer names in its configuration, by its usual name."""
    value = layer.settings.get("activation")
    if isinstance(value, Mapping):
        # Keras 3 writes a function that it has no short name for as an object; only its name is looked at.
        value = value.get("config") if isinstance(value.get("config"), str) else value.get("class_name")
    name = value.lower().rpartition(">")[2] if isinstance(value, str) else value
    return str(_ACTIVATIONS.get(name, name)) if name is None or isinstance(name, str) else "unknown"


def _is_cast(call: Call) -> bool:
    layer = call.layer
    target = call.constants.get("dtype", call.constants.get(1))
    cast = (layer.operation and layer.kind == "Cast") or layer.settings.get("function") == "cast"
    return cast and str(layer.settings.get("dtype") if target is None else target).startswith("float")


_DEFAULTS: Mapping[str, Any] = {
    "data_format": "channels_last",
    "dilation_rate": (1, 1),
    "groups": 1,
    "depth_multiplier": 1,
    "strides": (1, 1),
    "use_bias": True,
    "axis": -1,
    "keepdims": False,
}


def setting(layer: Layer, key: str) -> Any:
    """Give a setting of a layer, lists as tuples; Keras' default where it is not written."""
    value = layer.settings.get(key)
    value = _DEFAULTS.get(key) if value is None else value
    return _frozen(value)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(each) for each in value) if isinstance(value, list | tuple) else value


def number(layer: Layer, key: str, default: float) -> float:
    """Give a setting of a layer that must be one finite number."""
    value = layer.settings.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
        refuse(layer, f"has no usable {key}")
    return float(value)
