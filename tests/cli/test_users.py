"""``mammolens users``: the people that the web application lets in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select
from typer.testing import CliRunner

from mammolens.cli.main import app
from mammolens.settings import settings
from mammolens.web.app import Services, open_services
from mammolens.web.database.tables import AuditEvent, User
from mammolens.web.security import passwords


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """Services of the home that the commands find."""
    monkeypatch.setenv("MAMMOLENS_HOME", str(tmp_path))
    monkeypatch.setattr(passwords, "HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    settings.cache_clear()
    services = open_services()
    yield services
    services.database.close()
    settings.cache_clear()


def run(*arguments: str, typed: str | None = None) -> Any:
    return CliRunner().invoke(app, ["users", *arguments], input=typed)


def user(services: Services, name: str) -> User:
    with services.database.reading() as session:
        return session.scalars(select(User).where(User.name == name)).one()


def test_add_prints_a_password_that_fits_and_has_to_be_changed(opened: Services) -> None:
    result = run("add", "Nurse", "--role", "viewer", "--group", "north")
    assert result.exit_code == 0
    password = result.stdout.split()[-1]
    kept = user(opened, "nurse")
    assert passwords.verify_password(kept.password_hash, password)
    assert kept.role.value == "viewer"
    assert kept.must_change_password
    assert "nurse" in run("list").stdout
    assert "north" in run("list").stdout


def test_password_that_is_asked_for_is_not_printed(opened: Services) -> None:
    typed = "violet tractor hums at noon"
    result = run("add", "nurse", "--ask", typed=f"{typed}\n{typed}\n")
    assert result.exit_code == 0
    assert typed not in result.output
    assert passwords.verify_password(user(opened, "nurse").password_hash, typed)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("add", "two words"), "request-invalid"),
        (("add", "system"), "request-invalid"),
        (("disable", "nobody"), "not-found"),
        (("reset", "nobody"), "not-found"),
        (("disable", "chief"), "conflict"),
        (("add", "CHIEF"), "conflict"),
    ],
)
def test_wrong_use_is_told_with_its_code(opened: Services, arguments: tuple[str, ...], code: str) -> None:
    assert run("add", "chief", "--role", "administrator").exit_code == 0
    result = run(*arguments)
    assert result.exit_code == 2
    assert f"[{code}]" in result.stderr


def test_reset_gives_a_new_password_and_disable_and_undo_turn(opened: Services) -> None:
    old = run("add", "nurse").stdout.split()[-1]
    new = run("reset", "nurse").stdout.split()[-1]
    assert old != new
    assert passwords.verify_password(user(opened, "nurse").password_hash, new)
    assert not passwords.verify_password(user(opened, "nurse").password_hash, old)
    assert run("disable", "nurse").exit_code == 0
    assert not user(opened, "nurse").active
    assert run("disable", "nurse", "--undo").exit_code == 0
    assert user(opened, "nurse").active
    with opened.database.reading() as session:
        actions = list(session.scalars(select(AuditEvent.action).order_by(AuditEvent.number)))
    assert actions == ["user-added", "password-reset", "user-disabled", "user-enabled"]
