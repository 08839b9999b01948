"""How scores of views become those of breasts and of an examination: worked by hand, whatever the order."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest

from mammolens.inference.examination import Combination, Method, PairMethod, Picture, assemble, combine, name
from mammolens.models.bundle import load_bundle
from mammolens.models.manifest import Calibration, Examination, Level, OperatingPoint

PLAIN = Method(Combination("mean-logit", None, 0.5), Combination("max", None, 0.5))


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def picture(place: str, p: float, *modifiers: str, sha256: str = "") -> Picture:
    side, _, view = place.partition(" ")
    return Picture(side if side != "-" else None, view or None, modifiers, logit(p), sha256)


FOUR = [picture("R CC", 0.1), picture("R MLO", 0.2), picture("L CC", 0.3), picture("L MLO", 0.8)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # Odds 1/9 and 1: the root of their product is 1/3, a probability of 1/4.
        ("mean-logit", 0.25),
        ("mean-probability", 0.3),
        ("max", 0.5),
        ("noisy-or", 1 - 0.9 * 0.5),
    ],
)
def test_each_rule_gives_what_the_hand_works_out(rule: str, expected: float) -> None:
    assert combine(rule, [logit(0.1), logit(0.5)]) == pytest.approx(logit(expected))


@pytest.mark.parametrize("rule", ["mean-logit", "mean-probability", "max", "noisy-or"])
def test_every_rule_stays_finite_and_monotone_at_the_ends_of_the_scale(rule: str) -> None:
    low, high = combine(rule, [-1e4, -1e4]), combine(rule, [1e4, 1e4])
    assert math.isfinite(low)
    assert math.isfinite(high)
    assert low < -400
    assert high > 400
    assert combine(rule, [3.0]) == pytest.approx(3.0)


def test_four_views_make_two_breasts_and_the_examination_says_what_the_worse_one_says() -> None:
    found = assemble(FOUR, PLAIN)
    assert [breast.laterality for breast in found.breasts] == ["R", "L"]
    # Odds 1/9 and 1/4 make 1/6, a probability of 1/7; odds 3/7 and 4 make the root of 12/7.
    assert found.breasts[0].score.probability == pytest.approx(1 / 7)
    odds = math.sqrt(12 / 7)
    assert found.breasts[1].score.probability == pytest.approx(odds / (1 + odds))
    assert found.score.probability == found.breasts[1].score.probability
    assert found.score.label == "malignant"
    assert (found.missing, found.doubled, found.notices) == ((), (), ())


def test_no_order_of_the_inputs_changes_anything() -> None:
    pictures = [replace(p, sha256=f"{n:064x}") for n, p in enumerate([*FOUR, picture("L CC", 0.6), picture("-", 0.4)])]
    whole = assemble(pictures, PLAIN)
    for order in itertools.permutations(range(len(pictures))):
        mixed = assemble([pictures[i] for i in order], PLAIN)
        assert mixed.score == whole.score
        assert [b.score for b in mixed.breasts] == [b.score for b in whole.breasts]
        assert [[order[i] for i in b.pictures] for b in mixed.breasts] == [list(b.pictures) for b in whole.breasts]
        assert (mixed.missing, mixed.doubled, mixed.notices) == (whole.missing, whole.doubled, whole.notices)


def test_missing_view_is_named_and_the_breast_is_scored_by_the_other() -> None:
    found = assemble(FOUR[:3], PLAIN)
    assert found.missing == (("L", "MLO"),)
    assert found.breasts[1].score.probability == pytest.approx(0.3)
    assert [notice.code for notice in found.notices] == ["view-missing"]
    assert "L MLO" in found.notices[0].message


def test_breast_that_is_not_shown_is_missing_with_both_its_views() -> None:
    assert assemble(FOUR[2:], PLAIN).missing == (("R", "CC"), ("R", "MLO"))


def test_doubled_view_is_averaged_first_and_has_no_more_say_than_the_other_view() -> None:
    pictures = [picture("L CC", 0.2), picture("L CC", 0.5), picture("L MLO", 0.8)]
    found = assemble(pictures, PLAIN)
    # Log-odds -ln 4 and 0 average to -ln 2; with ln 4 the mean is (ln 4 - ln 2) / 2 = ln 2 / 2.
    assert found.breasts[0].score.logit == pytest.approx(math.log(2) / 2)
    assert found.doubled == (("L", "CC"),)
    assert "view-doubled" in [notice.code for notice in found.notices]


def test_same_file_twice_counts_once() -> None:
    twice = [
        picture("L CC", 0.2, sha256="a"),
        picture("L CC", 0.5, sha256="b"),
        picture("L CC", 0.5, sha256="b"),
    ]
    found = assemble(twice, PLAIN)
    assert found.breasts[0].score == assemble(twice[:2], PLAIN).breasts[0].score
    assert "repeated-picture" in [notice.code for notice in found.notices]


@pytest.mark.parametrize("modifier", ["spot compression", "magnification", "axillary tail"])
def test_partial_views_are_shown_but_left_out_of_the_score(modifier: str) -> None:
    found = assemble([*FOUR, picture("L CC", 0.99, modifier)], PLAIN)
    assert found.score == assemble(FOUR, PLAIN).score
    assert found.doubled == ()
    assert 4 in found.breasts[1].pictures
    assert 4 not in found.breasts[1].counted
    assert [n.message for n in found.notices if n.code == "view-not-counted"] == [
        f"Shown, but not part of the score: L CC {modifier}."
    ]


def test_lateral_views_are_left_out_and_implant_displaced_ones_count() -> None:
    assert assemble([*FOUR, picture("L ML", 0.99)], PLAIN).score == assemble(FOUR, PLAIN).score
    displaced = assemble([*FOUR, picture("L CC", 0.99, "implant displaced")], PLAIN)
    assert displaced.score.logit > assemble(FOUR, PLAIN).score.logit
    assert displaced.doubled == (("L", "CC"),)


def test_breast_without_a_standard_view_is_scored_by_what_there_is_and_says_so() -> None:
    found = assemble([*FOUR[:2], picture("L ML", 0.7), picture("L CC", 0.7, "spot compression")], PLAIN)
    assert found.breasts[1].score.probability == pytest.approx(0.7)
    assert found.missing == (("L", "CC"), ("L", "MLO"))
    assert "no-standard-view" in [notice.code for notice in found.notices]


def test_pictures_of_unknown_side_are_breasts_of_their_own_and_no_view_is_missed() -> None:
    found = assemble([picture("-", 0.3), picture("-", 0.6)], PLAIN)
    assert [breast.laterality for breast in found.breasts] == [None, None]
    assert found.score.probability == pytest.approx(0.6)
    assert found.missing == ()
    assert {"side-unknown", "view-unknown"} <= {notice.code for notice in found.notices}


def measured(woman: Level | None) -> Examination:
    point = OperatingPoint(name="balanced", threshold=0.4, sensitivity=0.7, specificity=0.8)
    breast = Level(
        rule="max",
        calibration=Calibration(slope=2.0, intercept=-1.0, prevalence=0.3),
        operating_points=(point,),
        default_operating_point="balanced",
    )
    return Examination(views=VIEWS, breast=breast, woman=woman, protocol="by hand")


VIEWS = Calibration(slope=1.0, intercept=0.0, prevalence=0.3)


def test_bundle_with_the_section_gives_its_rule_calibration_and_threshold() -> None:
    manifest = load_bundle().manifest.model_copy(update={"calibration": VIEWS, "examination": measured(None)})
    found = assemble(FOUR, Method.of(manifest))
    assert found.breasts[1].score.logit == pytest.approx(2 * logit(0.8) - 1)
    assert found.score == found.breasts[1].score
    assert found.score.threshold == 0.4
    assert [notice.code for notice in found.notices] == ["calibrated-per-breast"]


def test_level_of_the_woman_is_calibrated_on_its_own_where_it_was_measured() -> None:
    woman = Level(
        rule="noisy-or",
        calibration=Calibration(slope=0.5, intercept=0.25, prevalence=0.1),
        operating_points=(OperatingPoint(name="balanced", threshold=0.2, sensitivity=None, specificity=None),),
        default_operating_point="balanced",
    )
    manifest = load_bundle().manifest.model_copy(update={"calibration": VIEWS, "examination": measured(woman)})
    found = assemble(FOUR, Method.of(manifest))
    p = [1 / (1 + math.exp(1 - 2 * logit(q))) for q in (0.2, 0.8)]
    either = 1 - (1 - p[0]) * (1 - p[1])
    assert found.score.logit == pytest.approx(0.5 * logit(either) + 0.25)
    assert found.score.threshold == 0.2
    assert found.notices == ()


@pytest.mark.parametrize("section", ["none", "of another calibration"])
def test_bundle_without_a_fitting_section_says_that_its_levels_are_not_calibrated(section: str) -> None:
    manifest = load_bundle().manifest
    other = None if section == "none" else measured(None)
    method = Method.of(manifest.model_copy(update={"examination": other}))
    found = assemble(FOUR, method)
    assert [notice.code for notice in found.notices] == ["uncalibrated-examination"]
    assert found.score.threshold == manifest.threshold
    assert found.score == replace(assemble(FOUR, PLAIN).score, threshold=manifest.threshold)


def test_examination_is_named_by_its_files_in_any_order_and_by_each_once() -> None:
    # printf 'a\nb' | sha256sum
    assert name(["b", "a", "b"]) == name(["a", "b"]) == "7e18f737311b2dc3"


# By hand: the pair's logit is cc + mlo + 0.5, and its calibration doubles it and takes 1 off.
PAIR = PairMethod(0.5, Calibration(slope=2.0, intercept=-1.0, prevalence=0.3), 0.6)
BOTH = replace(PLAIN, pair=PAIR)
SHARED = [replace(p, shares=(0.1 * n, -0.2 * n)) for n, p in enumerate(FOUR, 1)]


def test_network_of_two_views_scores_a_breast_by_the_share_of_each_picture_as_the_view_that_it_is() -> None:
    found = assemble(SHARED, BOTH)
    right, left = found.breasts
    assert right.score.logit == pytest.approx(2 * (0.1 - 0.4 + 0.5) - 1)
    assert left.score.logit == pytest.approx(2 * (0.3 - 0.8 + 0.5) - 1)
    assert (right.pair, right.counted, right.score.rule, right.score.threshold) == ((0, 1), (0, 1), "pair", 0.6)
    assert (found.score.probability, found.score.rule) == (right.score.probability, "max")
    assert found.notices == ()


def test_breast_that_lacks_a_view_is_scored_by_the_rule_and_that_is_said() -> None:
    found = assemble(SHARED[:3], BOTH)
    assert [breast.score.rule for breast in found.breasts] == ["pair", "mean-logit"]
    assert found.breasts[1].score.probability == pytest.approx(0.3)
    assert found.breasts[1].pair is None
    codes = [notice.code for notice in found.notices]
    assert codes == ["view-missing", "single-views"]
    assert "breast L" in found.notices[1].message
    # The worse breast is the right one here, and its threshold goes with it.
    assert (found.score.logit, found.score.threshold) == (found.breasts[0].score.logit, 0.6)
    lone = assemble([SHARED[2]], BOTH)
    assert lone.score == assemble([FOUR[2]], PLAIN).score
    assert "single-views" in [notice.code for notice in lone.notices]


def test_of_doubled_views_the_network_takes_one_whatever_their_order() -> None:
    twice = [replace(p, sha256=f"{n:064x}") for n, p in enumerate([*SHARED, SHARED[2]])]
    twice[4] = replace(twice[4], shares=(9.0, 9.0))
    for order in itertools.permutations(range(5)):
        found = assemble([twice[i] for i in order], BOTH)
        assert found.breasts[1].score == assemble(SHARED, BOTH).breasts[1].score
        assert [order[i] for i in found.breasts[1].counted] == [2, 3]
    assert found.doubled == (("L", "CC"),)
    assert [n.message for n in found.notices if n.code == "view-doubled"] == [
        "Given more than once, of which the network of two views took one: L CC."
    ]


@pytest.mark.parametrize("modifier", ["spot compression", "magnification"])
def test_partial_view_is_no_view_for_the_network(modifier: str) -> None:
    partial = replace(SHARED[3], view_modifiers=(modifier,))
    found = assemble([*SHARED[:3], partial], BOTH)
    assert found.breasts[1].pair is None
    assert found.breasts[1].score == assemble(SHARED[:3], BOTH).breasts[1].score


def test_network_of_two_views_brings_calibration_threshold_and_rule_unless_a_site_calibrated_without_it() -> None:
    from mammolens.models.manifest import Manifest, Metric, Pair, PairGolden, Preprocessing, Training
    from support.pairs import CALIBRATION, POINT

    pair = Pair(
        architecture="efficientnet-b0",
        preprocessing=Preprocessing(version=1, height=64, width=48),
        bias=0.5,
        evidence_scale=1.0,
        views=VIEWS,
        breast={"calibration": CALIBRATION, "operating_points": (POINT,), "default_operating_point": "balanced"},
        training=Training(dataset="t", images=2, women=1, terms="made", configuration_sha256="0"),
        metrics=(Metric(name="AUC", level="breast", value=0.8, low=0.7, high=0.9, protocol="by hand"),),
        protocol="by hand",
        golden=(PairGolden(seed=1, input_sha256="0" * 64, cc=0.0, mlo=0.0),),
        licence="made",
    )
    base: Manifest = load_bundle().manifest
    manifest = base.model_copy(update={"calibration": VIEWS, "examination": measured(None), "pair": pair})
    found = assemble(SHARED, Method.of(manifest))
    # CALIBRATION, by hand: half the logit less a quarter.
    assert found.breasts[0].score.logit == pytest.approx(0.5 * (0.1 - 0.4 + 0.5) - 0.25)
    assert found.breasts[0].score.threshold == POINT.threshold
    assert [notice.code for notice in found.notices] == ["calibrated-per-breast"]

    # A site has calibrated the single pictures, and not the network of two views: the rule scores, and that is said.
    at_a_site = manifest.model_copy(update={"calibration": VIEWS.model_copy(update={"slope": 1.5})})
    found = assemble(SHARED, Method.of(at_a_site))
    assert [breast.score.rule for breast in found.breasts] == ["mean-logit", "mean-logit"]
    assert [notice.code for notice in found.notices] == ["uncalibrated-examination", "pair-rests"]

    woman = Level(
        rule="noisy-or",
        calibration=Calibration(slope=0.5, intercept=0.25, prevalence=0.1),
        operating_points=(POINT,),
        default_operating_point="balanced",
    )
    manifest = manifest.model_copy(update={"pair": pair.model_copy(update={"woman": woman})})
    found = assemble(SHARED, Method.of(manifest))
    either = combine("noisy-or", [breast.score.logit for breast in found.breasts])
    assert found.score.logit == pytest.approx(0.5 * either + 0.25)
    assert (found.score.rule, found.notices) == ("noisy-or", ())
