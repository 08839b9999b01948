"""Examinations from files: a phantom's four views, with one missing, doubled, or a stranger's among them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from mammolens import phantom
from mammolens.errors import InputError, NoBreast, SeveralExaminations
from mammolens.inference import Predictor
from mammolens.types import ExamPrediction

SIZE = {"rows": 640, "columns": 512}
SECRETS = ("Phantom^Synthetic", "PHANTOM-", "2.25.")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """The built-in model, as if it brought no rule for examinations."""
    opened = Predictor.from_bundle("default", threads=1)
    manifest = opened.bundle.manifest.model_copy(update={"examination": None})
    return Predictor(replace(opened.bundle, manifest=manifest), opened.engine)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A phantom woman's views by name (``RCC`` …), those of another woman (``other RCC`` …), and a second LCC."""
    folder = tmp_path_factory.mktemp("examination")
    made = {name: phantom.dicom(view) for name, view in phantom.examination(0, **SIZE).items()}
    made |= {f"other {name}": phantom.dicom(view) for name, view in phantom.examination(1, **SIZE).items()}
    made["LCC again"] = phantom.dicom(phantom.make("CC", "L", None, seed=0, **SIZE))
    paths = {}
    for name, content in made.items():
        paths[name] = folder / f"{name}.dcm"
        paths[name].write_bytes(content)
    picture = phantom.make("CC", "L", "mass", seed=5, **SIZE).pixels
    paths["photograph"] = folder / "photograph.png"
    Image.fromarray((picture >> 4).astype(np.uint8)).save(paths["photograph"])
    return paths


FOUR = ("RCC", "LCC", "RMLO", "LMLO")


@pytest.fixture(scope="module")
def whole(predictor: Predictor, files: dict[str, Path]) -> ExamPrediction:
    return predictor.predict_exam([files[name] for name in FOUR])


def test_score_of_a_breast_is_the_mean_of_its_views_and_that_of_the_examination_the_higher(
    predictor: Predictor, files: dict[str, Path], whole: ExamPrediction
) -> None:
    single = {name: predictor.predict(files[name]).logit for name in FOUR}
    means = {side: (single[f"{side}CC"] + single[f"{side}MLO"]) / 2 for side in "RL"}
    assert [breast.laterality for breast in whole.breasts] == ["R", "L"]
    for breast in whole.breasts:
        assert breast.score.logit == pytest.approx(means[breast.laterality or ""], abs=1e-9)
        assert [view.mammogram.view for view in breast.views] == ["CC", "MLO"]
        assert breast.counted == (True, True)
    assert whole.score.probability == pytest.approx(1 / (1 + np.exp(-max(means.values()))), abs=1e-9)
    assert (whole.missing, whole.doubled, whole.refused) == ((), (), ())
    assert [notice.code for notice in whole.notices] == ["uncalibrated-examination"]


def test_order_of_the_inputs_makes_no_difference(
    predictor: Predictor, files: dict[str, Path], whole: ExamPrediction
) -> None:
    turned = predictor.predict_exam([files[name] for name in reversed(FOUR)], jobs=2)
    assert (turned.name, turned.score, turned.notices) == (whole.name, whole.score, whole.notices)
    assert [b.score for b in turned.breasts] == [b.score for b in whole.breasts]


def test_bytes_and_mammograms_give_the_scores_of_the_files(
    predictor: Predictor, files: dict[str, Path], whole: ExamPrediction
) -> None:
    contents = predictor.predict_exam([files[name].read_bytes() for name in FOUR])
    pictures = predictor.predict_exam([view.mammogram for breast in whole.breasts for view in breast.views])
    for other in (contents, pictures):
        assert other.name == whole.name
        assert other.score.probability == pytest.approx(whole.score.probability, abs=1e-4)


def test_missing_and_doubled_views_are_named(predictor: Predictor, files: dict[str, Path]) -> None:
    found = predictor.predict_exam([files[name] for name in ("RCC", "LCC", "LCC again", "LMLO")])
    assert found.missing == (("R", "MLO"),)
    assert found.doubled == (("L", "CC"),)
    logits = {name: predictor.predict(files[name]).logit for name in ("LCC", "LCC again", "LMLO")}
    expected = ((logits["LCC"] + logits["LCC again"]) / 2 + logits["LMLO"]) / 2
    assert found.breasts[1].score.logit == pytest.approx(expected, abs=1e-9)
    assert {"view-missing", "view-doubled"} <= {notice.code for notice in found.notices}


def test_two_studies_in_one_folder_are_parted_and_a_photograph_stands_alone(
    predictor: Predictor, files: dict[str, Path], whole: ExamPrediction
) -> None:
    mixed = ["RCC", "other LCC", "photograph", "LCC", "other RMLO", "RMLO", "other LMLO", "LMLO", "other RCC"]
    first, second, photograph = predictor.predict_exams([files[name] for name in mixed])
    assert (first.name, first.score) == (whole.name, whole.score)
    assert second.missing == ()
    assert len([view for breast in second.breasts for view in breast.views]) == 4
    assert photograph.notices[0].code == "stands-alone"
    assert photograph.breasts[0].laterality is None
    assert photograph.score.logit == pytest.approx(predictor.predict(files["photograph"]).logit, abs=1e-9)


def test_asking_for_one_examination_of_two_is_refused(predictor: Predictor, files: dict[str, Path]) -> None:
    with pytest.raises(SeveralExaminations):
        predictor.predict_exam([files["RCC"], files["other RCC"]])


def test_refused_picture_is_named_and_its_view_is_missing(
    predictor: Predictor, files: dict[str, Path], tmp_path: Path
) -> None:
    blank = tmp_path / "blank.png"
    Image.fromarray(np.zeros((400, 300), np.uint8)).save(blank)
    found = predictor.predict_exam([files["RCC"], blank, files["RMLO"]])
    assert [(view.source, view.code) for view in found.refused] == [(1, "blank-image")]
    assert found.missing == (("L", "CC"), ("L", "MLO"))
    with pytest.raises(InputError) as error:
        predictor.predict_exam([blank])
    assert error.value.code == "blank-image"
    assert not isinstance(error.value, NoBreast)
    with pytest.raises(InputError, match="No picture"):
        predictor.predict_exam([])


def test_spot_view_is_shown_and_left_out(predictor: Predictor, files: dict[str, Path], whole: ExamPrediction) -> None:
    def spot(data: Dataset) -> None:
        data.ViewPosition = "SCC"
        data.ViewCodeSequence = []

    content = phantom.dicom(phantom.make("CC", "L", "both", seed=0, **SIZE), change=spot)
    found = predictor.predict_exam([*(files[name] for name in FOUR), content])
    assert found.score == whole.score
    assert found.doubled == ()
    assert found.breasts[1].counted.count(False) == 1
    assert "view-not-counted" in [notice.code for notice in found.notices]


def test_nothing_that_a_header_says_of_the_woman_gets_into_the_answer(whole: ExamPrediction) -> None:
    told = json.dumps([whole.name, [[n.code, n.message] for n in whole.notices], repr(whole)])
    assert not [secret for secret in SECRETS if secret in told]
