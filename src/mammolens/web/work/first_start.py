"""What a fresh folder needs before anybody can sign in: somebody who administers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select

from mammolens.errors import CaseConflict, ConfigurationError, RequestInvalid
from mammolens.web.app import Services
from mammolens.web.database.tables import Role, User
from mammolens.web.security import users

DEFAULT_NAME = "admin"
"""Name of the first administrator where nobody chose one."""


@dataclass(frozen=True, slots=True)
class FirstAdministrator:
    """Who was made.

    Attributes
    ----------
    name : str
    password : str or None
        Where it was drawn at random: to be shown once, and to be changed at the first sign-in.
    """

    name: str
    password: str | None


Ask = Callable[[], tuple[str, str]]
"""Asks a person for a name and a password."""


def ensure_administrator(services: Services, ask: Ask | None = None) -> FirstAdministrator | None:
    """Make the first administrator, unless there is one.

    The name and the password come from ``MAMMOLENS_ADMIN_USER`` and ``MAMMOLENS_ADMIN_PASSWORD``; else from a person;
    else the password is drawn at random. No default password exists.

    Parameters
    ----------
    services : Services
    ask : callable, optional
        Asks a person; None where nobody is at a terminal.

    Returns
    -------
    FirstAdministrator or None
        None where there is an administrator already.

    Raises
    ------
    ConfigurationError
        If what the environment gives does not do.
    RequestInvalid, CaseConflict
        If what the person gives does not do.
    """
    with services.database.reading() as session:
        there = session.scalar(select(User.id).where(User.role == Role.ADMINISTRATOR).limit(1))
    if there is not None:
        return None
    name = services.settings.admin_user
    password: str | None = services.settings.admin_password.get_secret_value() or None
    given = bool(name or password)
    if not given and ask is not None:
        name, password = ask()
    try:
        with services.database.session() as session:
            user, shown = users.add(
                session,
                "system",
                name or DEFAULT_NAME,
                Role.ADMINISTRATOR,
                password,
                must_change_password=password is None,
            )
    except (RequestInvalid, CaseConflict) as error:
        if not given:
            raise
        names = "MAMMOLENS_ADMIN_USER or MAMMOLENS_ADMIN_PASSWORD"
        raise ConfigurationError(f"{names} does not do: {error.message}") from error
    return FirstAdministrator(user.name, shown if password is None else None)
