"""Variants of a model: measured before they exist, written beside the original, refused beyond the limits."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from mammolens.datasets import Case, CaseTable
from mammolens.errors import ConfigurationError, TrainingDataError
from mammolens.evaluation import metrics, optimise
from mammolens.evaluation.differences import Answers, Limits, compare, heat_agreement
from mammolens.inference import Predictor
from mammolens.inference.engines.choice import Measurement
from mammolens.models import golden
from mammolens.models.bundle import load_bundle
from mammolens.models.efficientnet import features_of, kernels, normalisation
from mammolens.models.export import ImportDescription, export_network
from mammolens.models.manifest import ImportedFrom
from mammolens.models.network import Convolution, InputContract, Network
from mammolens.phantom import make
from mammolens.settings import settings

COUNT = 110


# --- differences ------------------------------------------------------------------------------------------------------


def answers(logits: np.ndarray, evidence: np.ndarray, seconds: float = 1.0) -> Answers:
    return Answers(np.asarray(logits, np.float64), np.asarray(evidence, np.float32), seconds)


def test_paired_interval_is_far_narrower_than_that_of_two_separate_areas() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0.0, 1.0], 150)
    scores = labels + random.normal(0, 1, 300)
    others = scores + random.normal(0, 0.02, 300)
    found = metrics.bootstrap_difference(labels, scores, others, np.arange(300), draws=300)
    alone = metrics.bootstrap_auc(labels, scores, np.arange(300), draws=300)
    assert found.value == pytest.approx(metrics.auc(labels, scores) - metrics.auc(labels, others))
    assert found.low <= found.value <= found.high
    assert (found.high - found.low) < 0.2 * (alone.high - alone.low)


def test_heat_maps_are_compared_by_hand_worked_cases() -> None:
    peak = np.zeros((3, 4, 5), np.float32)
    peak[0, 1, 1], peak[1, 1, 1], peak[2, 1, 1] = 1.0, 1.0, 1.0
    other = np.zeros((3, 4, 5), np.float32)
    # The same place and half as strong; a diagonal neighbour; two columns off.
    other[0, 1, 1], other[1, 2, 2], other[2, 1, 3] = 0.5, 1.0, 1.0
    correlations, pointing = heat_agreement(peak, other)
    # Two single ones among 20 cells: -1/19.
    assert correlations == pytest.approx([1.0, -1 / 19, -1 / 19])
    assert pointing.tolist() == [True, True, False]


def test_pictures_without_heat_are_left_out_of_the_comparison() -> None:
    maps = np.array([[[-1.0, -2.0]], [[1.0, 0.0]]], np.float32)
    correlations, pointing = heat_agreement(maps, maps)
    assert correlations == pytest.approx([1.0])
    assert pointing.tolist() == [True]


def test_equal_answers_keep_every_limit_and_shifted_ones_are_named() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1], 60)
    logits = labels + random.normal(0, 1, 120)
    evidence = random.normal(0, 1, (120, 4, 3))
    same = compare(answers(logits, evidence), answers(logits, evidence, 2.0), labels, np.arange(120), 0.5)
    assert same.misses(Limits()) == ()
    assert (same.logit_largest, same.labels, same.correlation, same.speed) == (0.0, 1.0, pytest.approx(1.0), 0.5)
    worse = answers(-logits, random.normal(0, 1, (120, 4, 3)))
    found = compare(worse, answers(logits, evidence), labels, np.arange(120), 0.5)
    assert found.auc == pytest.approx(1 - found.auc_original)
    missed = {miss.partition(":")[0] for miss in found.misses(Limits())}
    assert missed == {"AUC", "calibration", "labels", "heat maps"}


def test_what_can_not_be_measured_keeps_no_limit() -> None:
    labels = np.repeat([0, 1], 60)
    silent = answers(np.linspace(-1, 1, 120), -np.ones((120, 4, 3)))
    found = compare(silent, silent, labels, np.arange(120), 0.5)
    assert found.heat_maps == 0
    assert math.isnan(found.correlation)
    assert {miss.partition(":")[0] for miss in found.misses(Limits())} == {"heat maps"}


# --- optimise ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home; the pictures are small, and nothing here needs the bounds, or the engines' speed."""
    monkeypatch.setenv("MAMMOLENS_DECODE_IN_PROCESS", "true")
    settings.cache_clear()
    monkeypatch.setattr(optimise, "measure", lambda bundle, threads: Measurement(facts={}, trials=()))
    return home


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> CaseTable:
    """Generated pictures: enough for the machinery, and no word on any model."""
    folder = tmp_path_factory.mktemp("pictures")
    cases = []
    for number in range(COUNT):
        lesion = "mass" if number % 3 == 0 else None
        pixels = make("CC", "LR"[number % 2], lesion, 160, 128, number // 2).pixels
        path = folder / f"{number}.png"
        assert cv2.imwrite(str(path), (pixels / pixels.max() * 65535).astype(np.uint16))
        woman = str(number // 2)
        cases.append(Case(path=path, woman=woman, laterality="LR"[number % 2], view="CC", malignant=lesion is not None))
    return CaseTable("generated", cases)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundle of an untrained network with a small input."""
    pytest.importorskip("h5py", reason="h5py is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    random = np.random.default_rng(5)
    convolutions = {}
    for name, shape in kernels("efficientnet-b0").items():
        depthwise = name.endswith("dwconv")
        fan = math.prod(shape[:2] if depthwise else shape[:3])
        bias = random.normal(0, 0.1, shape[2] if depthwise else shape[3])
        convolutions[name] = Convolution(
            random.normal(0, math.sqrt(2 / fan), shape).astype(np.float32), bias.astype(np.float32)
        )
    factor, offset = (np.array(values, np.float32) for values in normalisation(1))
    # Positive weights of mostly positive features: every picture has some heat.
    head = np.abs(random.normal(0, 0.02, features_of("efficientnet-b0"))).astype(np.float32)
    network = Network("efficientnet-b0", InputContract(64, 64), factor, offset, convolutions, head, 0.0)
    source = ImportedFrom(format="keras", sha256="0" * 64, keras_version="", architecture_found="", proof="structure")
    return export_network(network, ImportDescription("small", source), tmp_path_factory.mktemp("bundle") / "small")


def test_half_becomes_a_model_of_its_own_with_its_measurement(original: Path, pictures: CaseTable, home: Path) -> None:
    before = {file.name: file.read_bytes() for file in original.iterdir()}
    steps: list[None] = []
    report = optimise.optimise(original, ("float16",), pictures, advance=lambda: steps.append(None))
    (outcome,) = report.variants
    assert outcome.misses == ()
    assert outcome.bundle == home / "models" / "small-float16"
    assert outcome.size < 0.55 * outcome.size_original
    assert len(steps) == COUNT
    assert {file.name: file.read_bytes() for file in original.iterdir()} == before

    variant, base = load_bundle("small-float16"), load_bundle(original)
    assert variant.identity.sha256 != base.identity.sha256
    assert (
        variant.manifest.model_copy(
            update={name: getattr(base.manifest, name) for name in ("name", "golden", "metrics", "files")}
        )
        == base.manifest
    )
    record = json.loads(variant.read(optimise.RECORD))
    assert record["original"]["sha256"] == base.identity.sha256
    assert record["differences"]["pictures"] == COUNT
    assert record["limits"] == dataclasses.asdict(Limits())
    assert "float16 variant of small 1" in variant.read("MODEL_CARD.md").decode()
    (loss,) = variant.manifest.metrics
    assert loss.value == pytest.approx(record["differences"]["auc_loss"]["value"])

    predictor = Predictor.from_bundle("small-float16", threads=1)
    pixels = golden.picture(1)
    assert predictor.predict(pixels).model.name == "small-float16"
    # It has no other form that is equal: Keras' weights would be the original's.
    answer = Predictor.from_bundle("small-float16", engine="keras", threads=1)
    assert [notice.code for notice in answer.notices] == ["engine-fallback"]
    with pytest.raises(ConfigurationError, match="variant itself"):
        optimise.optimise("small-float16", ("int8",), pictures)


def test_variant_beyond_a_limit_is_measured_and_not_written(original: Path, pictures: CaseTable, home: Path) -> None:
    strict = Limits(correlation=1.1)
    report = optimise.optimise(original, ("float16", "int8"), pictures, limits=strict, calibration=None)
    for outcome in report.variants:
        assert outcome.bundle is None
        assert [miss.partition(":")[0] for miss in outcome.misses][-1] == "heat maps"
        assert outcome.differences.pictures == COUNT
    half, eight = (outcome.differences for outcome in report.variants)
    assert 0.0 < half.logit_largest < eight.logit_largest
    assert half.correlation > eight.correlation
    assert not (home / "models").exists()


def test_pictures_of_the_calibration_are_not_measured_on(original: Path, pictures: CaseTable, home: Path) -> None:
    folder = pictures[0].path.parent
    for name in ("0.png", "1.png", "2.png"):
        (folder / "training").mkdir(exist_ok=True)
        (folder / "training" / name).symlink_to(folder / name)
    report = optimise.optimise(original, ("int8",), pictures, calibration=folder / "training")
    assert report.variants[0].differences.pictures == COUNT - 3


def test_pictures_that_can_not_be_read_are_counted_with_their_reason(
    original: Path, pictures: CaseTable, home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "a.txt").write_text("no picture")
    with pytest.raises(TrainingDataError, match=r"can be read \(unknown-format 1\)"):
        optimise.optimise(original, ("int8",), pictures, calibration=tmp_path / "training")
    broken = Case(path=tmp_path / "training" / "a.txt", woman="x", laterality="L", view="CC", malignant=True)
    report = optimise.optimise(original, ("float16",), CaseTable("more", [broken, *pictures]))
    assert report.variants[0].differences.pictures == COUNT
    assert "1 pictures were refused (unknown-format 1)" in caplog.text


def test_variant_needs_labelled_pictures_enough_of_both_kinds(original: Path, pictures: CaseTable, home: Path) -> None:
    with pytest.raises(ConfigurationError, match="labelled"):
        optimise.optimise(original, ("float16",))
    with pytest.raises(ConfigurationError, match="float16, int8"):
        optimise.optimise(original, ("int4",), pictures)
    with pytest.raises(TrainingDataError, match="at least 100, with 20"):
        optimise.optimise(original, ("float16",), pictures, most=40)
    benign = CaseTable("one kind", [dataclasses.replace(case, malignant=False) for case in pictures])
    with pytest.raises(TrainingDataError, match="0 of them malignant"):
        optimise.optimise(original, ("float16",), benign)
    assert not (home / "models").exists()


def test_engines_alone_are_measured_without_pictures(original: Path, home: Path) -> None:
    assert optimise.optimise(original) == optimise.Report(Measurement(facts={}, trials=()), ())


def test_sample_takes_whole_women_and_the_same_in_every_run(pictures: CaseTable) -> None:
    chosen = optimise.sample(pictures, 21)
    assert chosen == optimise.sample(pictures, 21)
    assert len(chosen) == 22
    women = [case.woman for case in chosen]
    assert all(women.count(woman) == 2 for woman in women)
    assert women != sorted(women)
    assert len(optimise.sample(pictures, 10_000)) == COUNT
