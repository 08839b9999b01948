"""EfficientNet B0–B3 for mammograms, in backend-agnostic Keras 3.

The layers carry the names of ``keras.applications``, so weights move between
the two by name. Three things differ: the input is one grey channel in 0..255
(the mean and deviation of ImageNet are applied inside, so nothing may be
divided by 255 outside), the head is one logit after global average pooling
(which makes Grad-CAM exact at the cost of a forward pass), and batch
normalisation may be *folded* into the convolutions, which is what fine-tuning
with frozen statistics amounts to, at a third of its cost.

References
----------
M. Tan and Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional
Neural Networks", ICML 2019, arXiv:1905.11946.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

BN_EPSILON = 1e-3
GREY_MEAN, GREY_DEVIATION = 0.449, 0.226
"""Mean over the three channels of ImageNet's mean and standard deviation, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of EfficientNet-B0: ``repeats`` inverted bottlenecks of one shape."""

    kernel: int
    repeats: int
    filters_in: int
    filters_out: int
    expansion: int
    stride: int


@dataclass(frozen=True, slots=True)
class Scaling:
    """Compound scaling of one variant: width, depth, default input size, dropout rate."""

    width: float
    depth: float
    size: int
    dropout: float


STAGES = (
    Stage(3, 1, 32, 16, 1, 1),
    Stage(3, 2, 16, 24, 6, 2),
    Stage(5, 2, 24, 40, 6, 2),
    Stage(3, 3, 40, 80, 6, 2),
    Stage(5, 3, 80, 112, 6, 1),
    Stage(5, 4, 112, 192, 6, 2),
    Stage(3, 1, 192, 320, 6, 1),
)

VARIANTS = {
    "efficientnet-b0": Scaling(1.0, 1.0, 224, 0.2),
    "efficientnet-b1": Scaling(1.0, 1.1, 240, 0.2),
    "efficientnet-b2": Scaling(1.1, 1.2, 260, 0.3),
    "efficientnet-b3": Scaling(1.2, 1.4, 300, 0.3),
}

FEATURES = "top_activation"
"""Name of the layer whose output is the last convolutional feature map."""


def round_filters(filters: int, width: float) -> int:
    """Scale a filter count by ``width`` and round it to a multiple of 8, never down by over 10 %."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def round_repeats(repeats: int, depth: float) -> int:
    """Scale a repeat count by ``depth``, rounding up."""
    return math.ceil(depth * repeats)


class _Builder:
    """Lays the layers of one network; holds what every layer needs to know."""

    def __init__(self, folded: bool) -> None:
        import keras

        self.keras = keras
        self.layers = keras.layers
        self.folded = folded
        self.convolution_layer, self.depthwise_layer = keras.layers.Conv2D, keras.layers.DepthwiseConv2D
        if folded:
            from mammolens.models.folded import FoldedConv2D, FoldedDepthwiseConv2D

            self.convolution_layer, self.depthwise_layer = FoldedConv2D, FoldedDepthwiseConv2D
        self.channel_axis = 1 if keras.config.image_data_format() == "channels_first" else -1

    def normalised(self, x: Any, name: str) -> Any:
        if self.folded:
            return x
        return self.layers.BatchNormalization(axis=self.channel_axis, epsilon=BN_EPSILON, name=name)(x)

    def convolution(self, x: Any, filters: int, kernel: int, stride: int, name: str, padding: str = "same") -> Any:
        return self.convolution_layer(
            filters,
            kernel,
            strides=stride,
            padding=padding,
            use_bias=self.folded,
            kernel_initializer="he_normal",
            name=name,
        )(x)

    def padded(self, x: Any, kernel: int, name: str) -> Any:
        """Zero padding for a strided convolution, as ImageNet's weights were trained with it."""
        spatial = x.shape[2:4] if self.channel_axis == 1 else x.shape[1:3]
        half = kernel // 2
        pads = tuple((half - (1 - size % 2), half) for size in spatial)
        return self.layers.ZeroPadding2D(pads, name=name)(x)

    def squeezed(self, x: Any, squeeze: int, filters: int, name: str) -> Any:
        """Squeeze-and-excitation with global average pooling."""
        layers = self.layers
        gate = layers.GlobalAveragePooling2D(keepdims=True, name=name + "se_squeeze")(x)
        gate = layers.Conv2D(squeeze, 1, activation="silu", name=name + "se_reduce")(gate)
        gate = layers.Conv2D(filters, 1, activation="sigmoid", name=name + "se_expand")(gate)
        return layers.Multiply(name=name + "se_excite")([x, gate])

    def block(self, x: Any, stage: Stage, filters_in: int, filters_out: int, first: bool, name: str) -> Any:
        """Lay one inverted bottleneck (MBConv)."""
        layers = self.layers
        shortcut, width = x, filters_in * stage.expansion
        if stage.expansion != 1:
            x = self.convolution(x, width, 1, 1, name + "expand_conv")
            x = self.normalised(x, name + "expand_bn")
            x = layers.Activation("silu", name=name + "expand_activation")(x)
        stride = stage.stride if first else 1
        if stride == 2:
            x = self.padded(x, stage.kernel, name + "dwconv_pad")
        x = self.depthwise_layer(
            stage.kernel,
            strides=stride,
            padding="valid" if stride == 2 else "same",
            use_bias=self.folded,
            depthwise_initializer="he_normal",
            name=name + "dwconv",
        )(x)
        x = self.normalised(x, name + "bn")
        x = layers.Activation("silu", name=name + "activation")(x)
        x = self.squeezed(x, max(1, int(filters_in * 0.25)), width, name)
        x = self.convolution(x, filters_out, 1, 1, name + "project_conv")
        x = self.normalised(x, name + "project_bn")
        if stride == 1 and filters_in == filters_out:
            x = layers.Add(name=name + "add")([shortcut, x])
        return x


