"""Derivatives of ONNX operators, as nodes: from the gradient of a node's output to those of its inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mammolens.errors import ModelUnsupported
from mammolens.models.importing.onnx_writer import Writer

if TYPE_CHECKING:
    from mammolens.models.importing.onnx_tail import Net


def refusal(node: Any) -> ModelUnsupported:
    """Make the refusal of a node."""
    return ModelUnsupported(
        f"The model's head holds {node.op_type}, whose gradient is not known here, so that its answers could not be "
        "explained."
    )


class Step:
    """One node of the head, with what its derivative needs."""

    def __init__(self, writer: Writer, net: Net, node: Any, head: set[str]) -> None:
        self.writer, self.net, self.node, self.head = writer, net, node, head
        self.x, self.y = node.input[0], node.output[0]

    def attribute(self, name: str, missing: Any) -> Any:
        """Value of an attribute."""
        from onnx import helper

        return next((helper.get_attribute_value(each) for each in self.node.attribute if each.name == name), missing)

    def full(self, gradient: str) -> str:
        """Spread a gradient over the whole shape of the node's output."""
        ones = self.writer.constant(np.ones((1, *self.net.shape(self.y)), np.float32))
        return self.writer.node("Mul", gradient, ones)

    def times(self, gradient: str, factor: str) -> str:
        """Multiply."""
        return self.writer.node("Mul", gradient, factor)

    def where(self, condition: str, gradient: str) -> str:
        """Keep a gradient where a condition holds."""
        return self.times(gradient, self.writer.node("Cast", condition, to=1))

    def onto(self, name: str, gradient: str) -> str:
        """Sum a gradient over the axes along which an input was repeated."""
        own, out = self.net.shape(name), self.net.shape(self.y)
        if own == out:
            return gradient
        if len(own) != len(out):
            raise refusal(self.node)
        axes = [axis + 1 for axis, (mine, theirs) in enumerate(zip(own, out, strict=True)) if mine != theirs]
        return self.writer.node("ReduceSum", self.full(gradient), self.writer.whole(*axes), keepdims=1)

    def shaped(self, gradient: str, shape: Sequence[int]) -> str:
        """Reshape a gradient; the batch stays what it is."""
        return self.writer.node("Reshape", gradient, self.writer.whole(-1, *shape))

    def axes(self) -> list[int]:
        """Axes of a reduction, from its attribute or its second input."""
        given = self.attribute("axes", None)
        if given is None and len(self.node.input) > 1 and self.node.input[1]:
            array = self.net.array(self.node.input[1])
            if array is None:
                raise refusal(self.node)
            given = array.tolist()
        rank = len(self.net.shape(self.x)) + 1
        return [axis % rank for axis in given] if given else list(range(rank))

    def kept(self, axes: Sequence[int]) -> list[int]:
        """Shape of the node's input, without its batch, with 1 for the reduced axes."""
        return [1 if axis + 1 in axes else side for axis, side in enumerate(self.net.shape(self.x))]


Parts = Iterator[tuple[str, str]]
Backward = Callable[[Step, str], Parts]


def _same(step: Step, gradient: str) -> Parts:
    yield step.x, gradient


def _reshaped(step: Step, gradient: str) -> Parts:
    yield step.x, step.shaped(step.full(gradient), step.net.shape(step.x))


def _transposed(step: Step, gradient: str) -> Parts:
    order = list(step.attribute("perm", ()))
    if not order or order[0] != 0:
        raise refusal(step.node)
    yield step.x, step.writer.node("Transpose", gradient, perm=[order.index(axis) for axis in range(len(order))])


def _gemm(step: Step, gradient: str) -> Parts:
    if step.node.op_type == "MatMul":
        alpha, transposed = 1.0, 0
        rank = len(step.net.constants[step.node.input[1]].dims) if step.node.input[1] in step.net.constants else 0
        if len(step.net.shape(step.x)) != 1 or rank != 2:
            raise refusal(step.node)
    else:
        alpha, transposed = step.attribute("alpha", 1.0), step.attribute("transB", 0)
    if step.node.input[1] in step.net.live or step.x not in step.head or step.attribute("transA", 0):
        raise refusal(step.node)
    if len(step.node.input) > 2 and step.node.input[2] in step.net.live:
        raise refusal(step.node)
    yield step.x, step.writer.node("Gemm", gradient, step.node.input[1], alpha=alpha, transB=1 - transposed)


def _sum(step: Step, gradient: str) -> Parts:
    for name in step.node.input:
        if name in step.head:
            yield name, step.onto(name, gradient)


def _difference(step: Step, gradient: str) -> Parts:
    first, second = step.node.input
    if first in step.head:
        yield first, step.onto(first, gradient)
    if second in step.head:
        yield second, step.onto(second, step.writer.node("Neg", gradient))


