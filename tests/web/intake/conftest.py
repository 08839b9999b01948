"""Fixtures for intake: who uploads, a shorter way to upload, and small files that are what they say."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from mammolens.web.access import ROLES, Actor
from mammolens.web.app import Services
from mammolens.web.database.tables import Role
from mammolens.web.intake import batches, receive
from mammolens.web.intake.receive import Arrival, Received, Refused


@pytest.fixture
def actor_of(people: Callable[..., object]) -> Callable[..., Actor]:
    """Make a user and what stands for them in services: name, role."""

    def make(name: str = "nurse", role: Role = Role.READER, group: str | None = None) -> Actor:
        person = people(name, role, group)
        return Actor(person.id, name, role, person.group_id, ROLES[role])  # type: ignore[attr-defined]

    return make


@pytest.fixture
def nurse(actor_of: Callable[..., Actor]) -> Actor:
    """Somebody who may upload."""
    return actor_of()


@pytest.fixture
def upload(services: Services, nurse: Actor) -> Callable[..., list[Received | Refused]]:
    """Send files in a batch of their own (or a given one), as the page does; gives what became of each."""

    def send(
        files: dict[str, bytes], asking: Actor | None = None, opened: Services | None = None
    ) -> list[Received | Refused]:
        who, where = asking or nurse, opened or services
        with where.database.session() as session:
            batch = batches.announce(session, who, list(files))
            arrivals = [Arrival(batch.id, file.name, file.id) for file in batch.files]
        outcomes: list[Received | Refused] = []
        for arrival, data in zip(arrivals, files.values(), strict=True):
            receive.check_length(where, who, len(data))
            arrived = receive.take(where, io.BytesIO(data), len(data))
            outcomes += receive.deliver(where, who, arrival, arrived)
        return outcomes

    return send
