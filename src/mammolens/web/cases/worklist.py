"""The worklist: which cases, in which order, a page at a time.

Pages are cut by the last row seen (keyset), never by counting rows off, so that the thousandth page costs what the
first does. Somebody with a group sees their own cases and the group's; those are two walks along two indices, joined.
"""

from __future__ import annotations

import datetime as dt
import enum
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, Subquery, func, literal, or_, select, true, tuple_, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session

from mammolens.errors import RequestInvalid
from mammolens.web import models_in_use
from mammolens.web.access import Actor
from mammolens.web.cases import scoring, summary
from mammolens.web.database.columns import Moment
from mammolens.web.database.tables import Case, CaseState, Identifier, Image, ImageState, Role, User

PAGE = 50
"""Rows of a page."""
COUNTED = 1000
"""Beyond so many cases the list says "more than"; counting all of 100,000 at each request would be slow."""
FOUND = 500
"""Most cases that a search looks among."""
UNREAD = "unread"
_ZONED = re.compile(r"(?:Z|[+-]\d\d:?\d\d)$")
_NUMBER = re.compile(r"(?:A-?)?(\d{1,18})", re.IGNORECASE)


class Order(enum.StrEnum):
    """In which order the cases stand."""

    NEWEST = "newest"
    OLDEST = "oldest"
    SUSPICION = "suspicion"
    """Highest score first; cases without any answer are left out."""


