"""The layers of a foreign model that are converted, and how each of their settings is checked.

A check gives the setting in the one form in which the rest of the code knows it, or
raises ValueError (TypeError, IndexError).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Json = Any
Check = Callable[[Json], Json]
Settings = Mapping[str, tuple[Json, Check]]

REQUIRED = object()
"""Stands for what Keras takes for a missing setting, where it takes none."""

OWN_MODULES = ("keras", "tensorflow.keras", "tensorflow.python.keras", "tf_keras")
"""Beginnings of the modules of Keras' own classes."""

ACTIVATIONS = frozenset(
    [
        "linear",
        "relu",
        "relu6",
        "leaky_relu",
        "elu",
        "selu",
        "sigmoid",
        "tanh",
        "softmax",
        "silu",
        "gelu",
        "hard_sigmoid",
        "hard_silu",
        "softplus",
        "softsign",
        "exponential",
        "mish",
    ]
)
"""Activation functions that are converted, by Keras 3's names."""

_ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}


def _whole(low: int, high: int) -> Check:
    def check(value: Json) -> Json:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError
        return value

    return check


def number(value: Json) -> Json:
    """Check a number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
        raise ValueError
    return value


def numbers(value: Json) -> Json:
    """Check a number or a list of them, as deep as Normalization writes it."""
    if isinstance(value, list) and len(value) <= 4096:
        return [numbers(each) for each in value]
    if isinstance(value, Mapping) and isinstance(value.get("config"), Mapping):
        # Keras writes arrays as {"class_name": "__numpy__", "config": {"value": …}}.
        return numbers(value["config"].get("value"))
    return number(value)


def _optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _flag(value: Json) -> Json:
    if not isinstance(value, bool | int) or value not in (0, 1):
        raise ValueError
    return bool(value)


def _one_of(*allowed: Json) -> Check:
    def check(value: Json) -> Json:
        if value not in allowed:
            raise ValueError
        return value

    return check


def _pair(low: int, high: int = 4096) -> Check:
    whole = _whole(low, high)

    def check(value: Json) -> Json:
        if isinstance(value, list | tuple):
            if len(value) != 2:
                raise ValueError
            return [whole(value[0]), whole(value[1])]
        return [whole(value)] * 2

    return check


def _borders(value: Json) -> Json:
    """Check padding or cropping: a number, a number per axis, or a pair per axis."""
    whole = _whole(0, 4096)
    if isinstance(value, list | tuple):
        if len(value) != 2:
            raise ValueError
        return [_pair(0)(each) if isinstance(each, list | tuple) else [whole(each)] * 2 for each in value]
    return [[whole(value)] * 2] * 2


def _wholes(low: int, high: int) -> Check:
    whole = _whole(low, high)

    def check(value: Json) -> Json:
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= 4:
            raise ValueError
        return [whole(each) for each in value]

    return check


def _axis(value: Json) -> Json:
    """Check an axis; TensorFlow 1 and 2.0 wrote batch normalisation's as a list."""
    return _whole(-4, 3)(value[0] if isinstance(value, list | tuple) and len(value) == 1 else value)


def activation(value: Json) -> Json:
    """Name of an activation function, by Keras 3's name; raises ValueError for any that is not converted."""
    if isinstance(value, Mapping):
        module = value.get("module")
        if value.get("class_name") != "function" or not (isinstance(module, str) and module.startswith(OWN_MODULES)):
            raise ValueError
        value = value.get("config")
    if value is None:
        return "linear"
    if not isinstance(value, str):
        raise ValueError
    value = _ALIASES.get(value, value)
    if value not in ACTIVATIONS:
        raise ValueError
    return value


_FILTERS = _whole(1, 1 << 20)
_CONVOLUTION: Settings = {
    "kernel_size": (REQUIRED, _pair(1)),
    "strides": (1, _pair(1)),
    "padding": ("valid", _one_of("valid", "same")),
    "dilation_rate": (1, _pair(1)),
    "activation": ("linear", activation),
    "use_bias": (True, _flag),
}
_POOLING: Settings = {
    "pool_size": (2, _pair(1)),
    "strides": (None, _optional(_pair(1))),
    "padding": ("valid", _one_of("valid", "same")),
}
_GLOBAL: Settings = {"keepdims": (False, _flag)}

