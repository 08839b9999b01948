"""The queue: jobs in a table, each leased to one worker at a time.

::

                   claim                    end (with the result, in one transaction)
       QUEUED ───────────────▶ RUNNING ───────────────────────────────────────────▶ DONE
         ▲                      │  │ │
         │ hand_back, release,  │  │ └── cancel ──▶ CANCELLED
         └── sweep, fail ───────┘  └──── fail, after `ATTEMPTS`; sweep, after `LOSSES` ──▶ FAILED

A lease is drawn anew at each claim, and nothing but its holder ends the job: whatever a worker writes stands in the
transaction that ends its job, so that a worker that was given up, and comes back, writes nothing. Every function
takes a session that is a transaction (`Database.session`) and does nothing but statements in it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from mammolens.errors import CaseConflict, InputError
from mammolens.web.cases.summary import refresh
from mammolens.web.database.columns import new_id, now
from mammolens.web.database.tables import Image, ImageState, Job, JobKind, JobState

PRIORITY = {JobKind.ANSWER: 0, JobKind.LEVELS: -10}
"""Of a job whose caller names none; higher first."""

LEASE = dt.timedelta(seconds=30)
"""How long a claim holds without a heartbeat."""

ATTEMPTS = 3
"""After so many failures of ours a job is given up."""

LOSSES = 10
"""After so many dead workers it is: the picture may be what kills them. A stopped machine counts too, hence so many."""

BACK_OFF = (dt.timedelta(seconds=1), dt.timedelta(seconds=5))
"""Before the second attempt, and before the third."""

_LOST = ("worker-lost", "The program that worked on this picture ended many times. Report the picture's format.")


class LeaseLost(CaseConflict):
    """The job is no longer this worker's: it was cancelled, deleted, or given to another."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A job that is a worker's for now.

    Attributes
    ----------
    job_id, lease, image_id : str
    kind : JobKind
    model_sha256 : str
        Model asked for, or "" for the one in use.
    attempt : int
        1 at the first time.
    waited_ms : float
        From the job's making to this claim, milliseconds.
    """

    job_id: str
    lease: str
    image_id: str
    kind: JobKind
    model_sha256: str
    attempt: int
    waited_ms: float


def enqueue(
    session: Session,
    image_id: str,
    kind: JobKind = JobKind.ANSWER,
    *,
    priority: int | None = None,
    model_sha256: str = "",
) -> Job:
    """Add a job for an image, unless the same one is queued already.

    Parameters
    ----------
    session : Session
    image_id : str
    kind : JobKind
    priority : int, optional
        Higher first; `PRIORITY` of the kind unless given.
    model_sha256 : str
        Model that shall answer; the one in use at that time unless given.

    Returns
    -------
    Job
    """
    alike = (Job.image_id == image_id, Job.kind == kind, Job.model_sha256 == model_sha256)
    waiting = session.scalar(select(Job).where(*alike, Job.state == JobState.QUEUED).limit(1))
    if waiting is not None:
        return waiting
    job = Job(
        image_id=image_id,
        kind=kind,
        priority=PRIORITY[kind] if priority is None else priority,
        model_sha256=model_sha256,
    )
    session.add(job)
    session.flush()
    return job


def waiting(session: Session, kinds: Sequence[JobKind] = tuple(JobKind)) -> bool:
    """Tell whether a claim would find a job; for a session that only reads."""
    return session.scalar(select(Job.id).where(*_ready(kinds)).limit(1)) is not None


def claim(
    session: Session, worker: str, kinds: Sequence[JobKind] = tuple(JobKind), length: dt.timedelta = LEASE
) -> Lease | None:
    """Take the first job of the highest priority.

    Parameters
    ----------
    session : Session
    worker : str
        Name of who takes it, at most 80 characters.
    kinds : sequence of JobKind
    length : timedelta
        How long the lease holds unless `extend` is called.

    Returns
    -------
    Lease or None
        None where there is nothing to do, or others are just taking it.
    """
    ready = _ready(kinds)
    # Two steps, so that the index gives both and a long queue is never sorted.
    top = session.scalar(select(Job.priority).where(*ready).order_by(Job.priority.desc()).limit(1))
    if top is None:
        return None
    first = select(Job.id).where(*ready, Job.priority == top).order_by(Job.created, Job.id).limit(1)
    chosen = session.scalar(first.with_for_update(skip_locked=True))
    if chosen is None:
        return None
    moment, lease = now(), new_id()
    row = session.execute(
        update(Job)
        .where(Job.id == chosen, Job.state == JobState.QUEUED)
        .values(
            state=JobState.RUNNING,
            worker=worker,
            lease=lease,
            lease_ends=moment + length,
            started=moment,
            attempts=Job.attempts + 1,
            error_code=None,
        )
        .returning(Job.image_id, Job.kind, Job.model_sha256, Job.attempts, Job.created)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return None
    if row.kind is JobKind.ANSWER:
        _move([row.image_id], ImageState.QUEUED, ImageState.RUNNING, session)
    waited = (moment - row.created).total_seconds() * 1e3
    return Lease(chosen, lease, row.image_id, row.kind, row.model_sha256, row.attempts, max(0.0, waited))


def extend(session: Session, lease: Lease, length: dt.timedelta = LEASE) -> bool:
    """Give a sign of life; False where the job is no longer this worker's."""
    return _change(session, lease, lease_ends=now() + length)


