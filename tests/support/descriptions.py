"""Models as Keras 1, 2 and 3 describe and store them, written without Keras: fast, and every detail can be turned.

What is written here was read off files of Keras 3.15 and tf_keras 2.21 (test_matrix
holds the real thing against the importer) and, for Keras 1, off ``get_config`` of 1.2:
``nb_filter``, ``nb_row``, ``subsample``, ``border_mode``, ``Merge`` with a ``mode``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mammolens.models.efficientnet import blocks, features_of, kernels, stem_filters
from mammolens.models.importing.source import Format, Source, SourceTensor

ROLES = {
    "Conv2D": ("kernel", "bias"),
    "DepthwiseConv2D": ("depthwise_kernel", "bias"),
    "Dense": ("kernel", "bias"),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "Normalization": ("mean", "variance", "count"),
}


@dataclass
class Leaf:
    """A layer: its class and settings, shapes of its weights, and what it is called on."""

    name: str
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    arguments: dict[Any, Any] = field(default_factory=dict)
    module: str | None = "keras.layers"


@dataclass
class Net:
    """A model: sequential, or functional if it names its output."""

    name: str
    children: list[Any]
    output: str = ""
    inputs: list[str] = field(default_factory=list)
    arguments: dict[Any, Any] = field(default_factory=dict)

    def leaf(self, name: str) -> Leaf:
        """Layer of a name, however deep."""
        return next(each for _, each in leaves(self) if each.name == name)


def leaves(net: Net, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Leaf]]:
    """All layers with their paths."""
    for child in net.children:
        if isinstance(child, Net):
            yield from leaves(child, (*path, child.name))
        else:
            yield (*path, child.name), child


class _Layers(list[Any]):
    """Collects the layers of a functional model, each called on the one before unless told otherwise."""

    def put(self, kind: str, name: str, inputs: list[str] | None = None, **settings: Any) -> str:
        weights = settings.pop("weights", {})
        self.append(Leaf(name, kind, settings, weights, inputs if inputs is not None else [self[-1].name]))
        return name

    def conv(self, name: str, shape: tuple[int, ...], stride: int = 1, **settings: Any) -> str:
        bias = settings.setdefault("use_bias", False)
        base = {"kernel_size": list(shape[:2]), "strides": [stride, stride], "padding": "same", "activation": "linear"}
        base |= {"data_format": "channels_last", "dilation_rate": [1, 1], "groups": 1}
        if name.endswith("dwconv"):
            width = {"bias": (shape[2],)} if bias else {}
            return self.put(
                "DepthwiseConv2D",
                name,
                weights={"depthwise_kernel": shape} | width,
                **base | {"depth_multiplier": 1} | settings,
            )
        width = {"bias": (shape[3],)} if bias else {}
        return self.put("Conv2D", name, weights={"kernel": shape} | width, **base | {"filters": shape[3]} | settings)

    def norm(self, name: str, width: int) -> str:
        weights = {role: (width,) for role in ROLES["BatchNormalization"]}
        return self.put("BatchNormalization", name, weights=weights, axis=[3], epsilon=1e-3, scale=True, center=True)

    def active(self, name: str) -> str:
        return self.put("Activation", name, activation="swish")


def backbone(
    architecture: str = "efficientnet-b0",
    size: tuple[int | None, int | None] = (64, 48),
    channels: int = 3,
    scaled: bool = True,
    name: str = "base",
) -> Net:
    """EfficientNet as keras.applications lays it, without a top."""
    lay = _Layers()
    sides = tuple(64 if side is None else side for side in size)
    shapes = kernels(architecture, channels)
    lay.append(Leaf("input_1", "InputLayer", {"batch_input_shape": [None, *size, channels]}))
    if scaled:
        lay.put("Rescaling", "rescaling", scale=1 / 255, offset=0.0)
        statistics: dict[str, tuple[int, ...]] = {"mean": (channels,), "variance": (channels,), "count": ()}
        lay.put("Normalization", "normalization", axis=[3], mean=None, variance=None, weights=statistics)

    def pad(name: str, kernel: int) -> None:
        half = kernel // 2
        padding = [[half - 1 + side % 2, half] for side in sides]
        lay.put("ZeroPadding2D", name, padding=padding, data_format="channels_last")

    pad("stem_conv_pad", 3)
    lay.conv("stem_conv", shapes["stem_conv"], 2, padding="valid")
    lay.norm("stem_bn", stem_filters(architecture))
    last = lay.active("stem_activation")
    sides = tuple((side + 1) // 2 for side in sides)
    for block in blocks(architecture):
        name_, entry = block.name, last
        if block.expansion != 1:
            lay.conv(name_ + "expand_conv", shapes[name_ + "expand_conv"])
            lay.norm(name_ + "expand_bn", block.width)
            lay.active(name_ + "expand_activation")
        if block.stride == 2:
            pad(name_ + "dwconv_pad", block.kernel)
            sides = tuple((side + 1) // 2 for side in sides)
        valid = {"padding": "valid"} if block.stride == 2 else {}
        lay.conv(name_ + "dwconv", shapes[name_ + "dwconv"], block.stride, **valid)
        lay.norm(name_ + "bn", block.width)
        active = lay.active(name_ + "activation")
        lay.put("GlobalAveragePooling2D", name_ + "se_squeeze", data_format="channels_last", keepdims=False)
        lay.put("Reshape", name_ + "se_reshape", target_shape=[1, 1, block.width])
        lay.conv(name_ + "se_reduce", shapes[name_ + "se_reduce"], use_bias=True, activation="swish")
        lay.conv(name_ + "se_expand", shapes[name_ + "se_expand"], use_bias=True, activation="sigmoid")
        lay.put("Multiply", name_ + "se_excite", [active, name_ + "se_expand"])
        lay.conv(name_ + "project_conv", shapes[name_ + "project_conv"])
        last = lay.norm(name_ + "project_bn", block.filters_out)
        if block.skip:
            lay.put("Dropout", name_ + "drop", rate=0.1, noise_shape=[None, 1, 1, 1])
            last = lay.put("Add", name_ + "add", [name_ + "drop", entry])
    lay.conv("top_conv", shapes["top_conv"])
    lay.norm("top_bn", features_of(architecture))
    last = lay.active("top_activation")
    return Net(name, list(lay), last)


def pool(name: str = "pool") -> Leaf:
    return Leaf(name, "GlobalAveragePooling2D", {"data_format": "channels_last", "keepdims": False})


def dense(units: int = 1, activation: str = "sigmoid", features: int = 1280, name: str = "out") -> Leaf:
    weights = {"kernel": (features, units), "bias": (units,)}
    return Leaf(name, "Dense", {"units": units, "activation": activation, "use_bias": True}, weights)


def norm(features: int = 1280, name: str = "head_bn", **settings: Any) -> Leaf:
    weights = {role: (features,) for role in ROLES["BatchNormalization"]}
    return Leaf(
        name, "BatchNormalization", {"axis": -1, "epsilon": 1e-3, "scale": True, "center": True} | settings, weights
    )


def student(*head: Leaf, front: tuple[Any, ...] = (), base: Net | None = None, size: Any = (64, 48, 3)) -> Net:
    """Sequential: input, what stands in front, backbone, head (pooling and one sigmoid unless told otherwise)."""
    start = Leaf("input_0", "InputLayer", {"batch_input_shape": [None, *size]})
    return Net("model", [start, *front, base or backbone(), *(head or (pool(), dense()))])


def flat(*head: Leaf, base: Net | None = None) -> Net:
    """Functional, the head called on the backbone's own layers."""
    net = base or backbone()
    children, last = list(net.children), net.output
    for leaf in head or (pool(), dense()):
        children.append(replace(leaf, inputs=leaf.inputs or [last]))
        last = leaf.name
    return Net("model", children, last)


