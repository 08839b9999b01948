"""What a network does to its input before the first convolution, and what it therefore expects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ContractUnknown, ModelIncomplete
from mammolens.models.importing.config import Call, Layer, shown
from mammolens.models.importing.source import Step
from mammolens.models.importing.walk import Walk, kind_of, refuse, setting
from mammolens.models.network import InputScale

FUZZ = 1e-7
"""Keras' ``epsilon()``, below which a normalisation does not let a deviation fall."""

_FUNCTIONS = {
    "TrueDivide": "divide",
    "Divide": "divide",
    "Multiply": "multiply",
    "Subtract": "subtract",
    "Add": "add",
    "math.truediv": "divide",
    "math.divide": "divide",
    "math.multiply": "multiply",
    "math.subtract": "subtract",
    "math.add": "add",
    "__operators__.add": "add",
}

Statistics = Callable[[Layer], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Gives mean and variance of a normalisation that was adapted to data."""


@dataclass(frozen=True, slots=True)
class Front:
    """The way from the input to the first convolution.

    Attributes
    ----------
    steps : tuple of Step
        In the order in which they are done.
    tripled : bool
        Whether one grey channel is repeated three times.
    size : tuple of int or None
        ``(height, width)`` to which the pictures are resized, if they are.
    """

    steps: tuple[Step, ...]
    tripled: bool
    size: tuple[int, int] | None


def find(walk: Walk, entry: int) -> Front:
    """Follow a network from its first convolution back to its input.

    Raises
    ------
    ModelUnsupported
        For a layer that is neither a scaling nor idle at inference.
    """
    steps: list[Step] = []
    tripled, size = False, None
    place = walk.past(entry, strangers=True)
    while walk.call(place).layer.kind != "InputLayer":
        call = walk.call(place)
        kind = kind_of(call.layer)
        if kind == "Concatenate":
            place, tripled = _tripled(walk, call, tripled), True
            continue
        if kind == "Resizing":
            size = _resized(call.layer)
        else:
            steps.insert(0, _step(call, kind))
        place = walk.past(walk.before(place), strangers=True)
    return Front(tuple(steps), tripled, size)


def _tripled(walk: Walk, call: Call, already: bool) -> int:
    """Place of the one picture that is put together with itself."""
    places = {walk.past(place, strangers=True) for place in call.inputs}
    if already or len(call.inputs) != 3 or len(places) != 1 or setting(call.layer, "axis") not in (-1, 3):
        refuse(call.layer, "puts together something else than one grey picture three times")
    return places.pop()


def _resized(layer: Layer) -> tuple[int, int]:
    size = setting(layer, "height"), setting(layer, "width")
    if not all(isinstance(side, int) for side in size):
        refuse(layer, "resizes to no known size")
    return size


def _step(call: Call, kind: str) -> Step:
    layer = call.layer
    if kind == "Rescaling":
        return Step(layer, _values(layer, setting(layer, "scale")), _values(layer, setting(layer, "offset") or 0.0))
    if kind == "Normalization":
        return _normalisation(layer)
    function = layer.settings.get("function") if kind == "TFOpLambda" else layer.kind if layer.operation else None
    name = _FUNCTIONS.get(str(function))
    if name is None:
        refuse(layer, "stands before the first convolution and is no scaling that can be read")
    return _arithmetic(call, name)


def _normalisation(layer: Layer) -> Step:
    if setting(layer, "axis") not in (-1, 3, (-1,), (3,), ()):
        refuse(layer, "normalises along another axis than the channels")
    inverted = layer.settings.get("invert") is True
    mean, variance = (layer.settings.get(name) for name in ("mean", "variance"))
    if mean is None and variance is None:
        return Step(layer, inverted=inverted)
    mean, variance = (np.array(_values(layer, _flat(setting(layer, name)))) for name in ("mean", "variance"))
    factor, offset = normalising(mean, variance, inverted)
    return Step(layer, tuple(factor.tolist()), tuple(offset.tolist()))


def normalising(
    mean: NDArray[np.float64], variance: NDArray[np.float64], inverted: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factor and offset of a normalisation: ``(x - mean) / max(sqrt(variance), 1e-7)``, or its inverse."""
    deviation = np.maximum(np.sqrt(variance), FUZZ)
    if inverted:
        return deviation, mean
    return 1.0 / deviation, -mean / deviation


def _arithmetic(call: Call, name: str) -> Step:
    """Arithmetic with a constant: ``x / 127.5``, ``x - 1``, ``2 * x``, ``1 - x``."""
    layer = call.layer
    numbers = {key: value for key, value in call.constants.items() if key in (0, 1, "x", "y", "x1", "x2")}
    if len(call.inputs) != 1 or len(numbers) != 1:
        refuse(layer, "calculates with something else than a picture and a constant")
    key, value = numbers.popitem()
    constant = np.array(_values(layer, _flat(value)))
    ones, zeros = np.ones_like(constant), np.zeros_like(constant)
    if key in (0, "x", "x1") and name == "subtract":
        lines = -ones, constant
    elif key in (0, "x", "x1") and name == "divide":
        refuse(layer, "divides by the picture")
    elif name == "divide":
        if not constant.all():
            refuse(layer, "divides by 0")
        lines = 1.0 / constant, zeros
    else:
        lines = {"multiply": (constant, zeros), "add": (ones, constant), "subtract": (ones, -constant)}[name]
    return Step(layer, tuple(lines[0].tolist()), tuple(lines[1].tolist()))


def _flat(value: Any) -> Any:
    """Constant of any nesting (``[[[0.485, …]]]``), also as Keras writes an array, as a number or a flat tuple."""
    if isinstance(value, Mapping) and value.get("class_name") in ("__numpy__", "__tensor__"):
        value = value.get("config")
        value = value.get("value") if isinstance(value, Mapping) else None
    while isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], list | tuple):
        value = value[0]
    return value


