"""``mammolens models import`` and ``doctor``, and model files named where a model is expected."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from PIL import Image

from mammolens.models import golden, load_bundle, weights_file
from mammolens.models.importing import cache, proof
from mammolens.models.network import Network
from support import descriptions

Run = Callable[..., Any]
SAID = ("--arch", "efficientnet-b0", "--size", "96x64", "--scale", "1")


@pytest.fixture(autouse=True)
def _without_keras(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without Keras: its parity is tested with the importer."""
    monkeypatch.setattr(proof, "find_spec", lambda name: None)


@pytest.fixture
def file(tmp_path: Path, random_network: Callable[..., Network]) -> Path:
    """Weights alone, in the layout of Keras 3: grey, 96 × 64."""
    path = tmp_path / "My Thesis.weights.h5"
    weights_file.write(random_network(size=(96, 64)), path)
    return path


@pytest.fixture
def mammogram(tmp_path: Path) -> Path:
    path = tmp_path / "mammogram.png"
    Image.fromarray(golden.picture(2)).save(path)
    return path


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """A whole model in HDF5 as Keras 2 laid it out, which needs no option; written without Keras."""
    net = descriptions.student()
    path = tmp_path / "student.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(descriptions.described(net, 2))
        file.attrs["keras_version"] = b"2.11.0"
        weights = file.create_group("model_weights")
        held: dict[str, list[bytes]] = {child.name: [] for child in net.children}
        for tensor in descriptions.legacy(net):
            layer, _, name = tensor.path.partition("/")
            held[layer].append(name.encode())
            weights[tensor.path] = tensor.read()
        for layer, names in held.items():
            weights.require_group(layer).attrs["weight_names"] = names
        weights.attrs["layer_names"] = [name.encode() for name in held]
    return path


def test_import_tells_every_fate_the_contract_the_proof_and_what_to_do_next(run: Run, file: Path, home: Path) -> None:
    result = run("models", "import", file, *SAID)
    assert result.exit_code == 0, result.stderr
    said = result.stdout
    assert "layers/conv2d  kernel  used as stem_conv" in said
    # 49 convolutions with a normalisation, 32 without one, and the head: each has its line.
    assert sum("used as" in line for line in said.splitlines()) == 2 * 49 + 32 + 1
    lines = dict(line.split(maxsplit=1) for line in said.splitlines() if line.startswith(("proof", "name", "next")))
    assert lines["proof"].startswith("structure")
    assert "Keras is not installed" in lines["proof"]
    assert lines["name"] == "my-thesis"
    assert lines["next"] == "mammolens predict --model my-thesis PATH"
    assert "96 x 64 pixels" in said
    assert result.stderr.splitlines()[0].rstrip(" …") == "Opening the file"
    assert load_bundle("my-thesis").contract.scale == "1"


def test_import_as_json_is_one_object_with_every_tensor(run: Run, file: Path, home: Path) -> None:
    result = run("models", "import", file, *SAID, "--name", "mine", "--json")
    record = json.loads(result.stdout)
    assert (record["schema"], record["status"], record["name"]) == ("mammolens.import/1", "ok", "mine")
    assert record["architecture"] == "efficientnet-b0"
    assert record["input"] == {"height": 96, "width": 64, "channels": 1, "scale": "1", "inside": []}
    assert record["head"] == {"kind": "sigmoid", "units": 1, "malignant": 1}
    assert record["proof"]["kind"] == "structure"
    assert record["source"]["format"] == "weights-keras-3"
    assert len(record["fates"]) == 49 * 5 + 32 * 2 + 2
    assert all(fate["target"] or fate["reason"] for fate in record["fates"])


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        ((), 2, "contract-unknown"),
        (SAID[:4], 2, "contract-unknown"),
        (("--arch", "efficientnet-b1", *SAID[2:]), 3, "model-incomplete"),
        (("--arch", "resnet50", *SAID[2:]), 3, "model-unsupported"),
        ((*SAID, "--name", "default"), 2, "configuration-error"),
    ],
)
def test_import_that_fails_says_why_and_leaves_nothing(
    run: Run, file: Path, home: Path, arguments: tuple[str, ...], status: int, code: str
) -> None:
    result = run("models", "import", file, *arguments)
    assert result.exit_code == status
    assert f"error [{code}]" in result.stderr
    assert result.stdout == ""
    assert not home.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--size", "0"),
        ("--size", "96x"),
        ("--size", "1x2x3"),
        ("--scale", "256"),
        ("--classes", "a,b"),
        ("--classes", "x"),
    ],
)
def test_options_that_mean_nothing_are_wrong_usage(run: Run, file: Path, arguments: tuple[str, str]) -> None:
    result = run("models", "import", file, *arguments)
    assert result.exit_code == 2
    assert arguments[0] in result.stderr