def end(session: Session, lease: Lease, error_code: str | None = None) -> None:
    """End a job that was carried out; call it first in the transaction that writes the result.

    Parameters
    ----------
    session : Session
    lease : Lease
    error_code : str, optional
        Where the outcome is that the image is refused.

    Raises
    ------
    LeaseLost
        If the job is another's by now: write nothing, let the transaction roll back.
    """
    if not _change(
        session, lease, state=JobState.DONE, ended=now(), lease=None, lease_ends=None, error_code=error_code
    ):
        raise LeaseLost("The job is no longer this worker's.")


def refuse(session: Session, lease: Lease, error: InputError) -> None:
    """End a job whose file gets no answer; raises as `end`.

    An image that has an answer already, by another model, keeps it.
    """
    end(session, lease, error.code)
    _settle(session, lease.image_id, ImageState.REFUSED, error.code, error.message)


def fail(session: Session, lease: Lease, code: str, message: str) -> bool:
    """Put a job back that failed of something of ours, or give it up after `ATTEMPTS`.

    Parameters
    ----------
    session : Session
    lease : Lease
    code, message : str
        Of the error; the image shows them when the job is given up.

    Returns
    -------
    bool
        Whether it will be tried again.

    Raises
    ------
    LeaseLost
        As `end`.
    """
    again = lease.attempt < ATTEMPTS
    if again:
        later = now() + BACK_OFF[min(lease.attempt, len(BACK_OFF)) - 1]
        changed = _change(session, lease, state=JobState.QUEUED, lease=None, lease_ends=later, error_code=code)
    else:
        changed = _change(
            session, lease, state=JobState.FAILED, ended=now(), lease=None, lease_ends=None, error_code=code
        )
    if not changed:
        raise LeaseLost("The job is no longer this worker's.")
    if lease.kind is JobKind.ANSWER:
        if again:
            _move([lease.image_id], ImageState.RUNNING, ImageState.QUEUED, session)
        else:
            _settle(session, lease.image_id, ImageState.FAILED, code, message)
    return again


def hand_back(session: Session, lease: Lease) -> None:
    """Put a job back that was not carried out, through no fault of anybody; counts as no attempt."""
    given: dict[str, object] = {"lease": None, "lease_ends": None, "started": None, "attempts": Job.attempts - 1}
    if _change(session, lease, state=JobState.QUEUED, **given) and lease.kind is JobKind.ANSWER:
        _move([lease.image_id], ImageState.RUNNING, ImageState.QUEUED, session)


def release(session: Session, workers: str) -> int:
    """Free at once what dead workers held: all whose name begins so; how many jobs it were."""
    return _free(session, Job.worker.startswith(workers, autoescape=True))


def sweep(session: Session) -> int:
    """Free the jobs whose lease has ended; how many it were. Runs at start and each minute."""
    return _free(session, Job.lease_ends < now())


def cancel(session: Session, image_ids: Iterable[str]) -> int:
    """Take the jobs of images out of the queue; one in work ends without a result.

    Images that wait for an answer become CANCELLED, and are counted; those that have one keep it.
    """
    open_states = (ImageState.QUEUED, ImageState.RUNNING)
    wanted = session.scalars(select(Image.id).where(Image.id.in_(list(image_ids)), Image.state.in_(open_states))).all()
    # Jobs before images before cases, here as everywhere: no two transactions wait for each other.
    session.execute(
        update(Job)
        .where(Job.image_id.in_(wanted), Job.state.in_((JobState.QUEUED, JobState.RUNNING)))
        .values(state=JobState.CANCELLED, ended=now(), lease=None, lease_ends=None)
        .execution_options(synchronize_session="fetch")
    )
    found = session.scalars(
        update(Image)
        .where(Image.id.in_(wanted), Image.state.in_(open_states))
        .values(state=ImageState.CANCELLED)
        .returning(Image.case_id)
        .execution_options(synchronize_session="fetch")
    ).all()
    _summarise(session, found)
    return len(found)


