"""The audit log, newest first, by page and filter."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from mammolens.errors import RequestInvalid
from mammolens.web.database.tables import AuditEvent

PAGE = 100
"""Entries of one page."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are asked for; empty: any.

    Attributes
    ----------
    actor, action : str
    subject : str
        Part of it.
    first, last : date or None
        Days (UTC), both included.
    """

    actor: str = ""
    action: str = ""
    subject: str = ""
    first: dt.date | None = None
    last: dt.date | None = None

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Filter:
        """Read the parameters of a request.

        Raises
        ------
        RequestInvalid
            If a day is none.
        """
        actor, action, subject = (values.get(name, "").strip() for name in ("actor", "action", "subject"))
        return cls(actor, action, subject, _day(values.get("first", "")), _day(values.get("last", "")))

    def arguments(self) -> dict[str, str]:
        """Give the parameters of a link to the same entries."""
        texts = {"actor": self.actor, "action": self.action, "subject": self.subject}
        days = {"first": self.first, "last": self.last}
        return {name: text for name, text in texts.items() if text} | {
            name: day.isoformat() for name, day in days.items() if day is not None
        }


def page(session: Session, wanted: Filter, before: int | None = None) -> tuple[list[AuditEvent], int | None]:
    """Give a page of the log.

    Parameters
    ----------
    session : Session
    wanted : Filter
    before : int, optional
        Entries older than the one of this number.

    Returns
    -------
    list of AuditEvent
    int or None
        What the next page takes as ``before``; None after the last.
    """
    query = select(AuditEvent).order_by(AuditEvent.number.desc()).limit(PAGE + 1)
    if before is not None:
        query = query.where(AuditEvent.number < before)
    if wanted.actor:
        query = query.where(AuditEvent.actor == wanted.actor)
    if wanted.action:
        query = query.where(AuditEvent.action == wanted.action)
    if wanted.subject:
        query = query.where(AuditEvent.subject.contains(wanted.subject, autoescape=True))
    if wanted.first is not None:
        query = query.where(AuditEvent.at >= _midnight(wanted.first))
    if wanted.last is not None:
        query = query.where(AuditEvent.at < _midnight(wanted.last) + dt.timedelta(days=1))
    found = list(session.scalars(query))
    return found[:PAGE], found[PAGE - 1].number if len(found) > PAGE else None


def actions(session: Session) -> list[str]:
    """Give the actions that occur."""
    return list(session.scalars(select(AuditEvent.action).distinct().order_by(AuditEvent.action)))


def _day(text: str) -> dt.date | None:
    if not text:
        return None
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        raise RequestInvalid("A day is written YEAR-MONTH-DAY, for example 2026-11-22.") from None
    if not 1970 <= day.year <= 9000:
        raise RequestInvalid("A day is written YEAR-MONTH-DAY, for example 2026-11-22.")
    return day


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)
