"""The served graph: an EfficientNet, or several side by side, written as ONNX straight from the weights.

Writing the graph here rather than tracing Keras gives the form that runs
fastest on a CPU (batch normalisation folded, channels first, swish as one
multiply), works with every Keras backend, and adds the evidence map to the
outputs at the cost of one 1 × 1 convolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ConfigurationError
from mammolens.models.efficientnet import Block, blocks
from mammolens.models.looks import shares
from mammolens.models.network import Convolution, Network, PairNetwork
from mammolens.models.session import PAIR_OUTPUTS

OPSET = 17
OUTPUTS = ("logit", "evidence", "features")


class _Graph:
    """Collects nodes and constants, and takes convolutions by layer name."""

    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy_helper = helper, numpy_helper
        self._convolutions: Mapping[str, Convolution] = {}
        self._prefix = self._place = ""
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._named: set[str] = set()

    def enter(self, prefix: str, convolutions: Mapping[str, Convolution], place: str = "") -> None:
        """Go on in one network; the names of what follows begin with ``prefix``.

        Those of nodes have ``place`` before it: a network that is gone through again, in
        another place, has its constants once.
        """
        self._prefix, self._convolutions, self._place = prefix, convolutions, place

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        name = self._prefix + name
        if name not in self._named:
            self._named.add(name)
            self.constants.append(self._numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        output = self._place + self._prefix + output
        self.nodes.append(self._helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def halves(self, x: str) -> tuple[str, str]:
        """Split a batch in two."""
        outputs = [x + "/first", x + "/second"]
        self.nodes.append(self._helper.make_node("Split", [x], outputs, name=x + "/halves", axis=0))
        return outputs[0], outputs[1]

    def silu(self, x: str) -> str:
        name = x.removeprefix(self._place + self._prefix)
        gate = self.node("Sigmoid", [x], name + "/gate")
        return self.node("Mul", [x, gate], name + "/silu")

    def convolution(self, x: str, layer: str, *, stride: int = 1, pads: tuple[int, ...] = (0, 0, 0, 0)) -> str:
        """Dense convolution; ``pads`` is top, left, bottom, right."""
        folded = self._convolutions[layer]
        weight = self.constant(layer + "/kernel", folded.kernel.transpose(3, 2, 0, 1))
        offset = self.constant(layer + "/bias", folded.bias)
        return self.node("Conv", [x, weight, offset], layer, strides=[stride] * 2, pads=list(pads))

    def depthwise(self, x: str, layer: str, *, stride: int, pads: tuple[int, ...]) -> str:
        folded = self._convolutions[layer]
        weight = self.constant(layer + "/kernel", folded.kernel.transpose(2, 3, 0, 1))
        offset = self.constant(layer + "/bias", folded.bias)
        channels = folded.kernel.shape[2]
        return self.node("Conv", [x, weight, offset], layer, strides=[stride] * 2, pads=list(pads), group=channels)


def _upside_down(graph: _Graph, x: str, name: str) -> str:
    """Turn rows round."""
    bounds = (("starts", -1), ("ends", np.iinfo(np.int64).min), ("axes", 2), ("steps", -1))
    inputs = [graph.constant(f"{name}/{part}", np.array([value], np.int64)) for part, value in bounds]
    return graph.node("Slice", [x, *inputs], f"{name}/upside_down")


def _pads(size: tuple[int, int], kernel: int, stride: int) -> tuple[int, int, int, int]:
    """Give the padding of a convolution over ``size`` (height, width) as ImageNet's weights expect it."""
    half = kernel // 2
    if stride == 1:
        return half, half, half, half
    top, left = (half - (1 - side % 2) for side in size)
    return top, left, half, half


