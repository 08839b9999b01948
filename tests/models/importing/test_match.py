"""Every tensor in its place, or an error that names the one that is missing, transposed, renamed or left over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mammolens.errors import ModelFileMalformed, ModelIncomplete
from mammolens.models.efficientnet import kernels
from mammolens.models.importing.match import assemble
from mammolens.models.importing.recognise import plan
from mammolens.models.importing.source import Asked, Fate, Format, Source, SourceTensor
from mammolens.models.network import Network
from mammolens.models.transfer import fold, normalisation_of
from support import descriptions as given

NET = given.student()
SOURCES: dict[str, Source] = {
    "Keras 3": given.source(NET),
    "Keras 3, not labelled": given.source(NET, given.counted(NET, labelled=False)),
    "Keras 2": given.source(NET, style=2),
    "Keras 2, flattened": given.source(given.flat(), style=2),
    "Keras 3 weights": given.source(None, given.counted(NET), 3),
    "Keras 3 weights, not labelled": given.source(None, given.counted(NET, labelled=False), 3),
    "Keras 2 weights": given.source(None, given.legacy(NET), 2),
}
# Values depend on the path of a layer: a flattened model has others.
VALUES = {"model": given.values(NET), "flat": given.values(given.flat())}
ASKED = Asked(architecture="efficientnet-b0", size=(64, 48))


def imported(source: Source, asked: Asked | None = None) -> tuple[Network, tuple[Fate, ...]]:
    asked = asked or (ASKED if source.config is None else Asked())
    return assemble(source, plan(source, asked))


def altered(source: Source, index: int, **changes: Any) -> Source:
    tensors = list(source.tensors)
    tensors[index] = replace(tensors[index], **changes)
    return replace(source, tensors=tuple(tensors))


def place(source: Source, layer: str, role: str) -> int:
    """Index of a tensor in a source that names layers."""
    return next(i for i, t in enumerate(source.tensors) if t.label == layer and role in (t.name, t.name[-len(role) :]))


def expected(net: str, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel and bias of a convolution with its normalisation folded in, by the training's own function."""
    arrays = {(path[-1], role): array for (path, role), array in VALUES[net].items()}
    kernel = arrays[name, "depthwise_kernel" if name.endswith("dwconv") else "kernel"]
    batch = normalisation_of(name)
    if batch is None:
        return kernel, arrays[name, "bias"]
    factor, bias = fold([arrays[batch, role] for role in given.ROLES["BatchNormalization"]])
    return kernel * (factor[:, None] if name.endswith("dwconv") else factor), bias


