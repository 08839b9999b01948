"""EfficientNet B0–B3 in figures: stages, widths, depths and the shape of every kernel; no library needed.

References
----------
M. Tan and Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional
Neural Networks", ICML 2019, arXiv:1905.11946.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

BN_EPSILON = 1e-3
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's red, green and blue, in [0, 1]."""
GREY_MEAN, GREY_DEVIATION = 0.449, 0.226
"""Means of these over the three channels."""


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

STRIDE = 32
"""Pixels of the input between two cells of that map."""


def round_filters(filters: int, width: float) -> int:
    """Scale a filter count by ``width`` and round it to a multiple of 8, never down by over 10 %."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def round_repeats(repeats: int, depth: float) -> int:
    """Scale a repeat count by ``depth``, rounding up."""
    return math.ceil(depth * repeats)


@dataclass(frozen=True, slots=True)
class Block:
    """One inverted bottleneck of one variant; ``name`` begins the names of its layers (``block2a_``)."""

    name: str
    kernel: int
    stride: int
    filters_in: int
    filters_out: int
    expansion: int

    @property
    def width(self) -> int:
        """Channels of the depthwise convolution."""
        return self.filters_in * self.expansion

    @property
    def squeeze(self) -> int:
        """Channels of the squeeze-and-excitation's waist."""
        return max(1, self.filters_in // 4)

    @property
    def skip(self) -> bool:
        """Whether the block's input is added to its output."""
        return self.stride == 1 and self.filters_in == self.filters_out


def blocks(architecture: str) -> Iterator[Block]:
    """Inverted bottlenecks of a variant, first to last."""
    scaling = VARIANTS[architecture]
    for number, stage in enumerate(STAGES, 1):
        filters_in = round_filters(stage.filters_in, scaling.width)
        filters_out = round_filters(stage.filters_out, scaling.width)
        for repeat in range(round_repeats(stage.repeats, scaling.depth)):
            first = repeat == 0
            yield Block(
                name=f"block{number}{chr(97 + repeat)}_",
                kernel=stage.kernel,
                stride=stage.stride if first else 1,
                filters_in=filters_in if first else filters_out,
                filters_out=filters_out,
                expansion=stage.expansion,
            )


def stem_filters(architecture: str) -> int:
    """Channels that the first convolution gives."""
    return round_filters(32, VARIANTS[architecture].width)


def features_of(architecture: str) -> int:
    """Channels of the last convolutional features, which the head weighs."""
    return round_filters(1280, VARIANTS[architecture].width)


def can_grow(smaller: str, larger: str) -> bool:
    """Whether one architecture has at least as many channels and blocks as another everywhere.

    Parameters
    ----------
    smaller, larger : str
        Keys of `VARIANTS`.
    """
    small, large = VARIANTS[smaller], VARIANTS[larger]
    return small.width <= large.width and small.depth <= large.depth


def kernels(architecture: str, channels: int = 1) -> dict[str, tuple[int, int, int, int]]:
    """Shape of every convolution's kernel, by layer name, first to last.

    Parameters
    ----------
    architecture : str
        A key of `VARIANTS`.
    channels : int
        Of the input.

    Returns
    -------
    dict
        ``(kh, kw, in, out)``, or ``(kh, kw, C, 1)`` if depthwise (``…_dwconv``).
    """
    shapes = {"stem_conv": (3, 3, channels, stem_filters(architecture))}
    last = 0
    for block in blocks(architecture):
        name, width, last = block.name, block.width, block.filters_out
        if block.expansion != 1:
            shapes[name + "expand_conv"] = (1, 1, block.filters_in, width)
        shapes[name + "dwconv"] = (block.kernel, block.kernel, width, 1)
        shapes[name + "se_reduce"] = (1, 1, width, block.squeeze)
        shapes[name + "se_expand"] = (1, 1, block.squeeze, width)
        shapes[name + "project_conv"] = (1, 1, width, block.filters_out)
    shapes["top_conv"] = (1, 1, last, features_of(architecture))
    return shapes


def normalisation(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Factor and offset, per channel, of the first step: from 0..255 to ImageNet's mean and deviation."""
    if channels == 1:
        return (1.0 / (255.0 * GREY_DEVIATION),), (-GREY_MEAN / GREY_DEVIATION,)
    factors = tuple(1.0 / (255.0 * deviation) for deviation in IMAGENET_DEVIATION)
    pairs = zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)
    return factors, tuple(-mean / deviation for mean, deviation in pairs)


def parameters(architecture: str, channels: int = 1) -> int:
    """Count the parameters of a network with its head, batch normalisation with its statistics included.

    Parameters
    ----------
    architecture : str
        A key of `VARIANTS`.
    channels : int
        Of the input.
    """
    total = features_of(architecture) + 1
    for layer, shape in kernels(architecture, channels).items():
        width = shape[2] if layer.endswith("dwconv") else shape[3]
        # A gate's convolution has a bias; any other has a normalisation: gamma, beta, mean, variance.
        total += math.prod(shape) + (1 if "_se_" in layer else 4) * width
    return total


def multiply_adds(architecture: str, size: tuple[int, int], channels: int = 1) -> int:
    """Count the multiply-adds of one forward pass, those of convolutions and head.

    Parameters
    ----------
    architecture : str
        A key of `VARIANTS`.
    size : tuple of int
        ``(height, width)`` of the input.
    channels : int
        Of the input.
    """
    shapes = {layer: math.prod(shape) for layer, shape in kernels(architecture, channels).items()}
    height, width = ((side + 1) // 2 for side in size)
    total = shapes["stem_conv"] * height * width
    for block in blocks(architecture):
        name = block.name
        total += shapes.get(name + "expand_conv", 0) * height * width
        if block.stride == 2:
            height, width = (height + 1) // 2, (width + 1) // 2
        total += shapes[name + "se_reduce"] + shapes[name + "se_expand"]
        total += (shapes[name + "dwconv"] + shapes[name + "project_conv"]) * height * width
    return total + shapes["top_conv"] * height * width + features_of(architecture)
