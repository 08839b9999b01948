"""What happens here: how many pictures come, what becomes of them, and whether their scores drift."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mammolens.evaluation.record import SCORE_BINS, counts
from mammolens.models.manifest import Evaluation
from mammolens.web.access import Actor, visible
from mammolens.web.database.tables import Case, Image, ImageState, Result

DAYS = 30
"""Of the volume, the refusals and the scores that are held against earlier ones."""

WEEKS = 12
"""Of the scores over time."""

MOST_SCORES = 50_000
"""Scores that are read at most, the newest."""

FEWEST = 100
"""Scores, on either side, below which no drift is told: noise alone would look like it."""

STABLE, SHIFTED = 0.1, 0.25
"""Below the first a distribution is taken as unchanged, from the second on as another one.

Rule of thumb of credit scoring: N. Siddiqi, "Credit Risk Scorecards", Wiley, 2006.
"""

_FLOOR = 1e-4


@dataclass(frozen=True, slots=True)
class Day:
    """Pictures that arrived on one day (UTC), by what became of them."""

    day: dt.date
    answered: int
    refused: int
    failed: int
    open: int


@dataclass(frozen=True, slots=True)
class Week:
    """Scores of a week: its Monday, how many, lower quartile, median, upper quartile; None where there are none."""

    monday: dt.date
    scores: int
    quartiles: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of the model in use here.

    Attributes
    ----------
    here : tuple of int
        Of the last `DAYS`, in bins of equal width from 0 to 1.
    earlier : tuple of int
        Of the days before, as far as they are read.
    trained : tuple of int
        Of the pictures that the model was measured on, in as many bins; empty where not recorded.
    against_training, against_earlier : float or None
        Population stability index; None where there are too few.
    weeks : tuple of Week
        Oldest first.
    """

    here: tuple[int, ...]
    earlier: tuple[int, ...]
    trained: tuple[int, ...]
    against_training: float | None
    against_earlier: float | None
    weeks: tuple[Week, ...]


def volume(session: Session, asking: Actor, moment: dt.datetime) -> list[Day]:
    """Count the pictures of each of the last `DAYS` days, oldest first, of the cases that somebody sees."""
    first = (moment - dt.timedelta(days=DAYS - 1)).date()
    begin = dt.datetime.combine(first, dt.time(), dt.UTC)
    day = func.date(Image.arrived)
    rows = session.execute(
        select(day, Image.state, func.count())
        .join(Case)
        .where(visible(asking), Image.arrived >= begin)
        .group_by(day, Image.state)
    )
    found: dict[str, dict[ImageState, int]] = {}
    for name, state, count in rows:
        found.setdefault(str(name), {})[state] = count
    days = []
    for number in range(DAYS):
        date = first + dt.timedelta(days=number)
        states = found.get(date.isoformat(), {})
        waiting = sum(states.get(state, 0) for state in (ImageState.QUEUED, ImageState.RUNNING))
        days.append(
            Day(
                date,
                answered=states.get(ImageState.ANSWERED, 0),
                refused=states.get(ImageState.REFUSED, 0),
                failed=states.get(ImageState.FAILED, 0),
                open=waiting,
            )
        )
    return days


def refusals(session: Session, asking: Actor, moment: dt.datetime) -> list[tuple[str, ImageState, int]]:
    """Count why pictures of the last `DAYS` days got no answer: code, refused or failed, how many; most first."""
    rows = session.execute(
        select(Image.error_code, Image.state, func.count())
        .join(Case)
        .where(
            visible(asking),
            Image.arrived >= moment - dt.timedelta(days=DAYS),
            Image.state.in_((ImageState.REFUSED, ImageState.FAILED)),
        )
        .group_by(Image.error_code, Image.state)
        .order_by(func.count().desc(), Image.error_code)
    )
    return [(code or "", state, count) for code, state, count in rows]


def scores(
    session: Session, asking: Actor, model_sha256: str, evaluation: Evaluation | None, moment: dt.datetime
) -> Scores:
    """Hold the scores of the model in use against those it was measured with, and against earlier ones here.

    Parameters
    ----------
    session : Session
    asking : Actor
        Scores of the cases that they see are counted.
    model_sha256 : str
    evaluation : Evaluation or None
        Of the model's manifest.
    moment : datetime
        Now.
    """
    rows = session.execute(
        select(Result.created, Result.probability)
        .join(Image)
        .join(Case)
        .where(visible(asking), Result.model_sha256 == model_sha256)
        .order_by(Result.created.desc())
        .limit(MOST_SCORES)
    ).all()
    border = moment - dt.timedelta(days=DAYS)
    here = [probability for created, probability in rows if created >= border]
    earlier = [probability for created, probability in rows if created < border]
    trained: tuple[int, ...] = ()
    if evaluation is not None:
        trained = tuple(a + b for a, b in zip(evaluation.scores_benign, evaluation.scores_malignant, strict=True))
    bins = len(trained) or SCORE_BINS
    now_counts, then_counts = counts(np.array(here), bins), counts(np.array(earlier), bins)
    return Scores(
        here=now_counts,
        earlier=then_counts,
        trained=trained,
        against_training=stability(now_counts, trained),
        against_earlier=stability(now_counts, then_counts),
        weeks=_weeks([(created, probability) for created, probability in rows], moment),
    )


def stability(here: Sequence[int], before: Sequence[int]) -> float | None:
    """Give the population stability index, Σ (p − q) ln(p / q), of two distributions; None where either is too small.

    Parameters
    ----------
    here, before : sequence of int
        Counts in the same bins. Neighbouring bins are joined until each holds a twentieth of ``before``: bins that
        are almost empty would rule the sum.

    References
    ----------
    N. Siddiqi, "Credit Risk Scorecards", Wiley, 2006.
    """
    if sum(here) < FEWEST or sum(before) < FEWEST:
        return None
    joined = _joined(here, before)
    p = np.maximum(np.array([a for a, _ in joined]) / sum(here), _FLOOR)
    q = np.maximum(np.array([b for _, b in joined]) / sum(before), _FLOOR)
    return float(np.sum((p - q) * np.log(p / q)))


def _joined(here: Sequence[int], before: Sequence[int]) -> list[tuple[int, int]]:
    made: list[tuple[int, int]] = []
    a = b = 0
    for one, other in zip(here, before, strict=True):
        a, b = a + one, b + other
        if b >= sum(before) / 20:
            made.append((a, b))
            a = b = 0
    if a or b:
        last = made.pop() if made else (0, 0)
        made.append((last[0] + a, last[1] + b))
    return made


def _weeks(rows: Sequence[tuple[dt.datetime, float]], moment: dt.datetime) -> tuple[Week, ...]:
    this = moment.date() - dt.timedelta(days=moment.weekday())
    found: dict[dt.date, list[float]] = {this - dt.timedelta(weeks=WEEKS - 1 - n): [] for n in range(WEEKS)}
    for created, probability in rows:
        monday = created.date() - dt.timedelta(days=created.weekday())
        if monday in found:
            found[monday].append(probability)
    return tuple(Week(monday, len(values), _quartiles(values) if values else None) for monday, values in found.items())


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float(low), float(middle), float(high)
