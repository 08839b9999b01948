"""The end of a classifier's graph: its last activation, its last feature map, and what explains its answer.

The logit is what goes into the last sigmoid, or the difference of what goes into the
last softmax. The feature map is the last picture-like tensor that everything passes
through. What comes after it, the head, is differentiated on paper: its backward pass is
written into the graph, and the evidence of a position is the sum over the channels of
feature times gradient (HiResCAM). For a head without activations inside, average pooling
and one layer for example, that is each position's own share of the logit, as in CAM.

References
----------
R. L. Draelos and L. Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations
of convolutional neural networks", arXiv:2011.08891. B. Zhou et al., "Learning Deep
Features for Discriminative Localization", CVPR 2016.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ModelUnsupported
from mammolens.models.importing import onnx_gradient
from mammolens.models.importing.onnx_writer import Writer

Shape = tuple[int, ...]
Kind = Literal["sigmoid", "softmax", "linear"]

_PASSING = ("Identity", "Cast", "Dropout")
_SHAPING = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", *_PASSING)
_CONVOLUTIONS = ("Conv",)
_PLANAR = frozenset(
    (
        "Conv",
        "AveragePool",
        "MaxPool",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "BatchNormalization",
        "InstanceNormalization",
        "LRN",
    )
)
_CLOSED = "The model has no feature map that its whole answer passes through, so that it can't be explained."


class Net:
    """A graph with what there is to know about its tensors.

    Parameters
    ----------
    model : onnx.ModelProto
        Of `mammolens.models.importing.onnx_rules.normalised`.
    """

    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper, shape_inference

        self.model = model
        self._to_array = numpy_helper.to_array
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.nodes = list(model.graph.node)
        self.makers = {output: node for node in self.nodes for output in node.output}
        inferred = shape_inference.infer_shapes(model, data_prop=True)
        self._shapes = {
            each.name: [side.dim_value if side.HasField("dim_value") else 0 for side in each.type.tensor_type.shape.dim]
            for each in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
            if each.type.tensor_type.HasField("shape")
        }

    def array(self, name: str) -> NDArray[Any] | None:
        """Value of a constant; None for a tensor that is computed."""
        tensor = self.constants.get(name)
        return None if tensor is None else self._to_array(tensor)

    def shape(self, name: str) -> Shape:
        """Shape of a computed tensor without its batch.

        Raises
        ------
        ModelUnsupported
            If it is not known.
        """
        sides = self._shapes.get(name)
        if not sides or not all(side > 0 for side in sides[1:]):
            raise ModelUnsupported(
                "The shape of a tensor in the model's head is not known. Export it with fixed sizes."
            )
        return tuple(sides[1:])

    def known(self, name: str) -> bool:
        """Whether `shape` gives an answer."""
        sides = self._shapes.get(name)
        return sides is not None and len(sides) > 0 and all(side > 0 for side in sides[1:])

    @cached_property
    def live(self) -> frozenset[str]:
        """Tensors that depend on the picture."""
        found = {self.model.graph.input[0].name}
        for node in self.nodes:
            if found.intersection(node.input):
                found.update(node.output)
        return frozenset(found)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a graph ends.

    Attributes
    ----------
    kind : {"sigmoid", "softmax", "linear"}
    units : {1, 2}
    name : str
        Tensor that goes into the last activation.
    """

    kind: Kind
    units: Literal[1, 2]
    name: str


def last_activation(model: Any) -> tuple[Kind, str]:
    """Find the last activation of a graph, and the tensor that goes into it (the output itself if there is none)."""
    makers = {output: node for node in model.graph.node for output in node.output}
    seen = model.graph.output[0].name
    while (node := makers.get(seen)) is not None:
        if node.op_type == "Sigmoid":
            return "sigmoid", node.input[0]
        if node.op_type == "Softmax":
            return "softmax", node.input[0]
        if node.op_type not in _SHAPING:
            break
        seen = node.input[0]
    return "linear", model.graph.output[0].name


def ending(net: Net) -> Ending:
    """Find the last activation.

    Raises
    ------
    ModelUnsupported
        If the model has another number of outputs than one or two.
    """
    kind, name = last_activation(net.model)
    units = math.prod(net.shape(name))
    if units not in (1, 2) or (kind, units) == ("softmax", 1):
        raise ModelUnsupported(
            f"The model gives {units} values; only one (malignant or not) or two (benign, malignant) can be imported."
        )
    if (kind, units) == ("sigmoid", 2):
        raise ModelUnsupported(
            "The model gives two probabilities that do not sum to one, which of them to trust is open."
        )
    return Ending(kind, 1 if units == 1 else 2, name)


@dataclass(frozen=True, slots=True)
class Tail:
    """The head of a graph.

    Attributes
    ----------
    features : str
        Tensor of the last feature map.
    planar : bool
        Whether it is channels first.
    shape : tuple of int
        ``(K, h, w)``.
    nodes : tuple of onnx.NodeProto
        From the feature map to the logit.
    """

    features: str
    planar: bool
    shape: tuple[int, int, int]
    nodes: tuple[Any, ...]


