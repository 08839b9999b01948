"""What a bundle says of its own performance, beside what readers reach in screening."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mammolens.models.manifest import Manifest, Metric, OperatingPoint, Subgroup

BCSC_SENSITIVITY, BCSC_SPECIFICITY = 0.869, 0.889
"""Radiologists of the Breast Cancer Surveillance Consortium, 1,682,504 digital screening examinations.

C. D. Lehman et al., "National performance benchmarks for modern screening digital mammography: update from the Breast
Cancer Surveillance Consortium", Radiology 283:49–58, 2017.
"""

ACCEPTABLE = ((0.80, 1.0, 0.85, 1.0), (0.75, 0.80, 0.88, 0.97))
"""What is acceptable for a reader: lowest and highest sensitivity, lowest and highest specificity; one row suffices.

D. L. Miglioretti et al., "Criteria for identifying radiologists with acceptable screening mammography interpretive
performance on basis of multiple performance measures", American Journal of Roentgenology 204, 2015.
"""


@dataclass(frozen=True, slots=True)
class AtReaders:
    """Sensitivity at the readers' specificity, with its 95 % interval; 0 to 1."""

    specificity: float
    sensitivity: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Point:
    """An operating point and how it stands.

    Attributes
    ----------
    point : OperatingPoint
    default : bool
    acceptable : bool or None
        Whether it would be acceptable for a reader; None: never measured.
    """

    point: OperatingPoint
    default: bool
    acceptable: bool | None


@dataclass(frozen=True, slots=True)
class Report:
    """A bundle's own figures.

    Attributes
    ----------
    areas : tuple of Metric
        AUCs.
    others : tuple of Metric
    points : tuple of Point
    at_readers : AtReaders or None
        None where no ROC curve is recorded.
    subgroups : dict of str to tuple of Subgroup
        By what divides them; empty where none are recorded.
    """

    areas: tuple[Metric, ...]
    others: tuple[Metric, ...]
    points: tuple[Point, ...]
    at_readers: AtReaders | None
    subgroups: dict[str, tuple[Subgroup, ...]]


def report(manifest: Manifest) -> Report:
    """Gather a bundle's own figures."""
    groups: dict[str, list[Subgroup]] = {}
    for subgroup in manifest.evaluation.subgroups if manifest.evaluation else ():
        groups.setdefault(subgroup.group, []).append(subgroup)
    return Report(
        areas=tuple(metric for metric in manifest.metrics if metric.name == "AUC"),
        others=tuple(metric for metric in manifest.metrics if metric.name != "AUC"),
        points=tuple(_point(point, manifest) for point in manifest.operating_points),
        at_readers=_at_readers(manifest),
        subgroups={group: tuple(found) for group, found in groups.items()},
    )


def _point(point: OperatingPoint, manifest: Manifest) -> Point:
    acceptable = None
    if point.sensitivity is not None and point.specificity is not None:
        acceptable = any(
            low <= point.sensitivity <= high and least <= point.specificity <= most
            for low, high, least, most in ACCEPTABLE
        )
    return Point(point, point.name == manifest.default_operating_point, acceptable)


def _at_readers(manifest: Manifest) -> AtReaders | None:
    if manifest.evaluation is None:
        return None
    curve = manifest.evaluation.roc
    rates = [point.false_positive_rate for point in curve]
    value, low, high = (
        float(np.interp(1.0 - BCSC_SPECIFICITY, rates, [getattr(point, name) for point in curve]))
        for name in ("sensitivity", "low", "high")
    )
    return AtReaders(BCSC_SPECIFICITY, value, low, high)