def _product(step: Step, gradient: str) -> Parts:
    first, second = step.node.input
    for name, other in ((first, second), (second, first)):
        if name in step.head:
            yield name, step.onto(name, step.times(gradient, other))


def _quotient(step: Step, gradient: str) -> Parts:
    first, second = step.node.input
    share = step.writer.node("Div", gradient, second)
    if first in step.head:
        yield first, step.onto(first, share)
    if second in step.head:
        yield second, step.onto(second, step.writer.node("Neg", step.times(share, step.y)))


def _relu(step: Step, gradient: str) -> Parts:
    yield step.x, step.where(step.writer.node("Greater", step.x, step.writer.number(0.0)), gradient)


def _clip(step: Step, gradient: str) -> Parts:
    for name, condition in zip(step.node.input[1:], ("Greater", "Less"), strict=False):
        if name:
            gradient = step.where(step.writer.node(condition, step.x, name), gradient)
    yield step.x, gradient


def _bound(step: Step, gradient: str) -> Parts:
    """Min or Max of a tensor and a constant, or of two tensors, which share the gradient where they are equal."""
    if len(step.node.input) != 2:
        raise refusal(step.node)
    condition = "Less" if step.node.op_type == "Min" else "Greater"
    first, second = step.node.input
    tie = step.times(step.writer.node("Cast", step.writer.node("Equal", first, second), to=1), step.writer.number(0.5))
    for name, other in ((first, second), (second, first)):
        if name in step.head:
            wins = step.writer.node("Cast", step.writer.node(condition, name, other), to=1)
            yield name, step.onto(name, step.times(gradient, step.writer.node("Add", wins, tie)))


def _leaky(step: Step, gradient: str) -> Parts:
    slope = step.writer.number(float(step.attribute("alpha", 0.01)))
    if step.node.op_type == "PRelu":
        slope = step.node.input[1]
    positive = step.writer.node("Greater", step.x, step.writer.number(0.0))
    yield step.x, step.times(gradient, step.writer.node("Where", positive, step.writer.number(1.0), slope))


def _elu(step: Step, gradient: str) -> Parts:
    scaled = step.node.op_type == "Selu"
    alpha = float(step.attribute("alpha", 1.67326319217681884765625 if scaled else 1.0))
    gamma = float(step.attribute("gamma", 1.05070102214813232421875)) if scaled else 1.0
    positive = step.writer.node("Greater", step.x, step.writer.number(0.0))
    below = step.writer.node("Add", step.y, step.writer.number(alpha * gamma))
    yield step.x, step.times(gradient, step.writer.node("Where", positive, step.writer.number(gamma), below))


def _sigmoid(step: Step, gradient: str) -> Parts:
    rest = step.writer.node("Sub", step.writer.number(1.0), step.y)
    yield step.x, step.times(gradient, step.times(step.y, rest))


def _tanh(step: Step, gradient: str) -> Parts:
    yield step.x, step.times(gradient, step.writer.node("Sub", step.writer.number(1.0), step.times(step.y, step.y)))


def _softplus(step: Step, gradient: str) -> Parts:
    yield step.x, step.times(gradient, step.writer.node("Sigmoid", step.x))


def _exp(step: Step, gradient: str) -> Parts:
    yield step.x, step.times(gradient, step.y)


def _sqrt(step: Step, gradient: str) -> Parts:
    yield step.x, step.writer.node("Div", step.times(gradient, step.writer.number(0.5)), step.y)


def _erf(step: Step, gradient: str) -> Parts:
    bell = step.writer.node("Exp", step.writer.node("Neg", step.times(step.x, step.x)))
    yield step.x, step.times(gradient, step.times(bell, step.writer.number(2.0 / math.sqrt(math.pi))))


def _negative(step: Step, gradient: str) -> Parts:
    yield step.x, step.writer.node("Neg", gradient)


def _hard_sigmoid(step: Step, gradient: str) -> Parts:
    inside = step.writer.node(
        "And",
        step.writer.node("Greater", step.y, step.writer.number(0.0)),
        step.writer.node("Less", step.y, step.writer.number(1.0)),
    )
    slope = step.writer.number(float(step.attribute("alpha", 0.2)))
    yield step.x, step.where(inside, step.times(gradient, slope))


def _batch_normalization(step: Step, gradient: str) -> Parts:
    scale, _, _, variance = (step.net.array(name) for name in step.node.input[1:5])
    if scale is None or variance is None:
        raise refusal(step.node)
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + step.attribute("epsilon", 1e-5))
    shape = (1, -1, *(1 for _ in step.net.shape(step.x)[1:]))
    yield step.x, step.times(gradient, step.writer.constant(factor.astype(np.float32).reshape(shape)))


