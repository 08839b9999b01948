"""What the worklist knows of a case without asking its images: written here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mammolens.web.cases import scoring
from mammolens.web.database.tables import Assessment, Case, CaseState, Image, ImageState

OPEN = frozenset({ImageState.QUEUED, ImageState.RUNNING})
"""States of an image that is still on its way."""


def refresh(session: Session, case_id: str) -> None:
    """Bring a case's state, score, label, count of images and assessments up to date.

    To be called in the transaction that changed an image, a result or an assessment; it locks the case's row first,
    so that of two images that end at the same time the later one sees the other's end.

    Parameters
    ----------
    session : Session
        A transaction.
    case_id : str
        A case that has been deleted meanwhile is passed over.
    """
    session.flush()
    case = session.scalar(select(Case).where(Case.id == case_id).with_for_update())
    if case is None:
        return
    states = session.scalars(select(Image.state).where(Image.case_id == case_id)).all()
    found = scoring.of_case(session, case_id)
    case.images_count = len(states)
    case.state = state_of(states)
    case.score = None if found is None else found.score.probability
    case.label = None if found is None else found.score.label
    _refresh_assessments(session, case)
    session.flush()


def state_of(states: Iterable[ImageState]) -> CaseState:
    """Where a case stands, by its images' states."""
    found = set(states)
    if found & OPEN:
        return CaseState.WAITING
    return CaseState.ANSWERED if ImageState.ANSWERED in found else CaseState.REFUSED


def _refresh_assessments(session: Session, case: Case) -> None:
    """Take over the newest assessment, and the highest category of those in force: the newest of each breast."""
    place = func.row_number().over(
        partition_by=Assessment.laterality, order_by=(Assessment.created.desc(), Assessment.id.desc())
    )
    ranked = select(Assessment.birads, Assessment.created, Assessment.reader_id, place.label("place")).where(
        Assessment.case_id == case.id
    )
    newest = ranked.subquery()
    rows = session.execute(
        select(newest.c.birads, newest.c.created, newest.c.reader_id)
        .where(newest.c.place == 1)
        .order_by(newest.c.created.desc())
    ).all()
    case.assessed = rows[0].created if rows else None
    case.assessor_id = rows[0].reader_id if rows else None
    case.birads = max((row.birads for row in rows), default=None)
