"""The Predictor: equal inputs give equal answers, refusals are typed, batches keep order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mammolens.errors import EngineUnavailable, InputError, NoBreast
from mammolens.inference import Predictor
from mammolens.inference.engines import open_engine
from mammolens.models import golden
from mammolens.models.bundle import load_bundle
from mammolens.models.export import ImportDescription, export_network
from mammolens.models.manifest import ImportedFrom
from mammolens.models.network import Network
from mammolens.types import Mammogram, Prediction


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_bundle("default", threads=1)


def mammogram(seed: int) -> Mammogram:
    pixels = golden.picture(seed)
    return Mammogram(pixels=pixels, rows=pixels.shape[0], columns=pixels.shape[1])


def test_golden_pictures_give_the_logits_of_the_manifest(predictor: Predictor) -> None:
    manifest = predictor.bundle.manifest
    for entry in manifest.golden:
        expected = manifest.calibration.slope * entry.logit + manifest.calibration.intercept
        assert predictor.predict(mammogram(entry.seed)).logit == pytest.approx(expected, abs=1e-3)


def test_probability_label_and_confidence_agree(predictor: Predictor) -> None:
    for seed in golden.SEEDS:
        answer = predictor.predict(mammogram(seed))
        assert answer.probability == pytest.approx(1 / (1 + np.exp(-answer.logit)))
        assert answer.label == ("malignant" if answer.probability >= answer.threshold else "benign")
        of_label = answer.probability if answer.label == "malignant" else 1 - answer.probability
        assert answer.confidence == pytest.approx(of_label)
        assert answer.timing.total >= answer.timing.infer > 0


@pytest.mark.parametrize("seed", golden.SEEDS)
def test_mirrored_picture_gives_the_same_probability_and_mirrored_regions(predictor: Predictor, seed: int) -> None:
    pixels = golden.picture(seed)
    flipped = np.ascontiguousarray(pixels[:, ::-1])
    a = predictor.predict(Mammogram(pixels=pixels, rows=600, columns=480))
    b = predictor.predict(Mammogram(pixels=flipped, rows=600, columns=480))
    assert abs(a.probability - b.probability) <= 1e-3
    mirrored = [(480 - r.box[2], r.box[1], 480 - r.box[0], r.box[3]) for r in b.regions]
    assert [r.box for r in a.regions] == mirrored


@pytest.mark.parametrize("seed", golden.SEEDS)
def test_black_padding_changes_nothing(predictor: Predictor, seed: int) -> None:
    pixels = golden.picture(seed)
    padded = np.pad(pixels, 200)
    a = predictor.predict(Mammogram(pixels=pixels, rows=600, columns=480))
    b = predictor.predict(Mammogram(pixels=padded, rows=1000, columns=880))
    assert abs(a.probability - b.probability) <= 1e-6
    assert b.geometry.box == tuple(side + 200 for side in a.geometry.box)


@pytest.mark.parametrize("seed", golden.SEEDS)
def test_linear_window_changes_nothing(predictor: Predictor, seed: int) -> None:
    pixels = golden.picture(seed).astype(np.float32)
    a = predictor.predict(Mammogram(pixels=pixels, rows=600, columns=480))
    b = predictor.predict(Mammogram(pixels=pixels * 3.7 - 250.0, rows=600, columns=480))
    assert abs(a.probability - b.probability) <= 1e-3


def test_model_without_calibration_gives_the_sigmoid_of_its_logit_and_says_so(predictor: Predictor) -> None:
    manifest = predictor.bundle.manifest.model_copy(update={"calibration": None})
    uncalibrated = Predictor(replace(predictor.bundle, manifest=manifest), predictor.engine)
    for entry in manifest.golden:
        answer = uncalibrated.predict(mammogram(entry.seed))
        assert answer.logit == pytest.approx(entry.logit, abs=1e-3)
        assert answer.probability == pytest.approx(1 / (1 + np.exp(-answer.logit)))
        assert [notice.code for notice in answer.notices].count("uncalibrated") == 1
    assert all(notice.code != "uncalibrated" for notice in predictor.predict(mammogram(1)).notices)


def test_film_marker_hardly_matters(predictor: Predictor) -> None:
    for seed in golden.SEEDS:
        pixels = golden.picture(seed)
        marked = pixels.copy()
        columns = slice(20, 70) if seed % 2 else slice(410, 460)
        marked[15:55, columns] = 4095
        a = predictor.predict(Mammogram(pixels=pixels, rows=600, columns=480))
        b = predictor.predict(Mammogram(pixels=marked, rows=600, columns=480))
        assert abs(a.probability - b.probability) <= 0.02


def test_repeated_prediction_is_the_same_to_the_last_bit(predictor: Predictor) -> None:
    a, b = (predictor.predict(mammogram(2)) for _ in range(2))
    assert a.logit == b.logit
    assert a.regions == b.regions
    np.testing.assert_array_equal(a.heatmap, b.heatmap)


def test_threads_share_one_predictor(predictor: Predictor) -> None:
    expected = {seed: predictor.predict(mammogram(seed)).logit for seed in golden.SEEDS}
    wrong: list[int] = []

    def work(seed: int) -> None:
        for _ in range(3):
            if predictor.predict(mammogram(seed)).logit != expected[seed]:
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in golden.SEEDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_many_keep_their_order_and_refusals_stand_in_their_place(predictor: Predictor) -> None:
    blank = Mammogram(pixels=np.zeros((600, 480), np.uint16), rows=600, columns=480)
    sources = [mammogram(1), blank, mammogram(2), mammogram(3), blank, mammogram(4)]
    answers = list(predictor.predict_many(sources, jobs=3))
    assert [isinstance(a, InputError) for a in answers] == [False, True, False, False, True, False]
    alone = [predictor.predict(mammogram(seed)).logit for seed in golden.SEEDS]
    assert [a.logit for a in answers if isinstance(a, Prediction)] == alone


def test_picture_without_a_breast_is_refused(predictor: Predictor) -> None:
    with pytest.raises(NoBreast):
        predictor.predict(Mammogram(pixels=np.zeros((600, 480), np.uint16), rows=600, columns=480))


def test_unknown_engine_names_the_known_ones() -> None:
    with pytest.raises(EngineUnavailable, match="onnxruntime"):
        Predictor.from_bundle("default", engine="abacus")


def test_keras_engine_answers_as_onnx_runtime_does(predictor: Predictor) -> None:
    pytest.importorskip("keras")
    keras_predictor = Predictor(load_bundle("default"), _open_keras())
    for seed in golden.SEEDS[:2]:
        a, b = predictor.predict(mammogram(seed)), keras_predictor.predict(mammogram(seed))
        assert abs(a.probability - b.probability) <= 1e-4
        np.testing.assert_allclose(a.heatmap, b.heatmap, atol=1e-3)


def test_keras_engine_of_an_imported_network_answers_as_onnx_runtime_does(
    random_network: Callable[..., Network], tmp_path: Path
) -> None:
    pytest.importorskip("keras")
    network = random_network(channels=3, scale="imagenet-bgr")
    network = replace(network, factor=np.full(3, 0.02, np.float32), offset=np.array([0.1, 0.0, -0.2], np.float32))
    source = ImportedFrom(
        format="keras",
        sha256="0" * 64,
        keras_version="3.15.1",
        architecture_found="efficientnet-b0",
        proof="structure",
    )
    bundle = load_bundle(export_network(network, ImportDescription("grey", source), tmp_path / "grey"))
    answers = [
        [Predictor(bundle, open_engine(name, bundle)).predict(mammogram(seed)) for seed in golden.SEEDS[:2]]
        for name in ("onnxruntime", "keras")
    ]
    for a, b in zip(*answers, strict=True):
        assert abs(a.probability - b.probability) <= 1e-4
        assert "uncalibrated" in {notice.code for notice in a.notices} & {notice.code for notice in b.notices}
        np.testing.assert_allclose(a.heatmap, b.heatmap, atol=1e-3)


def _open_keras() -> object:
    return open_engine("keras", load_bundle("default"))
