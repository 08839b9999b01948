"""Figures over pictures: leave-one-woman-out thresholds, FROC and intervals, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mammolens.evaluation.localisation_figures import figures
from mammolens.evaluation.localisation_rows import THRESHOLDS, Row

INF = float("inf")


def lesion(
    found: tuple[float, ...] = (1.0,),
    false: tuple[float, ...] = (),
    *,
    hit: bool = True,
    energy: float = 0.5,
    best: float = 0.5,
) -> Row:
    """Row of a picture with a lesion; its overlap is 1 at the threshold ``best``, and 0.1 elsewhere."""
    overlaps = np.where(best == THRESHOLDS, 1.0, 0.1)
    return Row(False, hit, True, energy, overlaps, found, false)


def healthy(*false: float) -> Row:
    return Row(False, None, None, float("nan"), np.full(len(THRESHOLDS), np.nan), (), false)


def test_pointing_and_energy_are_means_over_pictures_with_lesions() -> None:
    rows = [lesion(hit=True, energy=0.2), lesion(hit=False, energy=0.4), healthy(3.0), healthy()]
    found = figures(rows, ["a", "b", "c", "d"], draws=200)
    assert found.inside.value == 0.5
    assert found.near.value == 1.0
    assert found.energy.value == pytest.approx(0.3)
    assert (found.inside.low, found.inside.high) == (0.0, 1.0)
    assert found.silent == 0


def test_a_woman_has_no_part_in_the_threshold_of_her_own_pictures() -> None:
    # Two women are best at 0.3, a third, with three pictures, at 0.7. All pictures together choose 0.7. The third
    # woman's threshold comes from the others (0.3), theirs from her and one another (0.7): nobody gets her best.
    rows = [lesion(best=0.3), lesion(best=0.3), lesion(best=0.7), lesion(best=0.7), lesion(best=0.7)]
    found = figures(rows, ["a", "b", "c", "c", "c"], draws=50)
    assert found.threshold == pytest.approx(0.7)
    assert found.overlap.value == pytest.approx(0.1)
    assert found.overlap_at_half.value == pytest.approx(0.1)


def test_froc_counts_lesions_above_the_first_false_region_too_many() -> None:
    # Four pictures. False regions 9, 5, 4, 2; lesions 8, 6, 3 and one that nothing marks.
    rows = [lesion((8.0, 3.0), (9.0,)), lesion((6.0, -INF), (5.0,)), healthy(4.0), healthy(2.0)]
    found = figures(rows, ["a", "b", "c", "d"], draws=50).froc
    # One false in four pictures: all above 5. Two: all above 4. Four: everything that is marked.
    assert found[0.25].value == pytest.approx(2 / 4)
    assert found[0.5].value == pytest.approx(2 / 4)
    assert found[1.0].value == pytest.approx(3 / 4)
    assert found[2.0].value == pytest.approx(3 / 4)


def test_a_lesion_that_only_ties_with_a_false_region_too_many_is_not_found() -> None:
    found = figures([lesion((4.0,)), healthy(4.0)], ["a", "b"], draws=20).froc
    assert found[0.25].value == 0.0
    assert found[0.5].value == 1.0


def test_served_regions_are_those_at_or_above_the_threshold() -> None:
    rows = [lesion((8.0, 3.0), (9.0, 1.0)), healthy(4.0, 3.9)]
    served = figures(rows, ["a", "b"], served=4.0, draws=20).served
    assert served is not None
    assert served.sensitivity.value == 0.5
    assert served.false_regions.value == 1.0


def test_the_interval_is_that_of_women_and_not_of_pictures() -> None:
    # Twenty women with ten equal pictures each: the error of the mean is that of 20 values, not of 200.
    random = np.random.default_rng(0)
    hits = random.random(20) < 0.5
    rows = [lesion(hit=bool(hit)) for hit in hits for _ in range(10)]
    women = [str(i) for i in range(20) for _ in range(10)]
    found = figures(rows, women, draws=2000).inside
    wide = 2 * 1.96 * np.sqrt(hits.mean() * (1 - hits.mean()) / 20)
    assert found.high - found.low == pytest.approx(wide, rel=0.15)
