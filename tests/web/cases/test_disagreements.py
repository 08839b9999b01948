"""Disagreements: which pairs of reader and model count as one, who sees them, and a table no spreadsheet runs."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from mammolens.errors import NotFound
from mammolens.web import models_in_use
from mammolens.web.access import ROLES, Actor
from mammolens.web.app import Services
from mammolens.web.cases import assessments, disagreements
from mammolens.web.cases.assessments import Finding
from mammolens.web.database.tables import Case, Role


def acting(person: Any) -> Actor:
    return Actor(person.id, person.name, person.role, person.group_id, ROLES[person.role])


def write(services: Services, person: Any, case: Case, *findings: Finding) -> None:
    for finding in findings:
        with services.database.session() as session:
            model = models_in_use.current(session).sha256
            assessments.write(session, acting(person), session.get_one(Case, case.id), finding, model)


def listed(services: Services, person: Any, **more: Any) -> list[tuple[int, str, str | None]]:
    with services.database.reading() as session:
        rows, _ = disagreements.listed(session, acting(person), **more)
        return [(row.case.number, row.assessment.laterality, row.difference and row.difference.value) for row in rows]


@pytest.mark.parametrize(
    ("probability", "birads", "agrees", "expected"),
    [
        (0.7, 2, None, "model-only"),
        (0.5, 1, True, "model-only"),
        (0.7, 3, None, "model-only"),
        (0.49, 4, None, "reader-only"),
        (0.1, 0, True, "reader-only"),
        (0.1, 6, False, "reader-only"),
        (0.7, 5, False, "marks"),
        (0.1, 2, False, "marks"),
        (0.7, 5, True, None),
        (0.5, 0, None, None),
        (0.49, 3, None, None),
        (None, 5, None, None),
        (None, 5, False, "marks"),
    ],
)
def test_verdicts_differ_by_threshold_and_category(
    services: Services,
    people: Any,
    make_case: Any,
    probability: float | None,
    birads: int,
    agrees: bool | None,
    expected: str | None,
) -> None:
    reader = people()
    case = make_case(reader, {"L CC": probability})
    write(services, reader, case, Finding("L", birads, agrees))
    assert listed(services, reader) == ([(case.number, "L", expected)] if expected else [])
    with services.database.reading() as session:
        everything = list(disagreements.compared(session, acting(reader), everything=True))
        assert [row.difference for row in everything] == [expected]


def test_only_the_assessment_in_force_counts(services: Services, people: Any, make_case: Any) -> None:
    reader = people()
    case = make_case(reader, {"L CC": 0.8, "R CC": 0.8})
    write(services, reader, case, Finding("L", 2), Finding("R", 2), Finding("L", 5))
    assert listed(services, reader) == [(case.number, "R", "model-only")]


def test_nobody_sees_the_disagreements_of_cases_that_are_not_theirs(
    services: Services, people: Any, make_case: Any
) -> None:
    mine, colleague = people("mine", group="a"), people("colleague", group="a")
    stranger, chief = people("stranger", group="b"), people("chief", role=Role.ADMINISTRATOR)
    case = make_case(mine, {"L CC": 0.8})
    write(services, mine, case, Finding("L", 1))
    assert [len(listed(services, person)) for person in (mine, colleague, stranger, chief)] == [1, 1, 0, 1]


def test_pages_follow_one_another_newest_first_without_gap_or_repetition(
    services: Services, people: Any, make_case: Any
) -> None:
    reader = people()
    numbers = []
    for _ in range(5):
        case = make_case(reader, {"L CC": 0.8})
        write(services, reader, case, Finding("L", 1))
        numbers.append(case.number)
    seen: list[int] = []
    after = None
    with services.database.reading() as session:
        while True:
            rows, after = disagreements.listed(session, acting(reader), after, most=2)
            seen += [row.case.number for row in rows]
            if after is None:
                break
        assert seen == numbers[::-1]
        with pytest.raises(NotFound):
            disagreements.listed(session, acting(reader), "f" * 32)


def test_the_table_says_what_was_compared(services: Services, people: Any, make_case: Any) -> None:
    reader = people("dr. example")
    case = make_case(reader, {"R CC": 0.8125})
    write(services, reader, case, Finding("R", 2, False, 'says "no",\nand means it'))
    with services.database.reading() as session:
        text = disagreements.as_csv(disagreements.compared(session, acting(reader), everything=False))
        model = models_in_use.current(session).sha256
    heading, line = list(csv.reader(io.StringIO(text)))
    found = dict(zip(heading, line, strict=True))
    assert found.pop("written_utc").startswith("20")
    assert found == {
        "case": f"A-{case.number}",
        "breast": "right",
        "birads": "2",
        "reader_verdict": "negative",
        "model_verdict": "malignant",
        "model_probability": "0.8125",
        "model_threshold": "0.5",
        "agrees_with_marks": "no",
        "difference": "model-only",
        "comment": 'says "no",\nand means it',
        "reader": "dr. example",
        "model": "m 1",
        "model_sha256": model,
    }


@pytest.mark.parametrize(
    "comment", ['=HYPERLINK("http://x","y")', "+1+1", "-2+3", "@SUM(A1)", "  =1", "\tx", "\r=1", "＝1"]
)
def test_no_cell_begins_like_a_formula(services: Services, people: Any, make_case: Any, comment: str) -> None:
    reader = people(f"{comment[:1]}reader")
    case = make_case(reader, {"R CC": 0.8})
    write(services, reader, case, Finding("R", 2, False, comment))
    with services.database.reading() as session:
        text = disagreements.as_csv(disagreements.compared(session, acting(reader), everything=True))
    cells = [cell for line in csv.reader(io.StringIO(text, newline="")) for cell in line]
    assert not [cell for cell in cells if cell.lstrip(" ").startswith(tuple("=+-@\t\r\n＝＋－＠"))]
    assert any(comment.strip() in cell for cell in cells)
    assert disagreements.harmless(-0.5) == -0.5
