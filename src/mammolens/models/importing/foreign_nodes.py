"""One layer of Keras as ONNX nodes, channels first.

References
----------
Definitions of the layers: keras 3.15 ``src/layers`` and ``src/activations``. ONNX
operators, opset 17.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ModelUnsupported
from mammolens.models.importing.onnx_writer import Writer

Arrays = Sequence[NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Without the batch and channels last, as Keras sees it. In the graph a tensor of
        four axes is channels first.
    """

    name: str
    shape: tuple[int, ...]


def unsupported(what: str) -> ModelUnsupported:
    """Make the refusal of something."""
    return ModelUnsupported(f"{what} can't be converted. Export the model as ONNX where it was made.")


def _planes(x: Value) -> tuple[int, int, int]:
    if len(x.shape) != 3:
        raise unsupported("A layer for pictures on something that is none")
    return x.shape[0], x.shape[1], x.shape[2]


def _same(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Give the padding before and after for TensorFlow's ``same``."""
    total = max((math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _window(x: Value, kernel: Any, settings: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[int, int]]:
    """Attributes of a sliding window and the size of what it gives."""
    strides = settings.get("strides") or kernel
    dilations = settings.get("dilation_rate", [1, 1])
    pads = [(0, 0), (0, 0)]
    if settings["padding"] == "same":
        pads = [_same(*each) for each in zip(x.shape[:2], kernel, strides, dilations, strict=True)]
    rows, columns = (
        (size + sum(pad) - (k - 1) * d - 1) // s + 1
        for size, pad, k, s, d in zip(x.shape[:2], pads, kernel, strides, dilations, strict=True)
    )
    attributes = {"kernel_shape": list(kernel), "strides": list(strides), "dilations": list(dilations)}
    return attributes | {"pads": [pads[0][0], pads[1][0], pads[0][1], pads[1][1]]}, (rows, columns)


def _convolve(
    writer: Writer, x: Value, kernel: NDArray[np.float32], bias: Arrays, settings: Mapping[str, Any], group: int
) -> Value:
    """Convolve; ``kernel`` is (out, in / group, kh, kw)."""
    _planes(x)
    attributes, size = _window(x, kernel.shape[2:], settings)
    inputs = [x.name, writer.constant(kernel), *(writer.constant(each) for each in bias[:1])]
    return Value(writer.node("Conv", *inputs, group=group, **attributes), (*size, kernel.shape[0]))


def _conv2d(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    return _convolve(writer, x, arrays[0].transpose(3, 2, 0, 1), arrays[1:], settings, settings["groups"])


def _depthwise_kernel(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns, channels, multiplier = kernel.shape
    return kernel.reshape(rows, columns, 1, channels * multiplier).transpose(3, 2, 0, 1)


def _depthwise(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    return _convolve(writer, x, _depthwise_kernel(arrays[0]), arrays[1:], settings, _planes(x)[2])


def _separable(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    inner = _convolve(writer, x, _depthwise_kernel(arrays[0]), (), settings, _planes(x)[2])
    plain = {"strides": [1, 1], "padding": "valid"}
    return _convolve(writer, inner, arrays[1].transpose(3, 2, 0, 1), arrays[2:], plain, 1)


def _dense(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    kernel, bias = arrays[0], arrays[1:]
    if len(x.shape) == 3:
        plain = {"strides": [1, 1], "padding": "valid"}
        return _convolve(writer, x, kernel.T[..., None, None], bias, plain, 1)
    if len(x.shape) != 1:
        raise unsupported("Dense on a sequence")
    inputs = [x.name, writer.constant(kernel), *(writer.constant(each) for each in bias)]
    return Value(writer.node("Gemm", *inputs), (kernel.shape[1],))


def _per_channel(x: Value, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put one value per channel where it meets the channels of a tensor."""
    return values.reshape(-1, 1, 1) if len(x.shape) == 3 else values.reshape(-1)


def _check_last(axis: int, x: Value) -> None:
    if axis not in (-1, len(x.shape)):
        raise unsupported("A layer along another axis than the channels")


def _scale_and_shift(settings: Mapping[str, Any], arrays: Arrays, size: int) -> tuple[Any, Any, Arrays]:
    """Split the arrays of a normalisation: gamma, beta, and what follows them."""
    rest = list(arrays)
    gamma = rest.pop(0) if settings["scale"] else np.ones(size, np.float32)
    beta = rest.pop(0) if settings["center"] else np.zeros(size, np.float32)
    return gamma, beta, rest


def _batch_normalization(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    _check_last(settings["axis"], x)
    gamma, beta, (mean, variance) = _scale_and_shift(settings, arrays, x.shape[-1])
    parameters = [writer.constant(each) for each in (gamma, beta, mean, variance)]
    made = writer.node("BatchNormalization", x.name, *parameters, epsilon=float(settings["epsilon"]))
    return Value(made, x.shape)


def _layer_normalization(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    _check_last(settings["axis"], x)
    gamma, beta, _ = _scale_and_shift(settings, arrays, x.shape[-1])
    mean = writer.node("ReduceMean", x.name, axes=[1], keepdims=1)
    centred = writer.node("Sub", x.name, mean)
    square = writer.node("Mul", centred, centred)
    variance = writer.node("ReduceMean", square, axes=[1], keepdims=1)
    deviation = writer.node("Sqrt", writer.node("Add", variance, writer.number(settings["epsilon"])))
    scaled = writer.node("Mul", writer.node("Div", centred, deviation), writer.constant(_per_channel(x, gamma)))
    return Value(writer.node("Add", scaled, writer.constant(_per_channel(x, beta))), x.shape)


def _pool(kind: str) -> Callable[..., Value]:
    def write(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
        channels = _planes(x)[2]
        attributes, size = _window(x, settings["pool_size"], settings)
        # ONNX gained dilations of average pooling in opset 19.
        attributes.pop("dilations")
        return Value(writer.node(kind, x.name, **attributes), (*size, channels))

    return write


def _pool_all(kind: str) -> Callable[..., Value]:
    def write(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
        channels = _planes(x)[2]
        pooled = writer.node(kind, x.name)
        if settings["keepdims"]:
            return Value(pooled, (1, 1, channels))
        return Value(writer.node("Flatten", pooled, axis=1), (channels,))

    return write


def _reshape_to(writer: Writer, x: Value, shape: tuple[int, ...]) -> Value:
    """Reshape in Keras' order of axes."""
    if len(shape) not in (1, 3):
        raise unsupported("Reshape to a sequence")
    source = x.name
    if len(x.shape) == 3 and x.shape[:2] != (1, 1):
        source = writer.node("Transpose", source, perm=[0, 2, 3, 1])
    if len(shape) == 1 or shape[:2] == (1, 1):
        # Planes of one pixel lie in the same order channels first and channels last.
        axes = (-1, shape[0]) if len(shape) == 1 else (-1, shape[2], 1, 1)
        return Value(writer.node("Reshape", source, writer.whole(*axes)), shape)
    made = writer.node("Reshape", source, writer.whole(-1, *shape))
    return Value(writer.node("Transpose", made, perm=[0, 3, 1, 2]), shape)


def _flatten(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    return _reshape_to(writer, x, (math.prod(x.shape),))


def _reshape(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    shape = list(settings["target_shape"])
    total = math.prod(x.shape)
    if shape.count(-1) == 1:
        shape[shape.index(-1)] = total // max(1, -math.prod(shape))
    if math.prod(shape) != total:
        raise unsupported("A reshape that does not fit")
    return _reshape_to(writer, x, tuple(shape))


def _zero_padding(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    rows, columns, channels = _planes(x)
    (top, bottom), (left, right) = settings["padding"]
    pads = writer.whole(0, 0, top, left, 0, 0, bottom, right)
    return Value(writer.node("Pad", x.name, pads), (rows + top + bottom, columns + left + right, channels))


def _cropping(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    rows, columns, channels = _planes(x)
    (top, bottom), (left, right) = settings["cropping"]
    starts, ends = writer.whole(top, left), writer.whole(rows - bottom, columns - right)
    made = writer.node("Slice", x.name, starts, ends, writer.whole(2, 3))
    return Value(made, (rows - top - bottom, columns - left - right, channels))


def _affine(writer: Writer, x: Value, factor: Any, offset: Any) -> Value:
    scaled = writer.node("Mul", x.name, writer.constant(_spread(x, factor)))
    return Value(writer.node("Add", scaled, writer.constant(_spread(x, offset))), x.shape)


def _spread(x: Value, values: Any) -> NDArray[np.float32]:
    """One number, or one per channel, shaped to meet a tensor."""
    flat = np.asarray(values, np.float64).reshape(-1)
    if flat.size not in (1, x.shape[-1]):
        raise unsupported("Scaling that differs from pixel to pixel")
    return _per_channel(x, flat.astype(np.float32)) if flat.size > 1 else flat.astype(np.float32).reshape(())


def _rescaling(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    return _affine(writer, x, settings["scale"], settings["offset"])


def _normalization(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    mean, variance = settings["mean"], settings["variance"]
    if mean is None or variance is None:
        if len(arrays) < 2:
            raise unsupported("Normalization without its statistics")
        mean, variance = arrays[0], arrays[1]
    mean = np.asarray(mean, np.float64)
    deviation = np.maximum(np.sqrt(np.asarray(variance, np.float64)), 1e-7)
    return _affine(writer, x, 1.0 / deviation, -mean / deviation)


def _identity(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    return x


def _relu(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    slope, most = float(settings["negative_slope"]), settings["max_value"]
    made = x.name
    if most is not None:
        made = writer.node("Min", made, writer.number(float(most)))
    made = writer.node("LeakyRelu", made, alpha=slope) if slope else writer.node("Relu", made)
    return Value(made, x.shape)


def _leaky_relu(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    return Value(writer.node("LeakyRelu", x.name, alpha=float(settings["negative_slope"])), x.shape)


def _prelu(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    slope = arrays[0].transpose(2, 0, 1) if arrays[0].ndim == 3 else arrays[0]
    return Value(writer.node("PRelu", x.name, writer.constant(slope)), x.shape)


def _elu(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    return Value(writer.node("Elu", x.name, alpha=float(settings["alpha"])), x.shape)


def _softmax(writer: Writer, x: Value, settings: Mapping[str, Any], arrays: Arrays) -> Value:
    _check_last(settings["axis"], x)
    return Value(writer.node("Softmax", x.name, axis=1), x.shape)


def activate(writer: Writer, x: Value, function: str) -> Value:
    """Write an activation function, by Keras 3's name and definition."""
    name = x.name
    if function == "linear":
        return x
    if function in _SIMPLE:
        kind, attributes = _SIMPLE[function]
        return Value(writer.node(kind, name, **attributes), x.shape)
    if function == "relu6":
        made = writer.node("Clip", name, writer.number(0.0), writer.number(6.0))
    elif function == "silu":
        made = writer.node("Mul", name, writer.node("Sigmoid", name))
    elif function == "hard_silu":
        made = writer.node("Mul", name, writer.node("HardSigmoid", name, alpha=1.0 / 6.0, beta=0.5))
    elif function == "mish":
        made = writer.node("Mul", name, writer.node("Tanh", writer.node("Softplus", name)))
    else:
        error = writer.node("Erf", writer.node("Mul", name, writer.number(math.sqrt(0.5))))
        half = writer.node("Mul", name, writer.number(0.5))
        made = writer.node("Mul", half, writer.node("Add", error, writer.number(1.0)))
    return Value(made, x.shape)


_SIMPLE: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.2}),
    "elu": ("Elu", {"alpha": 1.0}),
    "selu": ("Selu", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "softmax": ("Softmax", {"axis": 1}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1.0 / 6.0, "beta": 0.5}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "exponential": ("Exp", {}),
}
WRITERS: Mapping[str, Callable[[Writer, Value, Mapping[str, Any], Arrays], Value]] = {
    "Activation": _identity,
    "AveragePooling2D": _pool("AveragePool"),
    "BatchNormalization": _batch_normalization,
    "Conv2D": _conv2d,
    "Cropping2D": _cropping,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "ELU": _elu,
    "Flatten": _flatten,
    "GlobalAveragePooling2D": _pool_all("GlobalAveragePool"),
    "GlobalMaxPooling2D": _pool_all("GlobalMaxPool"),
    "Identity": _identity,
    "LayerNormalization": _layer_normalization,
    "LeakyReLU": _leaky_relu,
    "MaxPooling2D": _pool("MaxPool"),
    "Normalization": _normalization,
    "PReLU": _prelu,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "SeparableConv2D": _separable,
    "Softmax": _softmax,
    "ZeroPadding2D": _zero_padding,
}
"""Writers of layers with one input, by class: of the writer, the input, the settings and the arrays."""