def test_file_that_is_no_model_is_refused_and_one_that_is_missing_is_wrong_usage(
    run: Run, tmp_path: Path, home: Path
) -> None:
    (tmp_path / "x.keras").write_bytes(b"nothing")
    result = run("models", "import", tmp_path / "x.keras")
    assert (result.exit_code, "error [model-file-malformed]" in result.stderr) == (3, True)
    result = run("models", "import", tmp_path / "y.keras")
    assert (result.exit_code, "error [file-missing]" in result.stderr) == (2, True)
    assert not home.exists()


def test_name_that_is_taken_wants_replace(run: Run, file: Path) -> None:
    assert run("models", "import", file, *SAID).exit_code == 0
    result = run("models", "import", file, *SAID)
    assert (result.exit_code, "--replace" in result.stderr) == (2, True)
    assert run("models", "import", file, *SAID, "--replace").exit_code == 0


def test_imported_model_is_listed_described_and_verified(run: Run, file: Path) -> None:
    run("models", "import", file, *SAID, "--name", "mine")
    rows = {line.split()[0]: line for line in run("models", "list").stdout.splitlines()[1:]}
    assert "96x64" in rows["mine"]
    shown = run("models", "info", "mine").stdout
    assert "imported from   weights-keras-3" in shown
    assert "calibration     none" in shown
    result = run("models", "verify", "mine", "--engine", "onnxruntime")
    assert result.exit_code == 0
    assert all(line.startswith("ok ") for line in result.stdout.splitlines())


def test_doctor_says_whether_it_would_import(run: Run, file: Path, home: Path) -> None:
    result = run("models", "doctor", file)
    assert result.exit_code == 1
    assert "imports         no: The file holds weights alone" in result.stdout
    result = run("models", "doctor", file, *SAID)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].split() == ["ok", "imports", "yes"]
    assert "SUSPECT" not in result.stdout
    assert not home.exists()


def test_doctor_marks_what_is_suspect_and_answers_all_the_same(run: Run, student: Path) -> None:
    result = run("models", "doctor", student, "--scale", "1")
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("SUSPECT")]
    assert "double rescale" in line


def test_doctor_as_json(run: Run, file: Path) -> None:
    record = json.loads(run("models", "doctor", file, *SAID, "--json").stdout)
    assert (record["schema"], record["importable"], record["error"]) == ("mammolens.model-doctor/1", True, None)
    assert (record["architecture"], record["tensors"]) == ("efficientnet-b0", 49 * 5 + 32 * 2 + 2)
    assert record["size"] == file.stat().st_size
    refused = json.loads(run("models", "doctor", file, "--json").stdout)
    assert (refused["importable"], refused["error"]["code"], refused["input"]) == (False, "contract-unknown", None)


def test_predict_imports_a_model_file_once_and_says_so(
    run: Run, student: Path, mammogram: Path, home: Path, tmp_path: Path
) -> None:
    arguments = ("predict", mammogram, "--model", student, "--no-artifacts", "--json", "-", "--jobs", "1")
    first = run(*arguments)
    assert first.exit_code == 0, first.stderr
    assert "imported first, once" in first.stderr
    (kept,) = cache.folder().iterdir()
    assert not (home / "models").exists()
    before = (kept / "manifest.json").stat().st_mtime_ns
    again = run(*arguments)
    assert "imported before" in again.stderr
    assert (kept / "manifest.json").stat().st_mtime_ns == before
    answers = [json.loads(result.stdout) for result in (first, again)]
    assert answers[0]["probability"] == answers[1]["probability"]
    assert any(warning.startswith("uncalibrated") for warning in answers[0]["warnings"])
    # Under another name it is the same model, from the same place.
    copy = tmp_path / "copy.bin"
    copy.write_bytes(student.read_bytes())
    other = json.loads(run("predict", mammogram, "--model", copy, *arguments[4:]).stdout)
    assert other["model"] == answers[0]["model"]


def test_damaged_cache_is_made_anew_and_that_is_said(run: Run, student: Path, mammogram: Path) -> None:
    arguments = ("predict", mammogram, "--model", student, "--no-artifacts", "--json", "-", "--jobs", "1")
    first = json.loads(run(*arguments).stdout)
    (kept,) = cache.folder().iterdir()
    (kept / "model.onnx").write_bytes(b"changed")
    again = run(*arguments)
    assert "bundle-tampered" in again.stderr
    assert json.loads(again.stdout)["probability"] == first["probability"]


def test_predict_with_a_model_file_that_needs_options_points_to_the_import(
    run: Run, file: Path, mammogram: Path, home: Path
) -> None:
    result = run("predict", mammogram, "--model", file, "--no-artifacts")
    assert result.exit_code == 2
    assert "mammolens models import" in result.stderr
    assert not home.exists()


def test_installed_name_wins_over_a_file_of_that_name(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("models", "import", file, *SAID, "--name", "mine")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_bytes(file.read_bytes())
    assert not cache.is_model_file("mine")
    assert cache.is_model_file("./mine")
    assert cache.place_of("mine") == "mine"
    assert not cache.is_model_file("default")
