"""The worklist: orders, filters, search, and pages that are cut by their last row."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from mammolens.errors import RequestInvalid
from mammolens.web.access import Actor, visible
from mammolens.web.app import Services
from mammolens.web.cases import worklist
from mammolens.web.cases.worklist import Order, Wish
from mammolens.web.database.columns import now
from mammolens.web.database.tables import Case, CaseState


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def services(request: pytest.FixtureRequest, make_services: Callable[..., Services]) -> Services:
    """Services over each kind of database."""
    if request.param == "sqlite":
        return make_services()
    return make_services(database_url=request.getfixturevalue("postgres").new_database())


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
    services: Services, ward: dict[str, Actor], ward_cases: list[str], order: Order, name: str
) -> None:
    with services.database.reading() as session:
        wanted = expected(session, ward[name], order)
        assert len(wanted) > 5
        assert walked(session, ward[name], Wish(order)) == wanted


def test_a_case_that_arrives_between_two_pages_moves_no_row(
    services: Services, ward: dict[str, Actor], ward_cases: list[str]
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


def test_filters_leave_what_they_name(services: Services, ward: dict[str, Actor], ward_cases: list[str]) -> None:
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
    services: Services, ward: dict[str, Actor], ward_cases: list[str], search: str
) -> None:
    with services.database.reading() as session:
        assert walked(session, ward["root"], Wish.of({"search": f" {search} "})) == [ward_cases[41]]


def test_search_finds_by_patient_identifier_only_what_one_may_see(
    services: Services, ward: dict[str, Actor], ward_cases: list[str]
) -> None:
    with services.database.reading() as session:
        both = session.scalars(select(Case).where(Case.id.in_(ward_cases[20:22]))).all()
        assert set(walked(session, ward["root"], Wish(search="P-10"))) == set(ward_cases[20:22])
        for name in ("anna", "bert", "carl", "dora"):
            asking = ward[name]
            own = {case.id for case in both if asking.user_id == case.owner_id or asking.group_id == case.group_id}
            own -= {case.id for case in both if case.group_id is None and case.owner_id != asking.user_id}
            assert set(walked(session, asking, Wish(search="P-10"))) == own
        assert walked(session, ward["root"], Wish(search="P-1")) != walked(session, ward["root"], Wish(search="P-10"))
        assert walked(session, ward["root"], Wish(search="%")) == []


def test_neighbours_are_those_of_the_list(services: Services, ward: dict[str, Actor], ward_cases: list[str]) -> None:
    anna = ward["anna"]
    with services.database.reading() as session:
        order = expected(session, anna, Order.SUSPICION)
        middle = session.get_one(Case, order[4])
        assert worklist.neighbours(session, anna, Wish(Order.SUSPICION), middle) == (order[3], order[5])
        first = session.get_one(Case, order[0])
        assert worklist.neighbours(session, anna, Wish(Order.SUSPICION), first) == (None, order[1])


def test_newer_counts_what_arrived_since(services: Services, ward: dict[str, Actor], ward_cases: list[str]) -> None:
    with services.database.reading() as session:
        last = session.get_one(Case, ward_cases[99])
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
