"""A network is recognised by its structure; what the file can't tell is asked for, what else it is, is refused."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mammolens.errors import (
    ContractUnknown,
    ModelFileError,
    ModelFileMalformed,
    ModelFileUnsafe,
    ModelIncomplete,
    ModelUnsupported,
)
from mammolens.models.efficientnet import VARIANTS, features_of, kernels
from mammolens.models.importing.config import flatten, snake_case
from mammolens.models.importing.match import assemble
from mammolens.models.importing.recognise import plan
from mammolens.models.importing.source import Asked, Format, Head, Plan
from mammolens.models.network import InputContract
from support import descriptions as given

Leaf, Net = given.Leaf, given.Net

CLASSES = ("benign", "malignant")
OPEN = (None, None)
RESCALING = {"scale": 1 / 255, "offset": 0.0}


def layer(
    kind: str, name: str = "extra", *, weights: Any = None, module: str | None = "keras.layers", **settings: Any
) -> Any:
    return Leaf(name, kind, settings, weights or {}, module=module)


def found(net: Any, style: int = 3, **asked: Any) -> Plan:
    return plan(given.source(net, style=style), Asked(**asked))


# Architecture, layout and names


@pytest.mark.parametrize("architecture", VARIANTS)
@pytest.mark.parametrize("style", [1, 2, 3], ids=["Keras 1", "Keras 2", "Keras 3"])
@pytest.mark.parametrize("laid", [given.student, given.flat], ids=["nested", "flattened"])
def test_every_variant_is_recognised_in_every_description(architecture: str, style: int, laid: Any) -> None:
    head = given.pool(), given.dense(features=features_of(architecture))
    made = found(laid(*head, base=given.backbone(architecture)), style)
    assert made.architecture == architecture
    assert made.contract == InputContract(64, 48, channels=3, scale="255")
    assert made.head == Head("sigmoid", 1, 1)
    assert set(kernels(architecture)) < set(made.names)
    assert made.names["block3b_expand_bn"][-1] == "block3b_expand_bn"


@pytest.mark.parametrize("laid", [given.student, given.flat], ids=["nested", "flattened"])
def test_renamed_layers_are_recognised_by_structure_alone(laid: Any) -> None:
    net = laid()
    names = {name for child in [*net.children, *getattr(net.children[1], "children", [])] for name in [child.name]}
    fresh = dict(zip(sorted(names), (f"x{number}" for number in range(len(names))), strict=True))
    made = found(given.renamed(net, lambda name: fresh.get(name, name)))
    assert made.architecture == "efficientnet-b0"
    assert made.names["top_bn"][-1] == fresh["top_bn"]
    assert made.inside == tuple(
        "/".join((*made.names["stem_bn"][:-1], fresh[name])) for name in ("rescaling", "normalization")
    )


@pytest.mark.parametrize("wrapped", [lambda items: {"items": items}, lambda items: {"config": {"value": items}}])
def test_tuples_written_as_objects_are_lists(wrapped: Any) -> None:
    def wrap(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: wrap(each) for key, each in value.items()}
        if isinstance(value, list) and value and not isinstance(value[0], dict | list):
            return {"class_name": "__tuple__", **wrapped(value)}
        return [wrap(each) for each in value] if isinstance(value, list) else value

    net = given.student()
    source = given.source(net)
    assert source.config is not None
    assert plan(replace(source, config=wrap(source.config)), Asked()) == plan(source, Asked())


def test_three_models_deep_is_recognised() -> None:
    inner = given.student()
    outer = Net("outer", [layer("InputLayer", "i", batch_input_shape=[None, 64, 48, 3]), Net("middle", inner.children)])
    assert found(outer).names["stem_conv"] == ("middle", "base", "stem_conv")


def test_order_of_a_sums_and_a_products_inputs_does_not_matter() -> None:
    net = given.student()
    for leaf in net.children[1].children:
        if leaf.kind in ("Add", "Multiply"):
            leaf.inputs.reverse()
    assert found(net).architecture == "efficientnet-b0"


def test_network_without_batch_normalisation_is_recognised() -> None:
    base = given.backbone()
    kept, gone = [], {}
    for leaf in base.children:
        if leaf.kind == "BatchNormalization":
            gone[leaf.name] = gone.get(leaf.inputs[0], leaf.inputs[0])
        else:
            kept.append(replace(leaf, inputs=[gone.get(name, name) for name in leaf.inputs]))
    made = found(given.student(base=replace(base, children=kept)))
    assert "stem_bn" not in made.layers
    assert made.layers["stem_conv"].path == ("base", "stem_conv")


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("block4b_dwconv", {"kernel_size": [5, 5]}, "block4b_dwconv"),
        ("block4b_dwconv", {"strides": [2, 2]}, "strides"),
        ("block4b_dwconv", {"dilation_rate": [2, 2]}, "dilation rate"),
        ("block2a_expand_conv", {"groups": 2}, "groups"),
        ("block2a_expand_conv", {"filters": 100}, "block2a_expand_conv"),
        ("block2a_se_expand", {"activation": "relu"}, "activation"),
        ("block2a_se_reduce", {"activation": "relu"}, "activation"),
        ("block2a_activation", {"activation": "relu"}, "Activation"),
        ("block2a_se_reshape", {"target_shape": [96]}, "shape"),
        ("block2a_bn", {"axis": [1]}, "axis"),
        ("block2a_bn", {"epsilon": "small"}, "epsilon"),
        ("stem_conv", {"data_format": "channels_first"}, "data format"),
        ("stem_conv_pad", {"padding": [[1, 1], [1, 1]]}, "padded"),
        ("block5a_dwconv", {"padding": "valid"}, "padding"),
    ],
)
def test_other_structure_is_refused_with_the_layer_named(name: str, changed: dict[str, Any], said: str) -> None:
    net = given.student()
    net.leaf(name).settings |= changed
    with pytest.raises(ModelFileError) as caught:
        assemble(given.source(net), found(net))
    assert name.removesuffix("_pad") in caught.value.message
    assert said in caught.value.message


def test_shortcut_from_elsewhere_is_refused() -> None:
    net = given.student()
    net.leaf("block4c_add").inputs[1] = "block4a_project_bn"
    with pytest.raises(ModelUnsupported, match="block4c"):
        found(net)


def test_gate_over_other_features_is_refused() -> None:
    net = given.student()
    net.leaf("block4c_se_squeeze").inputs[0] = "block4c_expand_activation"
    with pytest.raises(ModelUnsupported, match="block4c_se_excite"):
        found(net)


@pytest.mark.parametrize(
    "children",
    [
        [layer("Conv2D", "c", filters=64, kernel_size=[3, 3]), layer("MaxPooling2D", "m")],
        [],
    ],
    ids=["small CNN", "nothing"],
)
def test_other_networks_are_sent_the_second_road(children: list[Any]) -> None:
    start = layer("InputLayer", "i", batch_input_shape=[None, 64, 48, 3])
    with pytest.raises(ModelUnsupported, match="--foreign"):
        found(Net("model", [start, *children, given.pool(), given.dense()]))


def test_deeper_variant_is_refused_where_it_parts() -> None:
    base = given.backbone("efficientnet-b3")
    for leaf in base.children:
        if leaf.settings.get("filters") == 136:
            leaf.settings["filters"] = 144
    with pytest.raises(ModelUnsupported, match=r"block5a_project_conv.*efficientnet-b3"):
        found(given.student(given.pool(), given.dense(features=1536), base=base), architecture="efficientnet-b3")


def test_asked_architecture_that_contradicts_the_file_is_refused() -> None:
    with pytest.raises(ModelUnsupported, match="efficientnet-b0, not efficientnet-b2"):
        found(given.student(), architecture="efficientnet-b2")
    with pytest.raises(ModelUnsupported, match="--arch knows efficientnet-b0"):
        found(given.student(), architecture="resnet50")


# The head


@pytest.mark.parametrize(
    ("head", "kind", "units"),
    [
        ([given.dense()], "sigmoid", 1),
        ([given.dense(1, "linear")], "linear", 1),
        ([given.dense(1, "linear"), layer("Activation", "a", activation="sigmoid")], "sigmoid", 1),
        ([given.dense(2, "softmax")], "softmax", 2),
        ([given.dense(2, "sigmoid")], "sigmoid", 2),
        ([given.dense(2, "linear"), layer("Softmax", "s", axis=-1)], "softmax", 2),
        ([given.dense(2, "linear"), layer("Activation", "a", activation="softmax")], "softmax", 2),
        ([layer("Dropout", "d", rate=0.4), given.dense(2, "linear")], "linear", 2),
        ([layer("Flatten", "f"), given.dense()], "sigmoid", 1),
    ],
)
def test_heads_are_recognised(head: list[Any], kind: str, units: int) -> None:
    for laid in (given.student, given.flat):
        made = found(laid(given.pool(), *chained(head)), classes=CLASSES)
        assert (made.head.kind, made.head.units, made.head.malignant) == (kind, units, 1)


def chained(head: list[Any]) -> list[Any]:
    return [replace(each) for each in head]


def test_pooling_within_the_backbone_is_recognised() -> None:
    base = given.backbone()
    base.children.append(replace(given.pool("avg_pool"), inputs=[base.output]))
    made = found(given.student(layer("Dropout", "d", rate=0.4), given.dense(), base=replace(base, output="avg_pool")))
    assert made.head == Head("sigmoid", 1, 1)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ([layer("GlobalMaxPooling2D", "max_pool", data_format="channels_last"), given.dense()], "maximum"),
        ([given.pool(), given.dense(64, "relu", name="hidden"), given.dense(features=64)], "hidden layer"),
        ([layer("Flatten", "f"), given.dense(features=5120)], "global average pooling"),
        ([given.pool(), given.dense(3, "softmax")], "units"),
        ([given.pool(), given.dense(1, "softmax")], "softmax"),
        ([given.pool(), given.dense(1, "tanh")], "sigmoid"),
        ([given.pool(), given.dense(1, "sigmoid"), layer("Activation", "a", activation="sigmoid")], "another one"),
        ([given.pool(), layer("LayerNormalization", "ln"), given.dense()], "'ln'"),
        ([given.pool()], "dense layer"),
    ],
)
def test_heads_that_are_not_linear_are_sent_the_second_road(head: list[Any], said: str) -> None:
    with pytest.raises(ModelUnsupported, match=said) as caught:
        found(given.student(*head), classes=CLASSES)
    assert "--foreign" in caught.value.message


def test_normalisations_before_the_head_are_taken_in_the_order_of_the_data() -> None:
    made = found(given.flat(given.norm(name="first"), given.pool(), given.norm(name="second"), given.dense()))
    assert made.names["logit_bn"] == ("first",)
    assert made.names["logit_bn_1"] == ("second",)


def test_two_outputs_need_their_classes_and_one_is_taken_as_malignant() -> None:
    two = given.student(given.pool(), given.dense(2, "softmax"))
    with pytest.raises(ContractUnknown, match="--classes benign,malignant"):
        found(two)
    assert found(two, classes=("malignant", "benign")).head.malignant == 0
    with pytest.raises(ContractUnknown, match="must be"):
        found(two, classes=("healthy", "ill"))
    one = found(given.student())
    assert "a high output means malignant" in one.assumed
    turned = found(given.student(), classes=("Malignant", "Benign"))
    assert turned.head.malignant == 0
    assert turned.assumed == ()


# What stands in front


def augment() -> Any:
    kinds = {"RandomFlip": {"mode": "horizontal"}, "RandomRotation": {"factor": 0.1}, "RandomContrast": {"factor": 0.2}}
    leaves = [layer(kind, kind.lower(), **settings) for kind, settings in kinds.items()]
    return Net("augment", [layer("InputLayer", "i", batch_input_shape=[None, 64, 48, 3]), *leaves])


def test_textbook_student_is_recognised_and_its_jitter_recorded() -> None:
    jitter = layer("BrightnessJitter", "jitter", module=None, strength=0.2)
    made = found(given.student(front=(augment(), jitter)))
    assert any("'jitter'" in each and "'BrightnessJitter'" in each for each in made.assumed)
    ignored = {fate.source: fate.reason for fate in made.ignored}
    assert ignored["augment/randomflip"] == "identity at inference"
    assert ignored["jitter"] == "identity at inference (assumed)"


@pytest.mark.parametrize("style", [2, 3])
def test_unknown_layer_is_idle_in_front_and_behind_the_pooling_only(style: int) -> None:
    jitter = layer("Jitter", "jitter", module="my_layers")
    for net in (given.student(front=(jitter,)), given.student(given.pool(), jitter, given.dense())):
        assert any("'jitter'" in each for each in found(net, style).assumed)
    with pytest.raises(ModelUnsupported, match="jitter"):
        found(given.student(jitter, given.pool(), given.dense()), style)


@pytest.mark.parametrize("style", [2, 3])
def test_unknown_layer_with_weights_is_refused(style: int) -> None:
    weighing = layer("Weighing", "weighing", weights={"w": (3,)}, module="__main__")
    with pytest.raises(ModelUnsupported, match="'weighing' is of an unknown class and has weights"):
        found(given.student(front=(weighing,)), style)


def test_unknown_layer_with_nothing_but_a_random_state_is_idle() -> None:
    net = given.student(front=(layer("Jitter", "jitter", module="__main__"),))
    state = given.tensor(
        "layers/jitter/generator/vars/0", ("jitter", "generator"), "0", np.array([1, 2], np.uint32), "generator"
    )
    source = given.source(net, [*given.counted(net), state])
    fates = {fate.source: fate for fate in assemble(source, plan(source, Asked()))[1]}
    assert fates["layers/jitter/generator/vars/0"].reason == "training only"


@pytest.mark.parametrize("kind", ["PreprocessLayer", "GrayToRgb", "CLAHE", "L2Norm", "CropCentre"])
def test_unknown_layer_whose_name_tells_that_it_changes_its_input_is_refused(kind: str) -> None:
    with pytest.raises(ModelUnsupported, match="changes its input"):
        found(given.student(front=(layer(kind, "custom", module=None),)))


@pytest.mark.parametrize(
    "kind", ["AveragePooling2D", "Cropping2D", "AutoContrast", "Equalization", "Conv2D", "RandomCrop"]
)
def test_layers_of_keras_that_change_pictures_are_refused(kind: str) -> None:
    with pytest.raises(ModelUnsupported, match="'extra'"):
        found(given.student(front=(layer(kind),)))


def test_custom_class_of_a_known_name_is_unknown() -> None:
    with pytest.raises(ModelUnsupported, match="changes its input"):
        found(given.student(front=(layer("Rescaling", "extra", module="my_layers", **RESCALING),)))


def test_lambda_is_unsafe() -> None:
    with pytest.raises(ModelFileUnsafe, match="runs no code"):
        found(given.student(front=(layer("Lambda", "extra", function="x"),)))


def test_dropout_of_the_package_efficientnet_is_known() -> None:
    net = given.student()
    for leaf in net.children[1].children:
        if leaf.kind == "Dropout":
            leaf.kind, leaf.module = "FixedDropout", "efficientnet.model"
    assert found(net).assumed == found(given.student()).assumed


def test_call_as_in_training_is_refused() -> None:
    net = given.flat()
    net.leaf("block4b_bn").arguments = {"training": True}
    with pytest.raises(ModelUnsupported, match=r"block4b_bn.* at random"):
        plan(given.source(net, style=2), Asked())


def test_keras_3_does_not_call_as_in_training_whatever_it_notes() -> None:
    net = given.flat()
    net.leaf("block4b_bn").arguments = {"training": True}
    assert found(net) == found(given.flat())


def test_subclass_of_a_model_is_recorded() -> None:
    net = given.student()
    config = given.described(net)
    config["config"]["layers"][1] |= {"class_name": "SamModel", "module": "__main__", "registered_name": "SamModel"}
    source = replace(given.source(net), config=config)
    assert any("'SamModel'" in each for each in plan(source, Asked()).assumed)


# The input contract


def test_size_is_found_or_asked_for() -> None:
    unsized = given.student(base=given.backbone(size=OPEN), size=(None, None, 3))
    with pytest.raises(ContractUnknown, match="--size"):
        found(unsized)
    contract = found(unsized, size=(96, 64)).contract
    assert (contract.height, contract.width) == (96, 64)
    with pytest.raises(ModelUnsupported, match="multiples of 32"):
        found(unsized, size=(97, 64))
    with pytest.raises(ModelUnsupported, match="64 × 48, not of 96 × 64"):
        found(given.student(), size=(96, 64))
    within = found(given.student(size=(None, None, 3))).contract
    assert (within.height, within.width) == (64, 48)


def test_odd_sizes_are_padded_as_keras_pads_them() -> None:
    net = given.student(base=given.backbone(size=(75, 61)), size=(75, 61, 3))
    assert found(net).contract.height == 75


def test_same_padding_of_strided_convolutions_is_the_same() -> None:
    base = given.backbone()
    gone = {leaf.name: leaf.inputs[0] for leaf in base.children if leaf.kind == "ZeroPadding2D"}
    kept = [leaf for leaf in base.children if leaf.name not in gone]
    for leaf in kept:
        leaf.inputs = [gone.get(name, name) for name in leaf.inputs]
        if leaf.settings.get("padding") == "valid":
            leaf.settings["padding"] = "same"
    assert found(given.student(base=replace(base, children=kept))).architecture == "efficientnet-b0"


def test_resizing_tells_the_size_where_the_input_does_not() -> None:
    resizing = layer("Resizing", "resizing", height=64, width=64)
    net = given.student(front=(resizing,), base=given.backbone(size=OPEN), size=(None, None, 3))
    made = found(net)
    assert (made.contract.height, made.contract.width) == (64, 64)
    with pytest.raises(ModelUnsupported, match="resizes"):
        found(given.student(front=(resizing,), base=given.backbone(size=OPEN), size=(100, 80, 3)))


def test_grey_put_together_three_times_is_one_channel() -> None:
    grey = layer("InputLayer", "grey", batch_input_shape=[None, 64, 48, 1])
    triple = Leaf("triple", "Concatenate", {"axis": -1}, inputs=["grey"] * 3)
    base = replace(given.backbone(), inputs=["triple"])
    head = [replace(given.pool(), inputs=["base"]), replace(given.dense(), inputs=["pool"])]
    for style in (1, 2, 3):
        net = Net("model", [grey, triple, base, *head], "out")
        source = given.source(net, style=style)
        made = plan(source, Asked())
        network, _ = assemble(source, made)
        assert made.contract.channels == 1
        assert network.factor.shape == (3,)
        assert network.convolutions["stem_conv"].kernel.shape == (3, 3, 3, 32)
    other = Leaf("other", "Rescaling", RESCALING, inputs=["grey"])
    mixed = replace(triple, inputs=["grey", "grey", "other"])
    with pytest.raises(ModelUnsupported, match="triple"):
        found(Net("model", [grey, other, mixed, base, *head], "out"))


def test_one_channel_backbone_is_one_channel() -> None:
    net = given.student(base=given.backbone(channels=1), size=(64, 48, 1))
    assert found(net).contract.channels == 1


@pytest.mark.parametrize(
    ("front", "scale"),
    [
        ([layer("Rescaling", "r", **RESCALING)], "255"),
        ([layer("Rescaling", "r", scale=1 / 127.5, offset=-1.0)], "255"),
        ([layer("Rescaling", "r", scale=1 / (255 * 0.226), offset=-1.98)], "255"),
        ([layer("Rescaling", "r", scale=[1 / 58.4, 1 / 57.1, 1 / 57.4], offset=[-2.1, -2.0, -1.8])], "255"),
        ([layer("Rescaling", "r", scale=255.0, offset=0.0), layer("Rescaling", "q", **RESCALING)], "1"),
        ([layer("Rescaling", "r", scale=127.5, offset=127.5), layer("Rescaling", "q", **RESCALING)], "-1..1"),
        ([layer("Rescaling", "r", scale=2.0, offset=-1.0)], "1"),
        ([layer("Normalization", "n", axis=[3], mean=[120.0] * 3, variance=[3600.0] * 3)], "255"),
        ([layer("Normalization", "n", axis=[3], mean=[0.48] * 3, variance=[0.05] * 3)], "1"),
    ],
)
def test_scale_is_read_from_the_layers_that_scale(front: list[Any], scale: str) -> None:
    net = given.student(front=tuple(front), base=given.backbone(scaled=False))
    assert found(net).contract.scale == scale
    assert found(net).inside == tuple(each.name for each in front)


def test_scale_is_asked_for_where_nothing_tells() -> None:
    net = given.student(base=given.backbone(scaled=False))
    with pytest.raises(ContractUnknown, match="--scale"):
        found(net)
    assert found(net, scale="imagenet").contract.scale == "imagenet"
    idle = given.student(base=given.backbone(scaled=False), front=(layer("Rescaling", "r", scale=1.0, offset=0.0),))
    with pytest.raises(ContractUnknown, match="--scale"):
        found(idle)


def test_double_rescale_is_kept_and_said() -> None:
    net = given.student(front=(layer("Rescaling", "outer", **RESCALING),))
    made = found(net)
    network, _ = assemble(given.source(net), made)
    once, _ = assemble(given.source(given.student()), found(given.student()))
    np.testing.assert_allclose(network.factor, once.factor / 255, rtol=1e-6)
    assert any("divided by 255 twice, by 'outer' and 'base/rescaling'" in each for each in made.assumed)
    asked = found(given.student(), scale="1")
    assert asked.contract.scale == "1"
    assert any("suspected of being scaled twice" in each for each in asked.assumed)


def test_arithmetic_with_constants_is_a_scaling() -> None:
    start = layer("InputLayer", "i", batch_input_shape=[None, 64, 48, 3])
    ends = [replace(given.pool(), inputs=["base"]), replace(given.dense(), inputs=["pool"])]
    base = replace(given.backbone(scaled=False), inputs=["b"])

    def operation(style: int, name: str, before: str, function: str, value: Any) -> Any:
        if style == 3:
            return Leaf(name, function, {}, {}, [before], {1: value}, "keras.src.ops.numpy")
        names = {"TrueDivide": "math.truediv", "Subtract": "math.subtract"}
        return Leaf(name, "TFOpLambda", {"function": names[function]}, {}, [before], {"y": value, "name": None})

    for style in (2, 3):
        steps = operation(style, "a", "i", "TrueDivide", 127.5), operation(style, "b", "a", "Subtract", [1.0, 1.0, 2.0])
        source = given.source(Net("model", [start, *steps, base, *ends], "out"), style=style)
        made = plan(source, Asked())
        network, _ = assemble(source, made)
        assert made.contract.scale == "255"
        np.testing.assert_allclose(network.factor, [1 / 127.5] * 3, rtol=1e-6)
        np.testing.assert_allclose(network.offset, [-1, -1, -2])


def test_arithmetic_that_is_no_scaling_is_refused() -> None:
    start = layer("InputLayer", "i", batch_input_shape=[None, 64, 48, 3])
    ends = [replace(given.pool(), inputs=["base"]), replace(given.dense(), inputs=["pool"])]
    base = replace(given.backbone(scaled=False), inputs=["b"])
    for kind, arguments in (("Power", {1: 2.0}), ("Subtract", {}), ("TrueDivide", {1: 0.0}), ("TrueDivide", {0: 1.0})):
        bare = Leaf("b", kind, {}, {}, ["i"], arguments, "keras.src.ops.numpy")
        with pytest.raises(ModelUnsupported, match="'b'"):
            found(Net("model", [start, bare, base, *ends], "out"), scale="1")


def test_normalisation_is_read_from_its_tensors() -> None:
    net = given.student()
    network, _ = assemble(given.source(net), found(net))
    arrays = given.values(net)
    deviation = np.sqrt(arrays[("base", "normalization"), "variance"].astype(np.float64))
    mean = arrays[("base", "normalization"), "mean"]
    np.testing.assert_allclose(network.factor, 1 / 255 / deviation, rtol=1e-6)
    np.testing.assert_allclose(network.offset, -mean / deviation, rtol=1e-6)


# Weights alone


def alone(net: Any, style: int, tensors: Any = None, version: str = "") -> Any:
    made = tensors if tensors is not None else (given.counted(net) if style == 3 else given.legacy(net))
    return given.source(None, made, style, version=version)


@pytest.mark.parametrize("asked", [Asked(), Asked(architecture="efficientnet-b0"), Asked(size=(64, 48))])
def test_weights_alone_need_architecture_and_size(asked: Asked) -> None:
    with pytest.raises(ContractUnknown, match="--arch and --size"):
        plan(alone(given.student(), 3), asked)


@pytest.mark.parametrize("laid", [given.student, given.flat], ids=["nested", "flattened"])
@pytest.mark.parametrize(
    ("architecture", "way"),
    [
        *(("efficientnet-b0", way) for way in ("counted", "labelled", "legacy", "legacy renamed")),
        *(pytest.param(name, "counted", marks=pytest.mark.slow) for name in list(VARIANTS)[1:]),
        *(pytest.param(name, "legacy renamed", marks=pytest.mark.slow) for name in list(VARIANTS)[1:]),
    ],
)
def test_weights_alone_become_the_same_network_as_the_whole_model(architecture: str, laid: Any, way: str) -> None:
    net = laid(given.pool(), given.dense(features=features_of(architecture)), base=given.backbone(architecture))
    whole, _ = assemble(given.source(net), found(net))
    tensors = given.counted(net, labelled=way == "labelled") if "legacy" not in way else given.legacy(net)
    if way == "legacy renamed":
        names = list(dict.fromkeys(tensor.layer[-1] for tensor in tensors))
        fresh = {name: f"x{index}" for index, name in enumerate(names)}
        tensors = [replace(t, layer=(*t.layer[:-1], fresh[t.layer[-1]]), label="") for t in tensors]
    source = alone(net, 2 if "legacy" in way else 3, tensors)
    made = plan(source, Asked(architecture=architecture, size=(64, 48)))
    network, _ = assemble(source, made)
    assert made.contract == InputContract(64, 48, channels=3, scale="255")
    assert ("layers of one class lie in the order of the network" in made.assumed) == (
        way in ("counted", "legacy renamed")
    )
    np.testing.assert_array_equal(network.factor, whole.factor)
    np.testing.assert_array_equal(network.head, whole.head)
    for name, convolution in whole.convolutions.items():
        np.testing.assert_array_equal(network.convolutions[name].kernel, convolution.kernel)
        np.testing.assert_array_equal(network.convolutions[name].bias, convolution.bias)


def test_weights_alone_without_a_normalisation_need_the_scale() -> None:
    source = alone(None, 3, given.counted(given.student(base=given.backbone(scaled=False))))
    asked = Asked(architecture="efficientnet-b0", size=(64, 48))
    with pytest.raises(ContractUnknown, match="--scale"):
        plan(source, asked)
    made = plan(source, replace(asked, scale="-1..1"))
    assert made.contract.scale == "-1..1"
    assert "nothing scales the input inside the network" in made.assumed


@pytest.mark.parametrize(("version", "expected"), [("2.9.0", 0.229**-0.5), ("2.10.0", 1 / 0.229), ("", 1 / 0.229)])
def test_second_scaling_of_imagenets_weights_depends_on_the_version(version: str, expected: float) -> None:
    net = given.student()
    tensors = given.legacy(net)
    statistics = {"mean": [0.485, 0.456, 0.406], "variance": [0.229, 0.224, 0.225]}
    for index, tensor in enumerate(tensors):
        if tensor.name in statistics:
            array = np.array(statistics[tensor.name], np.float32)
            tensors[index] = replace(tensor, read=lambda array=array: array)
    source = replace(alone(net, 2, tensors), keras_version=version)
    network, _ = assemble(source, plan(source, Asked(architecture="efficientnet-b0", size=(64, 48))))
    assert network.factor[0] == pytest.approx(expected / 255, rel=1e-5)


def test_two_heads_that_fit_are_refused_with_the_pair_named() -> None:
    net = given.student()
    second = [
        given.tensor("layers/dense_1/vars/0", ("dense_1",), "0", np.ones((1280, 1), np.float32)),
        given.tensor("layers/dense_1/vars/1", ("dense_1",), "1", np.ones(1, np.float32)),
    ]
    source = alone(net, 3, [*given.counted(net), *second])
    with pytest.raises(ModelIncomplete, match="Both 'layers/dense/vars/0' and 'layers/dense_1/vars/0' fit"):
        plan(source, Asked(architecture="efficientnet-b0", size=(64, 48)))


def test_two_layers_of_one_name_are_refused_with_the_pair_named() -> None:
    tensors = given.legacy(given.student())
    again = [
        replace(t, path="ema/" + t.path, layer=("ema", t.layer[-1])) for t in tensors if t.layer[-1] == "block4b_dwconv"
    ]
    source = alone(None, 2, [*tensors, *again])
    with pytest.raises(ModelIncomplete, match=r"Both 'base/block4b_dwconv/.*' and 'ema/base/block4b_dwconv/.*' fit"):
        plan(source, Asked(architecture="efficientnet-b0", size=(64, 48)))


def test_weights_of_another_architecture_are_refused() -> None:
    for tensors in (given.counted(given.student(), labelled=False), given.legacy(given.student())):
        source = alone(None, 3 if tensors[0].name.isdecimal() else 2, tensors)
        with pytest.raises(ModelIncomplete, match=r"--arch|is missing"):
            assemble(source, plan(source, Asked(architecture="efficientnet-b2", size=(64, 48))))


def test_backbone_alone_has_no_head() -> None:
    source = alone(None, 2, [t for t in given.legacy(given.student()) if t.layer[0] == "base"])
    with pytest.raises(ModelIncomplete, match="no dense layer"):
        plan(source, Asked(architecture="efficientnet-b0", size=(64, 48)))


def test_onnx_goes_the_second_road() -> None:
    with pytest.raises(ModelUnsupported, match="--foreign"):
        plan(given.source(None, [], kind=Format.ONNX), Asked())


# Descriptions that do not hold


def test_class_names_are_written_as_keras_writes_them() -> None:
    names = ["Conv2D", "DepthwiseConv2D", "BatchNormalization", "BrightnessJitter", "GlobalAveragePooling2D", "Dense"]
    expected = [
        "conv2d",
        "depthwise_conv2d",
        "batch_normalization",
        "brightness_jitter",
        "global_average_pooling2d",
        "dense",
    ]
    assert [snake_case(name) for name in names] == expected


def test_absurd_descriptions_are_malformed() -> None:
    deep: Any = given.described(given.student())
    for number in range(40):
        deep = {"class_name": "Sequential", "config": {"name": f"m{number}", "layers": [deep]}}
    with pytest.raises(ModelFileMalformed, match="deep"):
        flatten(deep)
    wide = {
        "class_name": "Sequential",
        "config": {"name": "m", "layers": [{"class_name": "ReLU", "config": {"name": "x"}}] * 2},
    }
    with pytest.raises(ModelFileMalformed, match="Two layers"):
        flatten(wide)
    many = [{"class_name": "ReLU", "config": {"name": f"x{number}"}} for number in range(20_001)]
    with pytest.raises(ModelFileMalformed, match="20000"):
        flatten({"class_name": "Sequential", "config": {"name": "m", "layers": many}})
    with pytest.raises(ModelUnsupported, match="no sequential or functional model"):
        flatten({"class_name": "Dense", "config": {"units": 1}})


def test_models_that_call_each_other_often_are_bounded() -> None:
    inner: Any = Leaf("leaf", "ReLU")
    net = Net("n0", [layer("InputLayer", "i"), replace(inner, inputs=["i"])], "leaf")
    for number in range(1, 12):
        calls = [layer("InputLayer", "i"), replace(net, name="m", inputs=["i"])]
        net = Net(f"n{number}", calls, "m")
    config = given.described(net)
    layers = config["config"]["layers"]
    while len(layers) == 2:
        # Each model calls the next one twice, one after the other: 2^11 calls in all.
        model = layers[1]
        again = copy.deepcopy(model["inbound_nodes"][0])
        again["args"][0]["config"]["keras_history"] = [model["name"], 0, 0]
        model["inbound_nodes"].append(again)
        layers = model["config"].get("layers", []) if "layers" in model["config"] else []
    assert len(flatten(config).calls) < 20_000


def test_damaged_descriptions_give_typed_errors() -> None:
    text = json.dumps(given.described(given.student(front=(augment(),))))
    tensors = given.counted(given.student(front=(augment(),)))
    chance = random.Random(7)
    junk = [None, True, -1, 3, 0.5, "x", "", [], [1, 2, 3], {}, {"a": 1}, [["stem_conv", 0, 0]], 10**400, [[[]]]]
    refused = 0
    for _ in range(50):
        config = json.loads(text)
        holder, key = chance.choice(list(_places(config)))
        holder[key] = copy.deepcopy(chance.choice(junk))
        source = replace(given.source(given.student(), tensors), config=config)
        with contextlib.suppress(ModelFileError):
            assemble(source, plan(source, Asked(classes=CLASSES)))
            continue
        refused += 1
    assert refused > 25


def _places(value: Any) -> Any:
    """All places of a description that can be overwritten, the shallow ones more often."""
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        for key in holder if isinstance(holder, dict) else range(len(holder)):
            yield holder, key
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
