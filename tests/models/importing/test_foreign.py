"""The second road end to end: a file, the bounded process, a graph that answers as Keras does."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
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
from mammolens.models import session
from mammolens.models.importing import foreign, foreign_config
from mammolens.models.importing.container import open_source
from mammolens.models.importing.source import Asked
from mammolens.models.network import InputContract

h5py = pytest.importorskip("h5py")
keras = pytest.importorskip("keras")
onnx = pytest.importorskip("onnx")
lay = keras.layers

from support import foreign_models as models  # noqa: E402


def convert(path: Path, **asked: Any) -> foreign.Foreign:
    return foreign.convert(path, open_source(path), Asked(**asked), foreign.Bounds(seconds=900))


def saved(model: Any, path: Path) -> Path:
    model.save(path)
    return path


def probabilities(made: foreign.Foreign, inputs: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-session.scores(made.graph, inputs)[0]))


def edited(path: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a .keras file with another description."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as made:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            made.writestr(name, content)
    return target


@pytest.mark.filterwarnings("ignore:.*HDF5.*")
def test_a_sequential_network_imports_from_keras_and_h5_alike(tmp_path: Path) -> None:
    model = models.pooled()
    first = convert(saved(model, tmp_path / "model.keras"))
    second = convert(saved(model, tmp_path / "model.h5"))
    inputs = np.random.default_rng(1).uniform(0, 255, (3, 64, 48, 1)).astype(np.float32)
    expected = np.asarray(model(inputs, training=False))[:, 0]
    for made in (first, second):
        assert made.contract == InputContract(64, 48, 1, "255")
        assert made.explanation == "linear"
        assert made.architecture == "foreign:cnn"
        assert made.parity <= 1e-3
        assert np.abs(probabilities(made, inputs) - expected).max() < 1e-5
    assert first.graph == second.graph


def test_flatten_and_softmax_import_with_classes_and_a_gradient(tmp_path: Path) -> None:
    model = models.flattened()
    path = saved(model, tmp_path / "model.keras")
    made = convert(path, classes=("malignant", "benign"))
    inputs = np.random.default_rng(1).uniform(0, 1, (3, 64, 48, 3)).astype(np.float32)
    assert made.contract == InputContract(64, 48, 3, "1")
    assert made.explanation == "gradient"
    assert made.head.malignant == 0
    assert np.abs(probabilities(made, inputs) - np.asarray(model(inputs))[:, 0]).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("application", "side"), [("ResNet50", 224), ("VGG16", 224), ("DenseNet121", 96), ("MobileNetV2", 96)]
)
def test_well_known_networks_import(application: str, side: int, tmp_path: Path) -> None:
    hidden = 64 if application == "VGG16" else 0
    model = models.with_trunk(application, (side, side), hidden)
    made = convert(saved(model, tmp_path / "model.keras"), scale="imagenet-bgr")
    assert made.architecture == f"foreign:{application.lower()}"
    assert made.contract.scale == "imagenet-bgr"
    assert made.explanation == ("gradient" if hidden else "linear")
    assert made.parity <= 1e-3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("functional resnet50", "resnet50"),
        ("model mobilenetv2_1.00_96", "mobilenetv2"),
        ("inception_v3", "inceptionv3"),
        ("my_model_7", "cnn"),
    ],
)
def test_a_network_is_called_by_its_well_known_name(name: str, expected: str) -> None:
    assert foreign._architecture(name) == expected


def test_a_functional_head_at_the_end_is_found(tmp_path: Path) -> None:
    top_in = keras.Input((6,))
    top = keras.Model(top_in, lay.Dense(1, activation="sigmoid")(lay.Dense(4, activation="tanh")(top_in)))
    inputs = keras.Input((64, 48, 1))
    x = lay.Conv2D(6, 3, strides=2)(lay.Rescaling(1 / 255)(inputs))
    model = models.trained(keras.Model(inputs, top(lay.GlobalMaxPooling2D()(x))))
    made = convert(saved(model, tmp_path / "model.keras"))
    pictures = np.random.default_rng(1).uniform(0, 255, (3, 64, 48, 1)).astype(np.float32)
    assert np.abs(probabilities(made, pictures) - np.asarray(model(pictures))[:, 0]).max() < 1e-5


def test_scale_is_asked_for_where_no_layer_tells_it(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((64, 48, 3)), lay.Conv2D(4, 3), lay.GlobalMaxPooling2D(), lay.Dense(1)])
    path = saved(model, tmp_path / "model.keras")
    with pytest.raises(ContractUnknown, match="--scale"):
        convert(path)


def lambda_layer(config: dict[str, Any]) -> None:
    entry = config["config"]["layers"][2]
    entry["class_name"] = "Lambda"


def foreign_module(config: dict[str, Any]) -> None:
    config["config"]["layers"][2] |= {"module": "os", "class_name": "system", "config": {"command": "touch canary"}}


def foreign_function(config: dict[str, Any]) -> None:
    config["config"]["layers"][3]["config"]["activation"] = {
        "module": "builtins",
        "class_name": "function",
        "config": "eval",
        "registered_name": "function",
    }


def own_layer(config: dict[str, Any]) -> None:
    config["config"]["layers"][3] |= {
        "module": "training_script",
        "class_name": "Fancy",
        "registered_name": "mine>Fancy",
    }


def unknown_setting(config: dict[str, Any]) -> None:
    config["config"]["layers"][3]["config"]["speed"] = 3


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda_layer, ModelFileUnsafe),
        (foreign_module, ModelFileUnsafe),
        (foreign_function, ModelFileError),
        (own_layer, ModelUnsupported),
        (unknown_setting, ModelUnsupported),
    ],
)
def test_what_asks_for_code_is_refused_before_a_process_starts(
    change: Callable[[dict[str, Any]], None],
    error: type[ModelFileError],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = edited(saved(models.pooled(), tmp_path / "good.keras"), tmp_path / "bad.keras", change)
    with pytest.raises(error):
        foreign_config.clean(json.loads(zipfile.ZipFile(path).read("config.json")))
    with pytest.raises(error):
        convert(path)
    assert not (tmp_path / "canary").exists()


def test_an_augmenting_layer_of_the_training_script_is_taken_for_idle_and_named(tmp_path: Path) -> None:
    def jitter(config: dict[str, Any]) -> None:
        config["config"]["layers"][1] |= {
            "module": None,
            "class_name": "BrightnessJitter",
            "registered_name": "script>BrightnessJitter",
        }

    path = edited(saved(models.pooled(), tmp_path / "good.keras"), tmp_path / "jitter.keras", jitter)
    clean = foreign_config.clean(json.loads(zipfile.ZipFile(path).read("config.json")))
    assert clean.model["config"]["layers"][1]["class_name"] == "Identity"
    assert any("random_flip" in each for each in clean.assumptions)


def test_a_layer_with_tensors_that_nothing_takes_is_refused(tmp_path: Path) -> None:
    def hide(config: dict[str, Any]) -> None:
        config["config"]["layers"][4] |= {
            "module": None,
            "class_name": "DropBlock",
            "registered_name": "script>DropBlock",
        }

    path = edited(saved(models.pooled(), tmp_path / "good.keras"), tmp_path / "hidden.keras", hide)
    with pytest.raises(ModelIncomplete, match="numbers"):
        convert(path)


def test_a_model_that_computes_for_ever_is_killed(tmp_path: Path) -> None:
    model = keras.Sequential(
        [keras.Input((32, 32, 1)), lay.Rescaling(1 / 255), *(lay.Conv2D(4, 3, padding="same") for _ in range(3))]
    )
    model.add(lay.GlobalAveragePooling2D())
    model.add(lay.Dense(1))
    path = saved(model, tmp_path / "model.keras")
    with pytest.raises(ModelFileUnsafe, match="longer"):
        foreign.convert(path, open_source(path), Asked(), foreign.Bounds(seconds=1))


def test_a_model_that_asks_for_too_much_memory_is_refused(tmp_path: Path) -> None:
    def huge(config: dict[str, Any]) -> None:
        layers = config["config"]["layers"]
        layers[-1]["config"] |= {"units": 1 << 20, "activation": "relu"}
        layers.append(json.loads(json.dumps(layers[-1])))
        layers[-1]["config"]["name"] = "dense_again"

    path = edited(saved(models.pooled(), tmp_path / "good.keras"), tmp_path / "huge.keras", huge)
    with pytest.raises(ModelFileUnsafe, match="memory"):
        convert(path)


@pytest.mark.filterwarnings("ignore")
def test_what_keras_2_wrote_imports_and_answers_as_keras_2_does(tmp_path: Path) -> None:
    old = pytest.importorskip("tf_keras")
    oll = old.layers
    trunk_in = old.Input((64, 48, 3))
    x = oll.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(trunk_in)
    x = oll.BatchNormalization(axis=3)(x)
    x = oll.LeakyReLU(alpha=0.2)(x)
    x = oll.DepthwiseConv2D(3, padding="same")(x)
    x = oll.SeparableConv2D(12, 3, activation="swish")(oll.SpatialDropout2D(0.1)(x))
    trunk = old.Model(trunk_in, x, name="trunk")
    trunk.trainable = False
    inputs = old.Input((64, 48, 3))
    x = trunk(inputs / 127.5 - 1.0, training=False)
    x = oll.Dense(6, activation="relu")(oll.GlobalAveragePooling2D()(x))
    model = models.trained(old.Model(inputs, oll.Dense(1, activation="sigmoid")(x)))
    path = tmp_path / "old.h5"
    model.save(path)
    made = convert(path)
    pictures = np.random.default_rng(1).uniform(0, 255, (3, 64, 48, 3)).astype(np.float32)
    assert made.contract == InputContract(64, 48, 3, "255")
    assert made.explanation == "gradient"
    assert np.abs(probabilities(made, pictures) - np.asarray(model(pictures))[:, 0]).max() < 1e-5


PROBE = """
import os, socket, subprocess, _socket
from mammolens.models.importing import confinement
print(confinement.leave_network())
for attempt in (_socket.socket, socket.socket, lambda: subprocess.run(["true"]), lambda: os.kill(os.getppid(), 0)):
    try:
        attempt()
        print("allowed")
    except OSError:
        print("refused")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's filter is Linux's")