LAYERS: Mapping[str, Settings] = {
    "Conv2D": {"filters": (REQUIRED, _FILTERS), "groups": (1, _whole(1, 1 << 20)), **_CONVOLUTION},
    "DepthwiseConv2D": {"depth_multiplier": (1, _whole(1, 1024)), **_CONVOLUTION},
    "SeparableConv2D": {
        "filters": (REQUIRED, _FILTERS),
        "depth_multiplier": (1, _whole(1, 1024)),
        **_CONVOLUTION,
    },
    "Dense": {"units": (REQUIRED, _FILTERS), "activation": ("linear", activation), "use_bias": (True, _flag)},
    "BatchNormalization": {
        "axis": (-1, _axis),
        "epsilon": (1e-3, number),
        "center": (True, _flag),
        "scale": (True, _flag),
    },
    "LayerNormalization": {
        "axis": (-1, _axis),
        "epsilon": (1e-3, number),
        "center": (True, _flag),
        "scale": (True, _flag),
    },
    "Activation": {"activation": (REQUIRED, activation)},
    "ReLU": {
        "max_value": (None, _optional(number)),
        "negative_slope": (0.0, number),
        "threshold": (0.0, _one_of(0, 0.0)),
    },
    "LeakyReLU": {"negative_slope": (0.3, number)},
    "PReLU": {"shared_axes": (None, _optional(_wholes(1, 3)))},
    "ELU": {"alpha": (1.0, number)},
    "Softmax": {"axis": (-1, _axis)},
    "MaxPooling2D": _POOLING,
    "AveragePooling2D": _POOLING,
    "GlobalAveragePooling2D": _GLOBAL,
    "GlobalMaxPooling2D": _GLOBAL,
    "Flatten": {},
    "Reshape": {"target_shape": (REQUIRED, _wholes(-1, 1 << 24))},
    "ZeroPadding2D": {"padding": (1, _borders)},
    "Cropping2D": {"cropping": (0, _borders)},
    "Add": {},
    "Subtract": {},
    "Multiply": {},
    "Average": {},
    "Maximum": {},
    "Minimum": {},
    "Concatenate": {"axis": (-1, _axis)},
    "Rescaling": {"scale": (REQUIRED, numbers), "offset": (0.0, numbers)},
    "Normalization": {
        "axis": (-1, _optional(_axis)),
        "mean": (None, _optional(numbers)),
        "variance": (None, _optional(numbers)),
        "invert": (False, _one_of(False)),
    },
    "Identity": {},
}
"""Layers that are converted, and the settings of each that matter, with what Keras takes for one that is missing."""

OPERATIONS = frozenset({"Add", "Subtract", "Multiply", "Divide", "TrueDivide"})
"""Bare operations of Keras 3 between a tensor and a number (``x / 255``)."""

TENSORFLOW: Mapping[str, str] = {
    "math.truediv": "TrueDivide",
    "math.divide": "Divide",
    "math.multiply": "Multiply",
    "math.subtract": "Subtract",
    "math.add": "Add",
    "__operators__.add": "Add",
}
"""The same as Keras 2 wrote them, by the name of TensorFlow's function."""

SCALING = frozenset({"Rescaling", "Normalization"}) | OPERATIONS
"""Layers by which a model may scale its own input."""

RENAMED: Mapping[str, Mapping[str, str]] = {"LeakyReLU": {"alpha": "negative_slope"}}
"""Settings that Keras 2 knew by another name."""

HARMLESS: Mapping[str, tuple[Json, ...]] = {"groups": (1,), "depth_multiplier": (1,)}
"""Settings that Keras 2 wrote and Keras 3 does not know, at the values at which they change nothing."""
