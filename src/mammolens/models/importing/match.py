"""From a file's tensors to a network: every tensor in its place, or an error that names the one that is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ModelFileMalformed, ModelIncomplete
from mammolens.models.efficientnet import BN_EPSILON, features_of, kernels
from mammolens.models.importing import front
from mammolens.models.importing.config import Layer, shown
from mammolens.models.importing.head import LOGIT
from mammolens.models.importing.shelf import Shelf, is_random_state, role_of, roles_of
from mammolens.models.importing.source import Fate, Plan, Source, SourceTensor
from mammolens.models.importing.walk import number
from mammolens.models.network import Convolution, Network
from mammolens.models.transfer import normalisation_of

Line = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Factor and offset per channel."""

Shape = tuple[int, ...]
Arrays = Mapping[str, NDArray[np.float64]]
"""Values of a layer's tensors, by role."""

_ADVICE = "Nothing was imported; save the model again from the script that made it."


@dataclass(frozen=True, slots=True)
class _Place:
    """A tensor that the network needs: ``stem_bn``, ``gamma``, its shape, and the layer of the file that has it."""

    target: str
    role: str
    shape: Shape
    layer: Layer


def assemble(source: Source, plan: Plan) -> tuple[Network, tuple[Fate, ...]]:
    """Make a network of a file, all of it or nothing.

    Parameters
    ----------
    source : Source
    plan : Plan
        As `mammolens.models.importing.recognise.plan` made it of this source.

    Returns
    -------
    network : Network
        Batch normalisations folded in, calculated in float64. Where the plan is
        ``tripled``, ``factor`` and ``offset`` have three elements for the contract's one
        channel.
    fates : tuple of Fate
        One for each tensor of the file, in its order, then those of the layers without
        weights. Targets read ``stem_bn gamma``, ``logit kernel``, ``input mean``.

    Raises
    ------
    ModelIncomplete
        If a tensor is missing, left over, of another shape, or fits two places.
    ModelFileMalformed
        If values are of no use: not finite, or a negative variance.
    """
    shelf = Shelf(source, [*(step.layer for step in plan.steps), *plan.layers.values()])
    channels = 3 if plan.tripled else plan.contract.channels
    placed = _placed(source, shelf, plan, list(_places(plan, channels)))
    factor, offset = front.line(plan.steps, shelf.statistics, channels)
    fates = tuple(_fates(source, shelf, plan, placed))
    arrays = _arrays(placed)
    convolutions = {name: _convolution(arrays, name, plan) for name in kernels(plan.architecture)}
    weights, bias = _logit(arrays, plan)
    network = Network(plan.architecture, plan.contract, factor, offset, convolutions, weights, bias)
    _check_finite(network)
    return network, (*fates, *plan.built, *plan.ignored)


def _places(plan: Plan, channels: int) -> Iterator[_Place]:
    """All tensors that the network needs, first to last."""
    for name, shape in kernels(plan.architecture, channels).items():
        width = shape[2] if name.endswith("dwconv") else shape[3]
        yield from _of_layer(plan, name, shape, width)
        normalisation = normalisation_of(name)
        if normalisation in plan.layers:
            yield from _of_layer(plan, str(normalisation), (), width)
    features = features_of(plan.architecture)
    for name in _head_normalisations(plan):
        yield from _of_layer(plan, name, (), features)
    yield from _of_layer(plan, LOGIT, (features, plan.head.units), plan.head.units)


def _of_layer(plan: Plan, name: str, kernel: Shape, width: int) -> Iterator[_Place]:
    layer = plan.layers[name]
    for role in roles_of(layer):
        yield _Place(name, role, kernel if role == "kernel" else (width,), layer)


def _head_normalisations(plan: Plan) -> list[str]:
    """Batch normalisations before the head, in the order of the data."""
    return [name for name in plan.layers if name.startswith(f"{LOGIT}_bn")]


def _placed(source: Source, shelf: Shelf, plan: Plan, places: list[_Place]) -> dict[tuple[str, str], SourceTensor]:
    """Tensor of each place, by target and role, if each is there once and of the right shape."""
    placed: dict[tuple[str, str], SourceTensor] = {}
    claims: dict[str, _Place] = {}
    absent: list[_Place] = []
    for place in places:
        tensor = shelf.of(place.layer).get(place.role)
        if tensor is None:
            absent.append(place)
            continue
        if tensor.path in claims:
            raise ModelIncomplete(
                f"{shown(tensor.path)} fits both {claims[tensor.path].target} and {place.target}. {_ADVICE}"
            )
        claims[tensor.path] = place
        placed[place.target, place.role] = tensor
    if absent:
        spare = [t for t in source.tensors if t.path not in claims and not _reason(t, shelf, plan)]
        raise ModelIncomplete(_absence(absent, spare))
    for (target, role), tensor in placed.items():
        _check(tensor, claims[tensor.path].shape, f"{target} {role}")
    return placed


def _absence(absent: list[_Place], spare: list[SourceTensor]) -> str:
    """Say what is missing, and which tensor without a place might be it."""
    first = absent[0]
    others = f" and {len(absent) - 1} more tensors" if len(absent) > 1 else ""
    said = f"The file holds no {first.role} of the layer {shown(first.layer.path)} ({first.target}){others}."
    alike = next((tensor for tensor in spare if tensor.shape == first.shape), None)
    if alike is not None:
        said += f" {shown(alike.path)} has its shape, but not its name."
    return f"{said} {_ADVICE}"


