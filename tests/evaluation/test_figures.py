"""Figures of merit against scikit-learn, hand-worked cases and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sklearn
from sklearn.linear_model import LogisticRegression

from mammolens.evaluation import calibration, figures
from mammolens.evaluation.curve import Curve
from mammolens.evaluation.figures import Sample
from mammolens.evaluation.resampling import bootstrap, weights


def drawn(count: int, seed: int, ties: bool = False) -> Sample:
    """Scores that say something, two pictures a woman; with ``ties``, to one decimal."""
    random = np.random.default_rng(seed)
    labels = random.random(count) < 0.3
    scores = random.normal(labels * 1.0, 1.0)
    scores = np.round(scores, 1) if ties else scores
    women = np.array([f"w{n // 2}" for n in range(count)])
    return Sample(labels, scores, 1.0 / (1.0 + np.exp(-(1.4 * scores - 1.2))), women)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_ranking_figures_equal_scikit_learn(seed: int, ties: bool) -> None:
    sample = drawn(300, seed, ties)
    found = figures.discrimination(sample, draws=20)
    assert found["auc"].value == pytest.approx(sklearn.roc_auc_score(sample.labels, sample.scores))
    assert found["pr_auc"].value == pytest.approx(sklearn.average_precision_score(sample.labels, sample.scores))
    partial = sklearn.roc_auc_score(sample.labels, sample.scores, max_fpr=0.1)
    assert found["partial_auc"].value == pytest.approx(partial)


@pytest.mark.parametrize("ties", [False, True])
def test_weighting_a_picture_twice_equals_scikit_learn_with_it_twice(ties: bool) -> None:
    sample, random = drawn(120, 9, ties), np.random.default_rng(0)
    w = random.integers(0, 4, (3, 120)).astype(float)
    curve = Curve(sample.labels, sample.scores, w)
    for row in range(3):
        rows = np.repeat(np.arange(120), w[row].astype(int))
        y, s = sample.labels[rows], sample.scores[rows]
        assert curve.area()[row] == pytest.approx(sklearn.roc_auc_score(y, s))
        assert curve.average_precision()[row] == pytest.approx(sklearn.average_precision_score(y, s))
        assert curve.partial_area()[row] == pytest.approx(sklearn.roc_auc_score(y, s, max_fpr=0.1))


def test_sensitivity_and_specificity_at_a_limit_of_a_hand_worked_case() -> None:
    # From above: M B M M B B B B B B: at specificity 7/8 or more, one benign picture may be called: 3 of 3 malignant.
    labels = np.array([1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    curve = Curve(labels, -np.arange(11.0))
    assert curve.sensitivity_at(7 / 8).tolist() == [1.0]
    assert curve.sensitivity_at(0.9).tolist() == [pytest.approx(1 / 3)]
    assert curve.specificity_at(1 / 3).tolist() == [1.0]
    assert curve.specificity_at(0.8).tolist() == [pytest.approx(7 / 8)]


def test_a_limit_is_kept_by_every_threshold_that_scikit_learn_lists() -> None:
    sample = drawn(400, 3)
    false, true, _ = sklearn.roc_curve(sample.labels, sample.scores, drop_intermediate=False)
    curve = Curve(sample.labels, sample.scores)
    assert curve.sensitivity_at(0.889)[0] == pytest.approx(true[false <= 1 - 0.889].max())
    assert curve.specificity_at(0.869)[0] == pytest.approx(1 - false[true >= 0.869].min())


def test_curve_of_a_hand_worked_case() -> None:
    # Scores high to low: malignant, benign, malignant and benign tied, benign.
    labels, scores = np.array([1, 0, 1, 0, 0]), np.array([0.9, 0.8, 0.5, 0.5, 0.1])
    found = Curve(labels, scores).sensitivities(np.array([0.0, 1 / 3, 0.5, 2 / 3, 1.0]))
    assert found[0] == pytest.approx([0.5, 0.5, 0.75, 1.0, 1.0])


def test_partial_area_of_a_hand_worked_case() -> None:
    # Ten benign pictures; one malignant of two stands above them all, the other below: sensitivity 0.5 up to 0.1.
    labels, scores = np.array([1, *[0] * 10, 1]), -np.arange(12.0)
    raw = 0.5 * 0.1
    assert Curve(labels, scores).partial_area(0.9)[0] == pytest.approx(0.5 * (1 + (raw - 0.005) / (0.1 - 0.005)))


def test_calibration_figures_equal_scikit_learn() -> None:
    sample = drawn(500, 5)
    found = figures.calibration(sample, draws=20)
    assert sample.probabilities is not None
    assert found["brier"].value == pytest.approx(sklearn.brier_score_loss(sample.labels, sample.probabilities))
    assert found["log_loss"].value == pytest.approx(sklearn.log_loss(sample.labels, sample.probabilities))
    x = np.log(sample.probabilities / (1 - sample.probabilities))
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(x[:, None], sample.labels)
    assert found["calibration_slope"].value == pytest.approx(fitted.coef_[0, 0], abs=1e-4)
    error = calibration.expected_calibration_error(sample.labels, sample.probabilities)
    assert found["ece"].value == pytest.approx(error)


def test_calibration_in_the_large_is_nought_where_the_mean_promise_is_kept() -> None:
    y = np.array([1.0, 0, 0, 0])
    _, intercept = figures.recalibration(y, np.zeros(4), np.ones((1, 4)), slope=1.0)
    assert intercept[0] == pytest.approx(np.log(1 / 3))  # what turns one in two into one in four


def test_classes_that_do_not_overlap_have_no_slope() -> None:
    y, x = np.repeat([0.0, 1.0], 20), np.repeat([-1.0, 1.0], 20)
    slope, intercept = figures.recalibration(y, x, np.ones((1, 40)))
    assert np.isnan(slope[0])
    assert np.isnan(intercept[0])


def test_confusion_of_a_hand_worked_case() -> None:
    labels = np.array([True, True, False, False, False])
    p = np.array([0.9, 0.2, 0.5, 0.1, 0.3])
    [point] = figures.confusion(Sample(labels, p, p, np.array(list("abcde"))), {"half": 0.5}, draws=200)
    counts = [point[name] for name in ("true_positive", "false_negative", "false_positive", "true_negative")]
    assert counts == [1, 1, 1, 2]
    assert point["sensitivity"]["value"] == 0.5
    assert point["specificity"]["value"] == pytest.approx(2 / 3)
    assert point["balanced_accuracy"]["value"] == pytest.approx(7 / 12)
    matrix = sklearn.confusion_matrix(labels, p >= 0.5)
    assert matrix.ravel().tolist() == [2, 1, 1, 1]


def test_net_benefit_of_a_hand_worked_case() -> None:
    labels = np.array([True, True, False, False, False])
    p = np.array([0.9, 0.2, 0.5, 0.1, 0.3])
    rows = {row["threshold"]: row for row in figures.decision_curve(Sample(labels, p, p, np.array(list("abcde"))))}
    # From 0.3: one of two cancers, two of three others, each of which weighs 3/7.
    assert rows[0.3]["model"]["value"] == pytest.approx(1 / 5 - 2 / 5 * 3 / 7)
    assert rows[0.3]["everybody"] == pytest.approx(2 / 5 - 3 / 5 * 3 / 7)


def test_reliability_tells_what_was_promised_and_seen_in_each_bin() -> None:
    labels = np.tile([False, True], 50)
    p = np.repeat([0.2, 0.6], 50)
    rows = figures.reliability(Sample(labels, p, p, np.arange(100).astype(str)), draws=100)
    assert [row["count"] for row in rows] == [10] * 10
    assert [row["predicted"] for row in rows] == pytest.approx([0.2] * 5 + [0.6] * 5)
    assert [row["observed"]["value"] for row in rows] == pytest.approx([0.5] * 10)


def test_a_sample_draws_women_with_all_their_pictures() -> None:
    women = np.array(["a", "b", "b", "c"])
    (w,) = weights(women, 50, 1)
    assert (w[:, 1] == w[:, 2]).all()
    assert (w[:, [0, 1, 3]].sum(axis=1) == 3).all()
    # The same as drawing rows one by one.
    random = np.random.default_rng(1)
    expected = [np.bincount(random.integers(0, 3, 3), minlength=3) for _ in range(50)]
    assert w[:, [0, 1, 3]].tolist() == np.array(expected).tolist()


def test_intervals_are_the_percentiles_of_a_plain_loop() -> None:
    sample = drawn(100, 7)
    found = figures.discrimination(sample, draws=300, seed=4)["auc"]
    values = []
    random = np.random.default_rng(4)
    for _ in range(300):
        women = random.integers(0, 50, 50)
        rows = np.concatenate([[np.flatnonzero(sample.women == name)] for name in np.unique(sample.women)[women]], None)
        values.append(sklearn.roc_auc_score(sample.labels[rows], sample.scores[rows]))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(values, (2.5, 97.5))))


def test_where_most_samples_lack_a_class_there_is_no_interval() -> None:
    def one_in_two(w: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {"figure": np.where(w[:, 0] > 0, w[:, 0], np.nan)}

    value, low, high = bootstrap(one_in_two, np.array(["a", "b", "c"]), draws=200)["figure"]
    assert value == 1
    assert np.isnan([low, high]).all()


def test_no_cancer_found_is_not_known_for_sure() -> None:
    labels = np.array([True] * 11 + [False] * 19)
    p = np.where(labels, 0.3, 0.2)
    [point] = figures.confusion(Sample(labels, p, p, np.arange(30).astype(str)), {"strict": 0.9}, draws=100)
    # Wilson's bounds of 0 of 11 and 19 of 19 by hand: z² / (n + z²) and n / (n + z²).
    assert point["sensitivity"] == pytest.approx({"value": 0.0, "low": 0.0, "high": 3.8415 / 14.8415}, abs=1e-4)
    assert point["specificity"] == pytest.approx({"value": 1.0, "low": 19 / 22.8415, "high": 1.0}, abs=1e-4)