def _half(size: tuple[int, int]) -> tuple[int, int]:
    """Size of what a convolution of stride 2 gives."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def _block(graph: _Graph, x: str, block: Block, size: tuple[int, int]) -> str:
    name, shortcut = block.name, x
    if block.expansion != 1:
        x = graph.silu(graph.convolution(x, name + "expand_conv"))
    pads = _pads(size, block.kernel, block.stride)
    x = graph.silu(graph.depthwise(x, name + "dwconv", stride=block.stride, pads=pads))
    gate = graph.node("GlobalAveragePool", [x], name + "se_squeeze")
    gate = graph.silu(graph.convolution(gate, name + "se_reduce"))
    gate = graph.node("Sigmoid", [graph.convolution(gate, name + "se_expand")], name + "se_gate")
    x = graph.convolution(graph.node("Mul", [x, gate], name + "se_excite"), name + "project_conv")
    return graph.node("Add", [shortcut, x], name + "add") if block.skip else x


def _resampled(graph: _Graph, x: str, before: tuple[int, int], after: tuple[int, int], name: str) -> str:
    """Resample planes by areas, as `mammolens.models.looks.resampled` does."""
    if before == after:
        return x
    columns = graph.constant(f"{name}/columns", shares(after[1], before[1]).T)
    rows = graph.constant(f"{name}/rows", shares(after[0], before[0]))
    narrowed = graph.node("MatMul", [x, columns], f"{name}/narrowed")
    return graph.node("MatMul", [rows, narrowed], f"{name}/resampled")


def _mean(graph: _Graph, a: str, b: str, name: str) -> str:
    total = graph.node("Add", [a, b], f"{name}both")
    return graph.node("Mul", [total, graph.constant("half", np.array(0.5, np.float32))], f"{name}mean")


def _first_step(graph: _Graph, network: Network) -> str:
    """Channels first, then the network's own scale and shift."""
    contract = network.contract
    if contract.channels == 1:
        planes = np.array([-1, 1, contract.height, contract.width], np.int64)
        x = graph.node("Reshape", ["image", graph.constant("planar", planes)], "grey")
        # Three factors make three planes of the one.
        shape: tuple[int, ...] = () if network.factor.size == 1 else (-1, 1, 1)
    else:
        x = graph.node("Transpose", ["image"], "planes", perm=[0, 3, 1, 2])
        shape = (contract.channels, 1, 1)
    scale = graph.constant("scale", network.factor.astype(np.float32).reshape(shape))
    offset = graph.constant("offset", network.offset.astype(np.float32).reshape(shape))
    return graph.node("Add", [graph.node("Mul", [x, scale], "scaled"), offset], "normalised")


def _backbone(graph: _Graph, x: str, architecture: str, size: tuple[int, int]) -> tuple[str, tuple[int, int]]:
    x = graph.silu(graph.convolution(x, "stem_conv", stride=2, pads=_pads(size, 3, 2)))
    size = _half(size)
    for block in blocks(architecture):
        x = _block(graph, x, block, size)
        if block.stride == 2:
            size = _half(size)
    return graph.silu(graph.convolution(x, "top_conv")), size


def _head(graph: _Graph, x: str, head: NDArray[np.float32], bias: float, grid: tuple[int, int]) -> None:
    """From the last features to ``evidence`` and, as its sum plus the bias, ``logit``."""
    rows, columns = grid
    share = graph.constant("logit/share", (head / (rows * columns)).reshape(1, -1, 1, 1))
    shares = graph.node("Conv", [x, share], "evidence/grid")
    graph.node("Reshape", [shares, graph.constant("flat", np.array([-1, rows, columns], np.int64))], "evidence")
    axes = graph.constant("axes", np.array([1, 2], np.int64))
    total = graph.node("ReduceSum", ["evidence", axes], "total", keepdims=0)
    total = graph.node("Unsqueeze", [total, graph.constant("last", np.array([1], np.int64))], "total/column")
    graph.node("Add", [total, graph.constant("logit/bias", np.array([bias], np.float32))], "logit")