@pytest.mark.parametrize("layout", SOURCES)
def test_every_layout_gives_the_folded_weights(layout: str) -> None:
    network, fates = imported(SOURCES[layout])
    net = "flat" if "flattened" in layout else "model"
    for name in kernels("efficientnet-b0"):
        kernel, bias = expected(net, name)
        np.testing.assert_allclose(network.convolutions[name].kernel, kernel, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(network.convolutions[name].bias, bias, rtol=1e-5, atol=1e-6)
    arrays = VALUES[net]
    np.testing.assert_array_equal(network.head, arrays[("out",), "kernel"][:, 0])
    assert network.bias == pytest.approx(float(arrays[("out",), "bias"][0]))
    assert [fate.source for fate in fates][: len(SOURCES[layout].tensors)] == [t.path for t in SOURCES[layout].tensors]
    targets = [fate.target for fate in fates if " part of " not in f" {fate.target}" and fate.target]
    assert len(targets) == len(set(targets)) == len(SOURCES[layout].tensors) - 1
    assert {"stem_bn gamma", "block7a_dwconv kernel", "logit bias", "input mean"} < set(targets)
    assert [fate.reason for fate in fates if fate.source.endswith(("/count:0", "/normalization/vars/2"))] == [
        "counts what the normalisation was adapted to"
    ]


def _gone(source: Source, index: int) -> Source:
    return replace(source, tensors=(*source.tensors[:index], *source.tensors[index + 1 :]))


def _turned(source: Source, index: int) -> Source:
    array = source.tensors[index].read().transpose()
    return altered(source, index, shape=array.shape, read=lambda: array)


def _renamed(source: Source, index: int) -> Source:
    tensor = source.tensors[index]
    name = "7" if tensor.name.isdecimal() else tensor.name + "_old"
    return altered(source, index, name=name, path=tensor.path.replace(tensor.name, name))


def _moved(source: Source, index: int) -> Source:
    tensor = source.tensors[index]
    return altered(source, index, layer=(*tensor.layer[:-1], "elsewhere"), label="elsewhere", path="elsewhere/0")


@pytest.mark.parametrize("layout", ["Keras 3", "Keras 2", "Keras 3 weights, not labelled", "Keras 2 weights"])
@pytest.mark.parametrize("damage", [_gone, _turned, _renamed, _moved])
def test_any_tensor_missing_transposed_or_renamed_is_refused_by_name(
    layout: str, damage: Callable[[Source, int], Source]
) -> None:
    source = SOURCES[layout]
    targets = {fate.source: fate.target for fate in imported(source)[1]}
    needed = [
        i for i, t in enumerate(source.tensors) if targets[t.path] and (damage is not _turned or len(set(t.shape)) > 1)
    ]
    chosen = np.random.default_rng(0).choice(needed, 2, replace=False)
    for index in (*chosen, needed[0], needed[-1]):
        tensor = source.tensors[index]
        with pytest.raises(ModelIncomplete) as caught:
            imported(damage(source, int(index)))
        said = caught.value.message
        names = {
            tensor.path,
            targets[tensor.path].split(" ")[0],
            "/".join(tensor.layer),
            tensor.layer[-1],
            tensor.label,
        }
        assert any(name and name in said for name in names), (tensor.path, said)
        if damage is _turned:
            assert f"'{tensor.path}' is of the shape {tensor.shape[::-1]}" in said
            assert "transposed" in said


def test_renamed_tensor_is_named_as_the_one_left_over() -> None:
    source = SOURCES["Keras 2"]
    with pytest.raises(ModelIncomplete) as caught:
        imported(_renamed(source, place(source, "top_conv", "kernel")))
    assert "no kernel of the layer 'base/top_conv' (top_conv)" in caught.value.message
    assert "'base/top_conv/kernel_old:0' has its shape" in caught.value.message


def test_tensor_without_a_place_is_refused_by_name() -> None:
    extra = given.tensor("layers/dense_1/vars/0", ("dense_1",), "0", np.ones((5, 5), np.float32), "attention")
    source = SOURCES["Keras 3"]
    with pytest.raises(ModelIncomplete, match="no place for 'layers/dense_1/vars/0'"):
        imported(replace(source, tensors=(*source.tensors, extra)))


def test_state_of_random_generators_is_not_needed() -> None:
    state = given.tensor("layers/dropout/seed/vars/0", ("dropout", "seed"), "0", np.array([0, 7], np.uint32))
    source = SOURCES["Keras 3"]
    _, fates = imported(replace(source, tensors=(*source.tensors, state)))
    assert Fate("layers/dropout/seed/vars/0", reason="training only") in fates


def test_integers_in_a_weights_place_are_refused() -> None:
    source = SOURCES["Keras 2"]
    index = place(source, "top_conv", "kernel")
    with pytest.raises(ModelIncomplete, match="holds int8, where top_conv kernel needs floats"):
        imported(altered(source, index, dtype="int8"))


def test_half_precision_is_taken() -> None:
    source = SOURCES["Keras 2"]
    index = place(source, "top_conv", "kernel")
    half = source.tensors[index].read().astype(np.float16)
    network, _ = imported(altered(source, index, dtype="float16", read=lambda: half))
    assert network.convolutions["top_conv"].kernel.dtype == np.float32


# Names that Keras changed


def test_numbered_scopes_of_tensorflow_are_the_layer_itself() -> None:
    source = SOURCES["Keras 2"]
    numbered = [replace(t, layer=(t.layer[0], t.layer[-1] + "_1")) if len(t.layer) > 1 else t for t in source.tensors]
    network, _ = imported(replace(source, tensors=tuple(numbered)))
    np.testing.assert_array_equal(network.head, imported(source)[0].head)
    alone = replace(SOURCES["Keras 2 weights"], tensors=tuple(numbered))
    np.testing.assert_array_equal(imported(alone)[0].bias, imported(source)[0].bias)


def test_two_tensors_for_one_place_are_refused_with_the_pair_named() -> None:
    source = SOURCES["Keras 2"]
    tensor = source.tensors[place(source, "top_bn", "gamma")]
    twin = replace(tensor, path="base/top_bn_1/gamma:0")
    with pytest.raises(
        ModelIncomplete, match="Both 'base/top_bn/gamma:0' and 'base/top_bn_1/gamma:0' fit 'top_bn gamma'"
    ):
        imported(replace(source, tensors=(*source.tensors, twin)))
    scoped = [t for t in source.tensors if t is not tensor]
    scoped += [replace(tensor, layer=("base", f"top_bn_{n}"), path=f"base/top_bn_{n}/gamma:0") for n in (1, 2)]
    scoped = [t for t in scoped if t.layer[-1] != "top_bn"]
    with pytest.raises(ModelIncomplete, match="Both 'base/top_bn_1/gamma:0' and 'base/top_bn_2/gamma:0' fit"):
        imported(replace(source, tensors=tuple(scoped)))


def test_names_of_keras_1_are_known() -> None:
    net = given.flat()
    old = {
        "depthwise_kernel": "W",
        "kernel": "W",
        "bias": "b",
        "moving_mean": "running_mean",
        "moving_variance": "running_std",
    }
    tensors = [replace(t, name=f"{t.layer[-1]}_{old.get(t.name, t.name)}") for t in given.legacy(net)]
    network, _ = imported(given.source(net, tensors, style=1))
    kernel, bias = expected("flat", "block3b_expand_conv")
    np.testing.assert_allclose(network.convolutions["block3b_expand_conv"].kernel, kernel, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(network.convolutions["block3b_expand_conv"].bias, bias, rtol=1e-5, atol=1e-6)
    assert network.bias == imported(given.source(net, style=2))[0].bias


def test_layers_counted_twice_by_keras_2_12_are_found() -> None:
    tensors = given.counted(NET, labelled=False, double=True)
    assert any(t.layer == ("functional", "conv2d_128") for t in tensors)
    network, _ = imported(given.source(NET, tensors, version="2.12.0"))
    np.testing.assert_array_equal(network.head, imported(SOURCES["Keras 3"])[0].head)
    alone = imported(given.source(None, tensors, 3))[0]
    np.testing.assert_array_equal(alone.convolutions["top_conv"].kernel, network.convolutions["top_conv"].kernel)
    with pytest.raises(ModelIncomplete, match="block1a_bn"):
        imported(given.source(NET, tensors, version="3.0.0"))


def test_labels_decide_where_counts_do_not_fit() -> None:
    swapped = {"conv2d_3": "conv2d_7", "conv2d_7": "conv2d_3"}
    tensors = [replace(t, layer=(*t.layer[:-1], swapped.get(t.layer[-1], t.layer[-1]))) for t in given.counted(NET)]
    network, _ = imported(given.source(NET, tensors))
    for name, convolution in imported(SOURCES["Keras 3"])[0].convolutions.items():
        np.testing.assert_array_equal(network.convolutions[name].kernel, convolution.kernel)


def test_saved_model_is_matched_by_the_innermost_name() -> None:
    tensors = [replace(t, layer=(t.layer[-1],)) for t in given.legacy(NET)]
    network, _ = imported(given.source(NET, tensors, style=2, kind=Format.SAVED_MODEL))
    np.testing.assert_array_equal(network.head, imported(SOURCES["Keras 2"])[0].head)


# Folding


@pytest.mark.parametrize(("scale", "center"), [(False, True), (True, False), (False, False)])
@pytest.mark.parametrize("style", [2, 3])
def test_normalisation_without_scale_or_centre(scale: bool, center: bool, style: int) -> None:
    net = given.student()
    leaf = net.leaf("block3b_expand_bn")
    leaf.settings |= {"scale": scale, "center": center, "epsilon": 0.25}
    for role, kept in (("gamma", scale), ("beta", center)):
        if not kept:
            del leaf.weights[role]
    network, _ = imported(given.source(net, style=style))
    arrays = {role: array for (path, role), array in given.values(net).items() if path[-1] == "block3b_expand_bn"}
    factor = arrays.get("gamma", 1.0) / np.sqrt(arrays["moving_variance"].astype(np.float64) + 0.25)
    kernel = given.values(net)[("base", "block3b_expand_conv"), "kernel"]
    made = network.convolutions["block3b_expand_conv"]
    np.testing.assert_allclose(made.kernel, kernel * factor, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        made.bias, arrays.get("beta", 0.0) - arrays["moving_mean"] * factor, rtol=1e-5, atol=1e-6
    )


def test_convolution_with_a_bias_before_its_normalisation() -> None:
    net = given.student()
    leaf = net.leaf("block3b_dwconv")
    leaf.settings["use_bias"] = True
    leaf.weights["bias"] = (leaf.weights["depthwise_kernel"][2],)
    network, _ = imported(given.source(net))
    arrays = given.values(net)
    factor, offset = fold([arrays[("base", "block3b_bn"), role] for role in given.ROLES["BatchNormalization"]])
    made = network.convolutions["block3b_dwconv"].bias
    np.testing.assert_allclose(made, arrays[("base", "block3b_dwconv"), "bias"] * factor + offset, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("units", [1, 2])
@pytest.mark.parametrize("where", ["after", "before", "both"])
def test_normalisation_before_the_head_is_folded_exactly(units: int, where: str) -> None:
    head = [given.pool(), given.dense(units, "sigmoid" if units == 1 else "softmax")]
    if where in ("after", "both"):
        head.insert(1, given.norm(name="after"))
    if where in ("before", "both"):
        head.insert(0, given.norm(name="before", epsilon=0.01))
    net = given.flat(*head)
    source = given.source(net)
    network, _ = assemble(source, plan(source, Asked(classes=("malignant", "benign") if units == 2 else None)))
    arrays = given.values(net)
    features = np.random.default_rng(3).normal(size=1280)
    seen = features.copy()
    for name, epsilon in (("before", 0.01), ("after", 0.001)):
        if ((name,), "gamma") in arrays:
            gamma, beta, mean, variance = (arrays[(name,), role] for role in given.ROLES["BatchNormalization"])
            seen = (seen - mean) / np.sqrt(variance + epsilon) * gamma + beta
    outputs = seen @ arrays[("out",), "kernel"] + arrays[("out",), "bias"]
    logit = outputs[0] if units == 1 else outputs[0] - outputs[1]
    assert float(features @ network.head + network.bias) == pytest.approx(logit, abs=1e-4)


@pytest.mark.parametrize(
    ("units", "activation", "classes", "weight"),
    [
        (1, "sigmoid", ("benign", "malignant"), (1,)),
        (1, "sigmoid", ("malignant", "benign"), (-1,)),
        (2, "softmax", ("benign", "malignant"), (-1, 1)),
        (2, "softmax", ("malignant", "benign"), (1, -1)),
        (2, "linear", ("benign", "malignant"), (-1, 1)),
        (2, "sigmoid", ("benign", "malignant"), (0, 1)),
        (2, "sigmoid", ("malignant", "benign"), (1, 0)),
    ],
)
def test_logit_is_that_of_the_malignant_class(
    units: int, activation: str, classes: tuple[str, str], weight: tuple[int, ...]
) -> None:
    net = given.student(given.pool(), given.dense(units, activation))
    network, _ = imported(given.source(net), Asked(classes=classes))
    kernel = given.values(net)[("out",), "kernel"]
    np.testing.assert_allclose(network.head, kernel @ np.array(weight), rtol=1e-6, atol=1e-7)


def test_head_without_a_bias_has_the_bias_0() -> None:
    net = given.student()
    net.leaf("out").settings["use_bias"] = False
    del net.leaf("out").weights["bias"]
    assert imported(given.source(net))[0].bias == 0.0


def _filled(source: Source, layer: str, role: str, value: float) -> Source:
    index = place(source, layer, role)
    tensor: SourceTensor = source.tensors[index]
    array = np.full(tensor.shape, value, np.float32)
    return altered(source, index, read=lambda: array)


def test_values_of_no_use_are_malformed() -> None:
    source = SOURCES["Keras 2"]
    with pytest.raises(ModelFileMalformed, match=r"'base/top_bn' holds a negative variance"):
        imported(_filled(source, "top_bn", "moving_variance", -1.0))
    with pytest.raises(ModelFileMalformed, match="top_conv grow beyond float32"):
        imported(_filled(_filled(source, "top_bn", "gamma", 3e38), "top_conv", "kernel", 3e38))
    with pytest.raises(ModelFileMalformed, match="statistics of 'base/normalization'"):
        imported(_filled(source, "normalization", "variance", -1.0))
