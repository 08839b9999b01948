"""Fixtures for the web application's tests: a fresh home, its application, people, and phantom uploads."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer
from sqlalchemy import select
from werkzeug.test import TestResponse

from mammolens import phantom
from mammolens.imaging.png import encode_png
from mammolens.models.manifest import Manifest
from mammolens.settings import Settings
from mammolens.web import models_in_use
from mammolens.web.app import Services, create_app, open_services
from mammolens.web.database.tables import Group, Role, User
from mammolens.web.security import limits, passwords, users
from support.postgres import Postgres, programs, running

PASSWORD = "violet tractor hums at noon"


@dataclass(frozen=True)
class Person:
    """A user of a test, with the password in clear."""

    id: str
    name: str
    role: Role
    group_id: str | None
    password: str


@pytest.fixture
def cheap_argon2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords with the least work that Argon2 allows, and forget what other tests have tried."""
    if limits.limiter._storage is not None:
        limits.limiter.reset()
    monkeypatch.setattr(passwords, "HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def make_services(tmp_path: Path, cheap_argon2: None) -> Iterator[Callable[..., Services]]:
    """Open services over a home in ``tmp_path``; keyword arguments are settings."""
    opened: list[Services] = []

    def make(home: Path | None = None, **values: object) -> Services:
        given = Settings(home=home or tmp_path / "home", **values)  # type: ignore[arg-type]
        opened.append(open_services(given))
        return opened[-1]

    yield make
    for one in opened:
        one.database.close()


@pytest.fixture
def services(make_services: Callable[..., Services]) -> Services:
    """Give the services of a fresh home."""
    return make_services()


@pytest.fixture
def app(services: Services) -> Flask:
    """Make the whole application over `services`."""
    made = create_app(services)
    made.testing = True
    return made


@pytest.fixture
def app_of() -> Callable[..., Flask]:
    """Make an application of the guard, the failure pages and the parts named, over services."""

    def make(given: Services, *parts: str) -> Flask:
        made = Flask("mammolens.web")
        made.extensions["mammolens"] = given
        for part in ("mammolens.web.security.front", "mammolens.web.language", "mammolens.web.failure_pages", *parts):
            importlib.import_module(part).register(made)
        made.testing = True
        return made

    return make


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Give a browser that nobody has signed in with; ``app.test_client()`` gives another."""
    return app.test_client()


@pytest.fixture
def people(services: Services) -> Callable[..., Person]:
    """Make a user: name, role, name of the group (made where it is missing)."""

    def make(
        name: str = "nurse", role: Role = Role.READER, group: str | None = None, password: str = PASSWORD
    ) -> Person:
        with services.database.session() as session:
            group_id = None
            if group is not None:
                found = session.scalar(select(Group).where(Group.name == group))
                if found is None:
                    found = Group(name=group)
                    session.add(found)
                    session.flush()
                group_id = found.id
            name = users.normal_name(name)
            user = User(name=name, password_hash=passwords.hash_password(password), role=role, group_id=group_id)
            session.add(user)
            session.flush()
            return Person(user.id, name, role, group_id, password)

    return make


@pytest.fixture
def csrf() -> Callable[[FlaskClient], dict[str, str]]:
    """Give the header that a state-changing request of a browser needs: ``client.post(url, headers=csrf(client))``."""

    def header(browser: FlaskClient) -> dict[str, str]:
        with browser.session_transaction() as session:
            raw = session.setdefault("csrf_token", "0" * 40)
        signer = URLSafeTimedSerializer(browser.application.config["SECRET_KEY"], salt="wtf-csrf-token")
        return {"X-CSRFToken": signer.dumps(raw)}

    return header


@pytest.fixture
def sign_in() -> Callable[..., TestResponse]:
    """Sign somebody in through the form, as a browser does: ``sign_in(client, person)``."""

    def send(browser: FlaskClient, person: Person, password: str | None = None) -> TestResponse:
        page = browser.get("/sign-in").get_data(as_text=True)
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
        assert token is not None, "the sign-in page has no CSRF token"
        fields = {"csrf_token": token[1], "name": person.name, "password": password or person.password}
        response = browser.post("/sign-in", data=fields)
        if password is None:
            assert response.status_code == 303, response.get_data(as_text=True)
        return response

    return send


@pytest.fixture(scope="session")
def phantom_files() -> dict[str, bytes]:
    """Uploads: four phantom views as DICOM (``RCC.dcm`` …) and one as ``LCC.png``; 700 × 580 pixels, no woman's."""
    views = phantom.examination(rows=700, columns=580)
    files = {f"{name}.dcm": phantom.dicom(view) for name, view in views.items()}
    files["LCC.png"] = encode_png(views["LCC"].pixels * 16)
    return files


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL server, or skip where none is installed; ``new_database()`` gives an empty one's address."""
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with running(found) as server:
        yield server


@pytest.fixture(scope="session")
def grey_png() -> Callable[[int], bytes]:
    """Make a PNG of 8 × 8 pixels that differs from those of other numbers."""

    def make(number: int) -> bytes:
        pixels = np.zeros((8, 8), np.uint16)
        pixels[0, :4] = [number & 0xFFFF, number >> 16, 7, 9]
        return encode_png(pixels)

    return make


@pytest.fixture(autouse=True)
def _no_rule_for_examinations(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed models as if they brought no rule for breasts: what is said of a single picture stays its own."""
    found = models_in_use.installed_manifests

    def bare() -> dict[str, Manifest]:
        return {sha256: one.model_copy(update={"examination": None}) for sha256, one in found().items()}

    monkeypatch.setattr(models_in_use, "installed_manifests", bare)
