"""The WSGI application and its services."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, current_app, g
from sqlalchemy.orm import Session

from mammolens.settings import Settings, settings
from mammolens.web.database.connection import Database

PARTS = (
    "mammolens.web.security.front",
    "mammolens.web.language",
    "mammolens.web.failure_pages",
    "mammolens.web.views.account",
    "mammolens.web.views.worklist",
    "mammolens.web.views.uploads",
    "mammolens.web.views.case",
    "mammolens.web.views.pictures",
    "mammolens.web.views.assessments",
    "mammolens.web.views.evaluation",
    "mammolens.web.views.administration",
    "mammolens.web.views.users",
    "mammolens.web.views.exports",
    "mammolens.web.api.v1",
)
"""Modules with a function ``register(app: Flask) -> None``; a new page is one module and one line here."""


@dataclass(frozen=True, slots=True)
class Services:
    """What every request works with.

    Attributes
    ----------
    settings : Settings
    database : Database
    folder : Path
        The application's own, ``$MAMMOLENS_HOME/web``: ``mammolens.db``, ``secret.key``, ``store/`` (uploads by
        hash), ``derived/<image id>/`` (what is made from them), ``levels/`` (a cache), ``incoming/`` (uploads on
        their way).
    """

    settings: Settings
    database: Database
    folder: Path


def open_services(given: Settings | None = None, *, upgrade: bool = True) -> Services:
    """Open the application's folder and database, both made where they are missing, the tables brought up to date.

    Parameters
    ----------
    given : Settings, optional
        Those of this process unless given.
    upgrade : bool
        Whether to bring the tables up to date; a worker finds them so.

    Returns
    -------
    Services

    Raises
    ------
    ConfigurationError
        If the database's address is not understood.
    DatabaseUnavailable
        If it can't be reached.
    """
    chosen = given or settings()
    folder = chosen.home / "web"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(chosen.database_url or f"sqlite:///{folder / 'mammolens.db'}")
    if upgrade:
        database.upgrade()
    return Services(chosen, database, folder)


def services() -> Services:
    """Give the services of the application that handles this request."""
    found: Services = current_app.extensions["mammolens"]
    return found


def reading() -> Session:
    """Give this request's session for reading; opened at first use, closed with the request."""
    if "reading" not in g:
        context = services().database.reading()
        g.reading = context.__enter__()
        g.reading_context = context
    session: Session = g.reading
    return session


def create_app(opened: Services | None = None) -> Flask:
    """Make the application.

    Parameters
    ----------
    opened : Services, optional
        Those of this process unless given.

    Returns
    -------
    Flask

    Raises
    ------
    ConfigurationError
        If a setting does not fit.
    InternalError
        If a view names no permission.
    """
    app = Flask("mammolens.web")
    app.extensions["mammolens"] = opened or open_services()
    app.teardown_request(_close_reading)
    for name in PARTS:
        importlib.import_module(name).register(app)
    importlib.import_module(PARTS[0]).refuse_unmarked(app)
    return app


def _close_reading(_error: BaseException | None) -> None:
    context = g.pop("reading_context", None)
    g.pop("reading", None)
    if context is not None:
        context.__exit__(None, None, None)
