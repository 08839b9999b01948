"""The model beside readers in screening."""

from __future__ import annotations

import pytest

from mammolens.errors import EvaluationError
from mammolens.evaluation import bcsc


def figure(value: float, low: float | None, high: float | None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


def test_the_benchmark_projected_to_its_own_prevalence_gives_its_own_rates() -> None:
    found = bcsc.project(bcsc.BENCHMARK.sensitivity, bcsc.BENCHMARK.specificity, bcsc.BENCHMARK.prevalence)
    # Published beside sensitivity and specificity: 11.6 %, 5.1 and 0.8 of 1,000, 4.4 %; all rounded there.
    assert found["recall_rate"] == pytest.approx(0.116, abs=0.001)
    assert found["detected"] == pytest.approx(5.1, abs=0.05)
    assert found["missed"] == pytest.approx(0.8, abs=0.05)
    assert found["ppv"] == pytest.approx(0.044, abs=0.001)


def test_projection_of_a_hand_worked_case() -> None:
    # Of 1,000 women 10 are ill: 8 found, 99 others recalled.
    found = bcsc.project(0.8, 0.9, 0.01)
    assert found == pytest.approx(
        {"recall_rate": 0.107, "detected": 8.0, "missed": 2.0, "ppv": 8 / 107, "npv": 891 / 893}
    )


def test_projection_spans_the_box_of_both_intervals() -> None:
    found = bcsc.projection(figure(0.8, 0.7, 0.9), figure(0.9, 0.85, 0.95), 0.01)
    assert found["ppv"]["low"] == pytest.approx(bcsc.project(0.7, 0.85, 0.01)["ppv"])
    assert found["ppv"]["high"] == pytest.approx(bcsc.project(0.9, 0.95, 0.01)["ppv"])
    assert found["recall_rate"]["low"] == pytest.approx(bcsc.project(0.7, 0.95, 0.01)["recall_rate"])
    assert bcsc.projection(figure(0.8, None, None), figure(0.9, 0.8, 1.0), 0.01)["ppv"]["low"] is None


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, float("nan")])
def test_a_prevalence_that_is_none_is_refused(prevalence: float) -> None:
    with pytest.raises(EvaluationError, match="prevalence"):
        bcsc.project(0.8, 0.9, prevalence)


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "standing"),
    [
        (figure(0.9, 0.85, 0.95), figure(0.9, 0.87, 0.93), "acceptable"),
        (figure(0.77, 0.755, 0.79), figure(0.92, 0.89, 0.95), "acceptable"),
        (figure(0.82, 0.74, 0.9), figure(0.87, 0.83, 0.9), "possibly"),
        (figure(0.5, 0.4, 0.6), figure(0.9, 0.87, 0.93), "no"),
        (figure(0.9, None, None), figure(0.9, 0.87, 0.93), "unknown"),
    ],
)
def test_a_standing_is_of_the_whole_interval(sensitivity: dict, specificity: dict, standing: str) -> None:  # type: ignore[type-arg]
    assert bcsc.standing(sensitivity, specificity) == standing
