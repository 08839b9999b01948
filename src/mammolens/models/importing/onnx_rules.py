"""ONNX graphs from outside, brought into one form: which operators they may hold, what their input is."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ContractUnknown, ModelFileMalformed, ModelFileUnsafe, ModelUnsupported
from mammolens.models.importing.config import shown
from mammolens.models.importing.onnx_writer import OPSET

INPUT = "image"
OLDEST_OPSET, NEWEST_OPSET = 13, 22
MOST_NODES = 20_000
NEWEST_IR = 10
SMALLEST_SIDE, LARGEST_SIDE = 32, 4096

OPERATORS = frozenset(
    (  # noqa: SIM905 - a list of words
        "Abs Add And AveragePool BatchNormalization Cast CastLike Ceil Clip Concat Constant ConstantOfShape Conv "
        "ConvTranspose Div Dropout Elu Equal Erf Exp Expand Flatten Floor Gather Gelu Gemm GlobalAveragePool "
        "GlobalMaxPool Greater GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization LRN "
        "LayerNormalization LeakyRelu Less Log MatMul Max MaxPool Min Mish Mul Neg PRelu Pad Pow Range Reciprocal "
        "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Resize Selu Shape Sigmoid Sign Slice Softmax "
        "Softplus Softsign Split Sqrt Squeeze Sub Sum Tanh Transpose Unsqueeze Where"
    ).split()
)
"""Standard operators of convolutional classifiers; none that loops, branches, or draws at random."""


def parsed(content: bytes) -> Any:
    """Parse an ONNX model and refuse what a classifier's graph does not hold.

    Parameters
    ----------
    content : bytes

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ModelFileMalformed
        If it is no valid ONNX model.
    ModelFileUnsafe
        If it keeps values in other files.
    ModelUnsupported
        If it holds an operator that is not in `OPERATORS`; the message names it.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise ModelFileMalformed("The file is no valid ONNX model. Export it again.") from error
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ModelFileUnsafe("The ONNX model keeps weights in other files. Export it as one file.")
    if model.functions or model.training_info or graph.sparse_initializer:
        raise ModelUnsupported("The ONNX model holds functions, training steps or sparse weights. Export it without.")
    if len(graph.node) > MOST_NODES:
        raise ModelUnsupported(f"The ONNX model has more than {MOST_NODES} nodes.")
    for node in graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            raise ModelUnsupported(
                f"The ONNX model holds the operator {shown(node.op_type)}, which no convolutional classifier needs "
                "or which is not of the standard. Export it with standard operators."
            )
        if any(attribute.type not in _PLAIN for attribute in node.attribute):
            raise ModelUnsupported(f"The ONNX operator {shown(node.op_type)} holds a graph or sparse values.")
    return model


_PLAIN = (1, 2, 3, 4, 6, 7, 8)
"""Attribute types without graphs, sparse tensors and types: FLOAT, INT, STRING, TENSOR and lists of the first three."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The input of a graph.

    Attributes
    ----------
    name : str
    shape : tuple of int
        ``(height, width, channels)``.
    planar : bool
        Whether it is channels first.
    fixed_batch : bool
        Whether it takes a batch of one size only.
    """

    name: str
    shape: tuple[int, int, int]
    planar: bool
    fixed_batch: bool


def picture(model: Any, size: tuple[int, int] | None) -> Picture:
    """Find the input of a graph.

    Parameters
    ----------
    model : onnx.ModelProto
        Of `parsed`.
    size : tuple of int, optional
        ``(height, width)`` where the graph leaves them open.

    Raises
    ------
    ModelUnsupported
        If it takes no picture of 1 or 3 channels, or has several inputs or outputs.
    ContractUnknown
        If neither the graph nor ``size`` tells the input's size.
    """
    from onnx import TensorProto

    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise ModelUnsupported("The ONNX model has several inputs or outputs; only one of each can be imported.")
    tensor = inputs[0].type.tensor_type
    sides = [each.dim_value if each.dim_value > 0 else None for each in tensor.shape.dim]
    if tensor.elem_type != TensorProto.FLOAT or len(sides) != 4:
        raise ModelUnsupported("The ONNX model takes no batch of pictures in float32.")
    planar = sides[1] in (1, 3)
    if planar == (sides[3] in (1, 3)) or (sides[0] or 1) != 1:
        raise ModelUnsupported(
            "The ONNX model takes no picture of 1 or 3 channels, does not tell which axis they are, or takes several "
            "pictures at a time only. Export it with a free batch."
        )
    height, width, channels = (sides[2], sides[3], sides[1]) if planar else (sides[1], sides[2], sides[3])
    shape = checked_shape(height, width, channels, size)
    return Picture(inputs[0].name, shape, planar, sides[0] is not None)


def named(model: Any) -> tuple[str, tuple[int, ...], tuple[str, ...]]:
    """Name and shape without the batch of a graph's first input, and the names of its outputs."""
    first = model.graph.input[0]
    shape = tuple(each.dim_value for each in first.type.tensor_type.shape.dim)[1:]
    return first.name, shape, tuple(each.name for each in model.graph.output)


