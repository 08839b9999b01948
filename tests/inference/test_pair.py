"""A breast's score by a network of two views: from files, equal to Keras, with a map of each view."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from mammolens import phantom  # noqa: E402
from mammolens.errors import BundleInvalid  # noqa: E402
from mammolens.explain.gradcam import heatmap  # noqa: E402
from mammolens.imaging import preprocess  # noqa: E402
from mammolens.inference import Predictor  # noqa: E402
from mammolens.inference.pair import PairEngine  # noqa: E402
from mammolens.models.bundle import load_bundle  # noqa: E402
from mammolens.models.network import Network  # noqa: E402
from mammolens.types import Prediction  # noqa: E402
from support.pairs import CALIBRATION, POINT, joined, stirred  # noqa: E402
from support.small import shrink  # noqa: E402

SIZE = (96, 64)
ROWS = {"rows": 640, "columns": 512}
FOUR = ("RCC", "LCC", "RMLO", "LMLO")

Make = Callable[..., Network]


@pytest.fixture(scope="module")
def place(random_network: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        return joined(random_network, tmp_path_factory.mktemp("pair") / "tiny", SIZE)


@pytest.fixture(scope="module")
def predictor(place: Path) -> Predictor:
    return Predictor.from_bundle(place, engine="onnxruntime", threads=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("examination")
    paths = {}
    for name, view in phantom.examination(0, **ROWS).items():
        paths[name] = folder / f"{name}.dcm"
        paths[name].write_bytes(phantom.dicom(view))
    return paths


@pytest.fixture(scope="module")
def single(predictor: Predictor, files: dict[str, Path]) -> dict[str, Prediction]:
    return {name: predictor.predict(files[name]) for name in FOUR}


def test_breast_gets_the_calibrated_logit_that_the_network_gives_in_keras(
    predictor: Predictor,
    files: dict[str, Path],
    single: dict[str, Prediction],
    random_network: Make,
    small_b0: None,
) -> None:
    found = predictor.predict_exam([files[name] for name in FOUR])
    model = stirred(random_network, SIZE)
    for breast in found.breasts:
        names = [f"{breast.laterality}{view}" for view in ("CC", "MLO")]
        seen = [preprocess.prepare(single[name].mammogram, SIZE).image.astype(np.float32) for name in names]
        turned = [seen, [view[::-1] for view in seen]]
        logits = [model.predict_on_batch([view[None, :, :, None] for view in look]) for look in turned]
        raw = float(np.mean(logits))
        assert breast.score.logit == pytest.approx(CALIBRATION.slope * raw + CALIBRATION.intercept, abs=1e-4)
        assert (breast.score.rule, breast.score.threshold) == ("pair", POINT.threshold)
        maps = breast.evidence
        assert [view.mammogram.view for view, _ in maps] == ["CC", "MLO"]
        assert sum(float(grid.sum()) for _, grid in maps) + 0.25 == pytest.approx(raw, abs=1e-4)
    assert found.score.probability == max(breast.score.probability for breast in found.breasts)


def test_answers_for_pictures_are_those_of_the_bundle_without_the_pair(
    single: dict[str, Prediction], files: dict[str, Path]
) -> None:
    plain = Predictor.from_bundle("default", engine="onnxruntime", threads=1)
    for name in FOUR:
        expected = plain.predict(files[name])
        assert single[name].logit == expected.logit
        np.testing.assert_array_equal(single[name].heatmap, expected.heatmap)
        assert expected.pair is None


def test_missing_view_leaves_the_breast_to_the_rule_and_says_so(
    predictor: Predictor, files: dict[str, Path], single: dict[str, Prediction]
) -> None:
    (found,) = predictor.predict_exams([files[name] for name in ("RCC", "RMLO", "LCC")])
    right, left = found.breasts
    assert (right.score.rule, left.score.rule) == ("pair", "mean-logit")
    assert left.evidence == ()
    examination = predictor.bundle.manifest.examination
    assert examination is not None
    assert left.score.logit == pytest.approx(examination.breast.calibration.logits(single["LCC"].logit), abs=1e-9)
    assert found.missing == (("L", "MLO"),)
    assert {"view-missing", "single-views"} <= {notice.code for notice in found.notices}
    # The exact maps stay where pictures and heat maps are let go.
    assert [grid.shape for _, grid in right.evidence] == [(3, 2), (3, 2)]


def test_map_of_the_pair_is_that_of_the_view_which_the_picture_shows(
    predictor: Predictor, single: dict[str, Prediction]
) -> None:
    for name, view in (("LCC", 0), ("LMLO", 1)):
        shown, pair = predictor.paired(single[name]), single[name].pair
        assert shown is not None
        assert pair is not None
        maps = [heatmap(evidence, pair.mask, 0.5) for evidence in pair.evidence]
        np.testing.assert_array_equal(shown.heatmap, maps[view])
        assert not np.array_equal(*maps)
        assert shown.geometry.size == SIZE
        assert shown.geometry.box == single[name].geometry.box
        assert (shown.probability, shown.label) == (single[name].probability, single[name].label)


def test_other_projections_are_not_looked_at(predictor: Predictor, single: dict[str, Prediction]) -> None:
    from dataclasses import replace

    lateral = predictor.predict(replace(single["LCC"].mammogram, view="ML"))
    assert lateral.pair is None
    assert predictor.paired(lateral) is None
    unknown = predictor.predict(replace(single["LCC"].mammogram, view=None))
    assert unknown.pair is not None
    assert unknown.pair.logits == pytest.approx(single["LCC"].pair.logits, abs=1e-6)  # type: ignore[union-attr]
    assert predictor.paired(unknown) is None


def test_bundle_without_a_pair_has_no_engine_for_one() -> None:
    with pytest.raises(BundleInvalid, match="no network of two views"):
        PairEngine(load_bundle("default"))
