"""Fixtures for the queue and its workers: cases to work on, over each kind of database."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from mammolens.web.app import Services
from mammolens.web.database.columns import new_id
from mammolens.web.database.tables import Case, Image, Role, User
from mammolens.web.store import Store
from mammolens.web.work import queue
from support.postgres import Postgres


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def any_services(request: pytest.FixtureRequest, make_services: Callable[..., Services]) -> Services:
    """Services over each kind of database."""
    if request.param == "sqlite":
        return make_services()
    server: Postgres = request.getfixturevalue("postgres")
    return make_services(database_url=server.new_database())


@pytest.fixture
def add_images() -> Callable[..., list[str]]:
    """Add a case with images, in the store and queued: ``add_images(services, contents)``; the images' identifiers."""

    def add(services: Services, contents: list[bytes], kind: str = "dicom", queued: bool = True) -> list[str]:
        store = Store(services.folder)
        with services.database.session() as session:
            owner = session.scalar(select(User).where(User.name == "owner"))
            if owner is None:
                owner = User(name="owner", password_hash="-", role=Role.READER)
                session.add(owner)
                session.flush()
            number = 1001 + (session.scalar(select(func.count()).select_from(Case)) or 0)
            case = Case(number=number, owner_id=owner.id, examination=new_id(), images_count=len(contents))
            session.add(case)
            session.flush()
            ids = []
            for content in contents:
                path = services.folder / new_id()
                path.write_bytes(content)
                with open(path, "rb") as file:
                    arrived = store.take(file, lambda _head: 1 << 30)
                path.unlink()
                store.keep(arrived)
                image = Image(case_id=case.id, sha256=arrived.sha256, bytes=arrived.size, kind=kind)
                session.add(image)
                session.flush()
                if queued:
                    queue.enqueue(session, image.id)
                ids.append(image.id)
        return ids

    return add
