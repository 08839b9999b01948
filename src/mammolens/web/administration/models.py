"""Putting a model in use, with everything that follows from it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from mammolens.errors import MammolensError
from mammolens.web import audit, models_in_use
from mammolens.web.app import Services
from mammolens.web.cases import summary
from mammolens.web.database.tables import Image, Result
from mammolens.web.models_in_use import Use

_AT_A_TIME = 100
"""Cases that one transaction brings up to date: nobody else writes meanwhile."""

_log = logging.getLogger(__name__)


def switch(services: Services, place: str, chosen_by: str) -> Use:
    """Put an installed model in use, with an audit entry.

    Parameters
    ----------
    services : Services
    place : str
        A name that `models_in_use.available` lists.
    chosen_by : str
        The administrator's name.

    Raises
    ------
    BundleError
        If it can't be opened whole.
    CaseConflict
        If it is in use already.
    """
    return _put(services, chosen_by, "model-switched", lambda session: models_in_use.switch(session, place, chosen_by))


def roll_back(services: Services, chosen_by: str) -> Use:
    """Put the model in use that was before, with an audit entry; raises as `models_in_use.roll_back`."""
    return _put(services, chosen_by, "model-rolled-back", lambda session: models_in_use.roll_back(session, chosen_by))


def refresh_cases(services: Services, use: Use) -> int:
    """Bring the cases up to date that a model has answered, a few in each transaction.

    Returns
    -------
    int
        How many; it stops early where another model has come into use meanwhile.
    """
    with services.database.reading() as session:
        ids = session.scalars(
            select(Image.case_id)
            .join(Result)
            .where(Result.model_sha256 == use.sha256)
            .distinct()
            .order_by(Image.case_id)
        ).all()
    for start in range(0, len(ids), _AT_A_TIME):
        with services.database.session() as session:
            if models_in_use.current(session).sha256 != use.sha256:
                return start
            for case_id in ids[start : start + _AT_A_TIME]:
                summary.refresh(session, case_id)
    return len(ids)


def refresh_in_background(services: Services, use: Use) -> threading.Thread:
    """Begin `refresh_cases`; where the database goes away the cases follow with their next change."""

    def run() -> None:
        try:
            refresh_cases(services, use)
        except MammolensError as error:
            _log.error("Not every case was brought up to date after a switch of the model [%s].", error.code)

    thread = threading.Thread(target=run, name="refresh-cases", daemon=True)
    thread.start()
    return thread


def _put(services: Services, chosen_by: str, action: str, change: Callable[[Session], Use]) -> Use:
    with services.database.session() as session:
        before = models_in_use.current(session)
        use = change(session)
        detail = {"version": use.version, "sha256": use.sha256, "before": before.sha256}
        audit.record(session, chosen_by, action, f"model {use.name}", detail)
    return use
