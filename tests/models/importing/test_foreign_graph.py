"""The converter and the explanation against Keras itself, in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mammolens.errors import ModelUnsupported
from mammolens.models.importing import config, foreign_config, foreign_graph, onnx_rules, onnx_tail

keras = pytest.importorskip("keras")
onnxruntime = pytest.importorskip("onnxruntime")
lay = keras.layers

from support.foreign_models import flattened, pooled, trained, with_trunk  # noqa: E402

SIZE = (64, 48)


def described(model: Any) -> dict[str, Any]:
    return {"class_name": type(model).__name__, "module": "keras", "config": model.get_config()}


def converted(model: Any) -> tuple[Any, bool, Any]:
    """Finished graph, whether it is linear, and the graph before its end was cut."""
    clean = foreign_config.clean(described(model))

    def weights(path: tuple[str, ...]) -> list[NDArray[np.float32]]:
        layer = model
        for name in path:
            layer = layer.get_layer(name)
        return [np.asarray(each, np.float32) for each in layer.get_weights()]

    graph = config.flatten(foreign_config.single_calls(clean.model))
    whole = onnx_rules.folded(foreign_graph.convert(graph, clean.shape, weights))
    net = onnx_tail.Net(whole)
    end = onnx_tail.ending(net)
    made, linear = onnx_tail.finished(net, end, onnx_tail.tail(net, end.name), malignant=1)
    return made, linear, whole


def run(model: Any, inputs: NDArray[np.float32], *names: str) -> list[NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(list(names), {"image": inputs}))


def pictures(model: Any, count: int = 3, high: float = 255.0) -> NDArray[np.float32]:
    return np.random.default_rng(7).uniform(0, high, (count, *model.input_shape[1:])).astype(np.float32)


def taped(model: Any, features: str, inputs: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Logit and evidence by TensorFlow's own differentiation of a Sequential model's head."""
    import tensorflow as tf

    names = [layer.name for layer in model.layers]
    cut = names.index(features) + 1
    x = tf.constant(inputs)
    for layer in model.layers[:cut]:
        x = layer(x, training=False)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x
        for layer in model.layers[cut:-1]:
            y = layer(y, training=False)
        kernel, bias = model.layers[-1].get_weights()
        y = y @ kernel + bias
        logit = y[:, 0] if y.shape[1] == 1 else y[:, 1] - y[:, 0]
    return logit.numpy(), tf.reduce_sum(x * tape.gradient(logit, x), axis=-1).numpy()


def headed(*head: Any) -> Any:
    stem = [keras.Input((*SIZE, 1)), lay.Rescaling(1 / 255), lay.Conv2D(6, 3, strides=4, activation="tanh", name="map")]
    return trained(keras.Sequential([*stem, *head]))


HEADS: dict[str, Callable[[], Any]] = {
    "average, dense": lambda: headed(lay.GlobalAveragePooling2D(), lay.Dense(1, activation="sigmoid")),
    "average kept, convolution": lambda: headed(
        lay.GlobalAveragePooling2D(keepdims=True), lay.Conv2D(5, 1, activation="relu"), lay.Flatten(), lay.Dense(1)
    ),
    "flatten, dense": lambda: headed(lay.Flatten(), lay.Dense(2, activation="softmax")),
    "flatten, relu, normalisation": lambda: headed(
        lay.Flatten(), lay.Dense(9, activation="relu"), lay.BatchNormalization(), lay.Dense(1, activation="sigmoid")
    ),
    "maximum": lambda: headed(lay.GlobalMaxPooling2D(), lay.Dense(4, activation="elu"), lay.Dense(1)),
    "gelu, layer normalisation": lambda: headed(
        lay.GlobalAveragePooling2D(), lay.Dense(8, activation="gelu"), lay.LayerNormalization(), lay.Dense(1)
    ),
    "silu, leaky": lambda: headed(
        lay.GlobalAveragePooling2D(), lay.Dense(8, activation="silu"), lay.Dense(7), lay.LeakyReLU(0.1), lay.Dense(1)
    ),
    "others": lambda: headed(
        lay.Flatten(),
        lay.Dense(8, activation="selu"),
        lay.Dense(8, activation="softplus"),
        lay.Dense(8, activation="relu6"),
        lay.Dense(8, activation="hard_sigmoid"),
        lay.Dense(8, activation="mish"),
        lay.Dense(8),
        lay.PReLU(),
        lay.ReLU(max_value=1.0, negative_slope=0.2),
        lay.Reshape((8,)),
        lay.Dense(2, activation="softmax"),
    ),
}


