"""What a bundle says of its own performance, beside what readers reach in screening."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mammolens.evaluation import bcsc
from mammolens.models.manifest import Manifest, Metric, OperatingPoint, Subgroup


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
        acceptable = bcsc.acceptable(point.sensitivity, point.specificity)
    return Point(point, point.name == manifest.default_operating_point, acceptable)


def _at_readers(manifest: Manifest) -> AtReaders | None:
    if manifest.evaluation is None:
        return None
    curve = manifest.evaluation.roc
    rates = [point.false_positive_rate for point in curve]
    value, low, high = (
        float(np.interp(1.0 - bcsc.BENCHMARK.specificity, rates, [getattr(point, name) for point in curve]))
        for name in ("sensitivity", "low", "high")
    )
    return AtReaders(bcsc.BENCHMARK.specificity, value, low, high)