def _mean(step: Step, gradient: str) -> Parts:
    axes = [2, 3] if step.node.op_type == "GlobalAveragePool" else step.axes()
    if 0 in axes:
        raise refusal(step.node)
    if step.node.op_type != "GlobalAveragePool" and not step.attribute("keepdims", 1):
        gradient = step.shaped(step.full(gradient), step.kept(axes))
    count = math.prod(step.net.shape(step.x)[axis - 1] for axis in axes)
    if step.node.op_type != "ReduceSum":
        gradient = step.times(gradient, step.writer.number(1.0 / count))
    yield step.x, gradient


def _greatest(step: Step, gradient: str) -> Parts:
    """Largest value over some axes: those that reach it share the gradient, as in TensorFlow."""
    axes = [2, 3] if step.node.op_type == "GlobalMaxPool" else step.axes()
    if 0 in axes:
        raise refusal(step.node)
    best = step.y
    if step.node.op_type != "GlobalMaxPool" and not step.attribute("keepdims", 1):
        gradient = step.shaped(step.full(gradient), step.kept(axes))
        best = step.shaped(best, step.kept(axes))
    reached = step.writer.node("Cast", step.writer.node("Equal", step.x, best), to=1)
    count = step.writer.node("ReduceSum", reached, step.writer.whole(*axes), keepdims=1)
    yield step.x, step.times(step.writer.node("Div", gradient, count), reached)


def _whole_window(step: Step, gradient: str) -> Parts:
    """Pooling whose one window is the whole map."""
    rows, columns = step.net.shape(step.x)[1:]
    pads = step.attribute("pads", [0, 0, 0, 0])
    if list(step.attribute("kernel_shape", ())) != [rows, columns] or any(pads):
        raise refusal(step.node)
    yield step.x, step.times(gradient, step.writer.number(1.0 / (rows * columns)))


def _convolution(step: Step, gradient: str) -> Parts:
    """Convolution: the transposed convolution with the same kernel."""
    if step.node.input[1] in step.net.live or step.attribute("auto_pad", b"NOTSET") != b"NOTSET":
        raise refusal(step.node)
    shapes = step.net.shape(step.x)[1:], step.net.shape(step.y)[1:]
    kernel = list(step.net.constants[step.node.input[1]].dims)[2:]
    strides, dilations = step.attribute("strides", [1, 1]), step.attribute("dilations", [1, 1])
    pads = step.attribute("pads", [0, 0, 0, 0])
    missing = [
        into - ((out - 1) * stride + (side - 1) * dilation + 1 - before - after)
        for into, out, side, stride, dilation, before, after in zip(
            *shapes, kernel, strides, dilations, pads[:2], pads[2:], strict=True
        )
    ]
    yield (
        step.x,
        step.writer.node(
            "ConvTranspose",
            step.full(gradient),
            step.node.input[1],
            strides=list(strides),
            dilations=list(dilations),
            pads=list(pads),
            group=step.attribute("group", 1),
            output_padding=missing,
        ),
    )


def _joined(step: Step, gradient: str) -> Parts:
    axis = step.attribute("axis", 1)
    rank = len(step.net.shape(step.y)) + 1
    axis %= rank
    if axis == 0 or any(name not in step.net.live for name in step.node.input):
        raise refusal(step.node)
    whole, start = step.full(gradient), 0
    for name in step.node.input:
        stop = start + step.net.shape(name)[axis - 1]
        if name in step.head:
            bounds = (step.writer.whole(start), step.writer.whole(stop), step.writer.whole(axis))
            yield name, step.writer.node("Slice", whole, *bounds)
        start = stop


BACKWARD: Mapping[str, Backward] = {
    "Add": _sum,
    "AveragePool": _whole_window,
    "BatchNormalization": _batch_normalization,
    "Cast": _same,
    "Clip": _clip,
    "Concat": _joined,
    "Conv": _convolution,
    "Div": _quotient,
    "Dropout": _same,
    "Elu": _elu,
    "Erf": _erf,
    "Exp": _exp,
    "Flatten": _reshaped,
    "Gemm": _gemm,
    "GlobalAveragePool": _mean,
    "GlobalMaxPool": _greatest,
    "HardSigmoid": _hard_sigmoid,
    "Identity": _same,
    "LeakyRelu": _leaky,
    "MatMul": _gemm,
    "Max": _bound,
    "Min": _bound,
    "Mul": _product,
    "Neg": _negative,
    "PRelu": _leaky,
    "ReduceMax": _greatest,
    "ReduceMean": _mean,
    "ReduceSum": _mean,
    "Relu": _relu,
    "Reshape": _reshaped,
    "Selu": _elu,
    "Sigmoid": _sigmoid,
    "Softplus": _softplus,
    "Sqrt": _sqrt,
    "Squeeze": _reshaped,
    "Sub": _difference,
    "Sum": _sum,
    "Tanh": _tanh,
    "Transpose": _transposed,
    "Unsqueeze": _reshaped,
}
"""Derivatives by operator: of the step and the gradient of its output, each input and its part."""