def test_a_confined_process_makes_no_socket_and_starts_no_program() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["kernel", "refused", "refused", "refused", "refused"]
    with socket.socket() as free:
        assert free.fileno() > 0


def exported(path: Path, planar: bool = True, batch: Any = "N", op: str = "Relu", sides: Any = (40, 32)) -> Path:
    """An ONNX classifier as PyTorch exports it: convolution, pooling, Flatten, Gemm, two logits and a softmax."""
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(3)
    kernel = generator.normal(0, 0.3, (6, 3, 3, 3)).astype(np.float32)
    weight, bias = generator.normal(0, 1, (2, 6)).astype(np.float32), generator.normal(0, 1, 2).astype(np.float32)
    constants = [("kernel", kernel), ("weight", weight), ("bias", bias), ("shape", np.array([1, 6], np.int64))]
    shape = [batch, 3, *sides] if planar else [batch, *sides, 3]
    nodes = [] if planar else [helper.make_node("Transpose", ["input"], ["planes"], perm=[0, 3, 1, 2])]
    nodes += [
        helper.make_node("Conv", ["input" if planar else "planes", "kernel"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node(op, ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Reshape", ["p", "shape"], ["f"])
        if batch == 1
        else helper.make_node("Flatten", ["p"], ["f"], axis=1),
        helper.make_node("Gemm", ["f", "weight", "bias"], ["logit"], transB=1),
        helper.make_node("Softmax", ["logit"], ["output"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "torch",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, 2])],
        [numpy_helper.from_array(value, name) for name, value in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(("planar", "batch"), [(True, "N"), (False, "N"), (True, 1)])
def test_an_onnx_file_imports_and_answers_as_it_did(planar: bool, batch: Any, tmp_path: Path) -> None:
    path = exported(tmp_path / "model.onnx", planar, batch)
    made = convert(path, scale="imagenet", classes=("benign", "malignant"))
    inputs = np.random.default_rng(1).normal(0, 1, (2, 40, 32, 3)).astype(np.float32)
    source = session.open_session(path.read_bytes())
    fed = inputs.transpose(0, 3, 1, 2) if planar else inputs
    expected = np.concatenate([source.run(None, {"input": np.ascontiguousarray(each[None])})[0] for each in fed])
    assert made.contract == InputContract(40, 32, 3, "imagenet")
    assert (made.architecture, made.explanation) == ("foreign:onnx", "linear")
    assert np.abs(probabilities(made, inputs) - expected[:, 1]).max() < 1e-6
    logits, evidence = session.scores(made.graph, inputs)
    weight, bias = (onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[place]) for place in (1, 2))
    assert evidence.shape == (2, 20, 16)
    assert np.allclose(evidence.sum(axis=(1, 2)) + bias[1] - bias[0], logits, atol=1e-5)
    assert weight.shape == (2, 6)


def test_an_open_size_is_asked_for(tmp_path: Path) -> None:
    path = exported(tmp_path / "model.onnx", sides=("H", "W"))
    with pytest.raises(ContractUnknown, match="--size"):
        convert(path, scale="1", classes=("benign", "malignant"))
    assert convert(path, scale="1", classes=("benign", "malignant"), size=(48, 40)).contract.height == 48


def test_two_outputs_without_classes_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ContractUnknown, match="--classes"):
        convert(exported(tmp_path / "model.onnx"), scale="1")


def test_an_operator_outside_the_list_is_refused_by_name(tmp_path: Path) -> None:
    path = exported(tmp_path / "model.onnx", op="Relu")
    model = onnx.load(path)
    model.graph.node[1].op_type = "RandomNormalLike"
    onnx.save(model, path)
    with pytest.raises(ModelUnsupported, match="RandomNormalLike"):
        convert(path, scale="1", classes=("benign", "malignant"))


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    path = exported(tmp_path / "model.onnx")
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(ModelFileUnsafe):
        convert(path, scale="1", classes=("benign", "malignant"))


def test_a_file_that_changes_in_between_is_refused(tmp_path: Path) -> None:
    path = exported(tmp_path / "model.onnx")
    source = open_source(path)
    exported(path, sides=(44, 44))
    with pytest.raises(ModelFileUnsafe, match="changed"):
        foreign.convert(path, source, Asked(scale="1", classes=("benign", "malignant")))


def test_an_answer_that_does_not_hold_is_refused() -> None:
    with pytest.raises(ModelFileMalformed):
        foreign._facts(
            {"kind": "sigmoid", "units": 1, "shape": [64, 64, 7], "network": "kernel", "factor": 1.0, "offset": 0.0}
        )
    with pytest.raises(ModelFileMalformed):
        foreign._results({"outputs": 8}, b"12345678", 1, 1)
    with pytest.raises(ModelFileMalformed):
        foreign._check_graph(b"no graph", InputContract(64, 64, 1, "255"))
