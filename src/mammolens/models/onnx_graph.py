"""The served graph: an EfficientNet written as ONNX straight from its weights.

Writing the graph here rather than tracing Keras gives the form that runs
fastest on a CPU (batch normalisation folded, channels first, swish as one
multiply), works with every Keras backend, and adds the evidence map to the
outputs at the cost of one 1 × 1 convolution.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.models.efficientnet import (
    GREY_DEVIATION,
    GREY_MEAN,
    STAGES,
    VARIANTS,
    Stage,
    round_filters,
    round_repeats,
)
from mammolens.models.transfer import folded_convolution

OPSET = 17
OUTPUTS = ("logit", "evidence", "features")


class _Graph:
    """Collects nodes and constants, and takes weights from a folded Keras model by layer name."""

    def __init__(self, model: Any) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy_helper, self._model = helper, numpy_helper, model
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants.append(self._numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self._helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def halves(self, x: str) -> tuple[str, str]:
        """Split a batch in two."""
        outputs = [x + "/first", x + "/second"]
        self.nodes.append(self._helper.make_node("Split", [x], outputs, name=x + "/halves", axis=0))
        return outputs[0], outputs[1]

    def silu(self, x: str) -> str:
        gate = self.node("Sigmoid", [x], x + "/gate")
        return self.node("Mul", [x, gate], x + "/silu")

    def convolution(self, x: str, layer: str, *, stride: int = 1, pads: tuple[int, ...] = (0, 0, 0, 0)) -> str:
        """Dense convolution; ``pads`` is top, left, bottom, right."""
        kernel, bias = folded_convolution(self._model.get_layer(layer))
        weight = self.constant(layer + "/kernel", kernel.transpose(3, 2, 0, 1))
        offset = self.constant(layer + "/bias", bias)
        return self.node("Conv", [x, weight, offset], layer, strides=[stride] * 2, pads=list(pads))

    def depthwise(self, x: str, layer: str, *, stride: int, pads: tuple[int, ...]) -> str:
        kernel, bias = folded_convolution(self._model.get_layer(layer))
        weight = self.constant(layer + "/kernel", kernel.transpose(2, 3, 0, 1))
        offset = self.constant(layer + "/bias", bias)
        channels = kernel.shape[2]
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


def _block(graph: _Graph, x: str, stage: Stage, name: str, size: tuple[int, int], first: bool, skip: bool) -> str:
    shortcut = x
    if stage.expansion != 1:
        x = graph.silu(graph.convolution(x, name + "expand_conv"))
    stride = stage.stride if first else 1
    x = graph.silu(graph.depthwise(x, name + "dwconv", stride=stride, pads=_pads(size, stage.kernel, stride)))
    gate = graph.node("GlobalAveragePool", [x], name + "se_squeeze")
    gate = graph.silu(graph.convolution(gate, name + "se_reduce"))
    gate = graph.node("Sigmoid", [graph.convolution(gate, name + "se_expand")], name + "se_gate")
    x = graph.convolution(graph.node("Mul", [x, gate], name + "se_excite"), name + "project_conv")
    return graph.node("Add", [shortcut, x], name + "add") if skip else x


def _backbone(graph: _Graph, x: str, architecture: str, size: tuple[int, int]) -> tuple[str, tuple[int, int]]:
    scaling = VARIANTS[architecture]
    x = graph.silu(graph.convolution(x, "stem_conv", stride=2, pads=_pads(size, 3, 2)))
    size = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    for number, stage in enumerate(STAGES, 1):
        filters = round_filters(stage.filters_in, scaling.width)
        filters_out = round_filters(stage.filters_out, scaling.width)
        for repeat in range(round_repeats(stage.repeats, scaling.depth)):
            first = repeat == 0
            stride = stage.stride if first else 1
            skip = stride == 1 and (filters if first else filters_out) == filters_out
            x = _block(graph, x, stage, f"block{number}{chr(97 + repeat)}_", size, first, skip)
            if stride == 2:
                size = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    return graph.silu(graph.convolution(x, "top_conv")), size


def write(model: Any, architecture: str, size: tuple[int, int], looks: int = 1) -> bytes:
    """Write a folded network as ONNX.

    Parameters
    ----------
    model : keras.Model
        As `mammolens.models.efficientnet.build` with ``folded=True`` made it.
    architecture : str
    size : tuple of int
        ``(height, width)`` of the input.
    looks : int
        1, or 2: the picture and the picture upside down go through the network together,
        and their last features, the right way up, are averaged.

    Returns
    -------
    bytes
        Model from ``image`` (N, height, width, 1) float32 in 0..255 to ``logit`` (N, 1),
        ``evidence`` (N, h, w), whose sum plus the head's bias is the logit, and
        ``features`` (N, C, h, w).
    """
    from onnx import TensorProto, checker, helper

    height, width = size
    graph = _Graph(model)
    x = graph.node("Reshape", ["image", graph.constant("planar", np.array([-1, 1, height, width], np.int64))], "grey")
    scale = graph.constant("scale", np.array(1.0 / (255.0 * GREY_DEVIATION), np.float32))
    offset = graph.constant("offset", np.array(-GREY_MEAN / GREY_DEVIATION, np.float32))
    x = graph.node("Add", [graph.node("Mul", [x, scale], "scaled"), offset], "normalised")
    if looks == 2:
        x = graph.node("Concat", [x, _upside_down(graph, x, "look")], "looks", axis=0)
    x, (rows, columns) = _backbone(graph, x, architecture, size)
    if looks == 2:
        upright, turned = graph.halves(x)
        total = graph.node("Add", [upright, _upside_down(graph, turned, "feature")], "both")
        x = graph.node("Mul", [total, graph.constant("half", np.array(0.5, np.float32))], "mean")
    graph.node("Identity", [x], "features")
    kernel, bias = model.get_layer("logit").get_weights()
    share = graph.constant("logit/share", (kernel[:, 0] / (rows * columns)).reshape(1, -1, 1, 1))
    grid = graph.node("Conv", [x, share], "evidence/grid")
    graph.node("Reshape", [grid, graph.constant("flat", np.array([-1, rows, columns], np.int64))], "evidence")
    total = graph.node(
        "ReduceSum", ["evidence", graph.constant("axes", np.array([1, 2], np.int64))], "total", keepdims=0
    )
    total = graph.node("Unsqueeze", [total, graph.constant("last", np.array([1], np.int64))], "total/column")
    graph.node("Add", [total, graph.constant("logit/bias", bias)], "logit")
    channels = int(kernel.shape[0])
    made = helper.make_graph(
        graph.nodes,
        architecture,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", height, width, 1])],
        [
            helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["N", 1]),
            helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["N", rows, columns]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", channels, rows, columns]),
        ],
        graph.constants,
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="mammolens")
    proto.ir_version = 8
    checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))