def checked_shape(
    height: int | None, width: int | None, channels: int | None, size: tuple[int, int] | None
) -> tuple[int, int, int]:
    """Shape of an input, from what the file says and the user states.

    Raises
    ------
    ModelUnsupported
        If it is no picture that a model of this kind takes, or the two contradict each other.
    ContractUnknown
        If neither tells the size.
    """
    if channels not in (1, 3):
        raise ModelUnsupported("The model takes no picture of 1 or 3 channels, channels last.")
    if height is None or width is None:
        if size is None:
            raise ContractUnknown("The file does not tell the size of its input. Give it: --size HEIGHTxWIDTH.")
        height, width = height or size[0], width or size[1]
    if size is not None and size != (height, width):
        raise ModelUnsupported(f"The file is built for {height}×{width} pixels. Leave --size out.")
    if min(height, width) < SMALLEST_SIDE or max(height, width) > LARGEST_SIDE:
        raise ModelUnsupported(
            f"The model's input is under {SMALLEST_SIDE} or over {LARGEST_SIDE} pixels high or wide."
        )
    return height, width, channels


def normalised(model: Any, seen: Picture) -> Any:
    """Bring a graph into the form in which it is worked on.

    The batch is free, height and width are fixed, the input is called ``image`` and is
    (N, H, W, C) float32, the opset is 13 to 22, and what is constant is computed.

    Parameters
    ----------
    model : onnx.ModelProto
        Of `parsed`; is changed.
    seen : Picture
        Its input.

    Returns
    -------
    onnx.ModelProto
    """
    model = _modern(model)
    _rename(model)
    _set_input(model, seen)
    if seen.fixed_batch:
        _free_batch(model)
    return folded(model)


def _modern(model: Any) -> Any:
    """Convert graphs of old opsets; refuse those of unknown new ones."""
    from onnx import version_converter

    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        try:
            return version_converter.convert_version(model, OPSET)
        except Exception as error:
            # The converter's C++ exceptions share no base class below Exception.
            raise ModelUnsupported("The ONNX model is of an old opset. Export it again with opset 17.") from error
    if opset > NEWEST_OPSET:
        raise ModelUnsupported(f"The ONNX model is of opset {opset}. Export it again with opset 17.")
    return model


def _rename(model: Any) -> None:
    """Put every name of the graph under ``net/``, so that ours are free."""

    def renamed(name: str) -> str:
        return f"net/{name}" if name else ""

    graph = model.graph
    for node in graph.node:
        node.name = ""
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    for each in (*graph.initializer, *graph.input, *graph.output):
        each.name = renamed(each.name)
    del graph.value_info[:]
    graph.name, graph.doc_string, model.doc_string = "foreign", "", ""
    del model.metadata_props[:]


def _set_input(model: Any, seen: Picture) -> None:
    """Give the graph our own input in front of its own."""
    from onnx import TensorProto, helper

    graph, own = model.graph, f"net/{seen.name}"
    first = helper.make_node("Identity", [INPUT], [own])
    if seen.planar:
        first = helper.make_node("Transpose", [INPUT], [own], perm=[0, 3, 1, 2])
    nodes = [first, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", *seen.shape]))
    graph.output[0].type.tensor_type.ClearField("shape")


def _free_batch(model: Any) -> None:
    """Let reshapes to a fixed batch of one keep the batch that comes in."""
    from onnx import numpy_helper

    targets = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    others = {name for node in model.graph.node for name in node.input if node.op_type != "Reshape"}
    for tensor in model.graph.initializer:
        if tensor.name in targets - others:
            value = numpy_helper.to_array(tensor).copy()
            if value.size > 1 and value[0] == 1:
                value[0] = 0
                tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] in targets - others and node.attribute[0].name == "value":
            value = numpy_helper.to_array(node.attribute[0].t).copy()
            if value.size > 1 and value[0] == 1:
                value[0] = 0
                node.attribute[0].t.CopyFrom(numpy_helper.from_array(value))


def folded(model: Any) -> Any:
    """Have ONNX Runtime compute what is constant and fold what can be folded, within the standard operators.

    Parameters
    ----------
    model : onnx.ModelProto

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ModelUnsupported
        If ONNX Runtime does not take the graph.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    model.ir_version = min(max(model.ir_version, 8), NEWEST_IR)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(place)
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # ONNX Runtime's own exceptions share no base class below Exception.
            raise ModelUnsupported("ONNX Runtime does not take the model's graph. Export it again.") from error
        made = onnx.load_model_from_string(place.read_bytes())
    kept = [each for each in made.opset_import if each.domain in ("", "ai.onnx")]
    del made.opset_import[:]
    made.opset_import.extend(kept)
    return made


def input_line(model: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Follow the input through the arithmetic that scales it.

    Parameters
    ----------
    model : onnx.ModelProto
        Of `normalised`.

    Returns
    -------
    factor, offset : ndarray of float64, shape (1,) or (channels,)
        The first real layer sees ``factor * x + offset``; 1 and 0 if nothing scales it.
    """
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    factor, offset, name = np.ones(1), np.zeros(1), INPUT
    while True:
        users = [node for node in model.graph.node if name in node.input]
        if len(users) != 1:
            return factor, offset
        node = users[0]
        if node.op_type in ("Transpose", "Identity", "Cast"):
            name = node.output[0]
            continue
        if node.op_type not in ("Mul", "Add", "Sub", "Div"):
            return factor, offset
        other = next((each for each in node.input if each != name), "")
        if other not in constants:
            return factor, offset
        value = numpy_helper.to_array(constants[other]).astype(np.float64).reshape(-1)
        if value.size not in (1, 3) or (node.op_type == "Div" and node.input[0] == other):
            return factor, offset
        if node.op_type == "Mul":
            factor, offset = factor * value, offset * value
        elif node.op_type == "Div":
            factor, offset = factor / value, offset / value
        elif node.op_type == "Add":
            factor, offset = factor + 0 * value, offset + value
        elif node.input[0] == name:
            factor, offset = factor + 0 * value, offset - value
        else:
            factor, offset = 0 * value - factor, value - offset
        name = node.output[0]
