"""Code and roads to code in a model's configuration; lists and texts that do not hold."""

from __future__ import annotations

import base64
import marshal
import zipfile
from pathlib import Path

import pytest

from mammolens.errors import ModelFileMalformed, ModelFileUnsafe, ModelIncomplete
from mammolens.models.importing.container import open_source
from mammolens.models.importing.payloads import hostile_config

h5py = pytest.importorskip("h5py")
from support.hostile import Refused, members, table, whole_model  # noqa: E402

CANARY = "canary"
HOSTILE, hostile = table()


def keras_model(folder: Path, config: object) -> Path:
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members(config).items():
            archive.writestr(name, data)
    return path


def model(layers: list[object]) -> dict[str, object]:
    return {"class_name": "Sequential", "module": "keras", "config": {"name": "m", "layers": layers}}


def layer(class_name: str, module: str | None = "keras.layers", **config: object) -> dict[str, object]:
    return {"class_name": class_name, "module": module, "config": {"name": "x", **config}}


def code(folder: Path) -> str:
    """What Keras stores of a lambda that leaves a canary."""
    return base64.b64encode(
        marshal.dumps(compile(f"__import__('pathlib').Path({str(folder / CANARY)!r}).touch()", "x", "eval"))
    ).decode()


@hostile(ModelIncomplete)
def listed_tensor_missing(folder: Path) -> Path:
    path = whole_model(folder, model([]))
    with h5py.File(path, "a") as file:
        del file["model_weights/out/out/kernel:0"]
    return path


@hostile(ModelFileUnsafe)
def bottomless_configuration(folder: Path) -> Path:
    return whole_model(folder, '{"config": ' + "[" * 5000 + "]" * 5000 + "}")


@hostile(ModelFileUnsafe)
def deep_configuration(folder: Path) -> Path:
    return whole_model(folder, '{"config": ' + "[" * 150 + "]" * 150 + "}")


@hostile(ModelFileMalformed)
def configuration_that_is_no_json(folder: Path) -> Path:
    return whole_model(folder, "{'class_name': 'Sequential'}")


@hostile(ModelFileUnsafe)
def lambda_of_keras_2(folder: Path) -> Path:
    config = {"name": "l", "function": [code(folder), None, None], "function_type": "lambda", "module": "__main__"}
    return whole_model(
        folder, {"class_name": "Model", "config": {"layers": [{"class_name": "Lambda", "config": config}]}}
    )


@hostile(ModelFileUnsafe)
def lambda_of_keras_3(folder: Path) -> Path:
    function = {"class_name": "__lambda__", "config": {"value": {"code": code(folder)}}}
    return keras_model(folder, model([layer("Lambda", function=function)]))


@hostile(ModelFileUnsafe)
def lambda_as_an_activation(folder: Path) -> Path:
    function = {"class_name": "__lambda__", "config": {"value": {"code": code(folder)}}}
    return keras_model(folder, model([layer("Dense", activation=function)]))


@hostile(ModelFileUnsafe)
def marshalled_code_in_a_custom_layer(folder: Path) -> Path:
    return keras_model(folder, model([layer("Jitter", None, program=code(folder))]))


@hostile(ModelFileUnsafe)
def system_call(folder: Path) -> Path:
    function = {"class_name": "function", "module": "os", "config": "system", "registered_name": "system"}
    return keras_model(folder, model([layer("Dense", activation=function, name=f"touch {folder / CANARY}")]))


@hostile(ModelFileUnsafe)
def class_of_the_standard_library(folder: Path) -> Path:
    return keras_model(folder, model([layer("Popen", "subprocess", args=["touch", str(folder / CANARY)])]))


@hostile(ModelFileUnsafe)
def keras_function_that_fetches(folder: Path) -> Path:
    return keras_model(folder, model([layer("get_file", "keras.utils", origin="file:" + "//" + "/etc/passwd")]))


@hostile(ModelFileUnsafe)
def keras_function_that_switches_safety_off(folder: Path) -> Path:
    function = {"class_name": "function", "module": "keras.config", "config": "enable_unsafe_deserialization"}
    return keras_model(folder, model([layer("Dense", activation=function)]))


@hostile(ModelFileUnsafe)
def keras_class_under_a_foreign_name(folder: Path) -> Path:
    return keras_model(folder, model([{**layer("Dense"), "registered_name": "evil>Dense2"}]))


@hostile(ModelFileUnsafe)
def layer_that_loads_a_saved_model(folder: Path) -> Path:
    return keras_model(folder, model([layer("TFSMLayer", filepath=str(folder))]))


@hostile(ModelFileUnsafe)
def layer_that_reads_a_file(folder: Path) -> Path:
    return keras_model(folder, model([layer("StringLookup", vocabulary="/etc/passwd")]))


@hostile(ModelFileUnsafe)
def tensorflow_function_that_writes(folder: Path) -> Path:
    config = {"name": "op", "function": "io.write_file"}
    return whole_model(
        folder, {"class_name": "Functional", "config": {"layers": [{"class_name": "TFOpLambda", "config": config}]}}
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_configuration_is_refused_soon_and_runs_nothing(name: str, tmp_path: Path, refused: Refused) -> None:
    error, build = HOSTILE[name]
    assert refused(build(tmp_path), error)


def test_canary_would_have_been_left_had_the_code_run(tmp_path: Path) -> None:
    exec(marshal.loads(base64.b64decode(code(tmp_path))))  # noqa: S102, S302 - what Keras does with a Lambda in unsafe mode
    assert (tmp_path / CANARY).exists()


def test_missing_tensor_is_named(tmp_path: Path, refused: Refused) -> None:
    message = refused(listed_tensor_missing(tmp_path), ModelIncomplete)
    assert "'model_weights/out/out/kernel:0'" in message


def test_module_beside_the_file_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_layers.py").write_text(f"open({str(tmp_path / CANARY)!r}, 'w')\nclass Jitter: pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    custom = {**layer("Jitter", "evil_layers"), "registered_name": "Jitter"}
    source = open_source(keras_model(tmp_path, model([custom])))
    assert source.config is not None
    assert source.config["config"]["layers"] == [custom]
    assert not (tmp_path / CANARY).exists()
    with pytest.raises(ModelFileUnsafe, match="'Jitter'"):
        hostile_config(source.config, strict=True)


@pytest.mark.parametrize(
    "extra",
    [
        {"compile_config": {"loss": {"module": "builtins", "class_name": "function", "config": "focal_loss"}}},
        {"build_config": {"input_shape": [None, 64, 48, 3]}},
        {"module": "keras.src.models.functional", "class_name": "Functional", "registered_name": "Functional"},
        {"module": "keras.src.engine.sequential", "registered_name": "Sequential"},
    ],
)
def test_what_keras_itself_writes_is_no_payload(extra: dict[str, object]) -> None:
    layers = [
        layer("Rescaling"),
        layer("DepthwiseConv2D", depthwise_initializer={"class_name": "Zeros", "module": "keras.initializers"}),
        layer("Dense", activation={"module": "keras.activations", "class_name": "function", "config": "swish"}),
        {"class_name": "TFOpLambda", "config": {"name": "op", "function": "math.truediv"}},
        {"class_name": "Custom>Jitter", "config": {"name": "jitter"}},
    ]
    assert hostile_config(model(layers) | extra) is None
