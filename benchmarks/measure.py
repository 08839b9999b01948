"""Interleaved measurements and what is said of them: median, quartiles, extremes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Parts = dict[str, float]
"""Milliseconds of the named parts of one run."""

_SETTLE_SECONDS = 0.03


class Stopwatch:
    """Milliseconds between laps.

    Attributes
    ----------
    parts : dict of str to float
        Milliseconds of each lap.
    """

    def __init__(self) -> None:
        self.parts: Parts = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note the time since the last lap under this name."""
        now = time.perf_counter()
        self.parts[name] = 1e3 * (now - self._last)
        self._last = now


@dataclass(frozen=True, slots=True)
class Series:
    """Repeated measurements of one thing.

    Attributes
    ----------
    values : tuple of float
        In the order they were taken.
    """

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Middle value."""
        return statistics.median(self.values)

    @property
    def best(self) -> float:
        """Smallest value."""
        return min(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Quarter and three quarters of the values lie below; the extremes where there are fewer than four."""
        if len(self.values) < 4:
            return min(self.values), max(self.values)
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high

    def text(self, digits: int = 1) -> str:
        """``median (quartile–quartile)``."""
        low, high = self.quartiles
        return f"{self.median:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"

    def record(self) -> dict[str, Any]:
        """Everything, for ``results.json``."""
        low, high = self.quartiles
        return {
            "median": round(self.median, 4),
            "quartiles": [round(low, 4), round(high, 4)],
            "best": round(self.best, 4),
            "values": [round(value, 4) for value in self.values],
        }


@dataclass(frozen=True, slots=True)
class Timed:
    """Milliseconds of one arm: the whole, and its parts where it names some."""

    total: Series
    parts: dict[str, Series]

    def record(self) -> dict[str, Any]:
        """Everything, for ``results.json``."""
        return {"total_ms": self.total.record(), "parts_ms": {k: v.record() for k, v in self.parts.items()}}


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an arm was.

    Attributes
    ----------
    rate : Series
        Images per second.
    processor : Series
        Milliseconds of processor time for each image, all processes together; what else runs on the machine hardly
        touches it.
    """

    rate: Series
    processor: Series

    def record(self) -> dict[str, Any]:
        """Everything, for ``results.json``."""
        return {"images_per_second": self.rate.record(), "processor_ms": self.processor.record()}


def interleaved(arms: Mapping[str, Callable[[], Parts]], rounds: int) -> dict[str, Timed]:
    """Measure several things in turns, so that all of them see the same machine.

    Each arm runs once beforehand to warm its caches. Every round starts with another arm, and
    waits a little before each, because the threads of an engine go on spinning for some
    milliseconds after their work and would slow down whatever comes next.

    Parameters
    ----------
    arms : mapping of str to callable
        Each does its work once and gives the milliseconds of its parts (or nothing).
    rounds : int

    Returns
    -------
    dict of str to Timed
    """
    for work in arms.values():
        work()
    names = list(arms)
    totals: dict[str, list[float]] = {name: [] for name in names}
    parts: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            time.sleep(_SETTLE_SECONDS)
            began = time.perf_counter()
            some = arms[name]()
            totals[name].append(1e3 * (time.perf_counter() - began))
            for part, value in some.items():
                parts[name].setdefault(part, []).append(value)
    return {
        name: Timed(Series(tuple(totals[name])), {part: Series(tuple(v)) for part, v in parts[name].items()})
        for name in names
    }


def fastest(candidates: Mapping[str, Callable[[], object]], rounds: int = 5) -> str:
    """Name of the candidate with the smallest time, each measured in turns after a warm-up."""
    for work in candidates.values():
        work()
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(rounds):
        for name, work in candidates.items():
            began = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - began)
    return min(best, key=lambda name: best[name])


def ratio(over: Series, under: Series) -> dict[str, float]:
    """Ratio of the medians, and of the best values, which a busy machine blurs less."""
    return {"median": over.median / under.median, "best": over.best / under.best}


def against(value: float, sign: str, target: float, digits: int = 2, unit: str = "") -> str:
    """Figure, its target, and whether it is met; ``sign`` is ``≤`` or ``≥``."""
    met = value <= target if sign == "≤" else value >= target
    return f"{value:.{digits}f}{unit} (target {sign} {target:g}{unit}: {'met' if met else 'MISSED'})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
