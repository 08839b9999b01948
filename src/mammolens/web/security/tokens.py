"""API tokens: a program's key to what its user may do, or to less."""

from __future__ import annotations

import datetime as dt
import secrets
from typing import Any, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session, joinedload

from mammolens.errors import NotFound, QuotaExceeded, RequestInvalid
from mammolens.web.access import ROLES, Actor, Permission
from mammolens.web.database.columns import now
from mammolens.web.database.tables import ApiToken, User
from mammolens.web.security.sessions import hashed

PREFIX = "mml_"
"""So that tools that search for leaked keys find ours."""
SCOPES = tuple(permission for permission in Permission if permission not in (Permission.PUBLIC, Permission.ACCOUNT))
MOST = 50
"""Tokens that one user may have at a time."""
TOUCH = dt.timedelta(minutes=1)


def make(
    session: Session, user: User, name: str, scopes: set[Permission], days: int | None = 90
) -> tuple[ApiToken, str]:
    """Make a token.

    Parameters
    ----------
    session : Session
    user : User
        Whose it is; it never may more than they.
    name : str
        What it is for, 1 to 80 characters.
    scopes : set of Permission
        Out of `SCOPES`.
    days : int or None
        How long it works; None: until it is revoked.

    Returns
    -------
    ApiToken
    str
        The token itself; shown once, only its hash is kept.

    Raises
    ------
    RequestInvalid
        If the name, the scopes or the days do not fit.
    QuotaExceeded
        If there are too many.
    """
    name = name.strip()
    if not 1 <= len(name) <= 80 or not name.isprintable():
        raise RequestInvalid("Give the token a name of 1 to 80 characters that says what it is for.")
    if not scopes or not scopes <= set(SCOPES) or not scopes <= ROLES[user.role]:
        raise RequestInvalid("Choose at least one scope, and only what your role may do.")
    if days is not None and not 1 <= days <= 3650:
        raise RequestInvalid("A token works for 1 to 3650 days.")
    if len(current(session, user.id)) >= MOST:
        raise QuotaExceeded("There are 50 tokens already. Revoke one that is no longer needed.")
    token = PREFIX + secrets.token_urlsafe(32)
    row = ApiToken(
        user_id=user.id,
        name=name,
        token_hash=hashed(token),
        scopes=sorted(scope.value for scope in scopes),
        ends=None if days is None else now() + dt.timedelta(days=days),
    )
    session.add(row)
    session.flush()
    return row, token


def find(session: Session, token: str) -> ApiToken | None:
    """Find a token that works; None if there is none, or it is over, or its user may not sign in."""
    row = session.scalar(
        select(ApiToken).where(ApiToken.token_hash == hashed(token)).options(joinedload(ApiToken.user))
    )
    if row is None or row.revoked is not None or (row.ends is not None and now() >= row.ends):
        return None
    return row if row.user.active else None


def actor_of(row: ApiToken) -> Actor:
    """Say who a token stands for: its user, with those of its scopes that the user's role still has."""
    user = row.user
    scopes = frozenset(Permission(scope) for scope in row.scopes) | {Permission.PUBLIC}
    return Actor(user.id, user.name, user.role, user.group_id, (scopes & ROLES[user.role]) - {Permission.ACCOUNT})


def outdated(row: ApiToken) -> bool:
    """Tell whether the time of the last use is to be written."""
    return row.used is None or now() - row.used >= TOUCH


def touch(session: Session, token_id: str) -> None:
    """Write the time of the last use."""
    session.execute(update(ApiToken).where(ApiToken.id == token_id).values(used=now()))


def current(session: Session, user_id: str) -> list[ApiToken]:
    """List somebody's tokens that are not revoked, newest first."""
    return list(
        session.scalars(
            select(ApiToken)
            .where(ApiToken.user_id == user_id, ApiToken.revoked.is_(None))
            .order_by(ApiToken.created.desc(), ApiToken.id)
        )
    )


def revoke(session: Session, user_id: str, token_id: str) -> ApiToken:
    """Revoke one of somebody's tokens.

    Raises
    ------
    NotFound
        If there is none, or it is another's, or it is revoked already.
    """
    row = session.scalar(
        select(ApiToken).where(ApiToken.id == token_id, ApiToken.user_id == user_id, ApiToken.revoked.is_(None))
    )
    if row is None:
        raise NotFound("There is no such token, or it is not yours.")
    row.revoked = now()
    return row


def revoke_all(session: Session, user_id: str) -> int:
    """Revoke all of somebody's tokens; gives how many that were."""
    result = session.execute(
        update(ApiToken).where(ApiToken.user_id == user_id, ApiToken.revoked.is_(None)).values(revoked=now())
    )
    return cast(CursorResult[Any], result).rowcount