def build(
    architecture: str,
    size: tuple[int, int],
    *,
    folded: bool = False,
    dropout: float | None = None,
) -> Any:
    """Build an EfficientNet with a linear head of one logit.

    Parameters
    ----------
    architecture : str
        A key of `VARIANTS`.
    size : tuple of int
        ``(height, width)`` of the input, in pixels.
    folded : bool
        Whether batch normalisation is folded into biased convolutions.
    dropout : float, optional
        Rate before the head; default: the variant's own.

    Returns
    -------
    keras.Model
        From ``(N, height, width, 1)`` float32 in 0..255 (``(N, 1, height,
        width)`` where Keras is set to channels first) to ``(N, 1)`` logits.

    Raises
    ------
    KeyError
        If the architecture is unknown.
    """
    scaling = VARIANTS[architecture]
    lay = _Builder(folded)
    layers = lay.layers
    shape = (1, *size) if lay.channel_axis == 1 else (*size, 1)
    inputs = x = lay.keras.Input(shape, name="image")
    x = layers.Rescaling(1.0 / (255.0 * GREY_DEVIATION), offset=-GREY_MEAN / GREY_DEVIATION, name="rescaling")(x)
    x = lay.padded(x, 3, "stem_conv_pad")
    x = lay.convolution(x, round_filters(32, scaling.width), 3, 2, "stem_conv", padding="valid")
    x = lay.normalised(x, "stem_bn")
    x = layers.Activation("silu", name="stem_activation")(x)
    for number, stage in enumerate(STAGES, 1):
        filters_in = round_filters(stage.filters_in, scaling.width)
        filters_out = round_filters(stage.filters_out, scaling.width)
        for repeat in range(round_repeats(stage.repeats, scaling.depth)):
            name = f"block{number}{chr(97 + repeat)}_"
            x = lay.block(x, stage, filters_in if repeat == 0 else filters_out, filters_out, repeat == 0, name)
    x = lay.convolution(x, round_filters(1280, scaling.width), 1, 1, "top_conv")
    x = lay.normalised(x, "top_bn")
    x = layers.Activation("silu", name=FEATURES)(x)
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = layers.Dropout(scaling.dropout if dropout is None else dropout, name="top_dropout")(x)
    outputs = layers.Dense(1, name="logit")(x)
    return lay.keras.Model(inputs, outputs, name=architecture)
