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

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from mammolens.errors import ConfigurationError
from mammolens.models.architecture import (
    BN_EPSILON,
    FEATURES,
    GREY_DEVIATION,
    GREY_MEAN,
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    VARIANTS,
    Block,
    blocks,
    features_of,
    kernels,
    normalisation,
    stem_filters,
)

__all__ = [
    "BN_EPSILON",
    "FEATURES",
    "GREY_DEVIATION",
    "GREY_MEAN",
    "IMAGENET_DEVIATION",
    "IMAGENET_MEAN",
    "VARIANTS",
    "Block",
    "Economy",
    "blocks",
    "build",
    "build_trunk",
    "features_of",
    "kernels",
    "normalisation",
    "stem_filters",
]


@dataclass(frozen=True, slots=True)
class Economy:
    """How training saves memory.

    Attributes
    ----------
    precision : {"float32", "mixed_float16", "mixed_bfloat16"}
        Of the convolutions; weights, scaling of the input, pooling and head stay
        float32. With float16, train with ``keras.optimizers.LossScaleOptimizer``.
    checkpointing : bool
        Whether a block keeps its input alone and is computed again for its gradient:
        a third more multiply-adds. Needs a folded network: batch statistics would be
        counted twice.
    """

    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    checkpointing: bool = False


FULL = Economy()
"""Nothing saved: the default."""


class _Builder:
    """Lays the layers of one network; holds what every layer needs to know, and where the blocks meet."""

    def __init__(self, folded: bool) -> None:
        import keras

        self.keras = keras
        self.layers = keras.layers
        self.folded = folded
        self.seams: list[Any] = []
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

    def block(self, x: Any, block: Block) -> Any:
        """Lay one inverted bottleneck (MBConv)."""
        layers, name, shortcut = self.layers, block.name, x
        if block.expansion != 1:
            x = self.convolution(x, block.width, 1, 1, name + "expand_conv")
            x = self.normalised(x, name + "expand_bn")
            x = layers.Activation("silu", name=name + "expand_activation")(x)
        if block.stride == 2:
            x = self.padded(x, block.kernel, name + "dwconv_pad")
        x = self.depthwise_layer(
            block.kernel,
            strides=block.stride,
            padding="valid" if block.stride == 2 else "same",
            use_bias=self.folded,
            depthwise_initializer="he_normal",
            name=name + "dwconv",
        )(x)
        x = self.normalised(x, name + "bn")
        x = layers.Activation("silu", name=name + "activation")(x)
        x = self.squeezed(x, block.squeeze, block.width, name)
        x = self.convolution(x, block.filters_out, 1, 1, name + "project_conv")
        x = self.normalised(x, name + "project_bn")
        if block.skip:
            x = layers.Add(name=name + "add")([shortcut, x])
        return x

    def first_step(self, x: Any, channels: int, factor: Sequence[float] | None, offset: Sequence[float] | None) -> Any:
        """Scale and shift of each channel, the one channel repeated where there are three of them."""
        factors, offsets = normalisation(channels)
        factors = factors if factor is None else tuple(float(value) for value in factor)
        offsets = offsets if offset is None else tuple(float(value) for value in offset)
        if channels == 1 and len(factors) == 3:
            x = self.layers.Concatenate(axis=self.channel_axis, name="three_times")([x, x, x])
        if len(set(zip(factors, offsets, strict=True))) == 1:
            return self.layers.Rescaling(factors[0], offset=offsets[0], name="rescaling", dtype="float32")(x)
        shift: list[Any] = list(offsets)
        if self.channel_axis == 1:
            # Keras brings a scale into this layout itself, but not an offset.
            shift = [[[value]] for value in offsets]
        return self.layers.Rescaling(list(factors), offset=shift, name="rescaling", dtype="float32")(x)

    def backbone(self, x: Any, architecture: str) -> Any:
        """All convolutions, to the last features."""
        x = self.padded(x, 3, "stem_conv_pad")
        x = self.convolution(x, stem_filters(architecture), 3, 2, "stem_conv", padding="valid")
        x = self.normalised(x, "stem_bn")
        x = self.layers.Activation("silu", name="stem_activation")(x)
        for block in blocks(architecture):
            self.seams.append(x)
            x = self.block(x, block)
        self.seams.append(x)
        x = self.convolution(x, features_of(architecture), 1, 1, "top_conv")
        x = self.normalised(x, "top_bn")
        return self.layers.Activation("silu", name=FEATURES)(x)

    def trunk(
        self,
        architecture: str,
        size: tuple[int, int],
        channels: int,
        factor: Sequence[float] | None,
        offset: Sequence[float] | None,
    ) -> tuple[Any, Any]:
        """Input and pooled features."""
        shape = (channels, *size) if self.channel_axis == 1 else (*size, channels)
        inputs = self.keras.Input(shape, name="image")
        x = self.backbone(self.first_step(inputs, channels, factor, offset), architecture)
        return inputs, self.layers.GlobalAveragePooling2D(name="avg_pool", dtype="float32")(x)

    def model(self, inputs: Any, outputs: Any, name: str, checkpointing: bool) -> Any:
        """Make a model of what lies between ``inputs`` and ``outputs``."""
        if not checkpointing:
            return self.keras.Model(inputs, outputs, name=name)
        from mammolens.models.checkpointing import CheckpointedModel

        return CheckpointedModel(inputs, outputs, self.seams, name)