def tail(net: Net, name: str) -> Tail:
    """Find the last feature map that everything before a tensor passes through.

    Parameters
    ----------
    net : Net
    name : str
        Tensor that goes into the last activation.

    Raises
    ------
    ModelUnsupported
        If there is none, or no convolution before it.
    """
    way = _way(net, name)
    layouts = _layouts(net, way)
    found = None
    convolved = False
    open_tensors = {net.model.graph.input[0].name: _last_use(net, way, net.model.graph.input[0].name, name)}
    for position, node in enumerate(way):
        convolved |= node.op_type in _CONVOLUTIONS
        for output in node.output:
            if output in net.live:
                open_tensors[output] = _last_use(net, way, output, name)
        open_tensors = {tensor: last for tensor, last in open_tensors.items() if last > position}
        if len(open_tensors) != 1 or not convolved or node.op_type in _SHAPING:
            continue
        (tensor,) = open_tensors
        if tensor in node.output and tensor in layouts and _is_map(net, tensor, layouts[tensor]):
            found = (tensor, position)
    if found is None:
        raise ModelUnsupported(_CLOSED)
    tensor, position = found
    shape, planar = net.shape(tensor), layouts[tensor]
    channels, rows, columns = shape if planar else (shape[2], shape[0], shape[1])
    return Tail(tensor, planar, (channels, rows, columns), tuple(way[position + 1 :]))


def _way(net: Net, name: str) -> list[Any]:
    """Nodes between the picture and a tensor, in order."""
    wanted, way = {name}, []
    for node in reversed(net.nodes):
        if wanted.intersection(node.output) and net.live.intersection(node.output):
            way.append(node)
            wanted.update(node.input)
    return way[::-1]


def _last_use(net: Net, way: list[Any], tensor: str, end: str) -> int:
    """Position of the last node that reads a tensor; past the end for the last tensor of all."""
    if tensor == end:
        return len(way)
    return max((position for position, node in enumerate(way) if tensor in node.input), default=-1)


def _is_map(net: Net, tensor: str, planar: bool) -> bool:
    if not net.known(tensor):
        return False
    shape = net.shape(tensor)
    return len(shape) == 3 and math.prod(shape[1:] if planar else shape[:2]) > 1


def _layouts(net: Net, way: list[Any]) -> dict[str, bool]:
    """Whether tensors of four axes are channels first, where that is known."""
    found: dict[str, bool] = {net.model.graph.input[0].name: False}
    for node in way:
        known = [found[name] for name in node.input if name in found]
        if node.op_type in _PLANAR:
            found[node.output[0]] = True
        elif node.op_type == "Transpose":
            order = next((list(each.ints) for each in node.attribute if each.name == "perm"), [])
            if known and order in ([0, 2, 3, 1], [0, 3, 1, 2]):
                found[node.output[0]] = order == [0, 3, 1, 2]
        elif node.op_type not in _SHAPING or node.op_type in _PASSING:
            output = node.output[0]
            if len(set(known)) == 1 and net.known(output) and len(net.shape(output)) == 3:
                found[output] = known[0]
    return found


def finished(net: Net, end: Ending, part: Tail, malignant: int) -> tuple[Any, bool]:
    """Write the graph of a bundle: logit, evidence and features.

    Parameters
    ----------
    net : Net
    end : Ending
    part : Tail
    malignant : {0, 1}
        Index of the malignant output; for one output, 1 if its high end means malignant.

    Returns
    -------
    model : onnx.ModelProto
    linear : bool
        Whether the evidence sums to the logit but for a constant.

    Raises
    ------
    ModelUnsupported
        If the head holds an operator whose derivative is not written here.
    """
    writer = Writer("tail/")
    direction = _direction(end.units, malignant)
    flat = writer.node("Reshape", end.name, writer.whole(-1, end.units))
    column = writer.constant(direction.reshape(-1, 1))
    writer.node("MatMul", flat, column, output="logit")
    start = writer.constant(direction.reshape((1, *net.shape(end.name))))
    gradient = onnx_gradient.backward(writer, net, part.nodes, part.features, end.name, start)
    channels, rows, columns = part.shape
    features = part.features
    if not part.planar:
        features = writer.node("Transpose", features, perm=[0, 3, 1, 2])
        gradient = writer.node("Transpose", gradient, perm=[0, 3, 1, 2])
    writer.node("Identity", features, output="features")
    share = writer.node("Mul", "features", gradient)
    writer.node("ReduceSum", share, writer.whole(1), output="evidence", keepdims=0)
    shapes = {"logit": ["N", 1], "evidence": ["N", rows, columns], "features": ["N", channels, rows, columns]}
    return _assembled(net, writer, shapes), onnx_gradient.is_linear(net, part.nodes)


def _direction(units: int, malignant: int) -> NDArray[np.float32]:
    """Give what the logit takes of each output."""
    sign = 1.0 if malignant else -1.0
    return np.array([sign] if units == 1 else [-sign, sign], np.float32)


def _assembled(net: Net, writer: Writer, shapes: dict[str, list[Any]]) -> Any:
    """Put the graph together, without what nothing reads."""
    from onnx import TensorProto, checker, helper

    wanted, kept = set(shapes), []
    for node in reversed([*net.nodes, *writer.nodes]):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    constants = [each for each in (*net.model.graph.initializer, *writer.constants) if each.name in wanted]
    graph = helper.make_graph(
        kept[::-1],
        "foreign",
        list(net.model.graph.input),
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name, sides in shapes.items()],
        constants,
    )
    model = helper.make_model(graph, opset_imports=list(net.model.opset_import), producer_name="mammolens")
    model.ir_version = net.model.ir_version
    checker.check_model(model)
    return model