@pytest.mark.parametrize("head", HEADS)
def test_evidence_is_feature_times_gradient_as_tensorflow_differentiates(head: str) -> None:
    model = HEADS[head]()
    graph, _, _ = converted(model)
    inputs = pictures(model)
    logit, evidence, features = run(graph, inputs, "logit", "evidence", "features")
    expected, map_ = taped(model, "map", inputs)
    assert features.shape == (3, 6, *map_.shape[1:])
    assert np.abs(logit[:, 0] - expected).max() < 1e-4
    assert np.abs(evidence - map_).max() < 1e-4 * np.abs(map_).max()


@pytest.mark.parametrize("head", ["average, dense", "flatten, dense"])
def test_evidence_of_a_linear_head_sums_to_the_logit_but_for_its_bias(head: str) -> None:
    model = HEADS[head]()
    graph, linear, _ = converted(model)
    logit, evidence = run(graph, pictures(model, 5), "logit", "evidence")
    _, bias = model.layers[-1].get_weights()
    constant = bias[0] if bias.size == 1 else bias[1] - bias[0]
    assert linear
    assert np.allclose(evidence.sum(axis=(1, 2)) + constant, logit[:, 0], atol=1e-5)


@pytest.mark.parametrize("head", ["flatten, relu, normalisation", "maximum", "gelu, layer normalisation"])
def test_a_head_with_an_activation_inside_is_not_called_linear(head: str) -> None:
    assert not converted(HEADS[head]())[1]


def branched() -> Any:
    """Odd sizes, every merge, squeeze and excitation, padding and cropping, arithmetic of Keras 3."""
    inputs = keras.Input((61, 47, 3))
    x = inputs / 127.5 - 1.0
    x = lay.ZeroPadding2D(((1, 2), (0, 3)))(x)
    x = lay.Conv2D(8, 3, strides=2, padding="same", groups=1)(x)
    x = lay.PReLU(shared_axes=[1, 2])(x)
    a = lay.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="hard_silu")(x)
    b = lay.Conv2D(16, (1, 3), padding="same", activation="leaky_relu")(x)
    c = lay.Conv2D(16, 3, padding="same", groups=4, activation="elu")(x)
    gate = lay.GlobalAveragePooling2D()(a)
    gate = lay.Dense(16, activation="sigmoid")(lay.Reshape((1, 1, 16))(gate))
    x = lay.Add()([lay.Multiply()([a, gate]), b, c])
    x = lay.Concatenate()(
        [x, lay.Maximum()([a, b]), lay.Minimum()([b, c]), lay.Average()([a, c]), lay.Subtract()([a, b])]
    )
    x = lay.LayerNormalization()(x)
    x = lay.Cropping2D(((1, 0), (2, 1)))(x)
    x = lay.MaxPooling2D(3, strides=2, padding="same")(x)
    x = lay.Conv2D(8, 1)(x)
    x = lay.ELU(0.5)(lay.BatchNormalization(scale=False)(x))
    x = lay.Concatenate()([lay.GlobalAveragePooling2D()(x), lay.GlobalMaxPooling2D()(x)])
    return trained(keras.Model(inputs, lay.Softmax()(lay.Dense(2)(x))))


@pytest.mark.parametrize("make", [pooled, flattened, branched], ids=["pooled", "flattened", "branched"])
def test_graph_answers_as_keras_does(make: Callable[[], Any]) -> None:
    model = make()
    graph, _, whole = converted(model)
    inputs = pictures(model, high=1.0 if make is flattened else 255.0)
    answer = np.asarray(model(inputs, training=False))
    assert np.abs(run(whole, inputs, "answer")[0] - answer).max() < 1e-5
    (logit,) = run(graph, inputs, "logit")
    if answer.shape[1] == 1:
        assert np.abs(1 / (1 + np.exp(-logit[:, 0])) - answer[:, 0]).max() < 1e-5
    else:
        assert np.abs(1 / (1 + np.exp(-logit[:, 0])) - answer[:, 1]).max() < 1e-5
    assert np.ptp(logit) > 1e-3


