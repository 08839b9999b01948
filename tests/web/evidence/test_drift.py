"""Drift, volume and refusals, against figures worked by hand."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Any

import pytest

from mammolens.models.bundle import load_bundle
from mammolens.web.access import ROLES, Actor
from mammolens.web.app import Services
from mammolens.web.database.columns import new_id
from mammolens.web.database.tables import Case, Image, ImageState, Result, Role
from mammolens.web.evidence import drift

NOON = dt.datetime(2026, 11, 18, 12, tzinfo=dt.UTC)  # a Wednesday
SHA = "a" * 64


def actor_of(person: Any) -> Actor:
    return Actor(person.id, person.name, person.role, person.group_id, ROLES[person.role])


@pytest.fixture
def arrive(services: Services) -> Callable[..., None]:
    """Write a case of one image, arrived some days before `NOON`."""
    number = 1000

    def write(owner: Any, days: float, state: ImageState, probability: float | None = None, code: str = "") -> None:
        nonlocal number
        number += 1
        moment = NOON - dt.timedelta(days=days)
        with services.database.session() as session:
            case = Case(number=number, owner_id=owner.id, examination=new_id(), arrived=moment)
            session.add(case)
            session.flush()
            image = Image(
                case_id=case.id,
                sha256=new_id() * 2,
                bytes=1,
                kind="png",
                arrived=moment,
                state=state,
                error_code=code or None,
            )
            session.add(image)
            session.flush()
            if probability is not None:
                session.add(
                    Result(
                        image_id=image.id, model_name="m", model_version="1", model_sha256=SHA, probability=probability,
                        logit=0.0, threshold=0.5, label="benign", confidence=0.5, regions=[], notices=[], geometry={},
                        timing_ms={}, created=moment,
                    )
                )  # fmt: skip

    return write


def test_stability_index_is_that_of_a_hand_worked_case() -> None:
    # Two bins, 50/50 before and 80/20 now: (0.8-0.5) ln(0.8/0.5) + (0.2-0.5) ln(0.2/0.5).
    expected = 0.3 * math.log(1.6) - 0.3 * math.log(0.4)
    assert drift.stability((160, 40), (100, 100)) == pytest.approx(expected)
    assert drift.stability((100, 100), (50, 50)) == pytest.approx(0.0)


def test_bins_that_are_almost_empty_do_not_rule_the_index() -> None:
    # The one score in the last bin joins its neighbour: 100 of 200 on either side.
    assert drift.stability((100, 99, 1), (100, 100, 0)) == pytest.approx(0.0)


def test_few_scores_tell_no_drift() -> None:
    assert drift.stability((99, 0), (1000, 1000)) is None
    assert drift.stability((1000, 1000), ()) is None


def test_volume_counts_each_day_by_what_became_of_its_pictures(
    services: Services, people: Callable[..., Any], arrive: Callable[..., None]
) -> None:
    nurse = people("nurse")
    for days, state in (
        (0, ImageState.ANSWERED),
        (0, ImageState.RUNNING),
        (3, ImageState.REFUSED),
        (40, ImageState.FAILED),
    ):
        arrive(nurse, days, state)
    with services.database.reading() as session:
        days = drift.volume(session, actor_of(nurse), NOON)
    assert len(days) == drift.DAYS
    assert (days[-1].day, days[-1].answered, days[-1].open) == (dt.date(2026, 11, 18), 1, 1)
    assert (days[-4].day, days[-4].refused) == (dt.date(2026, 11, 15), 1)
    assert sum(day.answered + day.refused + day.failed + day.open for day in days) == 3


def test_refusals_are_counted_by_reason_and_only_of_cases_one_sees(
    services: Services, people: Callable[..., Any], arrive: Callable[..., None]
) -> None:
    nurse, other = people("nurse"), people("other")
    for owner, code in ((nurse, "no-breast"), (nurse, "no-breast"), (nurse, "too-small"), (other, "no-pixels")):
        arrive(owner, 1, ImageState.REFUSED, code=code)
    with services.database.reading() as session:
        own = drift.refusals(session, actor_of(nurse), NOON)
        every = drift.refusals(session, actor_of(people("chief", Role.ADMINISTRATOR)), NOON)
    assert own == [("no-breast", ImageState.REFUSED, 2), ("too-small", ImageState.REFUSED, 1)]
    assert sum(count for _, _, count in every) == 4


def test_scores_are_parted_into_recent_and_earlier_and_into_weeks(
    services: Services, people: Callable[..., Any], arrive: Callable[..., None]
) -> None:
    nurse = people("nurse")
    for days, probability in ((0, 0.12), (1, 0.32), (2, 0.52), (35, 0.9)):
        arrive(nurse, days, ImageState.ANSWERED, probability)
    evaluation = load_bundle().manifest.evaluation
    with services.database.reading() as session:
        found = drift.scores(session, actor_of(nurse), SHA, evaluation, NOON)
    assert (sum(found.here), sum(found.earlier)) == (3, 1)
    assert found.here[2] == found.here[6] == found.here[10] == 1
    assert sum(found.trained) == 2671  # pictures that the model was measured on, as its card says
    assert found.weeks[-1].monday == dt.date(2026, 11, 16)
    assert found.weeks[-1].quartiles == pytest.approx((0.22, 0.32, 0.42))
    assert found.weeks[-2].quartiles is None
    assert found.against_training is None
