"""Charts as plain figures of numbers, which a template draws as SVG: no style, no script, no words of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

_WIDTH, _HEIGHT = 480.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 12.0, 44.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis: where, in the chart's units, and what it says."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """An upright bar; ``kind`` is the end of its CSS class, ``text`` what it says when pointed at."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line, or an area where ``closed``; ``points`` as SVG writes them."""

    kind: str
    points: str
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    """A point with its words."""

    kind: str
    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn, in units of a ``width × height`` picture, y down."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    bars: tuple[Bar, ...] = ()
    lines: tuple[Line, ...] = ()
    dots: tuple[Dot, ...] = ()
    width: float = field(default=_WIDTH)
    height: float = field(default=_HEIGHT)
    left: float = field(default=_LEFT)
    right: float = field(default=_WIDTH - _RIGHT)
    top: float = field(default=_TOP)
    bottom: float = field(default=_HEIGHT - _BOTTOM)


@dataclass(frozen=True, slots=True)
class Plane:
    """Turns values into places of the chart.

    Attributes
    ----------
    x_most, y_most : float
        Greatest value of each axis.
    x_least, y_least : float
        Least value of each axis.
    """

    x_most: float = 1.0
    y_most: float = 1.0
    x_least: float = 0.0
    y_least: float = 0.0

    def x(self, value: float) -> float:
        """Place of a value along the chart."""
        share = (value - self.x_least) / (self.x_most - self.x_least)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 2)

    def y(self, value: float) -> float:
        """Place of a value up the chart."""
        share = (value - self.y_least) / (self.y_most - self.y_least)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP), 2)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """Write points as SVG does."""
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)


_UNIT = Plane()
_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


def _unit_axes() -> tuple[tuple[Tick, ...], tuple[Tick, ...]]:
    return (
        tuple(Tick(_UNIT.x(value), f"{value:g}") for value in _QUARTERS),
        tuple(Tick(_UNIT.y(value), f"{value:g}") for value in _QUARTERS),
    )


def roc(
    points: Sequence[tuple[float, float, float, float]],
    marks: Sequence[tuple[str, float, float, str]] = (),
    regions: Sequence[tuple[float, float, float, float]] = (),
) -> Chart:
    """Draw a ROC curve with its band.

    Parameters
    ----------
    points : sequence of (float, float, float, float)
        False positive rate, sensitivity, its lower and its upper bound.
    marks : sequence of (str, float, float, str)
        Kind, false positive rate, sensitivity and words of single points.
    regions : sequence of (float, float, float, float)
        Lowest and highest sensitivity, lowest and highest specificity of rectangles, drawn below the rest.
    """
    areas = tuple(
        Line(
            "region", _UNIT.path([(1 - most, low), (1 - least, low), (1 - least, high), (1 - most, high)]), closed=True
        )
        for low, high, least, most in regions
    )
    band = [(rate, low) for rate, _, low, _ in points] + [(rate, high) for rate, _, _, high in reversed(points)]
    lines = (
        Line("chance", _UNIT.path([(0.0, 0.0), (1.0, 1.0)])),
        Line("band", _UNIT.path(band), closed=True),
        Line("curve", _UNIT.path([(rate, value) for rate, value, _, _ in points])),
    )
    dots = tuple(Dot(kind, _UNIT.x(rate), _UNIT.y(value), text) for kind, rate, value, text in marks)
    return Chart(*_unit_axes(), lines=(*areas, *(lines if points else lines[:1])), dots=dots)


def reliability(bins: Sequence[tuple[float, float, str]]) -> Chart:
    """Draw observed against promised frequency; each bin with its words."""
    lines = (
        Line("chance", _UNIT.path([(0.0, 0.0), (1.0, 1.0)])),
        Line("curve", _UNIT.path([(promised, seen) for promised, seen, _ in bins])),
    )
    dots = tuple(Dot("model", _UNIT.x(promised), _UNIT.y(seen), text) for promised, seen, text in bins)
    return Chart(*_unit_axes(), lines=lines, dots=dots)


