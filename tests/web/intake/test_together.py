"""Uploads at the same moment, on both databases: every case its own number, every content one image of one person."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from mammolens.web.access import ROLES, Actor
from mammolens.web.app import Services
from mammolens.web.audit import verify
from mammolens.web.database.tables import Case, Image, Job, Role, User
from mammolens.web.intake import receive
from mammolens.web.intake.receive import Received
from support.postgres import Postgres


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def services(request: pytest.FixtureRequest, make_services: Callable[..., Services]) -> Services:
    """Services over each kind of database."""
    if request.param == "sqlite":
        return make_services()
    server: Postgres = request.getfixturevalue("postgres")
    return make_services(database_url=server.new_database())


def test_uploads_at_the_same_moment_are_numbered_apart_and_recognised(
    services: Services, grey_png: Callable[[int], bytes]
) -> None:
    with services.database.session() as session:
        users = [User(name=name, password_hash="-", role=Role.READER) for name in ("a", "b", "c")]
        session.add_all(users)
        session.flush()
        actors = [Actor(user.id, user.name, Role.READER, None, ROLES[Role.READER]) for user in users]
    contents = [grey_png(number) for number in range(4)]
    # Each content twice from each of three people, all at once.
    sent = [(asking, data) for asking in actors for data in contents for _ in range(2)]

    def send(one: tuple[Actor, bytes]) -> Received:
        asking, data = one
        [outcome] = receive.receive(services, asking, "picture.png", io.BytesIO(data), len(data))
        assert isinstance(outcome, Received)
        return outcome

    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(send, sent))
    assert sum(outcome.duplicate for outcome in outcomes) == 12
    for first, second in zip(outcomes[::2], outcomes[1::2], strict=True):
        assert first.image_id == second.image_id
    with services.database.reading() as session:
        assert sorted(session.scalars(select(Case.number))) == list(range(1001, 1013))
        assert len(set(session.execute(select(Case.owner_id, Image.sha256).join(Image)).all())) == 12
        assert sorted(session.scalars(select(Job.image_id))) == sorted({outcome.image_id for outcome in outcomes})
        assert verify(session).broken is None
        assert verify(session).entries == 12