def _serialised(
    graph: _Graph, network: Network, outputs: Sequence[str], shapes: Sequence[list[str | int | None]]
) -> bytes:
    """Give the finished graph, its outputs of such shapes, checked, as bytes."""
    from onnx import TensorProto, checker, helper

    contract = network.contract
    image: list[str | int | None] = ["N", contract.height, contract.width, contract.channels]
    made = helper.make_graph(
        graph.nodes,
        network.architecture,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in zip(outputs, shapes, strict=True)
        ],
        graph.constants,
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="mammolens")
    proto.ir_version = 8
    checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))


def write(network: Network, looks: int = 1, second_size: tuple[int, int] | None = None) -> bytes:
    """Write a network as ONNX.

    Parameters
    ----------
    network : Network
    looks : int
        1, or 2: the picture and the picture upside down go through the network together,
        and their last features, the right way up, are averaged.
    second_size : tuple of int, optional
        ``(height, width)``: the picture, resampled so, goes through the network as well, and
        its last features, resampled to the grid of the others, are averaged with those.

    Returns
    -------
    bytes
        Model from ``image`` (N, height, width, channels) float32 in the scale of the
        network's contract to ``logit`` (N, 1), ``evidence`` (N, h, w), whose sum plus the
        head's bias is the logit, and ``features`` (N, C, h, w).
    """
    return write_ensemble([network], looks, second_size)


def write_ensemble(networks: Sequence[Network], looks: int = 1, second_size: tuple[int, int] | None = None) -> bytes:
    """Write networks side by side as one ONNX graph, which answers with the mean of what they would.

    Logit and evidence of each are linear in its last features, so the mean of either is
    linear in the features of all: the ensemble is one network with a wider last layer,
    and its evidence map is as exact as a single network's.

    Parameters
    ----------
    networks : sequence of Network, length K
        Of one architecture, contract and first step.
    looks, second_size
        As `write` takes them.

    Returns
    -------
    bytes
        As `write` gives it; ``features`` (N, K C, h, w) are those of the networks one
        after the other. The names of a network's own nodes and constants begin with
        ``member1/`` and so on where there is more than one.

    Raises
    ------
    ConfigurationError
        If the networks don't belong together.
    """
    first = networks[0]
    if any(not _alike(first, other) for other in networks):
        raise ConfigurationError("The networks of an ensemble must have one architecture, input size and scale.")
    graph = _Graph()
    backbones = [
        (member_prefix(member, len(networks)), network.convolutions) for member, network in enumerate(networks, 1)
    ]
    x, grid = _features(graph, first, backbones, looks, second_size)
    graph.node("Identity", [x], "features")
    head, bias = joint_head(networks)
    _head(graph, x, head, bias, grid)
    return _serialised(graph, first, OUTPUTS, [["N", 1], ["N", *grid], ["N", len(head), *grid]])


_Backbones = Sequence[tuple[str, Mapping[str, Convolution]]]
"""Convolutions of networks side by side, each with what the names of its constants begin with."""


def _features(
    graph: _Graph, first: Network, backbones: _Backbones, looks: int, second_size: tuple[int, int] | None
) -> tuple[str, tuple[int, int]]:
    """Last features (N, K C, h, w) of a picture, the mean over looks and sizes, and their grid (h, w)."""
    size = (first.contract.height, first.contract.width)
    planes = _first_step(graph, first)
    x, grid = _looked_at(graph, planes, first.architecture, backbones, size, looks)
    if second_size is not None:
        smaller = _resampled(graph, planes, size, second_size, "second")
        again, cells = _looked_at(graph, smaller, first.architecture, backbones, second_size, looks, "second/")
        x = _mean(graph, x, _resampled(graph, again, cells, grid, "second/grid"), "sizes/")
    return x, grid