@pytest.mark.parametrize(("application", "channels"), [("VGG16", 512), ("ResNet50", 2048)])
def test_well_known_networks_answer_as_keras_does(application: str, channels: int) -> None:
    model = with_trunk(application, hidden=0 if application == "ResNet50" else 32)
    graph, linear, whole = converted(model)
    inputs = pictures(model, 2)
    answer = np.asarray(model(inputs, training=False))
    (probability,) = run(whole, inputs, "answer")
    evidence, features = run(graph, inputs, "evidence", "features")
    assert np.abs(probability - answer).max() < 1e-5
    assert features.shape == (2, channels, 2, 2)
    assert evidence.shape == (2, 2, 2)
    assert linear is (application == "ResNet50")


def test_an_augmenting_stage_in_front_and_models_in_models_change_nothing() -> None:
    augment = keras.Sequential([lay.RandomFlip(), lay.RandomRotation(0.1)], name="augment")
    inner = keras.Sequential([keras.Input((31, 23, 6)), lay.Conv2D(4, 3, activation="relu"), lay.GlobalMaxPooling2D()])
    outer = keras.Sequential([keras.Input((*SIZE, 1)), augment, lay.Conv2D(6, 3, strides=2), inner, lay.Dense(1)])
    graph, _, _ = converted(trained(outer))
    inputs = pictures(outer)
    assert np.allclose(run(graph, inputs, "logit")[0], np.asarray(outer(inputs, training=False)), atol=1e-3)


def test_an_input_that_only_the_first_layer_tells_is_found() -> None:
    model = pooled()
    config = described(model)
    assert config["config"]["layers"].pop(0)["class_name"] == "InputLayer"
    config["config"].pop("build_input_shape", None)
    config["config"]["layers"][0]["config"]["batch_input_shape"] = [None, 64, 48, 1]
    clean = foreign_config.clean(config)
    assert clean.shape == (64, 48, 1)
    assert clean.model["config"]["layers"][0]["config"]["batch_shape"] == [None, 64, 48, 1]


def test_a_flatten_whose_shape_is_computed_at_run_time_is_folded() -> None:
    # As tf2onnx writes Keras' Flatten: the batch is taken from the tensor's shape.
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(5)
    arrays = {
        "kernel": generator.normal(0, 0.3, (4, 1, 5, 5)).astype(np.float32),
        "weight": generator.normal(0, 0.1, (4 * 15 * 15, 1)).astype(np.float32),
        "first": np.array([0], np.int64),
        "second": np.array([1], np.int64),
        "rest": np.array([4 * 15 * 15], np.int64),
    }
    nodes = [
        helper.make_node("Transpose", ["input"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["map"], strides=[2, 2]),
        helper.make_node("Transpose", ["map"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Relu", ["last"], ["relu"]),
        helper.make_node("Shape", ["relu"], ["shape"]),
        helper.make_node("Slice", ["shape", "first", "second"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["relu", "target"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["answer"]),
    ]
    graph = helper.make_graph(
        nodes,
        "flat",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["unk", 33, 33, 1])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["unk", 1])],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    model = onnx_rules.parsed(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8).SerializeToString()
    )
    net = onnx_tail.Net(onnx_rules.normalised(model, onnx_rules.picture(model, None)))
    end = onnx_tail.ending(net)
    made, linear = onnx_tail.finished(net, end, onnx_tail.tail(net, end.name), malignant=0)
    inputs = generator.uniform(0, 1, (3, 33, 33, 1)).astype(np.float32)
    logit, evidence, features = run(made, inputs, "logit", "evidence", "features")
    expected = features.transpose(0, 2, 3, 1).reshape(3, -1) @ arrays["weight"]
    assert linear
    assert features.min() == 0
    assert np.allclose(logit, -expected, atol=1e-5)
    assert np.allclose(evidence.sum(axis=(1, 2)), logit[:, 0], atol=1e-5)


def test_a_model_without_a_convolution_can_not_be_explained() -> None:
    model = keras.Sequential([keras.Input((*SIZE, 1)), lay.Flatten(), lay.Dense(1)])
    with pytest.raises(ModelUnsupported, match="explained"):
        converted(model)


def test_a_head_whose_gradient_is_not_known_is_refused_by_name() -> None:
    model = headed(lay.Flatten(), lay.Dense(4, activation="softmax"), lay.Dense(1))
    with pytest.raises(ModelUnsupported, match="Softmax"):
        converted(model)
