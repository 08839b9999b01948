"""Charts put values where they belong."""

from __future__ import annotations

import pytest

from mammolens.report import charts


def test_roc_runs_from_corner_to_corner_with_a_closed_band() -> None:
    chart = charts.roc(
        [(0.0, 0.0, 0.0, 0.1), (0.5, 0.8, 0.7, 0.9), (1.0, 1.0, 1.0, 1.0)], [("point", 0.5, 0.8, "here")]
    )
    lines = {line.kind: line for line in chart.lines}
    corners = lines["curve"].points.split()
    assert corners[0] == f"{chart.left},{chart.bottom}"
    assert corners[-1] == f"{chart.right},{chart.top}"
    assert lines["band"].closed
    assert len(lines["band"].points.split()) == 6
    [dot] = chart.dots
    assert dot.x == pytest.approx((chart.left + chart.right) / 2)
    assert dot.y == pytest.approx(chart.bottom - 0.8 * (chart.bottom - chart.top))


def test_stacked_bars_lie_on_each_other_without_a_gap() -> None:
    chart = charts.stacks([("1 Nov", [("answered", 6, "6"), ("refused", 2, "2"), ("failed", 0, "0")])])
    lower, upper = chart.bars
    assert (lower.kind, upper.kind) == ("answered", "refused")
    assert lower.y + lower.height == pytest.approx(chart.bottom)
    assert upper.y + upper.height == pytest.approx(lower.y)
    assert lower.height == pytest.approx(3 * upper.height, abs=0.05)
    assert [tick.text for tick in chart.y_ticks] == ["0", "5", "10"]


def test_empty_days_give_axes_and_no_bars() -> None:
    chart = charts.stacks([("1 Nov", [("answered", 0, "0")])])
    assert chart.bars == ()
    assert chart.y_ticks[0].text == "0"


def test_distribution_without_scores_here_still_shows_what_was_measured() -> None:
    chart = charts.distributions([], [0.25, 0.75], 0.4, [])
    assert chart.bars == ()
    assert {line.kind for line in chart.lines} == {"threshold", "outline"}
