"""Keras' layers as ONNX nodes: channels first, one node or few for each layer.

An own converter for a list of layers, because of what the general one did here (tf2onnx
1.17 through Keras 3.15, TensorFlow 2.21): it leaves the statistics of Normalization as
dangling inputs, computes Flatten's shape at run time, and needs TensorFlow to trace the
model. This one needs arrays alone, and what is not in its list is refused by name.

References
----------
Definitions of the layers: keras 3.15 ``src/layers`` and ``src/activations``. ONNX
operators, opset 17.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mammolens.errors import ModelUnsupported
from mammolens.models.importing.config import Call, Graph, shown
from mammolens.models.importing.foreign_nodes import WRITERS, Arrays, Value, activate, unsupported
from mammolens.models.importing.onnx_writer import OPSET, Writer

Weights = Callable[[tuple[str, ...]], Arrays]
"""Gives a layer's arrays, in Keras' order, by the layer's path."""

INPUT, OUTPUT = "image", "answer"


def convert(graph: Graph, shape: tuple[int, int, int], weights: Weights) -> Any:
    """Write a Keras model as ONNX.

    Parameters
    ----------
    graph : Graph
        Of a description that `mammolens.models.importing.foreign_config.clean` gave.
    shape : tuple of int
        ``(height, width, channels)`` of the input.
    weights : callable

    Returns
    -------
    onnx.ModelProto
        From ``image`` (N, H, W, C) float32 to ``answer``.

    Raises
    ------
    ModelUnsupported
        If a layer is called in a way that is not converted.
    """
    from onnx import TensorProto, helper

    writer = Writer("keras/")
    values: list[Value] = []
    for call in graph.calls:
        if call.layer.kind == "InputLayer":
            values.append(Value(writer.node("Transpose", INPUT, perm=[0, 3, 1, 2]), shape))
            continue
        inputs = [values[index] for index in call.inputs]
        values.append(_call(writer, call, inputs, weights))
    answer = values[graph.output]
    writer.node("Identity", answer.name, output=OUTPUT)
    made = helper.make_graph(
        writer.nodes,
        "foreign",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, None)],
        writer.constants,
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="mammolens")
    proto.ir_version = 8
    return proto


def _call(writer: Writer, call: Call, inputs: list[Value], weights: Weights) -> Value:
    layer = call.layer
    if layer.kind in _MERGES and len(inputs) > 1:
        return _merge(writer, layer.kind, inputs, layer.settings)
    constants = [value for key, value in call.constants.items() if isinstance(key, int) and value is not None]
    if layer.kind in _ARITHMETIC and len(inputs) == 1 and len(constants) == 1:
        return _arithmetic(writer, layer.kind, inputs[0], float(constants[0]), first=0 not in call.constants)
    if len(inputs) != 1 or constants or layer.kind not in WRITERS:
        raise ModelUnsupported(f"The layer {shown(layer.path)} is called in a way that can't be converted.")
    made = WRITERS[layer.kind](writer, inputs[0], layer.settings, weights(layer.path))
    if min(made.shape, default=1) < 1:
        raise ModelUnsupported(f"Nothing is left of the picture after the layer {shown(layer.path)}.")
    return activate(writer, made, layer.settings.get("activation", "linear"))


def _merge(writer: Writer, kind: str, inputs: list[Value], settings: Mapping[str, Any]) -> Value:
    rank = len(inputs[0].shape)
    if any(len(each.shape) != rank for each in inputs):
        raise unsupported(f"{kind} of tensors of several ranks")
    names = [each.name for each in inputs]
    if kind == "Concatenate":
        axis = settings["axis"] % (rank + 1)
        shape = list(inputs[0].shape)
        shape[axis - 1] = sum(each.shape[axis - 1] for each in inputs)
        planar = {1: 2, 2: 3, 3: 1}[axis] if rank == 3 else axis
        return Value(writer.node("Concat", *names, axis=planar), tuple(shape))
    shape = list(np.broadcast_shapes(*(each.shape for each in inputs)))
    made = names[0]
    for name in names[1:]:
        made = writer.node(_MERGES[kind], made, name)
    if kind == "Average":
        made = writer.node("Mul", made, writer.number(1.0 / len(names)))
    return Value(made, tuple(shape))


def _arithmetic(writer: Writer, kind: str, x: Value, number: float, first: bool) -> Value:
    """Write an operation between a tensor and a number; ``first``: the tensor comes first."""
    constant = writer.number(number)
    operands = (x.name, constant) if first else (constant, x.name)
    return Value(writer.node(_ARITHMETIC[kind], *operands), x.shape)


_MERGES = {
    "Add": "Add",
    "Subtract": "Sub",
    "Multiply": "Mul",
    "Average": "Add",
    "Maximum": "Max",
    "Minimum": "Min",
    "Concatenate": "Concat",
}
_ARITHMETIC = {"Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "Divide": "Div", "TrueDivide": "Div"}