def _values(layer: Layer, value: Any) -> tuple[float, ...]:
    """One finite number, or one per channel."""
    value = _flat(value)
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    if len(values) not in (1, 3) or not all(_is_number(each) for each in values):
        refuse(layer, "holds something else than one number, or one per channel")
    return tuple(float(each) for each in values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30


def line(
    steps: Sequence[Step], statistics: Statistics, channels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """All steps in one, calculated in float64: ``x * factor + offset``.

    Parameters
    ----------
    steps : sequence of Step
    statistics : callable
        Gives mean and variance of a layer from its tensors.
    channels : int
        Of the first convolution.

    Returns
    -------
    factor, offset : ndarray of float32, shape (channels,)

    Raises
    ------
    ModelIncomplete
        If a step has another number of channels.
    """
    factor, offset = np.ones(channels), np.zeros(channels)
    for step in steps:
        own = lines(step, statistics)
        if not {own[0].size, own[1].size} <= {1, channels}:
            raise ModelIncomplete(
                f"The layer {shown(step.layer.path)} scales {max(own[0].size, own[1].size)} channels, "
                f"but the first convolution takes {channels}."
            )
        factor, offset = factor * own[0], offset * own[0] + own[1]
    return factor.astype(np.float32), offset.astype(np.float32)


def lines(step: Step, statistics: Statistics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factor and offset of one step, from its settings or its tensors."""
    if step.factor:
        return np.array(step.factor), np.array(step.offset)
    mean, variance = statistics(step.layer)
    return normalising(mean, variance, step.inverted)


def scale_of(
    steps: Sequence[Step], statistics: Statistics, asked: InputScale | None
) -> tuple[InputScale, tuple[str, ...]]:
    """Scale that a network expects of its input, and what was taken for granted.

    The first step that spans a range tells: what maps 0..255 to a range of 0.5 to 6
    units is made for grey values 0..255, what maps 0..1 there for pictures in 0..1. Two
    divisions by 255 in a row are suspicious, but kept: training had both too.

    Raises
    ------
    ContractUnknown
        If nothing tells, and nothing was asked for.
    """
    found = _expected(steps, statistics)
    assumed = [f"the input is divided by 255 twice, by {names}: kept, as in training" for names in _twice(steps)]
    if found is None and asked is None:
        raise ContractUnknown(
            "Nothing in the file tells the scale of the input. Say with --scale what the model was trained on: 255, 1, "
            "-1..1, imagenet or imagenet-bgr."
        )
    if found is not None and asked is not None and asked != found:
        assumed.append(
            f"the input is in the scale {asked}, as asked, although {shown(steps[0].layer.path)} expects {found}: "
            "suspected of being scaled twice"
        )
    return asked or found or "255", tuple(assumed)


def _expected(steps: Sequence[Step], statistics: Statistics) -> InputScale | None:
    factor, offset = 1.0, 0.0
    for step in steps:
        own = lines(step, statistics)
        factor, offset = factor * float(np.mean(own[0])), offset * float(np.mean(own[0])) + float(np.mean(own[1]))
        size = abs(factor)
        if 0.5 <= size * 255 <= 6 or (size == 1 and offset <= -50):
            return "255"
        if size > 100:
            return "-1..1" if offset > 50 else "1"
        if 1 < size <= 6:
            return "1"
    return None


def _twice(steps: Sequence[Step]) -> list[str]:
    """Names of the layers that each divide by 255 (or half of it), where there are several."""
    names = [
        shown(step.layer.path)
        for step in steps
        if step.factor and 0.9 / 255 < abs(float(np.mean(step.factor))) < 1.1 / 127.5
    ]
    return [" and ".join(names)] if len(names) > 1 else []
