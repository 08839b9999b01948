"""Whether the application can work, and its figures for Prometheus; no label tells of a woman or a user."""

from __future__ import annotations

import datetime as dt
import shutil
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mammolens.errors import DatabaseUnavailable
from mammolens.web.api.documents import Readiness
from mammolens.web.app import Services
from mammolens.web.database.columns import now
from mammolens.web.database.tables import Case, Image, Job, JobKind, JobState, Result
from mammolens.web.work import queue

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

LONG_WAIT = dt.timedelta(minutes=2)
"""A job that waits longer, while none is worked on, means that no worker lives."""

RECENT = dt.timedelta(minutes=15)
_MOST_RECENT = 2000
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_KEY = "mammolens_metrics"


def readiness(services: Services) -> Readiness:
    """Look whether work would be done: the database, the disk, the workers.

    Parameters
    ----------
    services : Services

    Returns
    -------
    Readiness
    """
    disk = _free(services) >= services.settings.upload_free_bytes
    try:
        with services.database.reading() as session:
            moving = _waited(session) < LONG_WAIT.total_seconds() or _at_work(session) > 0
    except DatabaseUnavailable:
        return Readiness(status="unready", database=False, disk=disk, queue=False)
    return Readiness(status="ready" if disk and moving else "unready", database=True, disk=disk, queue=moving)


class _Requests:
    """Counts what this process answers; routes by the name of their function, so that no address becomes a label."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("route", "method")
        self.answered = Counter("mammolens_http_requests", "Requests answered.", (*labels, "status"), registry=registry)
        self.seconds = Histogram(
            "mammolens_http_request_seconds", "Seconds to an answer.", labels, buckets=_BUCKETS, registry=registry
        )

    def note(self, response: Response) -> Response:
        route = request.endpoint or "none"
        method = request.method if request.method in _METHODS else "other"
        self.answered.labels(route, method, str(response.status_code)).inc()
        began = g.get("mammolens_began")
        if began is not None:
            self.seconds.labels(route, method).observe(time.perf_counter() - began)
        return response


class _Work:
    """Reads the figures of the work out of the database when it is asked for them."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterable[Metric]:
        with self._services.database.reading() as session:
            yield _by_state(session)
            yield _counted("mammolens_cases", "Cases by state.", session, Case.state)
            yield _counted("mammolens_images", "Pictures by state.", session, Image.state)
            yield _refusals(session)
            yield _plain("mammolens_queue_wait_seconds", "Age of the oldest job in the queue.", _waited(session))
            yield _plain("mammolens_workers_busy", "Jobs under a lease that holds.", _at_work(session))
            yield _durations(session)
        yield _plain("mammolens_disk_free_bytes", "Free space where uploads are kept.", _free(self._services))


def register(app: Flask, services: Services) -> None:
    """Measure every request of an application.

    Parameters
    ----------
    app : Flask
    services : Services
    """
    registry = CollectorRegistry()
    requests = _Requests(registry)
    work: Collector = _Work(services)
    registry.register(work)
    app.extensions[_KEY] = registry
    app.before_request(_begin)
    app.after_request(requests.note)


def metrics(app: Flask) -> bytes:
    """Figures of an application in Prometheus' text format."""
    return generate_latest(app.extensions[_KEY])


def _begin() -> None:
    g.mammolens_began = time.perf_counter()


def _free(services: Services) -> int:
    return shutil.disk_usage(services.folder).free


def _waited(session: Session) -> float:
    """Seconds that the oldest queued answer has been waiting; 0 where none is."""
    oldest = session.scalar(
        select(func.min(Job.created)).where(Job.state == JobState.QUEUED, Job.kind == JobKind.ANSWER)
    )
    return 0.0 if oldest is None else max(0.0, (now() - oldest).total_seconds())


def _at_work(session: Session) -> int:
    held = select(func.count()).where(Job.state == JobState.RUNNING, Job.lease_ends > now())
    return session.scalar(held) or 0


def _plain(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=value)


def _by_state(session: Session) -> Metric:
    found = GaugeMetricFamily("mammolens_jobs", "Jobs by kind and state.", labels=("kind", "state"))
    counted = queue.counts(session)
    for kind in JobKind:
        for state in JobState:
            found.add_metric((kind.value, state.value), counted.get((kind, state), 0))
    return found


def _counted(name: str, words: str, session: Session, column: object) -> Metric:
    found = GaugeMetricFamily(name, words, labels=("state",))
    for state, count in session.execute(select(column, func.count()).group_by(column)):  # type: ignore[call-overload]
        found.add_metric((state.value,), count)
    return found


def _refusals(session: Session) -> Metric:
    """Refused and failed pictures by the code of the error, of which there is a fixed list."""
    found = GaugeMetricFamily("mammolens_refusals", "Pictures without an answer, by the code.", labels=("code",))
    counted = select(Image.error_code, func.count()).where(Image.error_code.is_not(None)).group_by(Image.error_code)
    for code, count in session.execute(counted):
        found.add_metric((code or "",), count)
    return found


def _durations(session: Session) -> Metric:
    """How long answers of late took, from file to answer, as quantiles."""
    recent = (select(Result.timing_ms).where(Result.created > now() - RECENT).order_by(Result.created.desc())).limit(
        _MOST_RECENT
    )
    seconds = sorted(float(timing.get("total", 0.0)) / 1e3 for timing in session.scalars(recent))
    found = GaugeMetricFamily(
        "mammolens_answer_seconds", "Seconds from file to answer, of the last 15 minutes.", labels=("quantile",)
    )
    for quantile in (0.5, 0.95):
        if seconds:
            found.add_metric((str(quantile),), seconds[min(len(seconds) - 1, int(quantile * len(seconds)))])
    return found