def renamed(net: Net, name: Callable[[str], str]) -> Net:
    """Give the same model other names of its layers."""
    children = []
    for child in net.children:
        inputs = [name(each) for each in child.inputs]
        fresh = renamed(child, name) if isinstance(child, Net) else child
        children.append(replace(fresh, name=name(child.name), inputs=inputs))
    return replace(net, children=children, output=name(net.output) if net.output else "")


def described(net: Net, style: int = 3) -> dict[str, Any]:
    """Describe a model as Keras of generation 1, 2 or 3 does."""
    models = {child.name for child in net.children if isinstance(child, Net)}
    entries = []
    for child in net.children:
        if isinstance(child, Net):
            raw = described(child, style)
            if style == 3:
                raw |= {"module": "keras.src.models.functional", "registered_name": "Functional"}
        else:
            raw = _leaf(child, style)
        if net.output:
            raw |= {"name": child.name, "inbound_nodes": _nodes(child, style, models)}
        entries.append(raw)
    if not net.output:
        config: Any = {"name": net.name, "layers": entries} if style > 1 else entries
        return {"class_name": "Sequential", "config": config}
    first = net.children[0].name
    ends = {
        "input_layers": [[first, 0, 0]],
        "output_layers": [[net.output, int(net.output in models and style < 3), 0]],
    }
    if style == 3:
        ends = {key: value[0] for key, value in ends.items()}
    kind = "Functional" if style > 1 else "Model"
    return {"class_name": kind, "config": {"name": net.name, "layers": entries, **ends}}


