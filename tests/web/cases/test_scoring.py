"""A case's score is what `inference.examination` makes of its answers, by one model, as the command line has it."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mammolens import phantom
from mammolens.inference import Predictor
from mammolens.inference.examination import Picture
from mammolens.inference.gathering import picture_of
from mammolens.models.bundle import load_bundle
from mammolens.models.manifest import Calibration, Examination, Level, Manifest, OperatingPoint
from mammolens.models.network import Network
from mammolens.web.cases.scoring import Answered, score

IN_USE, OTHER = "1" * 64, "2" * 64
BEGAN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def answer(place: str, p: float, *, study: str | None = "1.2", model: str = IN_USE, age: int = 0) -> Answered:
    side, _, view = place.partition(" ")
    picture = Picture(side if side != "-" else None, view or None, (), logit(p), sha256=f"{place}{p}")
    return Answered(f"{place}{p}", picture, study, 0.31, model, BEGAN + dt.timedelta(seconds=age))


def manifest() -> Manifest:
    return load_bundle().manifest.model_copy(update={"examination": None})


def test_four_views_are_two_breasts_and_the_case_says_what_the_worse_one_says() -> None:
    answers = [answer("R CC", 0.1), answer("R MLO", 0.1), answer("L CC", 0.5), answer("L MLO", 0.8)]
    found = score(answers, IN_USE, {IN_USE: manifest()})
    assert found is not None
    # Odds 1 and 4: the root of their product is 2.
    assert found.breasts["L"].probability == pytest.approx(2 / 3)
    assert found.breasts["R"].probability == pytest.approx(0.1)
    assert found.score == found.breasts["L"]
    assert not found.calibrated
    assert found.known


def test_pictures_of_which_nothing_is_known_stand_alone_and_the_highest_counts() -> None:
    found = score([answer("-", p, study=None) for p in (0.2, 0.7, 0.4)], IN_USE, {IN_USE: manifest()})
    assert found is not None
    assert found.score.probability == pytest.approx(0.7)
    assert found.score.label == "malignant"
    assert found.breasts == {"-": found.score}
    assert [notice.code for notice in found.notices].count("stands-alone") == 1


def test_scores_of_two_models_are_not_put_together() -> None:
    old = [answer("L CC", 0.9, model=OTHER), answer("L MLO", 0.9, model=OTHER)]
    new = [answer("L CC", 0.2, age=9), answer("L MLO", 0.2, age=9)]
    manifests = {IN_USE: manifest(), OTHER: manifest()}
    partly, wholly = score([*old, new[0]], IN_USE, manifests), score([*old, *new], IN_USE, manifests)
    assert partly is not None
    assert wholly is not None
    assert (partly.model_sha256, partly.score.probability) == (OTHER, pytest.approx(0.9))
    assert (wholly.model_sha256, wholly.score.probability) == (IN_USE, pytest.approx(0.2))
    assert score([], IN_USE, manifests) is None


def test_measured_section_of_the_bundle_is_used_and_a_model_that_is_gone_says_so() -> None:
    base = manifest()
    assert base.calibration is not None
    level = Level(
        rule="max",
        calibration=Calibration(slope=2.0, intercept=-1.0, prevalence=0.3),
        operating_points=(OperatingPoint(name="balanced", threshold=0.4, sensitivity=0.7, specificity=0.8),),
        default_operating_point="balanced",
    )
    section = Examination(views=base.calibration, breast=level, protocol="by hand")
    answers = [answer("L CC", 0.5), answer("L MLO", 0.8)]
    found = score(answers, IN_USE, {IN_USE: base.model_copy(update={"examination": section})})
    assert found is not None
    assert found.score.logit == pytest.approx(2 * logit(0.8) - 1)
    assert found.score.threshold == 0.4
    assert found.calibrated
    gone = score(answers, IN_USE, {})
    assert gone is not None
    assert not gone.known
    assert (gone.score.threshold, gone.score.probability) == (0.31, pytest.approx(2 / 3))


@pytest.fixture(scope="module")
def two_views(random_network: Callable[..., Network], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundle with a network of two views."""
    pytest.importorskip("keras")
    from support.pairs import joined
    from support.small import shrink

    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        return joined(random_network, tmp_path_factory.mktemp("pair") / "tiny", (96, 64))


@pytest.mark.parametrize("model", ["default", "two views"])
def test_case_and_python_give_one_score(tmp_path: Path, model: str, request: pytest.FixtureRequest) -> None:
    place = model if model == "default" else request.getfixturevalue("two_views")
    predictor = Predictor.from_bundle(place, threads=1, pictures=4)
    paths = []
    for name, view in phantom.examination(0, rows=640, columns=512).items():
        paths.append(tmp_path / f"{name}.dcm")
        paths[-1].write_bytes(phantom.dicom(view))
    exam = predictor.predict_exam(paths)
    answers = [
        Answered(
            view.mammogram.sha256,
            picture_of(view),
            "any study",
            view.threshold,
            IN_USE,
            BEGAN,
        )
        for breast in reversed(exam.breasts)
        for view in breast.views
    ]
    found = score(answers, IN_USE, {IN_USE: predictor.bundle.manifest})
    assert found is not None
    assert found.score.probability == pytest.approx(exam.score.probability, abs=1e-4)
    assert (found.score.label, found.score.rule) == (exam.score.label, exam.score.rule)
    assert {score.rule for score in found.breasts.values()} == {"mean-logit" if model == "default" else "pair"}
    for breast in exam.breasts:
        assert found.breasts[breast.laterality or "-"].probability == pytest.approx(breast.score.probability, abs=1e-4)


def test_what_a_score_was_calibrated_by_is_that_of_the_network_or_of_the_rule_that_gave_it(two_views: Path) -> None:
    base = load_bundle(two_views).manifest
    assert base.pair is not None
    assert base.calibration is not None
    level = Level(
        rule="max",
        calibration=Calibration(slope=2.0, intercept=-1.0, prevalence=0.2),
        operating_points=(OperatingPoint(name="balanced", threshold=0.35, sensitivity=0.7, specificity=0.8),),
        default_operating_point="balanced",
    )
    section = Examination(views=base.calibration, breast=level, protocol="by hand")
    manifests = {IN_USE: base.model_copy(update={"examination": section})}

    def shared(place: str, p: float, share: float) -> Answered:
        given = answer(place, p)
        return replace(given, picture=replace(given.picture, shares=(share, share)))

    left = [shared("L CC", 0.5, 1.0), shared("L MLO", 0.5, 1.0)]
    right = [shared("R CC", 0.1, -9.0), shared("R MLO", 0.1, -9.0)]
    by_pair = score([*left, *right], IN_USE, manifests)
    assert by_pair is not None
    # By hand: the shares and a bias of 0.25, halved, less a quarter.
    assert by_pair.score.logit == pytest.approx(0.5 * 2.25 - 0.25)
    assert (by_pair.decision, by_pair.per_breast, by_pair.calibrated) == (base.pair.breast, True, True)
    # The worse breast lacks a view here.
    lone = score([shared("L CC", 0.99, 1.0), *right], IN_USE, manifests)
    assert lone is not None
    assert lone.score.threshold == 0.35
    assert (lone.decision, lone.per_breast) == (level, True)
    assert "single-views" in [notice.code for notice in lone.notices]
    plain = score([*left, *right], IN_USE, {IN_USE: manifest()})
    assert plain is not None
    assert (plain.decision, plain.per_breast, plain.calibrated) == (None, False, False)