class Position(NamedTuple):
    """A row's place in an order: the value that it is ordered by, and its identifier."""

    value: dt.datetime | float
    case_id: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to see.

    Attributes
    ----------
    order : Order
    state : CaseState or None
        Only those cases.
    reader : str
        ``""``: all; ``"unread"``: without assessment; else a user's identifier: whose newest assessment is theirs.
    search : str
        Case number (``A-1043`` or ``1043``), patient identifier or accession number, each in full.
    """

    order: Order = Order.NEWEST
    state: CaseState | None = None
    reader: str = ""
    search: str = ""

    @classmethod
    def of(cls, arguments: Mapping[str, str]) -> Wish:
        """Read a wish from an address's query.

        Raises
        ------
        RequestInvalid
            If a value is none of those possible.
        """
        try:
            order = Order(arguments.get("order", Order.NEWEST))
            state = CaseState(arguments["state"]) if arguments.get("state") else None
        except ValueError as error:
            raise RequestInvalid("The list has no such order or state. Go back to the worklist.") from error
        return cls(order, state, arguments.get("reader", "")[:32], arguments.get("search", "").strip()[:128])

    def arguments(self) -> dict[str, str]:
        """Give the query that `of` reads; what is as usual is left out."""
        given = {
            "order": "" if self.order is Order.NEWEST else self.order.value,
            "state": self.state.value if self.state else "",
            "reader": self.reader,
            "search": self.search,
        }
        return {name: value for name, value in given.items() if value}

    @property
    def filtered(self) -> bool:
        """Whether cases are left out on request."""
        return bool(self.state or self.reader or self.search)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list.

    Attributes
    ----------
    case : Case
    images : tuple of Image
        In the order of the hanging: right before left, CC before MLO, others after.
    answers : dict
        What counts for each answered image, by its identifier: the answer of the model in use, else the newest.
    reader : str or None
        Name of who wrote the newest assessment.
    threshold : float or None
        That the case's score is held against.
    """

    case: Case
    images: tuple[Image, ...]
    answers: dict[str, scoring.Answered] = field(default_factory=dict)
    reader: str | None = None
    threshold: float | None = None

    @property
    def done(self) -> int:
        """Images that have come to their end."""
        return sum(image.state not in summary.OPEN for image in self.images)

    @property
    def problems(self) -> list[Image]:
        """Images without an answer that will get none, or none yet after a failure."""
        return [image for image in self.images if image.state in (ImageState.REFUSED, ImageState.FAILED)]


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the list.

    Attributes
    ----------
    rows : list of Row
    before, after : Position or None
        Where the page before and the page after begin; None where there is none.
    """

    rows: list[Row]
    before: Position | None
    after: Position | None


def page(
    session: Session,
    asking: Actor,
    wish: Wish,
    after: Position | None = None,
    before: Position | None = None,
    size: int = PAGE,
) -> Page:
    """Give a page of the list.

    Parameters
    ----------
    session : Session
    asking : Actor
    wish : Wish
    after, before : Position, optional
        The page that follows, or precedes, a place; the first page where neither is given.
    size : int
        Most rows.

    Returns
    -------
    Page
    """
    backwards = before is not None
    found = _walk(session, asking, wish, before if backwards else after, backwards, size + 1)
    more = len(found) > size
    cases = found[:size][::-1] if backwards else found[:size]
    if not cases:
        return Page([], None, None)
    has_before, has_after = (more, True) if backwards else (after is not None, more)
    return Page(
        rows_of(session, cases),
        position(cases[0], wish.order) if has_before else None,
        position(cases[-1], wish.order) if has_after else None,
    )


def count(session: Session, asking: Actor, wish: Wish) -> int:
    """Count the cases of a list, up to one more than `COUNTED`."""
    ids = _sources(session, asking, wish, None, False, COUNTED + 1)
    return min(session.scalar(select(func.count()).select_from(ids)) or 0, COUNTED + 1)


def neighbours(session: Session, asking: Actor, wish: Wish, case: Case) -> tuple[str | None, str | None]:
    """Give the identifiers of the cases before and after one in a list; None at its ends."""
    if wish.order is Order.SUSPICION and case.score is None:
        return None, None
    here = position(case, wish.order)
    earlier = _walk(session, asking, wish, here, True, 1)
    later = _walk(session, asking, wish, here, False, 1)
    return next((one.id for one in earlier), None), next((one.id for one in later), None)


def rank(session: Session, asking: Actor, wish: Wish, case: Case) -> int | None:
    """Place of a case in a list, from 1; None beyond `COUNTED`, and for a case that has no place in it."""
    if wish.order is Order.SUSPICION and case.score is None:
        return None
    ids = _sources(session, asking, wish, position(case, wish.order), True, COUNTED)
    earlier = session.scalar(select(func.count()).select_from(ids)) or 0
    return earlier + 1 if earlier < COUNTED else None


def newer(session: Session, asking: Actor, wish: Wish, since: dt.datetime) -> int:
    """Count the cases of a list that arrived after a moment, up to one more than `PAGE`."""
    arrived = replace(wish, order=Order.OLDEST)
    end = Position(since, "~")  # after every identifier of that moment
    return len(_walk(session, asking, arrived, end, False, PAGE + 1))


def position(case: Case, order: Order) -> Position:
    """Place of a case in an order."""
    if order is Order.SUSPICION:
        if case.score is None:
            raise ValueError("A case without score has no place among those ordered by it.")
        return Position(case.score, case.id)
    return Position(case.arrived, case.id)


def write_position(place: Position) -> str:
    """Write a place for an address; `read_position` reads it."""
    value = place.value.isoformat() if isinstance(place.value, dt.datetime) else repr(place.value)
    return f"{value}~{place.case_id}"


def read_position(text: str, order: Order) -> Position:
    """Read a place.

    Raises
    ------
    RequestInvalid
        If it is none, or of another order.
    """
    value, _, case_id = text.partition("~")
    try:
        if order is Order.SUSPICION:
            score = float(value)
            if not math.isfinite(score):
                raise ValueError
            return Position(score, case_id)
        moment = dt.datetime.fromisoformat(value).astimezone(dt.UTC) if _ZONED.search(value) else None
    except (ValueError, OverflowError) as error:
        raise RequestInvalid("This page of the list does not exist. Go back to the worklist.") from error
    if moment is None:
        raise RequestInvalid("This page of the list does not exist. Go back to the worklist.")
    return Position(moment, case_id)


def readers(session: Session, asking: Actor) -> list[tuple[str, str]]:
    """List whose assessments somebody may look for, identifier and name: of their group; administrators all."""
    query = select(User.id, User.name).where(User.role != Role.VIEWER).order_by(User.name)
    if asking.role is not Role.ADMINISTRATOR:
        same = User.id == asking.user_id
        query = query.where(or_(same, User.group_id == asking.group_id) if asking.group_id else same)
    return [(user_id, name) for user_id, name in session.execute(query)]


def rows_of(session: Session, cases: Sequence[Case]) -> list[Row]:
    """Give the rows of cases, in their order, by one query each for images, answers and readers."""
    ids = [case.id for case in cases]
    images: dict[str, list[Image]] = {}
    for image in session.scalars(select(Image).where(Image.case_id.in_(ids))):
        images.setdefault(image.case_id, []).append(image)
    scored = scoring.answered(session, ids)
    in_use, manifests = models_in_use.current(session).sha256, models_in_use.installed_manifests()
    assessors = {case.assessor_id for case in cases if case.assessor_id}
    called = session.execute(select(User.id, User.name).where(User.id.in_(assessors)))
    names = {user_id: name for user_id, name in called}
    rows = []
    for case in cases:
        own = tuple(sorted(images.get(case.id, []), key=_hanging))
        given = sorted(scored.get(case.id, ()), key=lambda one: (one.model_sha256 == in_use, one.created))
        answered = {one.image_id: one for one in given}
        found = scoring.score(given, in_use, manifests)
        reader = names.get(case.assessor_id) if case.assessor_id else None
        rows.append(Row(case, own, answered, reader, None if found is None else found.score.threshold))
    return rows


def _hanging(image: Image) -> tuple[Any, ...]:
    """Order of a case's views: standard ones as they hang (RCC LCC RMLO LMLO), others after, by arrival."""
    standard = image.view in ("CC", "MLO") and image.laterality in ("L", "R") and not image.view_modifiers
    return (not standard, image.view or "~", image.laterality != "R", image.arrived, image.id)


