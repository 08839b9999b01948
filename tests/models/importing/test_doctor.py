"""The doctor: what it finds in a model file, without Keras, without running or writing anything."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mammolens.errors import ContractUnknown, FileMissing, ModelFileMalformed, ModelIncomplete
from mammolens.models import golden
from mammolens.models.contract import to_input
from mammolens.models.importing import health
from mammolens.models.importing.doctor import Findings, examine
from mammolens.models.importing.source import Asked
from mammolens.models.network import InputContract, Network

SOURCE = Path(__file__).parents[3] / "src"
Change = Callable[[h5py.Group, list[str]], None]


def changed(path: Path, folder: Path, change: Change) -> Findings:
    """Examine a copy of an HDF5 file whose tensors have been changed."""
    copy = Path(shutil.copy(path, folder / "changed.h5"))
    with h5py.File(copy, "r+") as file:
        names: list[str] = []
        weights = file["model_weights"]
        weights.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        change(weights, names)
    return examine(copy)


def one(names: list[str], ending: str) -> str:
    (found,) = [name for name in names if name.endswith(ending)]
    return found


def test_healthy_model_is_described(student_files: dict[str, Path]) -> None:
    found = examine(student_files["keras"])
    assert (found.format, found.compiled, found.road) == ("keras", True, "own")
    assert found.keras_version.startswith("3.")
    assert found.size == student_files["keras"].stat().st_size
    assert found.refusal is None
    assert found.plan is not None
    assert found.plan.architecture == "efficientnet-b0"
    assert found.plan.contract == InputContract(96, 64, 3, "255")
    assert (found.plan.head.kind, found.plan.head.units) == ("sigmoid", 1)
    # EfficientNet-B0 without its top has 4,049,571 parameters (keras.applications), the head 1,281.
    assert found.parameters == 4_049_571 + 1_281
    assert (found.dead, found.not_finite, found.suspicions) == ((), (), health.NOTHING)
    assert "exactly" in found.explanation


def test_weights_alone_are_described_and_told_what_is_missing(student_files: dict[str, Path]) -> None:
    found = examine(student_files["legacy"])
    assert isinstance(found.refusal, ContractUnknown)
    assert (found.format, found.road, found.plan) == ("weights-legacy", "", None)
    assert examine(student_files["legacy"], Asked("efficientnet-b0", (96, 64))).road == "own"


def test_what_is_no_model_is_refused_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"no model at all")
    found = examine(tmp_path / "x.h5")
    assert isinstance(found.refusal, ModelFileMalformed)
    assert found.road == ""
    with pytest.raises(FileMissing):
        examine(tmp_path / "missing.h5")


def test_dead_and_spoiled_tensors_are_named(student_files: dict[str, Path], tmp_path: Path) -> None:
    def kill(weights: h5py.Group, names: list[str]) -> None:
        weights[one(names, "block5a_expand_conv/kernel")][...] = 0
        weights[one(names, "block6a_project_conv/kernel")][...] = 0.25

    found = changed(student_files["h5"], tmp_path, kill)
    assert [path.split("/")[-2] for path in found.dead] == ["block5a_expand_conv", "block6a_project_conv"]

    def spoil(weights: h5py.Group, names: list[str]) -> None:
        weights[one(names, "block5a_bn/moving_mean")][3] = np.inf

    found = changed(student_files["h5"], tmp_path, spoil)
    assert len(found.not_finite) == 1
    assert found.not_finite[0].endswith("block5a_bn/moving_mean")
    assert isinstance(found.refusal, ModelFileMalformed)


def test_missing_tensor_is_named(student_files: dict[str, Path], tmp_path: Path) -> None:
    def remove(weights: h5py.Group, names: list[str]) -> None:
        del weights[one(names, "stem_bn/gamma")]

    found = changed(student_files["h5"], tmp_path, remove)
    assert isinstance(found.refusal, ModelIncomplete)
    assert "stem_bn/gamma" in found.refusal.message


def test_head_that_was_never_trained_is_suspected(student_files: dict[str, Path], tmp_path: Path) -> None:
    def reset(weights: h5py.Group, names: list[str]) -> None:
        # Keras counts its layers over the whole process: the head may be "dense_3".
        kernel, bias = (
            next(name for name in names if re.search(rf"dense(_\d+)?/{part}", name)) for part in ("kernel", "bias")
        )
        bound = np.sqrt(6 / 1281)
        weights[kernel][...] = np.random.default_rng(3).uniform(-bound, bound, (1280, 1))
        weights[bias][...] = 0

    (said,) = changed(student_files["h5"], tmp_path, reset).suspicions.untrained
    assert "glorot_uniform" in said


def test_network_that_never_saw_a_picture_is_suspected(student_files: dict[str, Path], tmp_path: Path) -> None:
    def reset(weights: h5py.Group, names: list[str]) -> None:
        for name in names:
            if name.endswith("moving_mean"):
                weights[name][...] = 0
            elif name.endswith("moving_variance"):
                weights[name][...] = 1

    said = changed(student_files["h5"], tmp_path, reset).suspicions.untrained
    assert any("batch normalisation" in text for text in said)


def test_training_on_pictures_divided_by_255_outside_is_suspected(
    student_files: dict[str, Path], tmp_path: Path
) -> None:
    def shrink(weights: h5py.Group, names: list[str]) -> None:
        # What the statistics become where the script divides by 255 although the model does so itself.
        weights[one(names, "stem_bn/moving_variance")][...] /= 255.0**2
        weights[one(names, "stem_bn/moving_mean")][...] /= 255.0

    found = changed(student_files["h5"], tmp_path, shrink)
    assert "--scale 1" in found.suspicions.double_rescale
    assert found.road == "own"


def test_scale_that_makes_the_input_vanish_is_suspected(student_files: dict[str, Path]) -> None:
    found = examine(student_files["h5"], Asked(scale="1"))
    assert "twice" in found.suspicions.double_rescale


@pytest.mark.parametrize("scale", ["255", "1", "-1..1", "imagenet"])
def test_no_usual_scale_is_suspected(random_network: Callable[..., Network], scale: str) -> None:
    network = random_network(channels=3, scale=scale)
    if scale == "imagenet":
        ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
        network = dataclasses.replace(network, factor=ones, offset=zeros)
    kernel = np.random.default_rng(0).normal(0, 0.2, (3, 3, 3, 32)).astype(np.float32)
    inputs = to_input(golden.variations((64, 48)), network.contract) * network.factor + network.offset
    # Variances of a strided convolution, one window at a time.
    outputs = [
        np.einsum("nijc,ijcf->nf", inputs[:, row : row + 3, column : column + 3], kernel)
        for row in range(0, 60, 2)
        for column in range(0, 44, 2)
    ]
    variance = np.concatenate(outputs).var(axis=0)
    assert health.double_rescale(network, kernel, variance) == ""
    assert 0.2 < health.variance_ratio(network, kernel, variance) < 5
    assert health.variance_ratio(network, kernel, variance / 255**2) < 1e-4


def cut_normal(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Normal distribution of variance 1 before what is beyond twice its deviation is drawn again."""
    drawn = random.normal(0, 1, (20, *shape))
    return np.take_along_axis(drawn, (np.abs(drawn) <= 2).argmax(axis=0)[None], axis=0)[0]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("glorot_uniform or he_uniform", lambda random: random.uniform(-1, 1, (1280, 1)) * np.sqrt(6 / 1281)),
        ("glorot_uniform or he_uniform", lambda random: random.uniform(-1, 1, (1280, 1)) * np.sqrt(6 / 1280)),
        ("glorot_normal or he_normal", lambda random: cut_normal(random, (1280, 2)) * np.sqrt(2 / 1280) / 0.8796257),
        ("lecun_uniform", lambda random: random.uniform(-1, 1, (1536, 1)) * np.sqrt(3 / 1536)),
        ("random_uniform", lambda random: random.uniform(-0.05, 0.05, (1408, 2))),
    ],
)
def test_initialisers_are_recognised_by_bound_and_deviation(
    name: str, make: Callable[[np.random.Generator], np.ndarray]
) -> None:
    random = np.random.default_rng(5)
    kernel = make(random)
    assert health.initialiser_of(kernel, np.zeros(kernel.shape[1])) == name
    assert health.initialiser_of(kernel, np.full(kernel.shape[1], 1e-4)) == ""
    # A few steps of training take single weights beyond the bound.
    moved = kernel + random.normal(0, kernel.std() / 10, kernel.shape)
    assert health.initialiser_of(moved, np.zeros(kernel.shape[1])) == ""


@pytest.mark.parametrize("layout", ["keras", "h5", "weights", "legacy"])
def test_doctor_answers_without_keras_in_about_a_second(student_files: dict[str, Path], layout: str) -> None:
    program = (
        "import json, resource, sys\n"
        "from pathlib import Path\n"
        "from mammolens.models.importing.doctor import examine\n"
        "from mammolens.models.importing.source import Asked\n"
        f"examine(Path({str(student_files[layout])!r}), Asked('efficientnet-b0', (96, 64)))\n"
        "used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]\n"
        "print(json.dumps([sorted(sys.modules), sum(each.ru_utime + each.ru_stime for each in used)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    modules, seconds = json.loads(done.stdout)
    assert {"keras", "tensorflow", "torch", "jax", "onnx"} & set(modules) == set()
    # Processor time, both processes; about a second on an idle machine.
    assert seconds < 3