def promises(bins: Sequence[tuple[float, float, float, float, str]]) -> Chart:
    """Draw observed against promised frequency with the interval of what was observed; each bin with its words."""
    whiskers = tuple(
        Line("whisker", _UNIT.path([(promised, low), (promised, high)])) for promised, _, low, high, _ in bins
    )
    drawn = reliability([(promised, seen, text) for promised, seen, _, _, text in bins])
    return Chart(*_unit_axes(), lines=(drawn.lines[0], *whiskers, drawn.lines[1]), dots=drawn.dots)


def benefit(rows: Sequence[tuple[float, float, float, float, float]]) -> Chart:
    """Draw a decision curve.

    Parameters
    ----------
    rows : sequence of (float, float, float, float, float)
        Threshold; net benefit of the model, its lower and its upper bound; that of recalling everybody.
    """
    most = max((max(high, everybody) for _, _, _, high, everybody in rows), default=0.1)
    top = _ceiling(most)
    plane = Plane(rows[-1][0] if rows else 1.0, top, 0.0, -top / 4)
    band = [(t, max(low, plane.y_least)) for t, _, low, _, _ in rows]
    band += [(t, max(high, plane.y_least)) for t, _, _, high, _ in reversed(rows)]
    kept = [(t, everybody) for t, *_, everybody in rows if everybody >= plane.y_least]
    lines = (
        Line("chance", plane.path([(0.0, 0.0), (plane.x_most, 0.0)])),
        Line("band", plane.path(band), closed=True),
        Line("outline", plane.path(kept)),
        Line("curve", plane.path([(t, max(value, plane.y_least)) for t, value, *_ in rows])),
    )
    x_ticks = tuple(Tick(plane.x(share * plane.x_most), f"{share * plane.x_most:g}") for share in _QUARTERS)
    y_ticks = tuple(Tick(plane.y(value), f"{value:g}") for value in (-top / 4, 0.0, top / 2, top))
    return Chart(x_ticks, y_ticks, lines=lines)


def forest(rows: Sequence[tuple[str, float, float, float, float, float, str]], whole: float) -> Chart:
    """Draw parts below each other, each with its interval and, thinner, the interval that holds for all at once.

    Parameters
    ----------
    rows : sequence of (str, float, float, float, float, float, str)
        Name, value, low, high, low and high together, words.
    whole : float
        Of everything, drawn as an upright line.
    """
    height = _TOP + _BOTTOM + 22.0 * max(len(rows), 1)
    values = [bound for _, _, low, high, least, most, _ in rows for bound in (low, high, least, most)]
    first = min([0.4, *(math.floor(10 * bound) / 10 for bound in values)])
    left = 150.0

    def x(value: float) -> float:
        return round(left + (value - first) / (1.0 - first) * (_WIDTH - left - _RIGHT), 2)

    def line(kind: str, start: float, end: float, y: float) -> Line:
        return Line(kind, f"{x(start)},{y:g} {x(end)},{y:g}")

    lines = [Line("threshold", f"{x(whole)},{_TOP:g} {x(whole)},{height - _BOTTOM:g}")]
    dots, names = [], []
    for number, (name, value, low, high, least, most, text) in enumerate(rows):
        y = _TOP + 22.0 * number + 11.0
        names.append(Tick(y, name))
        lines += [line("together", least, most, y), line("whisker", low, high, y)]
        dots.append(Dot("model", x(value), y, text))
    steps = [step / 10 for step in range(round(10 * first), 11)]
    ticks = tuple(Tick(x(step), f"{step:g}") for step in steps[:: 2 if len(steps) > 7 else 1])
    bottom = height - _BOTTOM
    return Chart(ticks, tuple(names), lines=tuple(lines), dots=tuple(dots), height=height, left=left, bottom=bottom)


