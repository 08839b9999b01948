"""The audit chain: what it notices, and what the database refuses."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from typer.testing import CliRunner

from mammolens.cli.main import app as command_line
from mammolens.errors import InternalError
from mammolens.settings import settings
from mammolens.web import audit
from mammolens.web.database.tables import AuditEvent


@pytest.fixture
def five(services: Any) -> Any:
    """Services whose log has five entries."""
    with services.database.session() as session:
        for number in range(5):
            audit.record(session, "nurse", "case-seen", f"case A-{1001 + number}", {"pictures": number, "ü": [1.5]})
    return services


def tamper(services: Any, statement: str) -> None:
    """Change the log as somebody with the database's own tools does: triggers dropped first."""
    with services.database.engine.begin() as connection:
        for name in ("keep_audit_entries_update", "keep_audit_entries_delete"):
            connection.execute(text(f"DROP TRIGGER IF EXISTS {name}"))
        connection.execute(text(statement))


def verified(services: Any) -> audit.Verified:
    with services.database.reading() as session:
        return audit.verify(session)


def test_whole_chain_is_whole(five: Any) -> None:
    found = verified(five)
    assert (found.entries, found.broken) == (5, None)
    assert len(found.head) == 64


def test_hash_is_what_anybody_computes_from_the_fields(five: Any) -> None:
    with five.database.reading() as session:
        first, second = session.scalars(select(AuditEvent).order_by(AuditEvent.number).limit(2))
    assert first.previous == "0" * 64
    assert second.previous == first.hash
    at = second.at.strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")
    line = (
        f'{{"action":"case-seen","actor":"nurse","at":"{at}","detail":{{"pictures":1,"\\u00fc":[1.5]}},'
        f'"number":2,"previous":"{first.hash}","subject":"case A-1002"}}'
    )
    assert second.hash == hashlib.sha256(line.encode()).hexdigest()


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE audit_events SET actor = 'other' WHERE number = 3", 3),
        ("UPDATE audit_events SET at = '2020-01-01 00:00:00.000000' WHERE number = 1", 1),
        ("UPDATE audit_events SET detail = '{}' WHERE number = 5", 5),
        ("DELETE FROM audit_events WHERE number = 2", 2),
        ("DELETE FROM audit_events WHERE number = 1", 1),
        ("UPDATE audit_events SET number = 6 WHERE number = 4", 4),
        ("UPDATE audit_events SET hash = '" + "0" * 64 + "' WHERE number = 4", 4),
    ],
)
def test_changed_deleted_and_moved_entries_are_found(five: Any, statement: str, broken: int) -> None:
    tamper(five, statement)
    assert verified(five).broken == broken


def test_end_that_was_cut_off_is_found_by_the_noted_head(five: Any) -> None:
    noted = verified(five)
    tamper(five, "DELETE FROM audit_events WHERE number = 5")
    assert verified(five).broken is None
    with five.database.reading() as session:
        assert not audit.holds(session, noted.entries, noted.head)


@pytest.mark.parametrize("statement", ["UPDATE audit_events SET actor = 'x'", "DELETE FROM audit_events"])
def test_database_refuses_to_change_or_delete_an_entry(five: Any, statement: str) -> None:
    with pytest.raises(IntegrityError, match="audit entries are only added"), five.database.session() as session:
        session.execute(text(statement))
    assert verified(five).entries == 5


def test_entry_and_what_it_tells_of_are_written_together_or_not_at_all(five: Any) -> None:
    def fail() -> None:
        with five.database.session() as session:
            audit.record(session, "nurse", "case-deleted", "case A-1001")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert verified(five).entries == 5


def test_entries_of_many_threads_make_one_chain(services: Any) -> None:
    def write() -> None:
        for _ in range(5):
            with services.database.session() as session:
                audit.record(session, "system", "swept", "jobs")

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = verified(services)
    assert (found.entries, found.broken) == (20, None)


@pytest.mark.parametrize("values", [("n", "", "s"), ("n", "a" * 41, "s"), ("n", "a", "s" * 81), ("n" * 81, "a", "s")])
def test_entry_that_does_not_fit_its_table_is_an_error(services: Any, values: tuple[str, str, str]) -> None:
    with pytest.raises(InternalError), services.database.session() as session:
        audit.record(session, *values)


def test_command_tells_whole_broken_and_cut_off_apart(five: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAMMOLENS_HOME", str(five.settings.home))
    settings.cache_clear()
    try:
        runner = CliRunner()
        whole = runner.invoke(command_line, ["audit", "verify"])
        assert whole.exit_code == 0
        head = whole.stdout.split()[-1]
        assert head.startswith("5:")
        assert runner.invoke(command_line, ["audit", "verify", "--head", head]).exit_code == 0
        tamper(five, "DELETE FROM audit_events WHERE number = 5")
        assert runner.invoke(command_line, ["audit", "verify"]).exit_code == 0
        assert runner.invoke(command_line, ["audit", "verify", "--head", head]).exit_code == 1
        tamper(five, "UPDATE audit_events SET actor = 'x' WHERE number = 2")
        broken = runner.invoke(command_line, ["audit", "verify"])
        assert broken.exit_code == 1
        assert "entry 2" in broken.stderr
    finally:
        settings.cache_clear()


@pytest.mark.slow
def test_chain_holds_on_postgresql_with_many_writers_and_is_only_added_to(
    postgres: Any, make_services: Callable[..., Any]
) -> None:
    services = make_services(database_url=postgres.new_database())

    def write() -> None:
        for _ in range(10):
            with services.database.session() as session:
                audit.record(session, "system", "swept", "jobs")

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = verified(services)
    assert (found.entries, found.broken) == (40, None)
    for statement in ("UPDATE audit_events SET actor = 'x'", "DELETE FROM audit_events", "TRUNCATE audit_events"):
        with pytest.raises(DBAPIError, match="audit entries are only added"), services.database.session() as session:
            session.execute(text(statement))
    assert verified(services) == found
