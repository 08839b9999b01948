"""The database goes away and comes back: nothing is lost, nothing is done twice, and who asks meanwhile is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select

from mammolens.errors import DatabaseUnavailable
from mammolens.web.app import Services
from mammolens.web.database.tables import Image, ImageState, Job, JobKind, JobState, Result
from mammolens.web.pictures import rendering
from mammolens.web.work import worker as module
from mammolens.web.work.worker import Worker
from support.postgres import Postgres

Add = Callable[..., list[str]]

pytestmark = pytest.mark.slow


@pytest.fixture
def server(postgres: Postgres) -> Iterator[Postgres]:
    """The server, running again after the test."""
    yield postgres
    if not (postgres.folder / "data" / "postmaster.pid").exists():
        postgres.start()


def test_a_result_waits_for_the_database_and_is_written_once(
    server: Postgres,
    make_services: Callable[..., Services],
    add_images: Add,
    phantom_files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services = make_services(database_url=server.new_database())
    first, second = add_images(services, [phantom_files["LCC.dcm"], phantom_files["RCC.dcm"]])
    monkeypatch.setattr(module, "PATIENCE", 120.0)
    write = rendering.write_answer
    back = threading.Timer(3.0, server.start)

    def gone(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        if not back.ident:
            server.stop()
            with pytest.raises(DatabaseUnavailable), services.database.reading() as session:
                session.scalars(select(Image.id)).all()
            back.start()

    monkeypatch.setattr(rendering, "write_answer", gone)
    worker = Worker(services, "test/1", (JobKind.ANSWER,), threads=1)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        end = time.monotonic() + 120
        states: list[ImageState] = []
        while time.monotonic() < end and states != [ImageState.ANSWERED] * 2:
            time.sleep(0.5)
            try:
                with services.database.reading() as session:
                    states = list(session.scalars(select(Image.state)))
            except DatabaseUnavailable:
                continue
    finally:
        worker.stop()
        thread.join()
    assert states == [ImageState.ANSWERED] * 2
    with services.database.reading() as session:
        assert sorted(session.scalars(select(Result.image_id))) == sorted([first, second])
        jobs = session.scalars(select(Job).where(Job.kind == JobKind.ANSWER)).all()
    assert [(job.state, job.attempts, job.losses) for job in jobs] == [(JobState.DONE, 1, 0)] * 2


def test_a_transaction_that_the_database_left_has_written_nothing(
    server: Postgres, make_services: Callable[..., Services], add_images: Add
) -> None:
    services = make_services(database_url=server.new_database())
    (image_id,) = add_images(services, [b"1"])

    def write() -> None:
        with services.database.session() as session:
            session.get_one(Image, image_id).state = ImageState.ANSWERED
            session.flush()
            server.stop()

    with pytest.raises(DatabaseUnavailable):
        write()
    server.start()
    with services.database.reading() as session:
        assert session.get_one(Image, image_id).state is ImageState.QUEUED
