"""Each format is told by its content and read with its own names, order and values."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mammolens.errors import ModelFileError, ModelFileMalformed, ModelFileUnsafe
from mammolens.models.importing.container import open_source
from mammolens.models.importing.source import Format, Source
from mammolens.settings import Settings

h5py = pytest.importorskip("h5py")

BUNDLE = Path(__file__).parents[3] / "src" / "mammolens" / "models" / "bundles" / "mammolens-b0"
NAMES = ["conv2d", *(f"conv2d_{index}" for index in range(1, 12))]


@dataclass(frozen=True)
class Student:
    """Files of one model that Keras wrote, and the values that Keras says are in it."""

    keras: Path
    whole: Path
    weights: Path
    legacy: Path
    saved_model: Path
    layers: dict[str, list[np.ndarray]]
    order: list[np.ndarray]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Student:
    """A small nested classifier with random weights, compiled, in every format that Keras writes."""
    keras = pytest.importorskip("keras")
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    layers = keras.layers
    image = keras.Input((16, 12, 3))
    x = layers.Rescaling(1 / 255, name="rescaling")(image)
    x = layers.Normalization(name="normalization")(x)
    x = layers.Conv2D(4, 3, use_bias=False, name="stem_conv")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.DepthwiseConv2D(3, use_bias=False, name="block1a_dwconv")(x)
    x = layers.BatchNormalization(name="block1a_bn")(x)
    x = layers.Conv2D(6, 1, name="top_conv")(x)
    backbone = keras.Model(image, layers.GlobalAveragePooling2D(name="avg")(x), name="backbone")
    head = layers.Dense(1, activation="sigmoid", name="out")
    model = keras.Sequential([keras.Input((16, 12, 3)), backbone, layers.Dropout(0.4), head], name="student")
    random = np.random.default_rng(7)
    model.set_weights([random.uniform(0.1, 2, weight.shape).astype(weight.dtype) for weight in model.get_weights()])
    model.compile("adam", "binary_crossentropy")
    model.optimizer.build(model.trainable_variables)
    folder = tmp_path_factory.mktemp("student")
    model.save(folder / "m.keras")
    model.save(folder / "m.h5")
    model.save_weights(folder / "m.weights.h5")
    with h5py.File(folder / "legacy.h5", "w") as file:
        save_weights_to_hdf5_group(file, model)
    model.export(folder / "export", format="tf_saved_model", verbose=False)
    values = {layer.name: layer.get_weights() for layer in [*backbone.layers, head]}
    return Student(
        folder / "m.keras",
        folder / "m.h5",
        folder / "m.weights.h5",
        folder / "legacy.h5",
        folder / "export",
        {name: weights for name, weights in values.items() if weights},
        [np.asarray(variable) for variable in model.weights],
    )


def assert_values(source: Source, expected: dict[str, list[np.ndarray]]) -> None:
    """Each layer's tensors, in the source's order, are the expected ones."""
    found: dict[str, list[np.ndarray]] = {}
    for tensor in source.tensors:
        values = tensor.read()
        assert (values.shape, values.dtype.name) == (tensor.shape, tensor.dtype)
        found.setdefault(tensor.label, []).append(values)
    assert found.keys() == expected.keys()
    for name, arrays in expected.items():
        assert len(found[name]) == len(arrays)
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(found[name], arrays, strict=True)), name


@pytest.mark.parametrize(
    ("field", "kind", "wrong"),
    [
        ("keras", Format.KERAS, "model.h5"),
        ("whole", Format.MODEL_HDF5, "model.keras"),
        ("weights", Format.WEIGHTS_KERAS_3, "model.onnx"),
        ("legacy", Format.WEIGHTS_LEGACY, "model.weights.h5"),
        ("saved_model", Format.SAVED_MODEL, "model.keras"),
    ],
)
def test_format_is_told_by_content_not_by_name(
    student: Student, field: str, kind: Format, wrong: str, tmp_path: Path
) -> None:
    (shutil.copytree if kind is Format.SAVED_MODEL else shutil.copyfile)(getattr(student, field), tmp_path / wrong)
    assert open_source(tmp_path / wrong).format is kind


def test_onnx_is_told_by_content_and_left_to_the_second_road(tmp_path: Path) -> None:
    shutil.copyfile(BUNDLE / "model.onnx", tmp_path / "model.h5")
    source = open_source(tmp_path / "model.h5")
    assert (source.format, source.config, source.tensors) == (Format.ONNX, None, ())
    assert source.sha256 == json.loads((BUNDLE / "manifest.json").read_text())["files"]["model.onnx"]


def test_keras_3_zip_holds_what_keras_says(student: Student) -> None:
    source = open_source(student.keras)
    assert_values(source, student.layers)
    assert source.config is not None
    assert source.config["class_name"] == "Sequential"
    assert source.keras_version.startswith("3.")
    assert source.compiled
    assert (source.size, source.sha256) == (
        student.keras.stat().st_size,
        hashlib.sha256(student.keras.read_bytes()).hexdigest(),
    )
    norm = [tensor for tensor in source.tensors if tensor.label == "block1a_bn"]
    assert [tensor.layer for tensor in norm] == [("functional", "batch_normalization_1")] * 4
    assert [tensor.name for tensor in norm] == ["0", "1", "2", "3"]
    assert norm[0].path == "layers/functional/layers/batch_normalization_1/vars/0"


def test_keras_3_weights_hold_what_keras_says(student: Student) -> None:
    source = open_source(student.weights)
    assert_values(source, student.layers)
    assert (source.config, source.keras_version) == (None, "")


@pytest.mark.parametrize("field", ["whole", "legacy"])
def test_hdf5_of_the_legacy_layout_holds_what_keras_says(student: Student, field: str) -> None:
    source = open_source(getattr(student, field))
    found = {(tensor.layer, tensor.name): tensor.read() for tensor in source.tensors}
    assert len(found) == len(source.tensors) == len(student.order)
    gamma, beta, mean, variance = student.layers["stem_bn"]
    for name, values in {"gamma": gamma, "beta": beta, "moving_mean": mean, "moving_variance": variance}.items():
        assert np.array_equal(found[("backbone", "stem_bn"), name], values)
    assert np.array_equal(found[("out",), "kernel"], student.layers["out"][0])
    assert source.backend == "tensorflow"
    assert source.keras_version.startswith("3.")
    assert source.compiled is (field == "whole")
    assert (source.config is None) is (field == "legacy")


def test_saved_model_gives_the_weights_in_the_order_of_the_model(student: Student) -> None:
    source = open_source(student.saved_model)
    ours = [tensor for tensor in source.tensors if tensor.name != "seed_generator_state"]
    assert [tensor.name for tensor in ours[:5]] == ["mean", "variance", "count", "kernel", "gamma"]
    assert ours[4].layer == ("stem_bn",)
    assert len(ours) == len(student.order)
    assert all(np.array_equal(tensor.read(), values) for tensor, values in zip(ours, student.order, strict=True))
    assert source.config is None


def test_saved_model_of_keras_2_tells_its_configuration(student: Student, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(student.saved_model, folder)
    text = {"class_name": "Functional", "config": {"name": "m"}, "keras_version": "2.9.0", "backend": "tensorflow"}

    def piece(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data) & 0x7F | 0x80, len(data) >> 7]) + data

    node = piece(3, b"root") + piece(4, b"_tf_keras_network") + piece(5, json.dumps(text).encode())
    before = open_source(folder).sha256
    (folder / "keras_metadata.pb").write_bytes(piece(1, node))
    source = open_source(folder)
    assert source.config == {"class_name": "Functional", "config": {"name": "m"}}
    assert (source.keras_version, source.backend) == ("2.9.0", "tensorflow")
    assert source.sha256 != before


@pytest.mark.parametrize("cut", ["index", "data-00000-of-00001"])
def test_cut_saved_model_is_malformed(student: Student, cut: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(student.saved_model, folder)
    part = folder / "variables" / f"variables.{cut}"
    part.write_bytes(part.read_bytes()[:-40])
    with pytest.raises(ModelFileMalformed):
        open_source(folder)


def legacy_file(path: Path, change: Callable[[Any], object] = lambda file: None) -> Path:
    """Weights as Keras 2 laid them out: attributes in bytes, long lists cut in numbered pieces."""
    with h5py.File(path, "w") as file:
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.4.0"
        file.attrs["layer_names0"] = np.array([b"z_conv", b"relu"])
        file.attrs["layer_names1"] = np.array([b"a_bn"])
        file.create_group("relu").attrs["weight_names"] = np.asarray([])
        for layer, names in {"z_conv": ["kernel:0", "bias:0"], "a_bn": ["gamma:0", "beta:0"]}.items():
            group = file.create_group(layer)
            group.attrs["weight_names0"] = np.array([f"{layer}_1/{names[0]}".encode()])
            group.attrs["weight_names1"] = np.array([f"{layer}_1/{names[1]}".encode()])
            for index, name in enumerate(names):
                group[f"{layer}_1/{name}"] = np.full((2,), index, np.float32)
        change(file)
    return path


def test_legacy_weights_stand_in_the_order_of_their_lists(tmp_path: Path) -> None:
    source = open_source(legacy_file(tmp_path / "w.h5"))
    assert (source.format, source.keras_version, source.backend) == (Format.WEIGHTS_LEGACY, "2.4.0", "tensorflow")
    assert [(tensor.layer, tensor.name, tensor.read()[0]) for tensor in source.tensors] == [
        (("z_conv",), "kernel", 0),
        (("z_conv",), "bias", 1),
        (("a_bn",), "gamma", 0),
        (("a_bn",), "beta", 1),
    ]
    assert source.tensors[0].path == "z_conv/z_conv_1/kernel:0"


def test_tensor_that_no_list_names_is_not_hidden(tmp_path: Path) -> None:
    source = open_source(legacy_file(tmp_path / "w.h5", lambda file: file.update({"a_bn/extra:0": np.ones(3)})))
    assert source.tensors[-1].path == "a_bn/extra:0"
    assert len(source.tensors) == 5


def test_weight_names_of_keras_1_are_kept(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = [b"dense_1"]
        group = file.create_group("dense_1")
        group.attrs["weight_names"] = [b"dense_1_W", b"dense_1_b"]
        group["dense_1_W"], group["dense_1_b"] = np.ones((2, 1)), np.zeros(1)
    tensors = open_source(tmp_path / "w.h5").tensors
    assert [(tensor.layer, tensor.name) for tensor in tensors] == [
        (("dense_1",), "dense_1_W"),
        (("dense_1",), "dense_1_b"),
    ]


@pytest.mark.parametrize("container", ["layers", "_layer_checkpoint_dependencies"])
def test_counted_names_stand_in_the_order_of_their_counts(container: str, tmp_path: Path) -> None:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for index, name in enumerate(reversed(NAMES)):
            file[f"{container}/functional/{container}/{name}/vars/0"] = np.float32([len(NAMES) - 1 - index])
        file["optimizer/vars/0"] = np.ones(3)
        file["metrics/mean/vars/0"] = np.float32(1)
    with zipfile.ZipFile(tmp_path / "m", "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "2.13.1"}')
        archive.writestr("config.json", '{"class_name": "Functional", "config": {}}')
        archive.writestr("model.weights.h5", content.getvalue())
    source = open_source(tmp_path / "m")
    assert [tensor.layer for tensor in source.tensors] == [("functional", name) for name in NAMES]
    assert [tensor.read().item() for tensor in source.tensors] == list(range(12))
    assert (source.keras_version, source.compiled) == ("2.13.1", True)


def test_element_types_are_read_to_the_value(tmp_path: Path) -> None:
    values = np.float32([1.5, -2, 0.25])
    with h5py.File(tmp_path / "w", "w") as file:
        group = file.create_group("layers/dense/vars")
        group["0"] = values.astype(">f4")
        group["1"] = values.astype("f2")
        # bfloat16 as Keras stores it: opaque pairs of bytes, and a word that says so
        group["2"] = (values.view("u4") >> 16).astype("u2").view("V2")
        group["2"].attrs["dtype"] = "bfloat16"
        group.create_dataset("3", data=values, chunks=(2,), compression="gzip", shuffle=True)
        group.create_dataset("4", data=values, chunks=(2,), compression="lzf")
        group["5"] = np.bool_([True, False, True])
        group["6"] = np.int64(3)
    tensors = open_source(tmp_path / "w").tensors
    assert [tensor.dtype for tensor in tensors] == [
        "float32",
        "float16",
        "float32",
        "float32",
        "float32",
        "bool",
        "int64",
    ]
    assert all(np.array_equal(tensor.read(), values) for tensor in tensors[:5])
    assert tensors[5].read().tolist() == [True, False, True]
    assert (tensors[6].shape, tensors[6].read().item()) == ((), 3)


def test_trusted_files_are_opened_without_a_process_and_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = legacy_file(tmp_path / "w.h5")
    apart = open_source(path)
    monkeypatch.setattr("mammolens.models.importing.bounded.settings", lambda: Settings(decode_in_process=True))
    monkeypatch.setattr("subprocess.Popen", None)
    here = open_source(path)
    assert here == apart
    assert [tensor.read().tolist() for tensor in here.tensors] == [tensor.read().tolist() for tensor in apart.tensors]


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("import time; time.sleep(60)", ModelFileUnsafe),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", ModelFileUnsafe),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", ModelFileMalformed),
        ("", ModelFileMalformed),
        ("import os; os.write(1, b'x' * 100)", ModelFileMalformed),
        ("import os; os.write(1, (2).to_bytes(8, 'little') + b'{}')", ModelFileMalformed),
        ("import os; os.write(1, (2).to_bytes(8, 'little') + b'[]')", ModelFileMalformed),
    ],
    ids=["sleeps", "computes", "crashes", "leaves", "babbles", "says nothing", "says something else"],
)
def test_every_end_of_the_process_is_one_typed_error(
    program: str, error: type[ModelFileError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_worker.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path) + os.pathsep + os.environ.get("PYTHONPATH", ""))
    monkeypatch.setattr("mammolens.models.importing.bounded._MODULE", "evil_worker")
    seconds = 1.0 if "sleep" in program else 60.0
    monkeypatch.setattr("mammolens.models.importing.bounded.settings", lambda: Settings(decode_seconds=seconds))
    with pytest.raises(error) as caught:
        open_source(legacy_file(tmp_path / "w.h5"))
    assert type(caught.value) is error
