"""Readers in screening, and how an operating point stands beside them: the one place of their figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mammolens.errors import EvaluationError


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What radiologists of the Breast Cancer Surveillance Consortium reach.

    Attributes
    ----------
    examinations : int
        Digital screening examinations that it was measured on.
    sensitivity, specificity, recall_rate : float
        0 to 1; the recall rate is the BCSC's abnormal interpretation rate.
    detected, missed : float
        Cancers found, and false negatives, of 1,000 women.
    ppv1, ppv2, ppv3 : float
        Share of cancers among recalls, among recommended and among done biopsies.
    """

    examinations: int
    sensitivity: float
    specificity: float
    recall_rate: float
    detected: float
    missed: float
    ppv1: float
    ppv2: float
    ppv3: float

    @property
    def prevalence(self) -> float:
        """Cancers per woman screened: those found and those missed."""
        return (self.detected + self.missed) / 1000.0


BENCHMARK = Benchmark(1_682_504, 0.869, 0.889, 0.116, 5.1, 0.8, 0.044, 0.256, 0.286)
"""C. D. Lehman et al., "National performance benchmarks for modern screening digital mammography: update from the
Breast Cancer Surveillance Consortium", Radiology 283:49–58, 2017.
"""

ACCEPTABLE = ((0.80, 1.0, 0.85, 1.0), (0.75, 0.80, 0.88, 0.97))
"""What is acceptable for a reader: lowest and highest sensitivity, lowest and highest specificity; one row suffices.

D. L. Miglioretti et al., "Criteria for identifying radiologists with acceptable screening mammography interpretive
performance on basis of multiple performance measures", American Journal of Roentgenology 204, 2015.
"""

ALGORITHMS = (("median algorithm of the RSNA 2023 challenge", 0.276, 0.987), ("its best", 0.486, 0.995))
"""Sensitivity and specificity of algorithms for screening, measured on the challenge's own women."""


def acceptable(sensitivity: float, specificity: float) -> bool:
    """Whether a point would be acceptable for a reader."""
    return any(low <= sensitivity <= high and least <= specificity <= most for low, high, least, most in ACCEPTABLE)


def standing(sensitivity: Mapping[str, Any], specificity: Mapping[str, Any]) -> str:
    """Say how a point with its intervals stands to what is acceptable.

    Parameters
    ----------
    sensitivity, specificity : mapping
        ``value``, ``low`` and ``high``, as `mammolens.evaluation.resampling.Estimate.as_dict` gives them.

    Returns
    -------
    {"acceptable", "possibly", "no", "unknown"}
        ``acceptable``: the lower ends of both intervals would be. ``possibly``: some pair within both intervals would.
        ``unknown``: there is no interval.
    """
    bounds = [figure[end] for figure in (sensitivity, specificity) for end in ("low", "high")]
    if any(bound is None for bound in bounds):
        return "unknown"
    low, high, least, most = bounds
    if any(a <= low and c <= least and high <= b and most <= d for a, b, c, d in ACCEPTABLE):
        return "acceptable"
    inside = any(low <= b and a <= high and least <= d and c <= most for a, b, c, d in ACCEPTABLE)
    return "possibly" if inside else "no"


def project(sensitivity: float, specificity: float, prevalence: float) -> dict[str, float]:
    """Carry sensitivity and specificity to women of whom so many have a cancer.

    It holds as far as both are the same there as where they were measured, which spectrum and selection may undo.

    Parameters
    ----------
    sensitivity, specificity : float
        0 to 1.
    prevalence : float
        Cancers per woman, above 0 and below 1.

    Returns
    -------
    dict of str to float
        ``recall_rate``; ``detected`` and ``missed`` of 1,000 women; ``ppv`` (of recalls; 0 where nobody is recalled)
        and ``npv``.

    Raises
    ------
    EvaluationError
        If the prevalence is not between 0 and 1.
    """
    if not 0.0 < prevalence < 1.0:
        raise EvaluationError("The prevalence must be above 0 and below 1: the share of women with cancer.")
    found, alarms = sensitivity * prevalence, (1.0 - specificity) * (1.0 - prevalence)
    missed, quiet = prevalence - found, (1.0 - prevalence) - alarms
    recalled = found + alarms
    return {
        "recall_rate": recalled,
        "detected": 1000.0 * found,
        "missed": 1000.0 * missed,
        "ppv": found / recalled if recalled > 0.0 else 0.0,
        "npv": quiet / (quiet + missed) if quiet + missed > 0.0 else 0.0,
    }


def projection(
    sensitivity: Mapping[str, Any], specificity: Mapping[str, Any], prevalence: float
) -> dict[str, dict[str, float | None]]:
    """Project a point with its intervals: the ends are the extremes over the box that both intervals make.

    Returns
    -------
    dict of str to dict
        The figures of `project`, each with ``value``, ``low`` and ``high``.
    """
    value = project(sensitivity["value"], specificity["value"], prevalence)
    ends = ("low", "high")
    if any(figure[end] is None for figure in (sensitivity, specificity) for end in ends):
        return {name: {"value": found, "low": None, "high": None} for name, found in value.items()}
    corners = [project(sensitivity[a], specificity[b], prevalence) for a in ends for b in ends]
    return {
        name: {
            "value": found,
            "low": min(corner[name] for corner in corners),
            "high": max(corner[name] for corner in corners),
        }
        for name, found in value.items()
    }


def compare(points: list[dict[str, Any]], prevalence: float) -> dict[str, Any]:
    """Hold operating points against the readers.

    Parameters
    ----------
    points : list of dict
        As `mammolens.evaluation.figures.confusion` gives them.
    prevalence : float
        That recall, detection and predictive values are projected to.

    Returns
    -------
    dict
        ``benchmark``, ``acceptable`` (the ranges), ``algorithms``, ``prevalence`` and ``points``, each with
        ``sensitivity``, ``specificity``, ``acceptable``, ``standing`` and ``projection``.
    """
    made = []
    for point in points:
        sensitivity, specificity = point["sensitivity"], point["specificity"]
        made.append(
            {
                "name": point["name"],
                "threshold": point["threshold"],
                "sensitivity": sensitivity,
                "specificity": specificity,
                "acceptable": acceptable(sensitivity["value"], specificity["value"]),
                "standing": standing(sensitivity, specificity),
                "projection": projection(sensitivity, specificity, prevalence),
            }
        )
    return {
        "benchmark": asdict(BENCHMARK),
        "acceptable": [list(row) for row in ACCEPTABLE],
        "algorithms": [{"name": name, "sensitivity": a, "specificity": b} for name, a, b in ALGORITHMS],
        "prevalence": prevalence,
        "points": made,
    }
