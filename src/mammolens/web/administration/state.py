"""How the system stands: disk, queue, failures, versions."""

from __future__ import annotations

import datetime as dt
import platform
import shutil
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mammolens import __version__
from mammolens.web.app import Services
from mammolens.web.database.columns import now
from mammolens.web.database.tables import Case, Image, Job, JobState


@dataclass(frozen=True, slots=True)
class State:
    """How the system stands.

    Attributes
    ----------
    version, python : str
    database : str
        ``sqlite`` or ``postgresql``.
    disk_free, disk_total, uploads : int
        Bytes; ``uploads`` counts each stored picture once.
    refusing : bool
        Whether uploads are refused because the disk is almost full.
    cases, images : int
    jobs : tuple of (str, str, int)
        Kind, state, how many.
    oldest : datetime or None
        When the oldest queued job came.
    workers : tuple of str
        That hold a lease now.
    failures : tuple of (str, int)
        Error code and number of jobs that failed in the last day.
    """

    version: str
    python: str
    database: str
    disk_free: int
    disk_total: int
    uploads: int
    refusing: bool
    cases: int
    images: int
    jobs: tuple[tuple[str, str, int], ...]
    oldest: dt.datetime | None
    workers: tuple[str, ...]
    failures: tuple[tuple[str, int], ...]


def state(services: Services, session: Session) -> State:
    """Look at the system."""
    disk = shutil.disk_usage(services.folder)
    stored = select(Image.sha256, func.max(Image.bytes).label("bytes")).group_by(Image.sha256).subquery()
    jobs = session.execute(select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state)).all()
    failures = session.execute(
        select(Job.error_code, func.count())
        .where(Job.state == JobState.FAILED, Job.ended >= now() - dt.timedelta(days=1))
        .group_by(Job.error_code)
        .order_by(func.count().desc(), Job.error_code)
    )
    leased = select(Job.worker).where(Job.state == JobState.RUNNING, Job.lease_ends > now()).distinct()
    return State(
        version=__version__,
        python=platform.python_version(),
        database=services.database.engine.dialect.name,
        disk_free=disk.free,
        disk_total=disk.total,
        uploads=int(session.scalar(select(func.coalesce(func.sum(stored.c.bytes), 0))) or 0),
        refusing=disk.free < services.settings.upload_free_bytes,
        cases=session.scalar(select(func.count()).select_from(Case)) or 0,
        images=session.scalar(select(func.count()).select_from(Image)) or 0,
        jobs=tuple(sorted((str(kind), str(name), count) for kind, name, count in jobs)),
        oldest=session.scalar(select(func.min(Job.created)).where(Job.state == JobState.QUEUED)),
        workers=tuple(name for name in session.scalars(leased.order_by(Job.worker)) if name),
        failures=tuple((code or "", count) for code, count in failures),
    )