def _walk(
    session: Session, asking: Actor, wish: Wish, place: Position | None, backwards: bool, most: int
) -> list[Case]:
    """Cases from a place on (without it), in the list's order or backwards."""
    ids = _sources(session, asking, wish, place, backwards, most)
    key, descending = _key(wish.order)
    falls = descending != backwards
    directed = [column.desc() if falls else column.asc() for column in (key, Case.id)]
    return list(session.scalars(select(Case).where(Case.id.in_(select(ids.c.id))).order_by(*directed).limit(most)))


def _sources(
    session: Session, asking: Actor, wish: Wish, place: Position | None, backwards: bool, most: int
) -> Subquery:
    """Take the identifiers of at most so many cases from each set of cases that somebody sees."""
    key, descending = _key(wish.order)
    falls = descending != backwards
    directed = [column.desc() if falls else column.asc() for column in (key, Case.id)]
    walks: list[Select[Any]] = []
    for seen in _visible(asking):
        query = select(Case.id).where(seen, *_filters(session, wish)).order_by(*directed).limit(most)
        if wish.order is Order.SUSPICION:
            query = query.where(Case.score.is_not(None))
        if place is not None:
            kind = Moment() if isinstance(place.value, dt.datetime) else None
            here = tuple_(literal(place.value, kind), literal(place.case_id))
            there = tuple_(key, Case.id)
            query = query.where(there < here if falls else there > here)
        walks.append(select(query.subquery()))
    return (union_all(*walks) if len(walks) > 1 else walks[0]).subquery()


def _key(order: Order) -> tuple[InstrumentedAttribute[Any], bool]:
    """Column that an order goes by, and whether it falls."""
    return (Case.score, True) if order is Order.SUSPICION else (Case.arrived, order is Order.NEWEST)


def _visible(asking: Actor) -> list[ColumnElement[bool]]:
    """Give what `mammolens.web.access.visible` says as sets without overlap that each lie along one index."""
    if asking.role is Role.ADMINISTRATOR:
        return [true()]
    own = Case.owner_id == asking.user_id
    if asking.group_id is None:
        return [own]
    return [own, (Case.group_id == asking.group_id) & (Case.owner_id != asking.user_id)]


def _filters(session: Session, wish: Wish) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if wish.state is not None:
        filters.append(Case.state == wish.state)
    if wish.reader == UNREAD:
        filters.append(Case.assessor_id.is_(None))
    elif wish.reader:
        filters.append(Case.assessor_id == wish.reader)
    if wish.search:
        filters.append(Case.id.in_(_found(session, wish.search)))
    return filters


def _found(session: Session, search: str) -> list[str]:
    """Cases that a search names, at most `FOUND`. What one may not see of them is left out by `_visible`."""
    named = (
        select(Image.case_id)
        .join(Identifier, Identifier.image_id == Image.id)
        .where(or_(Identifier.patient_id == search, Identifier.accession == search))
        .distinct()
        .limit(FOUND)
    )
    found = list(session.scalars(named))
    number = _NUMBER.fullmatch(search)
    if number:
        found += session.scalars(select(Case.id).where(Case.number == int(number[1])))
    return found
