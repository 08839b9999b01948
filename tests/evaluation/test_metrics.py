"""Metrics against worked cases and published ones."""

from __future__ import annotations

import numpy as np
import pytest

from mammolens.errors import TrainingError
from mammolens.evaluation import calibration, metrics, operating
from mammolens.evaluation.logistic import logistic_regression
from mammolens.models.manifest import Calibration


def test_auc_of_a_worked_case() -> None:
    # Pairs (positive, negative): 0.8 and 0.4 against 0.5, 0.4, 0.1: 3 wins, then 1 win and 1 tie: 4.5 of 6.
    assert metrics.auc(np.array([1, 1, 0, 0, 0]), np.array([0.8, 0.4, 0.5, 0.4, 0.1])) == pytest.approx(4.5 / 6)


def test_auc_equals_the_count_of_pairs_on_random_scores_with_ties() -> None:
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 2, 200), random.integers(0, 12, 200)
    positive, negative = scores[labels == 1][:, None], scores[labels == 0][None]
    pairs = ((positive > negative) + 0.5 * (positive == negative)).mean()
    assert metrics.auc(labels, scores) == pytest.approx(pairs)


def test_auc_of_one_class_is_not_a_number() -> None:
    assert np.isnan(metrics.auc(np.ones(4), np.arange(4)))


def test_interval_grows_when_images_of_a_woman_repeat() -> None:
    """Four copies of each image add no information: over women the interval stays, over images it would halve."""
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 150).astype(float)
    scores = labels + random.normal(0, 1.5, 150)
    women = np.arange(150)
    single = metrics.bootstrap_auc(labels, scores, women, draws=400)
    repeated = metrics.bootstrap_auc(np.repeat(labels, 4), np.repeat(scores, 4), np.repeat(women, 4), draws=400)
    assert repeated.value == pytest.approx(single.value)
    assert repeated.high - repeated.low == pytest.approx(single.high - single.low, rel=0.15)


def test_interval_agrees_with_hanley_and_mcneil() -> None:
    random = np.random.default_rng(2)
    labels = np.repeat([0.0, 1.0], 300)
    scores = labels * 1.0 + random.normal(0, 1, 600)
    found = metrics.bootstrap_auc(labels, scores, np.arange(600), draws=1000)
    a = found.value
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    error = np.sqrt((a * (1 - a) + 299 * (q1 - a * a) + 299 * (q2 - a * a)) / (300 * 300))
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_breast_score_is_the_mean_of_its_views_and_its_label_the_highest() -> None:
    labels, scores, first = metrics.by_group(
        np.array([0, 1, 0, 0]), np.array([1.0, 3.0, 5.0, 7.0]), np.array(["a", "a", "b", "b"])
    )
    assert labels.tolist() == [1, 0]
    assert scores.tolist() == [2, 6]
    assert first.tolist() == [0, 2]


def test_platt_scaling_recovers_a_known_distortion() -> None:
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, 20_000)
    labels = (random.random(20_000) < 1 / (1 + np.exp(-(0.5 * logits - 1)))).astype(float)
    fitted = calibration.platt(labels, logits)
    assert fitted.slope == pytest.approx(0.5, abs=0.03)
    assert fitted.intercept == pytest.approx(-1.0, abs=0.05)
    assert calibration.expected_calibration_error(labels, calibration.apply(fitted, logits)) < 0.02


def test_calibration_error_of_a_worked_case() -> None:
    labels, promised = np.array([0, 1, 1, 1]), np.array([0.1, 0.3, 0.8, 0.9])
    # Two bins of two: |0.5 - 0.2| and |1 - 0.85|, equally heavy.
    assert calibration.expected_calibration_error(labels, promised, bins=2) == pytest.approx(0.225)


def test_cross_fitting_never_sees_its_own_fold() -> None:
    random = np.random.default_rng(4)
    labels = random.integers(0, 2, 400).astype(float)
    logits = labels + random.normal(0, 1, 400)
    folds = np.repeat([1, 2], 200)
    before = calibration.cross_fitted(labels, logits, folds)
    changed = labels.copy()
    changed[:10] = 1 - changed[:10]
    after = calibration.cross_fitted(changed, logits, folds)
    np.testing.assert_array_equal(before[folds == 1], after[folds == 1])
    assert not np.allclose(before[folds == 2], after[folds == 2])


def test_calibration_must_not_turn_the_order_round() -> None:
    with pytest.raises(ValueError, match="slope"):
        Calibration(slope=-1.0, intercept=0.0, prevalence=0.3)


def test_scores_that_fall_with_the_label_are_not_calibrated() -> None:
    labels = np.tile([0.0, 1.0], 50)
    with pytest.raises(TrainingError, match="do not rise"):
        calibration.platt(labels, -labels + np.random.default_rng(0).normal(0, 1, 100))


def test_ridge_solution_satisfies_its_own_gradient() -> None:
    random = np.random.default_rng(5)
    features = random.normal(3, 2, (300, 6)).astype(np.float32)
    labels = (features[:, 0] + random.normal(0, 2, 300) > 3).astype(np.float32)
    weights, bias = logistic_regression(features, labels, 0.01)
    p = 1 / (1 + np.exp(-(features @ weights + bias)))
    deviation = features.std(axis=0)
    gradient = ((features - features.mean(axis=0)) / deviation).T @ (p - labels) + 0.01 * 300 * weights * deviation
    assert np.abs(gradient).max() < 1e-3
    assert p.mean() == pytest.approx(labels.mean(), abs=1e-5)


def test_operating_points_keep_their_promise() -> None:
    random = np.random.default_rng(6)
    labels = random.integers(0, 2, 500).astype(float)
    p = 1 / (1 + np.exp(-(labels * 1.5 + random.normal(0, 1, 500))))
    points = {point.name: point for point in operating.operating_points(labels, p)}
    assert points["sensitivity-80"].sensitivity >= 0.80
    assert points["specificity-89"].specificity >= 0.889
    for point in points.values():
        sensitivity, specificity = operating.rates(labels, p, point.threshold)
        assert (sensitivity, specificity) == (point.sensitivity, point.specificity)
        assert sensitivity + specificity <= points["balanced"].sensitivity + points["balanced"].specificity + 1e-12


def test_probabilities_that_were_rounded_to_0_or_1_still_give_thresholds_between() -> None:
    labels, rounded = np.array([0, 0, 1, 1, 0, 1]), np.array([0.0, 0.0, 1.0, 1.0, 1.0, 0.0])
    points = operating.operating_points(labels, rounded)
    assert all(0.0 < point.threshold < 1.0 for point in points)
    balanced = points[0]
    # By hand: calling the three ones malignant finds two of three cancers and one of three others.
    assert (balanced.sensitivity, balanced.specificity) == pytest.approx((2 / 3, 2 / 3))
