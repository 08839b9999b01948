"""What the whole application does at every address, or at none."""

from __future__ import annotations

import datetime as dt
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from mammolens.web.app import Services, create_app
from mammolens.web.database.columns import Base
from mammolens.web.database.tables import AuditEvent, Role, SignIn, User
from mammolens.web.security import keys
from mammolens.web.work import service

MAY_CHANGE = {AuditEvent.__tablename__, SignIn.__tablename__}
"""Who saw what, and when a session was used last."""


@pytest.fixture
def app(services: Services) -> Flask:
    """Make the whole application."""
    made = create_app(services)
    made.testing = True
    return made


@pytest.fixture
def administrator(client: FlaskClient, people: Callable[..., Any], sign_in: Callable[..., Any]) -> FlaskClient:
    """Give a browser in which an administrator is signed in."""
    sign_in(client, people("chief", Role.ADMINISTRATOR))
    return client


def addresses(app: Flask) -> list[str]:
    """Every address that takes GET and no part of it from the request."""
    return sorted(
        rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and not rule.arguments
    )


def contents(services: Services) -> dict[str, list[Any]]:
    with services.database.reading() as session:
        return {
            name: sorted(map(repr, session.execute(select(table)).all()))
            for name, table in Base.metadata.tables.items()
            if name not in MAY_CHANGE
        }


def test_no_get_changes_anything_but_audit_and_last_use(
    administrator: FlaskClient, app: Flask, services: Services
) -> None:
    assert len(addresses(app)) > 12
    before = contents(services)
    for address in addresses(app):
        assert administrator.get(address, buffered=True).status_code < 500, address
    assert contents(services) == before


def test_sign_out_stands_on_every_page(administrator: FlaskClient, app: Flask) -> None:
    pages = 0
    for address in addresses(app):
        answer = administrator.get(address, buffered=True)
        if answer.status_code == 200 and answer.mimetype == "text/html" and not address.endswith("/changes"):
            pages += 1
            assert 'action="/sign-out"' in answer.text, address
    assert pages >= 6


def test_no_other_site_is_let_in(administrator: FlaskClient, app: Flask) -> None:
    for address in addresses(app):
        answer = administrator.get(address, headers={"Origin": "https://elsewhere.example"}, buffered=True)
        assert [name for name, _value in answer.headers if name.lower().startswith("access-control-")] == [], address


def test_trace_is_refused_everywhere(administrator: FlaskClient, app: Flask) -> None:
    assert {administrator.open(address, method="TRACE").status_code for address in addresses(app)} == {405}


@pytest.mark.parametrize(
    "folder", ["/static/", "/static/case/", "/static/../", "/static/%2e%2e/app.py", "/.git/config"]
)
def test_folders_are_not_listed_and_nothing_beside_the_assets_is_given(client: FlaskClient, folder: str) -> None:
    assert client.get(folder).status_code in (401, 404)


def test_nothing_uploaded_lies_where_files_are_served_from(app: Flask, services: Services) -> None:
    served, kept = Path(str(app.static_folder)).resolve(), services.folder.resolve()
    assert served.is_dir()
    assert not kept.is_relative_to(served)
    assert not served.is_relative_to(kept)


def test_debugging_is_off(services: Services) -> None:
    made = create_app(services)
    assert (made.debug, made.testing, made.config["PROPAGATE_EXCEPTIONS"]) == (False, False, None)


def test_input_is_decoded_once(administrator: FlaskClient) -> None:
    page = administrator.get("/?search=%2541-%2531").text
    assert 'value="%41-%31"' in page
    assert 'value="A-1"' not in page


def test_a_token_in_the_address_is_nobody(client: FlaskClient) -> None:
    for name in ("token", "access_token", "api_key", "authorization"):
        assert client.get(f"/api/v1/me?{name}=mml_{'a' * 43}").status_code == 401


def test_fields_that_a_form_does_not_have_change_nothing(
    client: FlaskClient, people: Callable[..., Any], sign_in: Callable[..., Any], csrf: Any, services: Services
) -> None:
    nurse = people("nurse", Role.VIEWER)
    sign_in(client, nurse)
    extra = {"role": "administrator", "active": "1", "group_id": "0" * 32, "is_admin": "true"}
    for address in ("/look", "/account/preferences"):
        client.post(address, data={"theme": "light", "language": "en", "back": "/", **extra}, headers=csrf(client))
    with services.database.reading() as session:
        user = session.get_one(User, nurse.id)
        assert (user.role, user.group_id, user.active) == (Role.VIEWER, None, True)


def test_passwords_do_not_end_by_age(
    client: FlaskClient, people: Callable[..., Any], sign_in: Callable[..., Any], services: Services
) -> None:
    nurse = people("nurse")
    with services.database.session() as session:
        session.get_one(User, nurse.id).created = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    sign_in(client, nurse)
    assert client.get("/").status_code == 200


def test_a_hash_of_old_parameters_is_renewed_at_sign_in(
    client: FlaskClient, people: Callable[..., Any], sign_in: Callable[..., Any], services: Services
) -> None:
    nurse = people("nurse")
    before = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1).hash(nurse.password)
    with services.database.session() as session:
        session.get_one(User, nurse.id).password_hash = before
    sign_in(client, nurse)
    with services.database.reading() as session:
        after = session.get_one(User, nurse.id).password_hash
    assert after != before
    assert "m=8,t=1" in after
    assert PasswordHasher().verify(after, nurse.password)


def test_keys_of_different_purposes_differ(services: Services) -> None:
    key = keys.application_key(services.folder)
    made = {keys.derive(key, purpose, b"x") for purpose in ("session", "totp", "examination")}
    assert len(made) == 3
    assert key not in made


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 5, 6\r\n",
    ],
)
def test_contradictory_lengths_are_refused_by_the_server(services: Services, head: bytes) -> None:
    with service.bound("127.0.0.1", 0) as listening:
        server = service.server_of(services, listening)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            with socket.create_connection(listening.getsockname(), timeout=20) as peer:
                peer.sendall(
                    b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\n"
                    + head
                    + b"\r\n0\r\n\r\nGET /health HTTP/1.1\r\n\r\n"
                )
                answer = b""
                while chunk := peer.recv(65536):
                    answer += chunk
        finally:
            server.close()
            thread.join(20)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert answer.count(b"HTTP/1.") == 1