def _nodes(child: Leaf | Net, style: int, models: set[str]) -> list[Any]:
    if not child.inputs:
        return []
    if style == 3:
        tensors = [
            {
                "class_name": "__keras_tensor__",
                "config": {"shape": [None], "dtype": "float32", "keras_history": [n, 0, 0]},
            }
            for n in child.inputs
        ]
        positional: list[Any] = [tensors] if len(tensors) > 1 and "dense" not in child.arguments else tensors
        named = {key: value for key, value in child.arguments.items() if isinstance(key, str)}
        for place, value in child.arguments.items():
            if isinstance(place, int):
                positional.insert(place, value)
        return [{"args": positional, "kwargs": named}]
    # Keras 1 and 2 count the calls of a model within a model from 1.
    references = [[name, int(name in models), 0, dict(child.arguments)] for name in child.inputs]
    return references if child.arguments and "y" in child.arguments else [references]


def _leaf(leaf: Leaf, style: int) -> dict[str, Any]:
    config = {"name": leaf.name, "trainable": True, "dtype": "float32"} | leaf.settings
    if leaf.kind == "InputLayer":
        config.pop("trainable")
        if style == 3:
            config["batch_shape"] = config.pop("batch_input_shape", None)
    if style == 1:
        return _keras_1(leaf.kind, config)
    raw = {"class_name": leaf.kind, "config": config}
    if style == 3:
        raw |= {"module": leaf.module, "registered_name": None if leaf.module else leaf.kind}
        if str(leaf.module).startswith("keras.src.ops"):
            raw["config"] = {"name": leaf.name}
    return raw


