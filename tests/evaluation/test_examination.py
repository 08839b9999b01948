"""Rules for breasts and women: chosen on other folds than judged, compared in pairs, calibrated at their level."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mammolens.errors import EvaluationError
from mammolens.evaluation import examination
from mammolens.evaluation.calibration import platt
from mammolens.evaluation.scores import Scores
from mammolens.models.manifest import Calibration

PLAIN = Calibration(slope=1.0, intercept=0.0, prevalence=0.5)


def scores(rows: list[tuple[str, str, str, int, bool, float]]) -> Scores:
    """Rows of woman, side, view, fold, malignant, logit."""
    names, sides, views, folds, labels, logits = zip(*rows, strict=True)
    return Scores(
        labels=np.array(labels, np.bool_),
        logits=np.array(logits, np.float64),
        women=np.array(names),
        breasts=np.array([f"{name}-{side}" for name, side in zip(names, sides, strict=True)]),
        views=np.array(views),
        folds=np.array(folds, np.int64),
        files=np.array([f"{row}.png" for row in range(len(rows))]),
    )


def made(count: int, *, spike: bool, seed: int = 0) -> Scores:
    """Women with both breasts; a cancer raises both views by 1.5, or (``spike``) one of them alone by 3."""
    random = np.random.default_rng(seed)
    rows = []
    for woman in range(count):
        for side in "LR":
            sick = side == "L" and woman % 2 == 0
            logits = random.normal(0.0, 1.0, 2)
            if sick:
                logits += random.permutation([3.0, 0.0]) if spike else 1.5
            for view, logit in zip(("CC", "MLO"), logits, strict=True):
                rows.append((f"w{woman}", side, view, woman // 2 % 4 + 1, sick, float(logit)))
    return scores(rows)


def test_breast_has_one_logit_a_view_with_doubled_views_averaged_and_others_left_out() -> None:
    given = scores(
        [
            ("a", "L", "CC", 1, False, 1.0),
            ("a", "L", "CC", 1, False, 3.0),
            ("a", "L", "MLO", 1, True, 5.0),
            ("a", "L", "AT", 1, False, 99.0),
            ("b", "R", "MLO", 2, False, -1.0),
        ]
    )
    found = examination.breasts(given, Calibration(slope=2.0, intercept=1.0, prevalence=0.5))
    assert found.parts == ((5.0, 11.0), (-1.0,))
    assert found.labels.tolist() == [True, False]
    assert found.women.tolist() == ["a", "b"]


def test_women_are_those_with_both_breasts() -> None:
    given = scores([("a", "L", "CC", 1, True, 1.0), ("b", "L", "CC", 1, False, 2.0), ("b", "R", "CC", 1, True, 3.0)])
    found = examination.women(examination.breasts(given, PLAIN), np.array([1.0, 2.0, 3.0]))
    assert found.women.tolist() == ["b"]
    assert found.parts == ((2.0, 3.0),)
    assert found.labels.tolist() == [True]


@pytest.mark.parametrize(("spike", "best"), [(False, "mean-logit"), (True, "max")])
def test_rule_that_fits_the_data_is_chosen(spike: bool, best: str) -> None:
    fitted = examination.fit(made(600, spike=spike), PLAIN, draws=100)
    assert fitted.section.breast.rule == best
    by_rule = {found.rule: found for found in fitted.breast.rules}
    assert by_rule["mean-logit"].gain.value == 0.0
    assert by_rule["max"].gain.value == by_rule["max"].auc.value - by_rule["mean-logit"].auc.value
    # Paired over the same women, the difference shows on either side of nothing.
    assert by_rule["max"].gain.low > 0.0 if spike else by_rule["max"].gain.high < 0.0


def test_auc_of_the_mean_is_the_share_of_pairs_in_order() -> None:
    given = made(40, spike=False)
    fitted = examination.fit(given, PLAIN, draws=50)
    means: dict[str, list[float]] = {}
    sick = {}
    for breast, logit, label in zip(given.breasts, given.logits, given.labels, strict=True):
        means.setdefault(breast, []).append(float(logit))
        sick[breast] = bool(label)
    high = [float(np.mean(values)) for breast, values in means.items() if sick[breast]]
    low = [float(np.mean(values)) for breast, values in means.items() if not sick[breast]]
    pairs = float(np.mean([[a > b for b in low] for a in high]))
    found = next(found for found in fitted.breast.rules if found.rule == "mean-logit")
    assert found.auc.value == pytest.approx(pairs, abs=1e-12)


def test_level_is_calibrated_where_the_views_are_not_together() -> None:
    # Two views of the same signal: the mean of two calibrated logits is too timid, and the level's slope says so.
    given = made(400, spike=False, seed=3)
    views = platt(given.labels, given.logits)
    fitted = examination.fit(given, views, draws=50)
    assert fitted.section.breast.calibration.slope > 1.2
    assert fitted.breast.calibration_error is not None
    assert fitted.breast.calibration_error < 0.06
    assert fitted.section.breast.calibration.prevalence == pytest.approx(0.25)
    assert fitted.section.views == views


def test_what_a_fold_is_given_does_not_depend_on_its_own_labels() -> None:
    given = made(200, spike=False, seed=5)
    sick = {str(woman) for woman, label in zip(given.women, given.labels, strict=True) if label}
    moved = (given.folds == 1) & np.array([str(woman) in sick for woman in given.women])
    # In fold 1 the cancers stand in the other breast.
    turned = replace(given, labels=np.where(moved, ~given.labels, given.labels))
    figures = [examination.fit(each, PLAIN, draws=20).breast for each in (given, turned)]
    assert figures[0].chosen[1] == figures[1].chosen[1]
    # A calibration that had seen the fold would have turned round with it.
    kept, lost = (found.brier or 0.0 for found in figures)
    assert lost > kept + 0.03


def test_woman_level_is_fitted_only_on_enough_women_with_both_breasts() -> None:
    few, many = made(60, spike=False), made(240, spike=False)
    assert examination.fit(few, PLAIN, draws=50).section.woman is None
    fitted = examination.fit(many, PLAIN, draws=50)
    assert fitted.section.woman is not None
    assert fitted.section.woman.auc is not None
    assert fitted.section.woman.auc.level == "woman"
    assert fitted.woman is not None
    assert (fitted.woman.units, fitted.woman.malignant) == (240, 120)


def test_one_fold_is_refused() -> None:
    given = made(20, spike=False)
    one = scores(
        [
            (str(w), str(b)[-1], str(v), 1, bool(y), float(z))
            for w, b, v, y, z in zip(given.women, given.breasts, given.views, given.labels, given.logits, strict=True)
        ]
    )
    with pytest.raises(EvaluationError, match="one fold"):
        examination.fit(one, PLAIN)


def test_section_is_left_out_where_there_is_too_little_to_fit_it_on() -> None:
    many = made(120, spike=False)
    section = examination.section_of(many, PLAIN, dataset="made up")
    assert section is not None
    assert "made up" in section.protocol
    assert examination.section_of(made(90, spike=False), PLAIN) is None
    assert examination.section_of(replace(many, folds=np.ones_like(many.folds)), PLAIN) is None


def test_woman_of_breasts_that_a_network_scored_is_chosen_and_calibrated_as_of_breasts_that_a_rule_scored() -> None:
    random = np.random.default_rng(4)
    rows = []
    for woman in range(240):
        for side in "LR":
            sick = side == "L" and woman % 2 == 0
            logit = float(random.normal(2.0 if sick else 0.0, 1.0))
            rows.append((f"w{woman}", side, "CC+MLO", woman // 2 % 4 + 1, sick, logit))
    given, calibration = scores(rows), Calibration(slope=0.5, intercept=-1.0, prevalence=0.25)
    level = examination.woman_of(given, calibration, dataset="made up", draws=50)
    assert level is not None
    # By another hand: each woman's two calibrated logits, and every rule's share of pairs in order.
    parts = (0.5 * given.logits - 1.0).reshape(240, 2)
    sick = given.labels.reshape(240, 2).any(axis=1)
    p = 1 / (1 + np.exp(-parts))
    by_rule = {
        "mean-logit": parts.mean(axis=1),
        "mean-probability": np.log(p.mean(axis=1) / (1 - p.mean(axis=1))),
        "max": parts.max(axis=1),
        "noisy-or": np.log((1 - (1 - p).prod(axis=1)) / (1 - p).prod(axis=1)),
    }
    areas = {rule: np.mean(found[sick][:, None] > found[~sick]) for rule, found in by_rule.items()}
    assert areas[level.rule] == max(areas.values())
    expected = platt(sick, by_rule[level.rule])
    assert (level.calibration.slope, level.calibration.intercept) == pytest.approx(
        (expected.slope, expected.intercept), rel=1e-6
    )
    assert level.auc is not None
    assert level.auc.value == pytest.approx(max(areas.values()), abs=0.02)
    assert "made up, 4 folds" in level.auc.protocol
    assert examination.woman_of(replace(given, folds=np.ones_like(given.folds)), calibration) is None
    assert examination.woman_of(scores(rows[:160]), calibration) is None
