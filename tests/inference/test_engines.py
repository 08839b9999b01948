"""Engines: equal in result, chosen by a measurement, standing in for one another in the open."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from mammolens.cli import records
from mammolens.errors import BundleTampered, EngineUnavailable
from mammolens.inference import Predictor, engines
from mammolens.inference.engines import choice, open_engine, opening
from mammolens.models import bundle as bundles
from mammolens.models import golden
from mammolens.models.bundle import ModelBundle, load_bundle
from mammolens.report.views import _notices as notices_on_the_page
from mammolens.types import Mammogram, RawScore


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return load_bundle("default")


@pytest.fixture(scope="module")
def images(bundle: ModelBundle) -> np.ndarray:
    size = (bundle.contract.height, bundle.contract.width)
    return np.stack([golden.model_input(seed, size).image for seed in golden.SEEDS])


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundles.find("default"), tmp_path / "copy"))


def spoil(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(bytes(content))


def mammogram(seed: int = 1) -> Mammogram:
    pixels = golden.picture(seed)
    return Mammogram(pixels=pixels, rows=pixels.shape[0], columns=pixels.shape[1])


def trial(engine: str, start: float, picture: float, state: str = "equal") -> choice.Trial:
    return choice.Trial(engine=engine, state=state, start_seconds=start, picture_seconds=picture, difference=0.0)


class Fixed:
    """An engine that gives every picture the same logit."""

    def __init__(self, name: str, logit: float) -> None:
        self.name = name
        self.logit = logit

    def run(self, images: np.ndarray) -> list[RawScore]:
        return [RawScore(self.logit, np.zeros((12, 9), np.float32)) for _ in images]


# --- OpenVINO ---------------------------------------------------------------------------------------------------------


def test_openvino_gives_the_logits_and_the_evidence_of_onnx_runtime(bundle: ModelBundle, images: np.ndarray) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    usual, other = (open_engine(name, bundle, 1).run(images) for name in ("onnxruntime", "openvino"))
    for a, b, entry in zip(usual, other, bundle.manifest.golden, strict=True):
        assert abs(a.logit - b.logit) <= 1e-4
        assert abs(b.logit - entry.logit) <= 1e-3
        np.testing.assert_allclose(b.evidence, a.evidence, atol=1e-4)
        # The property that explains the score: shares and bias add up to the logit.
        assert b.logit - b.evidence.sum() == pytest.approx(a.logit - a.evidence.sum(), abs=1e-4)


def test_openvino_computes_16_bit_weights_in_32_bits(bundle: ModelBundle, images: np.ndarray) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    assert b"/kernel/half" in bundle.graph, "an ensemble stores its weights in 16 bits"
    usual, other = (open_engine(name, bundle, 1).run(images[:2]) for name in ("onnxruntime", "openvino"))
    assert [a.logit for a in usual] == pytest.approx([b.logit for b in other], abs=1e-4)


def test_openvino_leaves_8_bit_models_to_onnx_runtime(bundle: ModelBundle) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    model = onnx.load_from_string(bundle.graph)
    model.doc_string = "QuantizeLinear"
    opened = opening.open_equal("openvino", dataclasses.replace(bundle, graph=model.SerializeToString()), 1)
    assert opened.engine.name == "onnxruntime"
    assert [notice.code for notice in opened.notices] == ["engine-fallback"]


def test_openvino_serves_several_threads_with_one_engine(bundle: ModelBundle, images: np.ndarray) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    engine = open_engine("openvino", bundle, 1)
    expected = [score.logit for score in engine.run(images)]
    wrong: list[int] = []

    def work(row: int) -> None:
        for _ in range(4):
            if engine.run(images[row : row + 1])[0].logit != expected[row]:
                wrong.append(row)

    threads = [threading.Thread(target=work, args=(row,)) for row in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_answers_of_openvino_outlive_the_next_run(bundle: ModelBundle, images: np.ndarray) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    engine = open_engine("openvino", bundle, 1)
    (first,) = engine.run(images[:1])
    kept = first.evidence.copy()
    engine.run(images[1:2])
    np.testing.assert_array_equal(first.evidence, kept)


def test_openvino_is_imported_without_its_telemetry(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    # A telemetry package that says so when it is used; OpenVINO uses it at import if it finds it.
    canary = tmp_path / "openvino_telemetry"
    canary.mkdir()
    (canary / "__init__.py").write_text("class Telemetry:\n    def __init__(self, *a, **k): print('CALLED HOME')\n")
    (canary / "backend.py").write_text("backend_ga4 = None\n")
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from mammolens.inference.engines.openvino import _imported\n"
        "print(_imported().__name__, 'openvino_telemetry' in sys.modules)\n"
        "import openvino_telemetry; print('free again:', openvino_telemetry.Telemetry.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["openvino False", "free again: Telemetry"]


def test_openvino_that_is_missing_is_said_with_the_line_that_installs_it(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'mammolens\[openvino\]'"):
        open_engine("openvino", bundle)


# --- auto -------------------------------------------------------------------------------------------------------------


def test_best_engine_depends_on_how_many_pictures_there_are() -> None:
    # 0.2 s + n * 0.10 s against 1.2 s + n * 0.05 s: equal at n = 20, a tenth better from 30 on.
    found = choice.Measurement(facts={}, trials=(trial("onnxruntime", 0.2, 0.10), trial("openvino", 1.2, 0.05)))
    assert [found.best(count) for count in (1, 20, 25, 30, 1000, None)] == ["onnxruntime"] * 3 + ["openvino"] * 3


def test_engine_with_another_result_is_never_best() -> None:
    usual, other = trial("onnxruntime", 0.2, 0.1), trial("openvino", 0.2, 0.01, "other-result")
    assert choice.Measurement(facts={}, trials=(usual, other)).best() == "onnxruntime"
    failed = choice.Trial(engine="openvino", state="failed")
    assert choice.Measurement(facts={}, trials=(usual, failed)).best() == "onnxruntime"


def test_times_of_a_busy_machine_choose_nothing_and_are_not_kept(
    bundle: ModelBundle, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def output(seconds: float) -> choice._Output:
        return choice._Output(start_seconds=1.0, picture_seconds=seconds, logits=[0.5], heat=[0.1])

    monkeypatch.setattr(choice, "installed", lambda: {"onnxruntime": "1", "openvino": "1"})
    for times, steady, best in (
        ((0.10, 0.05, 0.11, 0.06), True, "openvino"),
        ((0.30, 0.05, 0.11, 0.06), False, "onnxruntime"),
    ):
        answers = iter(times)
        monkeypatch.setattr(choice, "_run", lambda *_, answers=answers: output(next(answers)))
        found = choice.measure(bundle, 1)
        assert (found.steady, found.best()) == (steady, best)
        assert choice.cached(bundle, 1) == (found if steady else None)
        for place in (home / "engines").iterdir():
            place.unlink()
    assert "busy" in caplog.text


def test_auto_takes_a_kept_measurement_and_without_one_onnx_runtime(bundle: ModelBundle, home: Path) -> None:
    assert choice.choose(bundle) == "onnxruntime"
    assert not home.exists()
    found = choice.Measurement(
        facts=choice._facts(bundle, 0), trials=(trial("onnxruntime", 0.2, 0.1), trial("openvino", 0.3, 0.01))
    )
    choice._keep(found)
    assert choice.cached(bundle, 0) == found
    assert choice.choose(bundle, 0) == "openvino"
    assert choice.choose(bundle, 0, 1) == "onnxruntime"
    # Another number of threads is another measurement.
    assert choice.cached(bundle, 1) is None
    other = dataclasses.replace(bundle, identity=dataclasses.replace(bundle.identity, sha256="0" * 64))
    assert choice.cached(other, 0) is None


def test_spoiled_measurement_is_said_and_not_used(
    bundle: ModelBundle, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = choice.Measurement(facts=choice._facts(bundle, 0), trials=(trial("openvino", 0.3, 0.01),))
    choice._keep(found)
    (place,) = (home / "engines").iterdir()
    place.write_text('{"facts": {}, "trials": [{"engine": "openvino"}]}')
    assert choice.choose(bundle, 0) == "onnxruntime"
    assert "can't be read" in caplog.text


def test_few_pictures_are_not_measured_for_and_many_are(
    bundle: ModelBundle, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...] | None] = []

    def measure(bundle: ModelBundle, threads: int, names: tuple[str, ...] | None) -> choice.Measurement:
        asked.append(names)
        return choice.Measurement(facts={}, trials=(trial("onnxruntime", 0.2, 0.1), trial("openvino", 0.3, 0.01)))

    monkeypatch.setattr(choice, "measure", measure)
    chosen = [choice.choose(bundle, 1, count) for count in (None, 1, choice.MEASURE_FROM - 1, choice.MEASURE_FROM)]
    assert chosen == ["onnxruntime", "onnxruntime", "onnxruntime", "openvino"]
    # Keras takes long to start and is measured on request only.
    assert asked == [("onnxruntime", "openvino")]


def test_measurement_times_equal_engines_and_is_kept(
    bundle: ModelBundle, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whether it is steady depends on what else the machine does.
    monkeypatch.setattr(choice, "STEADY", 1e9)
    found = choice.measure(bundle, 1, ("onnxruntime", "openvino"))
    assert [each.engine for each in found.trials] == [n for n in ("onnxruntime", "openvino") if n in choice.installed()]
    for each in found.trials:
        assert each.state == "equal"
        assert each.difference is not None
        assert each.difference <= 1e-4
        assert each.start_seconds > each.picture_seconds > 0.001
    assert choice.cached(bundle, 1) == found
    kept = json.loads(next((home / "engines").iterdir()).read_text())
    assert kept["facts"]["onnxruntime"] == pytest.importorskip("onnxruntime").__version__


def test_engine_that_dies_in_the_measurement_is_not_chosen(
    bundle: ModelBundle, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choice, "installed", lambda: {"no-such-engine": "1"})
    found = choice.measure(bundle, 1)
    assert [(each.engine, each.state) for each in found.trials] == [("no-such-engine", "failed")]
    assert found.best() == "onnxruntime"
    assert "could not be measured" in caplog.text


# --- one engine for another -------------------------------------------------------------------------------------------


def test_missing_engine_falls_to_an_equal_one_and_every_reader_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = Predictor.from_bundle("default", threads=1).predict(mammogram())
    monkeypatch.setitem(sys.modules, "openvino", None)
    predictor = Predictor.from_bundle("default", engine="openvino", threads=1)
    answer = predictor.predict(mammogram())
    assert predictor.engine.name == "onnxruntime"
    assert answer.probability == expected.probability
    (notice,) = [notice for notice in answer.notices if notice.code == "engine-fallback"]
    assert "OpenVINO is not installed" in notice.message
    assert "onnxruntime" in notice.message
    assert any(line.startswith("engine-fallback: ") for line in records.answered(Path("a"), answer, {})["warnings"])
    assert "engine-fallback" in caplog.text
    assert "engine-fallback" in notices_on_the_page(answer)


def test_without_onnx_runtime_openvino_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    expected = Predictor.from_bundle("default", threads=1).predict(mammogram())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    predictor = Predictor.from_bundle("default", threads=1)
    assert predictor.engine.name == "openvino"
    answer = predictor.predict(mammogram())
    assert abs(answer.probability - expected.probability) <= 1e-4
    np.testing.assert_allclose(answer.heatmap, expected.heatmap, atol=1e-3)
    assert "ONNX Runtime is not installed" in answer.notices[0].message


def test_unknown_engine_is_a_mistake_and_nothing_stands_in(bundle: ModelBundle) -> None:
    with pytest.raises(EngineUnavailable, match="Known are: auto, onnxruntime, openvino, keras"):
        opening.open_equal("abacus", bundle)


def test_engine_with_another_result_does_not_stand_in(bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(bundle: ModelBundle, threads: int) -> Fixed:
        raise EngineUnavailable("Gone.")

    logits = iter([bundle.manifest.golden[0].logit])
    table = {"keras": missing, "wrong": lambda b, t: Fixed("wrong", next(logits)), "missing": missing}
    monkeypatch.setattr(engines, "ENGINES", table)
    monkeypatch.setattr(opening, "ENGINES", table)
    # Right for the first golden input, wrong for the second.
    with pytest.raises(EngineUnavailable, match="Gone"):
        opening.open_equal("keras", bundle)
    assert next(logits, None) is None


# --- one stored format for the other ----------------------------------------------------------------------------------


def test_spoiled_graph_is_written_anew_from_the_weights_and_every_reader_is_told(
    copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    expected = Predictor.from_bundle("default", threads=1)
    spoil(copy, bundles.GRAPH)
    with pytest.raises(BundleTampered, match=bundles.GRAPH):
        load_bundle(copy)
    predictor = Predictor.from_bundle(copy, threads=1)
    for seed in golden.SEEDS[:2]:
        a, b = expected.predict(mammogram(seed)), predictor.predict(mammogram(seed))
        assert abs(a.logit - b.logit) <= 1e-4
        np.testing.assert_allclose(b.heatmap, a.heatmap, atol=1e-3)
        assert b.model == a.model
        assert [notice.code for notice in b.notices if notice not in a.notices] == ["format-fallback"]
        assert any(line.startswith("format-fallback: ") for line in records.answered(Path("a"), b, {})["warnings"])
    assert "format-fallback" in caplog.text


def test_missing_graph_is_written_anew_too(copy: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    (copy / bundles.GRAPH).unlink()
    opened = load_bundle(copy, stand_in=True)
    (notice,) = opened.notices
    assert notice.code == "format-fallback"
    assert "missing" in notice.message


def test_spoiled_weights_leave_the_graph_answering_even_where_keras_was_asked_for(copy: Path) -> None:
    spoil(copy, bundles.WEIGHTS)
    opened = load_bundle(copy, stand_in=True)
    assert opened.graph == load_bundle("default").graph
    assert [notice.code for notice in opened.notices] == ["format-fallback"]
    answer = Predictor.from_bundle(copy, engine="keras", threads=1).predict(mammogram())
    assert {"engine-fallback", "format-fallback"} <= {notice.code for notice in answer.notices}


def test_with_both_formats_spoiled_the_first_error_stands(copy: Path) -> None:
    spoil(copy, bundles.GRAPH)
    spoil(copy, bundles.WEIGHTS)
    with pytest.raises(BundleTampered, match=bundles.GRAPH):
        Predictor.from_bundle(copy)


def test_spoiled_card_has_nothing_that_stands_in(copy: Path) -> None:
    spoil(copy, bundles.CARD)
    with pytest.raises(BundleTampered, match=bundles.CARD):
        Predictor.from_bundle(copy)


@pytest.mark.parametrize("library", ["h5py", "onnx"])
def test_without_the_libraries_for_it_the_first_error_stands(
    copy: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(copy, bundles.GRAPH)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(BundleTampered, match=bundles.GRAPH):
        Predictor.from_bundle(copy)


def test_weights_that_give_other_logits_never_stand_in(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    spoil(copy, bundles.GRAPH)
    path = copy / bundles.MANIFEST
    manifest = json.loads(path.read_text())
    manifest["golden"][2]["logit"] += 0.001
    path.write_text(json.dumps(manifest))
    with caplog.at_level(logging.WARNING), pytest.raises(BundleTampered, match=bundles.GRAPH):
        Predictor.from_bundle(copy)
    assert "other logits" in caplog.text
