"""Opening the database, its sessions and its migrations."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from mammolens.errors import ConfigurationError, DatabaseUnavailable, StorageFull

MIGRATIONS = Path(__file__).with_name("migrations")

_GONE = "The database can't be reached at the moment. Try again shortly."


class Database:
    """One database; thread-safe. Each process opens its own.

    Parameters
    ----------
    url : str
        As SQLAlchemy writes it: ``sqlite:////path/file.db`` or ``postgresql+psycopg://…``.
    """

    def __init__(self, url: str) -> None:
        options: dict[str, Any] = {"pool_pre_ping": True}
        if url.startswith("sqlite"):
            options["connect_args"] = {"timeout": 30.0}
        try:
            self.engine: Engine = create_engine(url, **options)
        except (SQLAlchemyError, ImportError):
            raise ConfigurationError("MAMMOLENS_DATABASE_URL is not understood. See docs/settings.md.") from None
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a transaction: committed at the end, rolled back on any error.

        On SQLite it takes the write lock at once (``BEGIN IMMEDIATE``), so what is read in it can't be outdated
        when it is written; keep it short, and do no other work in it.

        Raises
        ------
        DatabaseUnavailable
            If the database can't be reached; nothing was written.
        StorageFull
            If SQLite's disk is full; nothing was written.
        """
        try:
            with self._sessions.begin() as session:
                yield session
        except OperationalError as error:
            if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise StorageFull("The server's disk is full; nothing was written. Tell the administrator.") from error
            raise DatabaseUnavailable(_GONE) from error

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads: no write lock, one consistent state, rolled back at the end.

        Raises
        ------
        DatabaseUnavailable
            If the database can't be reached.
        """
        try:
            with self.engine.connect().execution_options(mammolens_reading=True) as connection:
                session = Session(connection, expire_on_commit=False, autoflush=False)
                try:
                    yield session
                finally:
                    session.close()
        except OperationalError as error:
            raise DatabaseUnavailable(_GONE) from error

    def upgrade(self) -> None:
        """Bring the tables to this version of the software; does nothing where they are.

        Raises
        ------
        DatabaseUnavailable
            If the database can't be reached.
        """
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        try:
            with self.engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except OperationalError as error:
            raise DatabaseUnavailable(_GONE) from error

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Let SQLAlchemy begin, readers go on beside one writer, references be checked, deleted rows be overwritten."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    reading = connection.get_execution_options().get("mammolens_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
