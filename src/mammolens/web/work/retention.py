"""How long cases are kept, and the deletion of those that are older."""

from __future__ import annotations

import datetime as dt
import logging
import time

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from mammolens.errors import NotFound, RequestInvalid
from mammolens.web import audit
from mammolens.web.app import Services
from mammolens.web.database.columns import now
from mammolens.web.database.tables import Batch, Case, Choice, Image
from mammolens.web.intake.sweep import sweep
from mammolens.web.work import deletion

CHOICE = "retention"
"""Name of the row of `Choice`: ``{"days": 30}``, or ``{"days": None}`` where cases are kept."""

LONGEST_DAYS = 36_500

AT_A_TIME = 100
"""Cases that one run deletes at most; the next is a minute later."""

_HOUR = 3600.0

_log = logging.getLogger(__name__)


def days(session: Session) -> int | None:
    """Days after which cases are deleted; None where they are kept."""
    chosen = session.get(Choice, CHOICE)
    return None if chosen is None else chosen.value.get("days")


def set_days(session: Session, kept: int | None, actor_name: str) -> None:
    """Choose after how many days cases are deleted, with an audit entry.

    Parameters
    ----------
    session : Session
        A transaction.
    kept : int or None
        1 to 36,500; None keeps them.
    actor_name : str

    Raises
    ------
    RequestInvalid
        If the number is out of range.
    """
    if kept is not None and not 1 <= kept <= LONGEST_DAYS:
        raise RequestInvalid(f"Give 1 to {LONGEST_DAYS} days, or nothing to keep all cases.")
    before = days(session)
    chosen = session.get(Choice, CHOICE)
    if chosen is None:
        session.add(Choice(name=CHOICE, value={"days": kept}))
    else:
        chosen.value, chosen.changed = {"days": kept}, now()
    audit.record(session, actor_name, "retention-changed", "retention", {"before": before, "days": kept})


def overdue(session: Session, moment: dt.datetime, most: int = AT_A_TIME) -> list[str]:
    """Find the cases whose newest picture arrived longer ago than they are kept; their identifiers, oldest first."""
    kept = days(session)
    if kept is None:
        return []
    limit = moment - dt.timedelta(days=kept)
    newer = exists().where(Image.case_id == Case.id, Image.arrived >= limit)
    return list(
        session.scalars(select(Case.id).where(Case.arrived < limit, ~newer).order_by(Case.arrived, Case.id).limit(most))
    )


def run(services: Services, moment: dt.datetime | None = None) -> int:
    """Delete what is overdue, at most `AT_A_TIME` cases, and batches of that age with their files' names.

    Returns
    -------
    int
        How many cases were deleted.

    Raises
    ------
    DatabaseUnavailable
        If the database can't be reached; the next run goes on.
    """
    moment = moment or now()
    with services.database.reading() as session:
        kept, ids = days(session), overdue(session, moment)
    if kept is None:
        return 0
    deleted = 0
    for case_id in ids:
        try:
            deletion.delete_case(services, case_id, "system", "retention")
        except NotFound:
            continue  # somebody else deleted it just now
        deleted += 1
    with services.database.session() as session:
        session.execute(delete(Batch).where(Batch.created < moment - dt.timedelta(days=kept)))
    if deleted:
        _log.info("%d cases were deleted: they are older than %d days.", deleted, kept)
    return deleted


class Housekeeping:
    """What is due each minute and each hour.

    Parameters
    ----------
    services : Services
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._next_hour = 0.0

    def run(self) -> None:
        """Delete overdue cases; once an hour, and the first time, remove files that no row names and half uploads.

        Raises
        ------
        DatabaseUnavailable
            If the database can't be reached; the next run goes on.
        """
        run(self._services)
        if time.monotonic() >= self._next_hour:
            deletion.remove_orphans(self._services)
            sweep(self._services)
            self._next_hour = time.monotonic() + _HOUR