def _looked_at(
    graph: _Graph,
    x: str,
    architecture: str,
    backbones: _Backbones,
    size: tuple[int, int],
    looks: int,
    place: str = "",
) -> tuple[str, tuple[int, int]]:
    """Last features (N, K C, h, w) of planes of one size, the mean over the looks, and their grid (h, w)."""
    graph.enter("", {}, place)
    if looks == 2:
        x = graph.node("Concat", [x, _upside_down(graph, x, "look")], "looks", axis=0)
    features = []
    for prefix, convolutions in backbones:
        graph.enter(prefix, convolutions, place)
        last, grid = _backbone(graph, x, architecture, size)
        features.append(last)
    graph.enter("", {}, place)
    x = features[0] if len(features) == 1 else graph.node("Concat", features, "members", axis=1)
    if looks == 2:
        upright, turned = graph.halves(x)
        x = _mean(graph, upright, _upside_down(graph, turned, "feature"), "")
    graph.enter("", {})
    return x, grid


def write_pair(pairs: Sequence[PairNetwork], looks: int = 1, second_size: tuple[int, int] | None = None) -> bytes:
    """Write two-view networks side by side as one ONNX graph of one picture.

    The logit of a breast is linear in the features of both views, so what a picture adds to it does not depend on the
    other one: the graph gives a picture's share as a craniocaudal and as an oblique view, and the shares of two
    pictures and the bias add up to the logit.

    Parameters
    ----------
    pairs : sequence of PairNetwork, length K
        Of one architecture, contract and first step; shares are the mean of theirs.
    looks, second_size
        As `write` takes them.

    Returns
    -------
    bytes
        Model from ``image`` (N, height, width, channels) float32 in the scale of the networks' contract to ``shares``
        (N, 2) and ``evidence`` (N, 2, h, w), whose sums they are; as CC first, as MLO second.

    Raises
    ------
    ConfigurationError
        If the networks don't belong together.
    """
    first = pairs[0].cc
    if any(not _alike(first, other) for pair in pairs for other in (pair.cc, pair.mlo)):
        raise ConfigurationError("The networks of an ensemble must have one architecture, input size and scale.")
    graph, backbones, columns = _Graph(), [], []
    for member, pair in enumerate(pairs, 1):
        prefix, nothing = member_prefix(member, len(pairs)), np.zeros_like(first.head)
        if pair.shared:
            backbones.append((prefix, pair.cc.convolutions))
            columns.append(np.stack([pair.cc.head, pair.mlo.head]))
        else:
            backbones += [(prefix + "cc/", pair.cc.convolutions), (prefix + "mlo/", pair.mlo.convolutions)]
            columns += [np.stack([pair.cc.head, nothing]), np.stack([nothing, pair.mlo.head])]
    x, grid = _features(graph, first, backbones, looks, second_size)
    head = np.concatenate(columns, axis=1) / (len(pairs) * grid[0] * grid[1])
    share = graph.constant("share", head.astype(np.float32)[:, :, None, None])
    graph.node("Conv", [x, share], "evidence")
    axes = graph.constant("axes", np.array([2, 3], np.int64))
    graph.node("ReduceSum", ["evidence", axes], "shares", keepdims=0)
    return _serialised(graph, first, PAIR_OUTPUTS, [["N", 2], ["N", 2, *grid]])


def member_prefix(member: int, members: int) -> str:
    """Give what the names of a network's own constants begin with; ``member`` counts from 1."""
    return f"member{member}/" if members > 1 else ""


def joint_head(networks: Sequence[Network]) -> tuple[NDArray[np.float32], float]:
    """Head of an ensemble.

    Parameters
    ----------
    networks : sequence of Network, length K

    Returns
    -------
    head : ndarray of float32, shape (K C,)
        Weights of the mean logit by all features.
    bias : float
    """
    if len(networks) == 1:
        return networks[0].head, networks[0].bias
    head = np.concatenate([network.head for network in networks]) / len(networks)
    return head.astype(np.float32), float(np.mean([network.bias for network in networks]))


def _alike(a: Network, b: Network) -> bool:
    steps = zip((a.factor, a.offset), (b.factor, b.offset), strict=True)
    return (a.architecture, a.contract) == (b.architecture, b.contract) and all(np.array_equal(*step) for step in steps)