def _check(tensor: SourceTensor, shape: Shape, place: str) -> None:
    if tensor.shape != shape:
        turned = sorted(tensor.shape) == sorted(shape)
        raise ModelIncomplete(
            f"{shown(tensor.path)} is of the shape {tensor.shape}, where {place} needs {shape}"
            f"{': it seems to be transposed' if turned else ''}. {_ADVICE}"
        )
    if not tensor.dtype.startswith("float"):
        raise ModelIncomplete(f"{shown(tensor.path)} holds {tensor.dtype}, where {place} needs floats. {_ADVICE}")


def _fates(source: Source, shelf: Shelf, plan: Plan, placed: Mapping[tuple[str, str], SourceTensor]) -> Iterator[Fate]:
    """Fate of each tensor; none may be without."""
    targets = {tensor.path: f"{target} {role}" for (target, role), tensor in placed.items()}
    for step in plan.steps:
        if not step.factor:
            tensors = shelf.of(step.layer)
            targets |= {tensors[role].path: f"input {role}" for role in ("mean", "variance") if role in tensors}
    spare = []
    for tensor in source.tensors:
        target, reason = targets.get(tensor.path, ""), _reason(tensor, shelf, plan)
        if not target and not reason:
            spare.append(tensor)
        yield Fate(tensor.path, target, "" if target else reason)
    if spare:
        others = f" and {len(spare) - 1} more tensors" if len(spare) > 1 else ""
        raise ModelIncomplete(
            f"The network has no place for {shown(spare[0].path)}{others}. The file holds more than an EfficientNet "
            f"with its head. {_ADVICE}"
        )


def _reason(tensor: SourceTensor, shelf: Shelf, plan: Plan) -> str:
    """Why a tensor is not needed; empty if it should have had a place."""
    if is_random_state(tensor):
        return "training only"
    for step in plan.steps:
        if not step.factor and tensor in shelf.at(step.layer) and role_of(tensor, step.layer) == "count":
            return "counts what the normalisation was adapted to"
    return ""


def _arrays(placed: Mapping[tuple[str, str], SourceTensor]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Read all tensors, by target and role."""
    arrays: dict[str, dict[str, NDArray[np.float64]]] = {}
    for (target, role), tensor in placed.items():
        arrays.setdefault(target, {})[role] = np.asarray(tensor.read(), np.float64)
    return arrays


def _line(arrays: Arrays, layer: Layer) -> Line:
    """Factor and offset that a frozen batch normalisation amounts to; without scale or centre too."""
    epsilon = number(layer, "epsilon", BN_EPSILON)
    if (arrays["moving_variance"] + epsilon <= 0).any():
        raise ModelFileMalformed(f"The layer {shown(layer.path)} holds a negative variance. {_ADVICE}")
    factor = arrays.get("gamma", np.float64(1)) / np.sqrt(arrays["moving_variance"] + epsilon)
    return factor, arrays.get("beta", np.float64(0)) - arrays["moving_mean"] * factor


def _convolution(arrays: Mapping[str, Arrays], name: str, plan: Plan) -> Convolution:
    kernel, bias = arrays[name]["kernel"], arrays[name].get("bias")
    width = kernel.shape[2] if name.endswith("dwconv") else kernel.shape[3]
    bias = np.zeros(width) if bias is None else bias
    normalisation = normalisation_of(name)
    if normalisation in plan.layers:
        factor, offset = _line(arrays[str(normalisation)], plan.layers[str(normalisation)])
        kernel = kernel * (factor[:, None] if name.endswith("dwconv") else factor)
        bias = bias * factor + offset
    with np.errstate(over="ignore"):
        return Convolution(kernel.astype(np.float32), bias.astype(np.float32))


def _logit(arrays: Mapping[str, Arrays], plan: Plan) -> tuple[NDArray[np.float32], float]:
    """Weights and bias of the malignancy logit, with the batch normalisations before it folded in."""
    kernel, head = arrays[LOGIT]["kernel"], plan.head
    bias = arrays[LOGIT].get("bias", np.zeros(head.units))
    if head.units == 1:
        sign = 1.0 if head.malignant == 1 else -1.0
        weights, shift = sign * kernel[:, 0], sign * bias[0]
    elif head.kind == "sigmoid":
        # Each output has a logit of its own.
        weights, shift = kernel[:, head.malignant], bias[head.malignant]
    else:
        weights = kernel[:, head.malignant] - kernel[:, 1 - head.malignant]
        shift = bias[head.malignant] - bias[1 - head.malignant]
    for name in reversed(_head_normalisations(plan)):
        factor, offset = _line(arrays[name], plan.layers[name])
        weights, shift = weights * factor, shift + float(weights @ (offset * np.ones_like(weights)))
    with np.errstate(over="ignore"):
        return weights.astype(np.float32), float(np.float32(shift))


def _check_finite(network: Network) -> None:
    """Refuse weights that are finite one by one, but not once they are folded."""
    for name, convolution in network.convolutions.items():
        if not (np.isfinite(convolution.kernel).all() and np.isfinite(convolution.bias).all()):
            raise ModelFileMalformed(f"The weights of {name} grow beyond float32. {_ADVICE}")
    first, last = np.append(network.factor, network.offset), np.append(network.head, network.bias)
    if not (np.isfinite(first).all() and np.isfinite(last).all()):
        raise ModelFileMalformed(f"The weights of the input's scaling or of the head grow beyond float32. {_ADVICE}")
