"""DeLong's variance against its definition, with nothing clever in it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from mammolens.evaluation import delong
from mammolens.evaluation.metrics import bootstrap_auc, bootstrap_difference


def naive(labels: NDArray[np.generic], scores: NDArray[np.generic]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas and covariance from the structural components, by every pair of pictures (DeLong et al. 1988, eq. 4–6)."""
    positive, negative = np.flatnonzero(labels), np.flatnonzero(labels == 0)
    m, n, models = len(positive), len(negative), len(scores)
    psi = np.zeros((models, m, n))
    for r in range(models):
        for i, a in enumerate(positive):
            for j, b in enumerate(negative):
                x, y = scores[r][a], scores[r][b]
                psi[r, i, j] = 1.0 if x > y else 0.5 if x == y else 0.0
    areas = psi.mean(axis=(1, 2))
    v10, v01 = psi.mean(axis=2), psi.mean(axis=1)
    s10, s01 = np.zeros((models, models)), np.zeros((models, models))
    for r in range(models):
        for q in range(models):
            s10[r, q] = sum((v10[r] - areas[r]) * (v10[q] - areas[q])) / (m - 1)
            s01[r, q] = sum((v01[r] - areas[r]) * (v01[q] - areas[q])) / (n - 1)
    return areas, s10 / m + s01 / n


@pytest.mark.parametrize("decimals", [1, 8])
def test_areas_and_covariance_equal_the_definition(decimals: int) -> None:
    random = np.random.default_rng(decimals)
    labels = np.array([1] * 17 + [0] * 23)
    common = random.normal(labels * 0.8, 1.0)
    scores = np.round(np.stack([common + random.normal(0, 0.5, 40), common + random.normal(0, 1.0, 40)]), decimals)
    areas, covariance = delong.covariance(labels, scores)
    wanted = naive(labels, scores)
    np.testing.assert_allclose(areas, wanted[0], rtol=1e-12)
    np.testing.assert_allclose(covariance, wanted[1], rtol=1e-9)


def test_variance_of_a_hand_worked_case() -> None:
    # Malignant 3 and 1, benign 2 and 0: components 1 and 1/2 both ways, area 3/4; (1/8)/2 from either side.
    areas, covariance = delong.covariance(np.array([1, 1, 0, 0]), np.array([3.0, 1.0, 2.0, 0.0]))
    assert areas.tolist() == [0.75]
    assert covariance[0, 0] == pytest.approx(0.125)


def test_pictures_that_repeat_for_a_woman_add_nothing_when_clustered() -> None:
    random = np.random.default_rng(2)
    labels = random.integers(0, 2, 60)
    scores = random.normal(labels, 1.0)
    women = np.arange(60)
    single = delong.delong(labels, scores, women)
    fourfold = delong.delong(np.repeat(labels, 4), np.repeat(scores, 4), np.repeat(women, 4))
    alone = delong.delong(np.repeat(labels, 4), np.repeat(scores, 4))
    assert (fourfold.value, fourfold.low, fourfold.high) == pytest.approx((single.value, single.low, single.high))
    assert alone.high - alone.low == pytest.approx((single.high - single.low) / 2, rel=0.03)


def test_clustered_interval_is_near_the_bootstrap_over_women() -> None:
    random = np.random.default_rng(3)
    women = np.repeat(np.arange(250), 4)
    labels = np.repeat(random.integers(0, 2, 500), 2)
    scores = random.normal(labels, 1.0) + np.repeat(random.normal(0, 1.0, 250), 4)
    found, drawn = delong.delong(labels, scores, women), bootstrap_auc(labels, scores, women)
    assert found.value == pytest.approx(drawn.value)
    assert (found.low, found.high) == pytest.approx((drawn.low, drawn.high), abs=0.01)


def test_two_models_are_compared_in_pairs() -> None:
    random = np.random.default_rng(4)
    labels = np.repeat([0, 1], 200)
    good = random.normal(labels, 1.0)
    worse = good + random.normal(0, 1.0, 400)
    found = delong.compare(labels, good, worse)
    areas, covariance = naive(labels, np.stack([good, worse]))
    z = (areas[0] - areas[1]) / math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert found.z == pytest.approx(z)
    assert found.p == pytest.approx(math.erfc(abs(z) / math.sqrt(2)))
    drawn = bootstrap_difference(labels, good, worse, np.arange(400))
    assert (found.difference.low, found.difference.high) == pytest.approx((drawn.low, drawn.high), abs=0.01)


def test_a_model_is_no_better_than_itself() -> None:
    labels, scores = np.array([1, 0, 1, 0, 1]), np.arange(5.0)
    found = delong.compare(labels, scores, scores)
    assert (found.difference.value, found.z, found.p) == (0.0, 0.0, 1.0)


def test_intervals_stop_at_one_and_one_class_has_none() -> None:
    assert delong.delong(np.array([0, 0, 1, 1]), np.arange(4.0)).high == 1.0
    assert math.isnan(delong.delong(np.ones(4), np.arange(4.0)).value)
