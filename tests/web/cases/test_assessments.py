"""Assessments are written once, with what the model said at that time, and change what the worklist shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from mammolens.errors import RequestInvalid
from mammolens.web import models_in_use
from mammolens.web.access import ROLES, Actor
from mammolens.web.app import Services
from mammolens.web.cases import assessments
from mammolens.web.cases.assessments import Finding
from mammolens.web.database.tables import Assessment, Case, Image


def acting(person: Any) -> Actor:
    return Actor(person.id, person.name, person.role, person.group_id, ROLES[person.role])


@pytest.fixture
def write(services: Services) -> Callable[..., Assessment]:
    def send(person: Any, case: Case, finding: Finding) -> Assessment:
        with services.database.session() as session:
            model = models_in_use.current(session).sha256
            return assessments.write(session, acting(person), session.get_one(Case, case.id), finding, model)

    return send


def test_an_assessment_keeps_the_probability_of_its_own_breast(
    services: Services, people: Any, make_case: Any, write: Any
) -> None:
    reader = people()
    case = make_case(reader, {"R CC": 0.2, "L CC": 0.5, "R MLO": 0.2, "L MLO": 0.8})
    assert write(reader, case, Finding("R", 2)).probability == pytest.approx(0.2)
    assert write(reader, case, Finding("L", 4, True, " a mass ")).comment == "a mass"
    with services.database.reading() as session:
        kept = session.scalars(select(Assessment.probability).order_by(Assessment.created)).all()
        summarised = session.get_one(Case, case.id)
        # Odds of 1 and 4: the root of their product is 2.
        assert kept == [pytest.approx(0.2), pytest.approx(2 / 3)]
        assert summarised.birads == 4
        assert summarised.assessor_id == reader.id


def test_the_newest_assessment_of_each_breast_is_in_force_and_the_older_stay(
    services: Services, people: Any, make_case: Any, write: Any
) -> None:
    first, second = people("first"), people("second")
    case = make_case(first, {"R CC": 0.2, "L CC": 0.6})
    for reader, finding in ((first, Finding("L", 5)), (first, Finding("R", 1)), (second, Finding("L", 2))):
        write(reader, case, finding)
    with services.database.reading() as session:
        past = assessments.history(session, case.id)
        assert [(old.laterality, old.birads, old.reader.name) for old in past] == [
            ("L", 2, "second"),
            ("R", 1, "first"),
            ("L", 5, "first"),
        ]
        force = assessments.in_force(past)
        assert {side: one.birads for side, one in force.items()} == {"L": 2, "R": 1}
        assert session.get_one(Case, case.id).birads == 2


def test_a_breast_without_an_answer_by_the_model_in_use_is_kept_without_probability(
    people: Any, make_case: Any, write: Any
) -> None:
    reader = people()
    case = make_case(reader, {"R CC": 0.4, "L CC": None})
    written = write(reader, case, Finding("L", 0))
    assert written.probability is None
    assert written.model_sha256 is None
    other = make_case(reader, {"R CC": 0.4}, model="f" * 64)
    assert write(reader, other, Finding("R", 0)).probability is None


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (Finding("L", 2), "no such breast"),
        (Finding("-", 2), "no such breast"),
        (Finding("R", 7), "0 to 6"),
        (Finding("R", -1), "0 to 6"),
        (Finding("R", 2, None, "x" * 4001), "too long"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    services: Services, people: Any, make_case: Any, write: Any, finding: Finding, words: str
) -> None:
    reader = people()
    case = make_case(reader, {"R CC": 0.4})
    with pytest.raises(RequestInvalid, match=words):
        write(reader, case, finding)
    with services.database.reading() as session:
        assert session.scalars(select(Assessment)).all() == []


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        (("L", "R"), ("R", "L")),
        (("R",), ("R",)),
        ((None,), ("-",)),
        (("B",), ("R", "L")),
        (("L", None), ("L", "-")),
        (("B", None), ("R", "L", "-")),
        ((), ()),
    ],
)
def test_breasts_that_can_be_assessed_are_those_in_the_pictures(
    sides: tuple[str | None, ...], expected: tuple[str, ...]
) -> None:
    assert assessments.sides_of([Image(laterality=side) for side in sides]) == expected