@contextmanager
def _precision(keras: Any, policy: str) -> Iterator[None]:
    """Lay layers in this precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _checked(folded: bool, economy: Economy) -> None:
    if economy.checkpointing and not folded:
        raise ConfigurationError("Gradient checkpointing needs a folded network. Build it with folded=True.")


def build(
    architecture: str,
    size: tuple[int, int],
    *,
    folded: bool = False,
    dropout: float | None = None,
    channels: int = 1,
    factor: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    economy: Economy = FULL,
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
    channels : {1, 3}
        Of the input.
    factor, offset : sequence of float, length ``channels``, optional
        The first step, ``x * factor + offset``; default: from 0..255 to ImageNet's mean
        and deviation (see `normalisation`). Three for one channel: it is repeated three
        times first.
    economy : Economy
        How training saves memory.

    Returns
    -------
    keras.Model
        From ``(N, height, width, channels)`` float32, in 0..255 unless the first step
        says otherwise (``(N, channels, height, width)`` where Keras is set to channels
        first), to ``(N, 1)`` logits.

    Raises
    ------
    KeyError
        If the architecture is unknown.
    ConfigurationError
        If gradient checkpointing is asked for where the network is not folded.
    """
    _checked(folded, economy)
    lay = _Builder(folded)
    with _precision(lay.keras, economy.precision):
        inputs, x = lay.trunk(architecture, size, channels, factor, offset)
    rate = VARIANTS[architecture].dropout if dropout is None else dropout
    x = lay.layers.Dropout(rate, name="top_dropout", dtype="float32")(x)
    outputs = lay.layers.Dense(1, name="logit", dtype="float32")(x)
    return lay.model(inputs, outputs, architecture, economy.checkpointing)


def build_trunk(
    architecture: str,
    size: tuple[int, int],
    *,
    folded: bool = False,
    channels: int = 1,
    economy: Economy = FULL,
    name: str = "trunk",
) -> Any:
    """Build an EfficientNet without a head, to be part of a larger network.

    Parameters
    ----------
    architecture, size, folded, channels, economy
        As `build` takes them.
    name : str
        Of the model.

    Returns
    -------
    keras.Model
        From ``(N, height, width, channels)`` float32 in 0..255 to pooled features
        ``(N, C)``; the layers' names are those of `build`.

    Raises
    ------
    KeyError, ConfigurationError
        As `build`.
    """
    _checked(folded, economy)
    lay = _Builder(folded)
    with _precision(lay.keras, economy.precision):
        inputs, x = lay.trunk(architecture, size, channels, None, None)
    return lay.model(inputs, x, name, economy.checkpointing)
