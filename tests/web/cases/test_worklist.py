"""The worklist: orders, filters, search, and pages that are cut by their last row."""

from __future__ import annotations

import datetime as dt
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from mammolens.errors import RequestInvalid
from mammolens.web.access import ROLES, Actor, visible
from mammolens.web.app import Services
from mammolens.web.cases import worklist
from mammolens.web.cases.worklist import Order, Wish
from mammolens.web.database.tables import Case, CaseState, Identifier, Image, ImageState, Role, new_id, now


def actor_of(person: Any) -> Actor:
    return Actor(person.id, person.name, person.role, person.group_id, ROLES[person.role])


@pytest.fixture
def ward(people: Callable[..., Any]) -> dict[str, Actor]:
    """Two of one group, one of another, one of none, one who administers."""
    return {
        "anna": actor_of(people("anna", Role.READER, "ward")),
        "bert": actor_of(people("bert", Role.READER, "ward")),
        "carl": actor_of(people("carl", Role.READER, "clinic")),
        "dora": actor_of(people("dora", Role.VIEWER)),
        "root": actor_of(people("root", Role.ADMINISTRATOR)),
    }


@pytest.fixture
def cases(services: Services, ward: dict[str, Actor]) -> list[str]:
    """120 cases, some of one moment, some of one score, of four owners; oldest first."""
    rng = random.Random(4)
    start = now() - dt.timedelta(days=3)
    owners = [ward[name] for name in ("anna", "bert", "carl", "dora")]
    made = []
    with services.database.session() as session:
        for number in range(120):
            owner = rng.choice(owners)
            state = rng.choice(list(CaseState))
            case = Case(
                number=1001 + number,
                owner_id=owner.user_id,
                group_id=owner.group_id,
                examination=new_id(),
                arrived=start + dt.timedelta(minutes=number // 3),
                state=state,
                score=rng.choice([0.1, 0.25, rng.random()]) if state is CaseState.ANSWERED else None,
                assessor_id=rng.choice([None, ward["anna"].user_id, ward["bert"].user_id]),
            )
            case.assessed = now() if case.assessor_id else None
            session.add(case)
            session.flush()
            made.append(case.id)
            image = Image(case_id=case.id, sha256=new_id() * 2, bytes=1, kind="dicom", state=ImageState.ANSWERED)
            session.add(image)
            session.flush()
            session.add(Identifier(image_id=image.id, patient_id=f"P-{number // 2}", accession=f"ACC{number}"))
    return made


def walked(session: Session, asking: Actor, wish: Wish, size: int = 7) -> list[str]:
    """All cases of a list, page by page forward; each page's way back is followed too and must give the page before."""
    shown: list[list[str]] = []
    after = None
    while True:
        page = worklist.page(session, asking, wish, after=after, size=size)
        shown.append([row.case.id for row in page.rows])
        if len(shown) > 1 and page.before is not None:
            back = worklist.page(session, asking, wish, before=page.before, size=size)
            assert [row.case.id for row in back.rows] == shown[-2]
        after = page.after
        if after is None:
            return [case_id for page_ids in shown for case_id in page_ids]


def expected(session: Session, asking: Actor, order: Order) -> list[str]:
    """The same list by sorting all that `visible` lets through in Python."""
    seen = session.scalars(select(Case).where(visible(asking))).all()
    if order is Order.SUSPICION:
        scored = [(case.score, case.id) for case in seen if case.score is not None]
        return [case_id for _, case_id in sorted(scored, reverse=True)]
    placed = sorted(((case.arrived, case.id) for case in seen), reverse=order is Order.NEWEST)
    return [case_id for _, case_id in placed]


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("name", ["anna", "carl", "dora", "root"])
def test_pages_give_each_visible_case_once_and_in_order(
    services: Services, ward: dict[str, Actor], cases: list[str], order: Order, name: str
) -> None:
    with services.database.reading() as session:
        wanted = expected(session, ward[name], order)
        assert len(wanted) > 5
        assert walked(session, ward[name], Wish(order)) == wanted


def test_a_case_that_arrives_between_two_pages_moves_no_row(
    services: Services, ward: dict[str, Actor], cases: list[str]
) -> None:
    root = ward["root"]
    with services.database.reading() as session:
        wanted = expected(session, root, Order.NEWEST)
        first = worklist.page(session, root, Wish(), size=10)
    with services.database.session() as session:
        session.add(Case(number=5000, owner_id=root.user_id, examination="new"))
    with services.database.reading() as session:
        second = worklist.page(session, root, Wish(), after=first.after, size=10)
    assert [row.case.id for row in second.rows] == wanted[10:20]


def test_filters_leave_what_they_name(services: Services, ward: dict[str, Actor], cases: list[str]) -> None:
    root = ward["root"]
    with services.database.reading() as session:
        everything = session.scalars(select(Case)).all()
        wishes = {
            Wish(state=CaseState.REFUSED): {case.id for case in everything if case.state is CaseState.REFUSED},
            Wish(reader=worklist.UNREAD): {case.id for case in everything if case.assessed is None},
            Wish(reader=root.user_id): set(),
            Wish(reader=ward["anna"].user_id, state=CaseState.ANSWERED): {
                case.id
                for case in everything
                if case.assessor_id == ward["anna"].user_id and case.state is CaseState.ANSWERED
            },
        }
        for wish, wanted in wishes.items():
            assert set(walked(session, root, wish)) == wanted
            assert worklist.count(session, root, wish) == len(wanted)


@pytest.mark.parametrize("search", ["A-1042", "1042", "a-1042", "A1042", "ACC41"])
def test_search_finds_a_case_by_number_and_accession(
    services: Services, ward: dict[str, Actor], cases: list[str], search: str
) -> None:
    with services.database.reading() as session:
        assert walked(session, ward["root"], Wish.of({"search": f" {search} "})) == [cases[41]]


def test_search_finds_by_patient_identifier_only_what_one_may_see(
    services: Services, ward: dict[str, Actor], cases: list[str]
) -> None:
    with services.database.reading() as session:
        both = session.scalars(select(Case).where(Case.id.in_(cases[20:22]))).all()
        assert set(walked(session, ward["root"], Wish(search="P-10"))) == set(cases[20:22])
        for name in ("anna", "bert", "carl", "dora"):
            asking = ward[name]
            own = {case.id for case in both if asking.user_id == case.owner_id or asking.group_id == case.group_id}
            own -= {case.id for case in both if case.group_id is None and case.owner_id != asking.user_id}
            assert set(walked(session, asking, Wish(search="P-10"))) == own
        assert walked(session, ward["root"], Wish(search="P-1")) != walked(session, ward["root"], Wish(search="P-10"))
        assert walked(session, ward["root"], Wish(search="%")) == []


def test_neighbours_are_those_of_the_list(services: Services, ward: dict[str, Actor], cases: list[str]) -> None:
    anna = ward["anna"]
    with services.database.reading() as session:
        order = expected(session, anna, Order.SUSPICION)
        middle = session.get_one(Case, order[4])
        assert worklist.neighbours(session, anna, Wish(Order.SUSPICION), middle) == (order[3], order[5])
        first = session.get_one(Case, order[0])
        assert worklist.neighbours(session, anna, Wish(Order.SUSPICION), first) == (None, order[1])


def test_newer_counts_what_arrived_since(services: Services, ward: dict[str, Actor], cases: list[str]) -> None:
    with services.database.reading() as session:
        last = session.get_one(Case, cases[99])
        later = sum(case.arrived > last.arrived for case in session.scalars(select(Case)))
        assert worklist.newer(session, ward["root"], Wish(), last.arrived) == later == 18


@pytest.mark.parametrize("order", list(Order))
def test_a_place_survives_being_written_and_read(order: Order) -> None:
    case = Case(id="f" * 32, arrived=now(), score=1 / 3)
    place = worklist.position(case, order)
    assert worklist.read_position(worklist.write_position(place), order) == place


@pytest.mark.parametrize("text", ["", "~", "0.5~x", "yesterday~x", "2026-01-01T00:00:00~x"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RequestInvalid):
        worklist.read_position(text, Order.NEWEST)


def test_a_wish_survives_the_address_and_a_wrong_one_is_refused() -> None:
    wish = Wish(Order.SUSPICION, CaseState.ANSWERED, worklist.UNREAD, "A-1001")
    assert Wish.of(wish.arguments()) == wish
    assert Wish().arguments() == {}
    with pytest.raises(RequestInvalid):
        Wish.of({"order": "alphabet"})


@contextmanager
def statements(services: Services) -> Iterator[list[tuple[str, Any]]]:
    """Collect what is sent to the database."""
    sent: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            sent.append((statement, parameters))

    event.listen(services.database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(services.database.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("name", ["anna", "dora", "root"])
def test_a_page_takes_few_queries_and_none_of_them_reads_or_sorts_all_cases(
    services: Services, ward: dict[str, Actor], cases: list[str], order: Order, name: str
) -> None:
    with services.database.reading() as session:
        after = worklist.page(session, ward[name], Wish(order), size=7).after
        with statements(services) as sent:
            worklist.page(session, ward[name], Wish(order), after=after, size=7)
        # Cases, images, the model in use, answers, readers: however many rows there are.
        assert len(sent) <= 5
        paged = [(statement, values) for statement, values in sent if "FROM cases" in statement]
        assert len(paged) == 1
        plan = plan_of(session, *paged[0])
        walks = [line for line in plan if "ix_cases_" in line]
        assert len(walks) == (2 if name == "anna" else 1), plan
        assert all(line.startswith("SEARCH") or name == "root" for line in walks), plan
        assert not any(line.startswith("SCAN cases") and "INDEX" not in line for line in plan), plan
        # The last sort is that of the found rows; none is inside a walk, where it would be of all cases.
        assert sum("TEMP B-TREE FOR ORDER BY" in line for line in plan) <= 1, plan


def plan_of(session: Session, statement: str, values: Any) -> list[str]:
    """What SQLite will do, line by line."""
    rows = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
    return [row[-1] for row in rows]


def test_a_search_uses_indices_only(services: Services, ward: dict[str, Actor], cases: list[str]) -> None:
    with services.database.reading() as session:
        with statements(services) as sent:
            worklist.page(session, ward["anna"], Wish(search="1042"))
        used = " ".join(line for one in sent for line in plan_of(session, *one))
        for index in (
            "ix_identifiers_patient_id",
            "ix_identifiers_accession",
            "uq_cases_number|sqlite_autoindex_cases",
        ):
            assert re.search(index, used), used
        assert not re.search(r"SCAN (identifiers|images|cases)\b", used), used
        assert "ix_cases_" not in used, "the found cases are looked up by their identifiers, not by walking the list"