def retry(session: Session, image_id: str) -> Job:
    """Queue an image again that failed or was cancelled.

    Raises
    ------
    CaseConflict
        If it stands otherwise: a refused file stays refused, an answer stays.
    """
    case_id = session.scalar(
        update(Image)
        .where(Image.id == image_id, Image.state.in_((ImageState.FAILED, ImageState.CANCELLED)))
        .values(state=ImageState.QUEUED, error_code=None, error_message=None)
        .returning(Image.case_id)
        .execution_options(synchronize_session="fetch")
    )
    if case_id is None:
        raise CaseConflict("Only what failed or was cancelled can be tried again.")
    job = enqueue(session, image_id)
    _summarise(session, [case_id])
    return job


def ahead(session: Session, image_ids: Sequence[str]) -> dict[str, int]:
    """How many answers come before that of each image; images without a queued job are left out."""
    mine = select(Job.image_id, Job.priority, Job.created).where(
        Job.image_id.in_(image_ids), Job.kind == JobKind.ANSWER, Job.state == JobState.QUEUED
    )
    found = {}
    for image_id, priority, created in session.execute(mine).all():
        before = or_(Job.priority > priority, (Job.priority == priority) & (Job.created < created))
        count = select(func.count()).where(Job.kind == JobKind.ANSWER, Job.state == JobState.QUEUED, before)
        found[image_id] = session.scalar(count) or 0
    return found


def counts(session: Session) -> dict[tuple[JobKind, JobState], int]:
    """How many jobs of each kind stand in each state; those that there are none of are left out."""
    rows = session.execute(select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state)).all()
    return {(kind, state): count for kind, state, count in rows}


def _ready(kinds: Sequence[JobKind]) -> tuple[ColumnElement[bool], ...]:
    later = or_(Job.lease_ends.is_(None), Job.lease_ends <= now())
    return Job.state == JobState.QUEUED, Job.kind.in_(kinds), later


def _change(session: Session, held: Lease, /, **values: object) -> bool:
    """Change the job, if the lease still holds it."""
    statement = (
        update(Job)
        .where(Job.id == held.job_id, Job.lease == held.lease, Job.state == JobState.RUNNING)
        .values(**values)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalar(statement) is not None


def _free(session: Session, criterion: ColumnElement[bool]) -> int:
    held = select(Job.id, Job.image_id, Job.kind, Job.losses).where(Job.state == JobState.RUNNING, criterion)
    rows = session.execute(held.with_for_update(skip_locked=True)).all()
    for job_id, image_id, kind, losses in rows:
        given_up = losses + 1 >= LOSSES
        session.execute(
            update(Job)
            .where(Job.id == job_id)
            .values(
                state=JobState.FAILED if given_up else JobState.QUEUED,
                losses=losses + 1,
                attempts=Job.attempts - 1,
                lease=None,
                lease_ends=None,
                ended=now() if given_up else None,
                error_code=_LOST[0] if given_up else None,
            )
            .execution_options(synchronize_session=False)
        )
        if kind is JobKind.ANSWER and given_up:
            _settle(session, image_id, ImageState.FAILED, *_LOST)
        elif kind is JobKind.ANSWER:
            _move([image_id], ImageState.RUNNING, ImageState.QUEUED, session)
    return len(rows)


def _move(image_ids: Sequence[str], before: ImageState, after: ImageState, session: Session) -> None:
    session.execute(
        update(Image)
        .where(Image.id.in_(image_ids), Image.state == before)
        .values(state=after)
        .execution_options(synchronize_session="fetch")
    )


def _settle(session: Session, image_id: str, state: ImageState, code: str, message: str) -> None:
    """Bring an image that waits for its answer to its end; one that has an answer keeps it."""
    case_id = session.scalar(
        update(Image)
        .where(Image.id == image_id, Image.state.in_((ImageState.QUEUED, ImageState.RUNNING)))
        .values(state=state, error_code=code, error_message=message)
        .returning(Image.case_id)
        .execution_options(synchronize_session="fetch")
    )
    if case_id is not None:
        _summarise(session, [case_id])


def _summarise(session: Session, case_ids: Iterable[str]) -> None:
    for case_id in sorted(set(case_ids)):
        refresh(session, case_id)
