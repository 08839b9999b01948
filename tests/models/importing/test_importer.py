"""Importing: the model of textbooks, in every format, whole, proven and explained; or nothing at all."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mammolens.errors import (
    ConfigurationError,
    ContractUnknown,
    MammolensError,
    ModelFileMalformed,
    ModelIncomplete,
    OutputError,
    ParityFailed,
)
from mammolens.inference import Predictor
from mammolens.models import golden, load_bundle
from mammolens.models.contract import to_input
from mammolens.models.importing import importer, naming, proof
from mammolens.models.importing.importer import STEPS, import_model
from mammolens.models.importing.source import Asked
from mammolens.types import Mammogram

SIZE = (96, 64)
SAID = Asked("efficientnet-b0", SIZE)
"""What files of weights alone have to be told."""


@pytest.fixture
def without_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Keras were not installed, which also spares a test its start."""
    monkeypatch.setattr(proof, "find_spec", lambda name: None)


def asked(layout: str) -> Asked | None:
    return SAID if layout in ("weights", "legacy") else None


def files_under(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def spoil(path: Path, folder: Path, change: Callable[[h5py.Group], None]) -> Path:
    """Copy an HDF5 file and change the copy's tensors."""
    copy = Path(shutil.copy(path, folder / "spoiled.h5"))
    with h5py.File(copy, "r+") as file:
        change(file.get("model_weights", file))
    return copy


@pytest.mark.parametrize(
    "layout",
    # Each starts a Keras of its own for the proof. Whole and weights alone are proven every time; that the older
    # two layouts answer alike, test_matrix shows as well.
    ["keras", "weights", *(pytest.param(older, marks=pytest.mark.slow) for older in ("h5", "legacy"))],
)
def test_student_model_imports_with_parity_to_what_keras_answers(
    layout: str, student_files: dict[str, Path], student_logits: np.ndarray, home: Path
) -> None:
    steps: list[str] = []
    made = import_model(student_files[layout], asked(layout), name="mine", progress=steps.append)
    assert tuple(steps) == STEPS
    assert made.path == home / "models" / "mine"
    assert made.proof.kind == "parity"
    assert made.proof.difference is not None
    assert made.proof.difference <= 1e-3
    assert made.warnings == ()
    bundle = load_bundle("mine")
    source = bundle.manifest.source
    assert source is not None
    assert (source.proof, source.parity, source.foreign) == ("parity", made.proof.difference, False)
    # Weights alone do not say who wrote them.
    assert source.keras_version.startswith("3.") == (layout != "weights")
    assert bundle.manifest.calibration is None
    assert bundle.contract == dataclasses.replace(bundle.contract, height=96, width=64, channels=3, scale="255")
    inputs = to_input(golden.variations(SIZE), bundle.contract)
    # Keras answered in this test's own process, from the model that was never saved.
    assert np.abs(bundle.logit(inputs) - student_logits).max() <= 1e-3
    assert np.ptp(student_logits) > 1


def test_every_tensor_and_every_idle_layer_has_its_fate(
    student_files: dict[str, Path], home: Path, without_keras: None
) -> None:
    made = import_model(student_files["h5"])
    told = {fate.source for fate in made.fates}
    assert {tensor.path for tensor in made.source.tensors} <= told
    assert all(bool(fate.target) != bool(fate.reason) for fate in made.fates)
    assert any("jitter" in fate.source and "assumed" in fate.reason for fate in made.fates)
    assert len({fate.target for fate in made.fates if fate.target.startswith("stem_bn ")}) == 4


def test_imported_model_is_explained_and_its_map_is_not_empty(
    student_files: dict[str, Path], home: Path, without_keras: None
) -> None:
    import_model(student_files["keras"], name="mine")
    pixels = golden.picture(2)
    answer = Predictor.from_bundle("mine").predict(Mammogram(pixels=pixels, rows=600, columns=480))
    assert 0 < answer.probability < 1
    assert answer.heatmap.max() > 0.05
    assert "uncalibrated" in {notice.code for notice in answer.notices}


def test_keras_engine_gives_the_same_probability(
    student_files: dict[str, Path], home: Path, without_keras: None
) -> None:
    import_model(student_files["legacy"], SAID, name="mine")
    predictors = [Predictor.from_bundle("mine", engine=engine) for engine in ("onnxruntime", "keras")]
    for seed in (1, 2):
        seen = Mammogram(pixels=golden.picture(seed), rows=600, columns=480)
        one, other = (predictor.predict(seen) for predictor in predictors)
        assert abs(one.probability - other.probability) <= 1e-4
        assert np.abs(one.heatmap - other.heatmap).max() <= 1e-3


def test_without_keras_the_proof_is_structural_and_says_so(
    student_files: dict[str, Path], home: Path, without_keras: None
) -> None:
    made = import_model(student_files["keras"])
    assert (made.name, made.proof.kind, made.proof.difference) == ("student", "structure", None)
    assert "not installed" in made.proof.reason
    manifest = load_bundle("student").manifest
    assert manifest.source is not None
    assert (manifest.source.proof, manifest.source.parity) == ("structure", None)
    assert any("not installed" in text for text in manifest.source.assumptions)
    assert "not be run" in (made.path / "MODEL_CARD.md").read_text().replace("\n", " ")


def test_classes_the_other_way_round_turn_the_sign(
    student_files: dict[str, Path], home: Path, without_keras: None
) -> None:
    import_model(student_files["keras"], name="usual")
    import_model(student_files["keras"], Asked(classes=("malignant", "benign")), name="turned")
    inputs = to_input(golden.variations(SIZE)[:3], load_bundle("usual").contract)
    assert load_bundle("turned").logit(inputs) == pytest.approx(-load_bundle("usual").logit(inputs), abs=1e-4)


def test_bundle_that_answers_otherwise_than_its_source_is_refused_and_nothing_is_left(
    student_files: dict[str, Path], home: Path, without_keras: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = import_model(student_files["h5"])
    inputs = proof.inputs_of(made.plan.contract)
    right = proof.answers((made.path / "model.onnx").read_bytes(), inputs)
    shutil.rmtree(home)
    assemble = importer.assemble

    def wrong(*arguments: object) -> object:
        network, fates = assemble(*arguments)  # type: ignore[arg-type]
        return dataclasses.replace(network, bias=network.bias + 0.01), fates

    monkeypatch.setattr(importer, "assemble", wrong)
    # What Keras answers, without starting it once more.
    monkeypatch.setattr(proof, "_ask", lambda folder, count: right)
    monkeypatch.setattr(proof, "find_spec", lambda name: object())
    with pytest.raises(ParityFailed, match=r"0\.01;"):
        import_model(student_files["h5"])
    assert files_under(home) == []


def _missing(group: h5py.Group) -> None:
    layer = group["efficientnetb0"]
    names = [name for name in layer.attrs["weight_names"] if b"block3a_bn/gamma" not in np.bytes_(name)]
    layer.attrs["weight_names"] = names
    place = next(path for path in _datasets(layer) if path.endswith("block3a_bn/gamma"))
    del layer[place]


def _not_a_number(group: h5py.Group) -> None:
    layer = group["efficientnetb0"]
    place = next(path for path in _datasets(layer) if path.endswith("block3a_bn/gamma"))
    layer[place][0] = np.nan


def _datasets(group: h5py.Group) -> list[str]:
    found: list[str] = []
    group.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


@pytest.mark.parametrize(
    ("change", "error"),
    [(_missing, ModelIncomplete), (_not_a_number, ModelFileMalformed)],
    ids=["missing", "not a number"],
)
def test_spoiled_file_is_refused_with_the_tensor_named_and_leaves_nothing(
    change: Callable[[h5py.Group], None],
    error: type[MammolensError],
    student_files: dict[str, Path],
    home: Path,
    tmp_path: Path,
) -> None:
    path = spoil(student_files["h5"], tmp_path, change)
    with pytest.raises(error, match="block3a_bn"):
        import_model(path)
    assert files_under(home) == []


def test_weights_alone_ask_for_what_they_cannot_tell(student_files: dict[str, Path], home: Path) -> None:
    with pytest.raises(ContractUnknown, match="--arch"):
        import_model(student_files["legacy"])
    assert files_under(home) == []


def test_failure_to_write_leaves_nothing(
    student_files: dict[str, Path], home: Path, without_keras: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mammolens.models.weights_file.write", full)
    with pytest.raises(OutputError):
        import_model(student_files["h5"])
    assert [path for path in files_under(home) if path.is_file()] == []
    assert not (home / "models" / "student").exists()


def test_name_that_is_taken_is_refused_before_any_work_and_replaced_if_asked(
    student_files: dict[str, Path], home: Path, without_keras: None
) -> None:
    first = import_model(student_files["h5"], name="mine")
    before = json.loads((first.path / "manifest.json").read_text())
    steps: list[str] = []
    with pytest.raises(OutputError, match="--replace"):
        import_model(student_files["keras"], name="mine", progress=steps.append)
    assert steps == []
    assert json.loads((first.path / "manifest.json").read_text()) == before
    import_model(student_files["keras"], name="mine", replace=True)
    assert load_bundle("mine").manifest.source.format == "keras"  # type: ignore[union-attr]
    assert [path.name for path in (home / "models").iterdir()] == ["mine"]


def test_failed_replacement_keeps_what_was_there(
    student_files: dict[str, Path], home: Path, tmp_path: Path, without_keras: None
) -> None:
    import_model(student_files["h5"], name="mine")
    before = {path: path.read_bytes() for path in files_under(home) if path.is_file()}
    spoiled = spoil(student_files["h5"], tmp_path, _missing)
    with pytest.raises(ModelIncomplete):
        import_model(spoiled, name="mine", replace=True)
    assert {path: path.read_bytes() for path in files_under(home) if path.is_file()} == before


@pytest.mark.parametrize("name", ["default", "mammolens-b0", "../up", "Caps", "", "x" * 65, "a.zip", ".hidden"])
def test_illegal_and_reserved_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        import_model(tmp_path / "any.h5", name=name)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("best_model.h5", "best_model"),
        ("My Model (final).weights.h5", "my-model-final"),
        ("effnet_weights.h5", "effnet"),
        ("乳腺.keras", "model"),
        ("mammolens-b0.keras", "mammolens-b0-imported"),
        ("default.h5", "default-imported"),
        ("m.zip.h5", "m"),
        ("-" * 80 + "a" * 80 + ".onnx", "a" * 64),
    ],
)
def test_names_are_made_of_file_names(file: str, name: str) -> None:
    assert naming.from_stem(file) == name
    assert naming.legal(name) == name


def test_inputs_of_the_proof_differ_in_every_channel_and_keep_the_golden_ones() -> None:
    from mammolens.models.network import InputContract

    inputs = proof.inputs_of(InputContract(*SIZE, channels=3))
    assert inputs.shape == (16, *SIZE, 3)
    assert (inputs[:12, ..., 0] == inputs[:12, ..., 2]).all()
    assert all((inputs[index, ..., 0] != inputs[index, ..., 1]).any() for index in range(12, 16))
    assert (inputs[:4, ..., 0] == golden.variations(SIZE)[:4]).all()


def test_classes_of_a_description_are_found_by_layer_and_by_model() -> None:
    config = {
        "class_name": "Thesis",
        "registered_name": "mine>Thesis",
        "config": {
            "name": "whole",
            "input_layers": [],
            "layers": [
                {"class_name": "Jitter", "registered_name": "mine>Jitter", "config": {"name": "jitter"}},
                {"class_name": "Dense", "registered_name": None, "config": {"name": "out"}},
            ],
        },
    }
    assert proof.identities(config, {"jitter"}) == ["Jitter", "mine>Jitter"]
    assert proof.subclasses(config) == {"Thesis": "Model", "mine>Thesis": "Model"}


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["keras", "h5", "legacy"])
def test_textbook_model_of_the_issue_imports_and_is_explained(
    layout: str, textbook_files: dict[str, Path], home: Path
) -> None:
    told = Asked("efficientnet-b2", (260, 260)) if layout == "legacy" else None
    made = import_model(textbook_files[layout], told, name="textbook")
    assert made.plan.architecture == "efficientnet-b2"
    assert made.proof.difference is not None
    assert made.proof.difference <= 1e-3
    answer = Predictor.from_bundle("textbook").predict(Mammogram(pixels=golden.picture(1), rows=600, columns=480))
    assert answer.heatmap.max() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("file", ["sequential.h5", "functional.h5", "sequential_weights.h5"])
def test_files_of_keras_2_import_with_parity(file: str, keras_2_files: Path, home: Path) -> None:
    made = import_model(keras_2_files / file, SAID if "weights" in file else None, name="old")
    assert made.source.keras_version.startswith("2.")
    assert made.proof.difference is not None
    assert made.proof.difference <= 1e-3
