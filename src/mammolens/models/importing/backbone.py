"""Recognise an EfficientNet in a graph by its structure; names play no part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mammolens.errors import ModelUnsupported
from mammolens.models.efficientnet import VARIANTS, Block, blocks, kernels
from mammolens.models.importing.config import Call, Layer, shown
from mammolens.models.importing.walk import HINT, Walk, activation_of, inner_activation, kind_of, refuse, setting
from mammolens.models.transfer import normalisation_of

Convolution = tuple[str, int, int | None]
"""Class, width of the kernel, filters (None if depthwise)."""

Padding = tuple[tuple[int, int], tuple[int, int]]
"""Rows before and after, columns before and after."""


_OPERATORS = {"Add": ("math.add", "__operators__.add"), "Multiply": ("math.multiply", "__operators__.mul")}
"""Functions of TensorFlow that do what the layers do."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """Where an EfficientNet stands in a graph.

    Attributes
    ----------
    architecture : str
        A key of `mammolens.models.efficientnet.VARIANTS`.
    layers : mapping of str to Layer
        By our registry's names, in its order; a batch normalisation only where there is one.
    entry : int
        Place of the call whose output it takes.
    paddings : mapping of str to Padding
        Of the strided convolutions that are padded by a layer of their own, by their
        names in the registry. The others pad as their input's size asks.
    """

    architecture: str
    layers: Mapping[str, Layer]
    entry: int
    paddings: Mapping[str, Padding]


def find(walk: Walk, top: int) -> Backbone:
    """Recognise the EfficientNet that ends at a place.

    Parameters
    ----------
    walk : Walk
    top : int
        Place of the call that gives the last features.

    Returns
    -------
    Backbone

    Raises
    ------
    ModelUnsupported
        If it is none of the registry's; the message names the first layer that differs.
    """
    architecture = _variant(walk, top)
    tracing = _Tracing(walk)
    entry = tracing.backbone(top, architecture)
    names = [
        each for name in kernels(architecture) for each in (name, normalisation_of(name)) if each in tracing.layers
    ]
    return Backbone(architecture, {name: tracing.layers[name] for name in names if name}, entry, tracing.paddings)


def check_paddings(backbone: Backbone, size: tuple[int, int]) -> None:
    """Refuse a network whose padding was made for another size than it is to have.

    Parameters
    ----------
    backbone : Backbone
    size : tuple of int
        ``(height, width)`` of the input.

    Raises
    ------
    ModelUnsupported
    """
    sizes = {"stem_conv": (3, size)}
    grid = _half(size)
    for block in blocks(backbone.architecture):
        if block.stride == 2:
            sizes[block.name + "dwconv"] = block.kernel, grid
            grid = _half(grid)
    for name, padding in backbone.paddings.items():
        kernel, (rows, columns) = sizes[name]
        half = kernel // 2
        if padding != ((half - 1 + rows % 2, half), (half - 1 + columns % 2, half)):
            raise ModelUnsupported(
                f"The layer {shown(backbone.layers[name].path)} is padded otherwise than EfficientNet's {name} for "
                f"pictures of {size[0]} × {size[1]}. Where --size gave that: multiples of 32 fit always."
            )


def _half(size: tuple[int, int]) -> tuple[int, int]:
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def _variant(walk: Walk, top: int) -> str:
    """Find the variant that has the same convolutions in the same order."""
    found, layers = _convolutions(walk, top)
    closest, agreeing = "", -1
    for name in VARIANTS:
        expected = [_signature(layer, shape) for layer, shape in kernels(name).items()]
        # What stands before the network is judged with the input.
        if found[-len(expected) :] == expected:
            return name
        same = next((i for i, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]), None)
        same = min(len(found), len(expected)) if same is None else same
        if same > agreeing:
            closest, agreeing = name, same
    if agreeing < 4:
        raise ModelUnsupported(f"The model is no EfficientNet B0 to B3. {HINT}")
    if agreeing < len(layers):
        refuse(layers[agreeing], f"is not what stands at its place in any EfficientNet B0 to B3 (up to it: {closest})")
    raise ModelUnsupported(f"The model ends before the EfficientNet that it begins as, {closest}, is complete. {HINT}")


def _convolutions(walk: Walk, top: int) -> tuple[list[Convolution], list[Layer]]:
    """Convolutions on the way to a place, in the order of the graph."""
    reached, waiting = {top}, [top]
    while waiting:
        for place in walk.call(waiting.pop()).inputs:
            if place not in reached:
                reached.add(place)
                waiting.append(place)
    layers = [walk.call(place).layer for place in sorted(reached)]
    layers = [layer for layer in layers if kind_of(layer) in ("Conv2D", "DepthwiseConv2D")]
    return [_described(layer) for layer in layers], layers


def _described(layer: Layer) -> Convolution:
    kernel, filters = setting(layer, "kernel_size"), setting(layer, "filters")
    square = isinstance(kernel, tuple) and len(kernel) == 2 and kernel[0] == kernel[1]
    width = kernel[0] if isinstance(kernel, tuple) and square else kernel
    kind = kind_of(layer)
    return kind, width if isinstance(width, int) else 0, filters if kind == "Conv2D" else None


def _signature(layer: str, shape: tuple[int, int, int, int]) -> Convolution:
    if layer.endswith("dwconv"):
        return "DepthwiseConv2D", shape[0], None
    return "Conv2D", shape[0], shape[3]


class _Tracing:
    """Follows one variant from its last features to its input."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.layers: dict[str, Layer] = {}
        self.paddings: dict[str, Padding] = {}

    def backbone(self, top: int, architecture: str) -> int:
        place = self.convolution(top, "top_conv", activation="silu")
        for block in reversed(list(blocks(architecture))):
            place = self.block(place, block)
        return self.convolution(place, "stem_conv", stride=2, activation="silu")

    def block(self, place: int, block: Block) -> int:
        """Inverted bottleneck that ends at a place; gives the place that it begins at."""
        place = self.walk.past(place)
        if not block.skip:
            return self.bottleneck(place, block)
        # Whether the shortcut is named first or second tells nothing.
        refusals = []
        for main, shortcut in self.pair(place, "Add", block.name + "add"):
            try:
                entry = self.bottleneck(main, block)
            except ModelUnsupported as error:
                refusals.append(error)
                continue
            if entry == self.walk.past(shortcut):
                return entry
        if len(refusals) == 2:
            raise refusals[0]
        refuse(self.walk.call(place).layer, f"does not close the shortcut of EfficientNet's {block.name[:-1]}")

    def pair(self, place: int, kind: str, role: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """Give the two inputs of an addition or multiplication, in both orders."""
        call = self.walk.call(place)
        called = call.layer.settings.get("function") if call.layer.kind == "TFOpLambda" else None
        bare = called in _OPERATORS[kind] or (call.layer.operation and call.layer.kind == kind)
        if not bare:
            self.walk.expect(place, kind, role)
        if len(call.inputs) != 2:
            refuse(call.layer, f"takes other than two tensors where EfficientNet has {role}")
        first, second = call.inputs
        return (first, second), (second, first)

    def bottleneck(self, place: int, block: Block) -> int:
        name = block.name
        place = self.walk.past(self.convolution(place, name + "project_conv"))
        place = self.excitation(place, block)
        place = self.convolution(
            place, name + "dwconv", depthwise=True, stride=block.stride, activation="silu", kernel=block.kernel
        )
        if block.expansion != 1:
            place = self.convolution(place, name + "expand_conv", activation="silu")
        return self.walk.past(place)

    def excitation(self, place: int, block: Block) -> int:
        """Squeeze-and-excitation that ends at a place; gives the place of the features that it weighs."""
        name, refusals = block.name, []
        for features, gate in self.pair(place, "Multiply", name + "se_excite"):
            try:
                squeezed = self.convolution(gate, name + "se_expand", activation="sigmoid")
                squeezed = self.convolution(squeezed, name + "se_reduce", activation="silu")
                source = self.squeeze(squeezed, block)
            except ModelUnsupported as error:
                refusals.append(error)
                continue
            if source == self.walk.past(features):
                return source
        if len(refusals) == 2:
            raise refusals[0]
        refuse(self.walk.call(place).layer, f"weighs other features than EfficientNet's {name}se_excite")

    def squeeze(self, place: int, block: Block) -> int:
        """Global average, kept as a picture of one pixel."""
        place = self.walk.past(place)
        reshape = self.walk.call(place)
        reshaped = kind_of(reshape.layer) == "Reshape"
        if reshaped:
            if setting(reshape.layer, "target_shape") != (1, 1, block.width):
                refuse(reshape.layer, f"has another shape than EfficientNet's {block.name}se_reshape")
            place = self.walk.past(self.walk.before(place))
        self.walk.expect(
            place,
            "GlobalAveragePooling2D",
            block.name + "se_squeeze",
            data_format="channels_last",
            keepdims=not reshaped,
        )
        return self.walk.past(self.walk.before(place))

    def convolution(
        self,
        place: int,
        name: str,
        *,
        depthwise: bool = False,
        stride: int = 1,
        activation: str = "linear",
        kernel: int = 0,
    ) -> int:
        """Convolution with its normalisation and activation, the last of which is at a place; gives its input."""
        place = self.walk.past(place)
        applied = activation != "linear" and activation_of(self.walk.call(place)) == activation
        if applied:
            place = self.walk.past(self.walk.before(place))
        batch = normalisation_of(name)
        normalised = batch is not None and kind_of(self.walk.call(place).layer) == "BatchNormalization"
        if batch is not None and normalised:
            self.normalisation(self.walk.call(place), batch)
            place = self.walk.past(self.walk.before(place))
        settings = {"data_format": "channels_last", "dilation_rate": (1, 1), "groups": 1, "strides": (stride, stride)}
        call = self.walk.expect(place, "DepthwiseConv2D" if depthwise else "Conv2D", name, **settings)
        layer = call.layer
        within = "linear" if applied or normalised else activation
        if inner_activation(layer) != within:
            refuse(layer, f"has another activation than EfficientNet's {name}")
        if depthwise and (setting(layer, "depth_multiplier") != 1 or _described(layer)[1] != kernel):
            refuse(layer, f"has another kernel than EfficientNet's {name}")
        self.layers[name] = layer
        return self.padding(self.walk.before(place), name, layer, strided=stride == 2)

    def padding(self, place: int, name: str, layer: Layer, *, strided: bool) -> int:
        """Note how a convolution is padded; gives what comes before the padding."""
        padding = setting(layer, "padding")
        if not strided:
            if padding != "same" and _described(layer)[1] != 1:
                refuse(layer, f"has another padding than EfficientNet's {name}")
            return place
        if padding == "same":
            return place
        place = self.walk.past(place)
        pad = self.walk.expect(place, "ZeroPadding2D", name + "_pad", data_format="channels_last").layer
        zeros = _sides(setting(pad, "padding"))
        if padding != "valid" or zeros is None:
            refuse(layer, f"has another padding than EfficientNet's {name}")
        self.paddings[name] = zeros
        return self.walk.before(place)

    def normalisation(self, call: Call, name: str) -> None:
        layer = call.layer
        if setting(layer, "axis") not in (3, -1, (3,), (-1,)):
            refuse(layer, "normalises along another axis than the channels")
        self.layers[name] = layer


def _sides(value: object) -> Padding | None:
    """Read the padding of each side, however it is written: one number, one per axis, or one per side."""
    flat = _numbers(value)
    if len(flat) == 1:
        return (flat[0], flat[0]), (flat[0], flat[0])
    if len(flat) == 2:
        return (flat[0], flat[0]), (flat[1], flat[1])
    return ((flat[0], flat[1]), (flat[2], flat[3])) if len(flat) == 4 else None


def _numbers(value: object) -> list[int]:
    if isinstance(value, tuple):
        return [each for part in value for each in _numbers(part)]
    return [value] if isinstance(value, int) else []