def _keras_1(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    config.pop("dtype")
    merges = {"Add": "sum", "Multiply": "mul", "Concatenate": "concat"}
    if kind in merges:
        return {"class_name": "Merge", "config": {"name": config["name"], "mode": merges[kind], "concat_axis": -1}}
    if "kernel_size" in config:
        rows, columns = config.pop("kernel_size")
        config |= {"nb_row": rows, "nb_col": columns, "dim_ordering": "tf"}
        for new, old in {
            "filters": "nb_filter",
            "strides": "subsample",
            "padding": "border_mode",
            "use_bias": "bias",
        }.items():
            if new in config:
                config[old] = config.pop(new)
        for unknown in ("data_format", "dilation_rate", "groups"):
            config.pop(unknown)
    if kind == "ZeroPadding2D":
        config["padding"] = [side for axis in config["padding"] for side in axis]
        config["dim_ordering"] = {"channels_last": "tf"}[config.pop("data_format")]
    if kind == "Dense":
        config |= {"output_dim": config.pop("units"), "bias": config.pop("use_bias")}
    return {"class_name": {"Conv2D": "Convolution2D"}.get(kind, kind), "config": config}


def value(path: tuple[str, ...], role: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Array of a weight; the same for the same names, whatever the order."""
    random = np.random.default_rng(list("/".join((*path, role)).encode()))
    if role == "count":
        return np.array(3, np.int64)
    if role in ("gamma", "moving_variance", "variance"):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    return random.normal(0.0, 0.1, shape).astype(np.float32)


def values(net: Net) -> dict[tuple[tuple[str, ...], str], np.ndarray[Any, Any]]:
    """Arrays of all weights, by path and role."""
    return {
        (path, role): value(path, role, shape) for path, leaf in leaves(net) for role, shape in leaf.weights.items()
    }


def _made(
    where: str, place: tuple[str, ...], name: str, path: tuple[str, ...], role: str, shape: tuple[int, ...], label: str
) -> SourceTensor:
    """Tensor whose values are made when they are read."""
    dtype = "int64" if role == "count" else "float32"
    return SourceTensor(where, place, name, shape, dtype, lambda: value(path, role, shape), label)


def counted(net: Net, labelled: bool = True, double: bool = False) -> list[SourceTensor]:
    """Tensors as Keras 3 stores them: classes counted within each model (doubly: Keras 2.12)."""

    def walk(model: Net, path: tuple[str, ...], place: tuple[str, ...]) -> Iterator[SourceTensor]:
        counts: dict[str, int] = {}
        for child in model.children:
            kind = "functional" if isinstance(child, Net) and child.output else "sequential"
            kind = snake(child.kind) if isinstance(child, Leaf) else kind
            count = counts[kind] = counts.get(kind, -1) + 1
            count *= 2 if double else 1
            here = (*place, f"{kind}_{count}" if count else kind)
            if isinstance(child, Net):
                yield from walk(child, (*path, child.name), here)
                continue
            for index, (role, shape) in enumerate(child.weights.items()):
                where = "/".join(f"layers/{part}" for part in here) + f"/vars/{index}"
                label = child.name if labelled else ""
                yield _made(where, here, str(index), (*path, child.name), role, shape, label)

    return list(walk(net, (), ()))


def snake(name: str) -> str:
    """Names that Keras gives: conv2d, depthwise_conv2d, batch_normalization."""
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()


def legacy(net: Net) -> list[SourceTensor]:
    """Tensors as Keras 2 stores them: a group per outermost layer; within a model, the trainable ones first."""
    found = []
    for child in net.children:
        inner = list(leaves(child, (child.name,))) if isinstance(child, Net) else [((child.name,), child)]
        held = [(path, role, shape) for path, leaf in inner for role, shape in leaf.weights.items()]
        held.sort(key=lambda each: each[1] in ("moving_mean", "moving_variance", "mean", "variance", "count"))
        for path, role, shape in held:
            layer = (path[0], path[-1]) if len(path) > 1 else path
            found.append(_made(f"{path[0]}/{path[-1]}/{role}:0", layer, role, path, role, shape, path[-1]))
    return found


def tensor(path: str, layer: tuple[str, ...], name: str, array: np.ndarray[Any, Any], label: str = "") -> SourceTensor:
    return SourceTensor(path, layer, name, array.shape, array.dtype.name, lambda: array, label)


def source(
    net: Net | None,
    tensors: list[SourceTensor] | None = None,
    style: int = 3,
    kind: Format | None = None,
    version: str = "",
) -> Source:
    """Make a source of a model's description (none: weights alone) and its tensors."""
    if tensors is None:
        assert net is not None
        tensors = counted(net) if style == 3 else legacy(net)
    whole = Format.KERAS if style == 3 else Format.MODEL_HDF5
    alone = Format.WEIGHTS_KERAS_3 if style == 3 else Format.WEIGHTS_LEGACY
    return Source(
        kind or (whole if net is not None else alone),
        "0" * 64,
        1,
        version or {1: "1.2.2", 2: "2.11.0", 3: "3.15.1"}[style],
        "tensorflow",
        described(net, style) if net is not None else None,
        tuple(tensors),
        False,
    )