def distributions(here: Sequence[float], before: Sequence[float], threshold: float, texts: Sequence[str]) -> Chart:
    """Draw shares of scores as bars, and those they are held against as an outline.

    Parameters
    ----------
    here, before : sequence of float
        Share of each bin of equal width from 0 to 1; either may be empty.
    threshold : float
        Drawn as an upright line.
    texts : sequence of str
        Words of each bar.
    """
    count = max(len(here), len(before), 1)
    plane = Plane(1.0, _ceiling(max([*here, *before, 0.0])))
    wide = (plane.x(1.0) - plane.x(0.0)) / count
    bars = tuple(
        Bar("here", round(plane.x(i / count) + 1, 2), plane.y(share), round(wide - 2, 2), _high(plane, share), text)
        for i, (share, text) in enumerate(zip(here, texts, strict=True))
    )
    steps = [(place / count, share) for i, share in enumerate(before) for place in (i, i + 1)]
    lines = [Line("threshold", plane.path([(threshold, 0.0), (threshold, plane.y_most)]))]
    if steps:
        lines.append(Line("outline", plane.path([(0.0, 0.0), *steps, (1.0, 0.0)])))
    ticks = tuple(Tick(plane.x(value), f"{value:g}") for value in _QUARTERS)
    return Chart(ticks, _shares(plane), bars=bars, lines=tuple(lines))


def stacks(days: Sequence[tuple[str, Sequence[tuple[str, int, str]]]]) -> Chart:
    """Draw counts as bars on top of each other.

    Parameters
    ----------
    days : sequence of (str, sequence of (str, int, str))
        Name of each place, and its parts from below: kind, count, words.
    """
    most = _whole_ceiling(max((sum(count for _, count, _ in parts) for _, parts in days), default=0))
    plane = Plane(float(max(len(days), 1)), float(most))
    bars = []
    for i, (_, parts) in enumerate(days):
        below = 0
        for kind, count, text in parts:
            if count:
                top, high = plane.y(below + count), round(plane.y(below) - plane.y(below + count), 2)
                bars.append(Bar(kind, plane.x(i + 0.1), top, round(plane.x(0.8) - plane.x(0.0), 2), high, text))
            below += count
    every = max(1, len(days) // 5)
    x_ticks = tuple(Tick(plane.x(i + 0.5), name) for i, (name, _) in enumerate(days) if i % every == 0)
    steps = sorted({0, most // 2, most})
    return Chart(x_ticks, tuple(Tick(plane.y(step), str(step)) for step in steps), bars=tuple(bars))


def quartiles(weeks: Sequence[tuple[str, tuple[float, float, float] | None]], threshold: float) -> Chart:
    """Draw the middle half of the scores of each week as a bar with a dot at the median; None: a week without."""
    plane = Plane(float(max(len(weeks), 1)), 1.0)
    bars, dots = [], []
    for i, (name, values) in enumerate(weeks):
        if values is None:
            continue
        low, middle, high = values
        text = f"{name}: {low:.2f} – {middle:.2f} – {high:.2f}"
        wide = round(plane.x(0.5) - plane.x(0.0), 2)
        bars.append(Bar("here", plane.x(i + 0.25), plane.y(high), wide, round(plane.y(low) - plane.y(high), 2), text))
        dots.append(Dot("median", plane.x(i + 0.5), plane.y(middle), text))
    every = max(1, len(weeks) // 4)
    x_ticks = tuple(Tick(plane.x(i + 0.5), name) for i, (name, _) in enumerate(weeks) if i % every == 0)
    y_ticks = tuple(Tick(plane.y(value), f"{value:g}") for value in _QUARTERS)
    line = Line("threshold", plane.path([(0.0, threshold), (plane.x_most, threshold)]))
    return Chart(x_ticks, y_ticks, bars=tuple(bars), lines=(line,), dots=tuple(dots))


def _high(plane: Plane, value: float) -> float:
    return round(plane.y(0.0) - plane.y(value), 2)


def _shares(plane: Plane) -> tuple[Tick, ...]:
    return tuple(Tick(plane.y(value), f"{100 * value:g} %") for value in (0.0, plane.y_most / 2, plane.y_most))


def _ceiling(value: float) -> float:
    """Next share that ticks can be read at."""
    return next((step for step in (0.1, 0.2, 0.3, 0.4, 0.6, 0.8) if value <= step), 1.0)


def _whole_ceiling(value: int) -> int:
    """Next even number of the kind 2, 4, 10, 20, 40, 100, …."""
    size = 1
    while True:
        for step in (2, 4, 10):
            if value <= step * size:
                return step * size
        size *= 10
