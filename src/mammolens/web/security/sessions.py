"""Sessions of people, kept on the server: opened at sign-in, found by the cookie's secret, ended at any time."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from typing import Any, cast

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.orm import Session, joinedload

from mammolens.settings import Settings
from mammolens.web.access import ROLES, Actor
from mammolens.web.database.columns import now
from mammolens.web.database.tables import SignIn, User

TOUCH = dt.timedelta(seconds=30)
"""How old the time of the last request may get before it is written again: one write a session and half minute."""
_BROWSERS = (("Firefox/", "Firefox"), ("Edg/", "Edge"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iOS"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)
"""The first sign that is found names it: most browsers call themselves Chrome and Safari too."""
KEPT = dt.timedelta(days=30)
"""How long ended sessions stay."""


def hashed(secret: str) -> str:
    """Hash a secret of 256 random bits for keeping; no salt and no slow hash is needed for those."""
    return hashlib.sha256(secret.encode()).hexdigest()


def actor_of(user: User, sign_in_id: str | None = None) -> Actor:
    """Say who a user is to the rest of the application."""
    return Actor(user.id, user.name, user.role, user.group_id, ROLES[user.role], sign_in_id)


def open_session(session: Session, user: User, agent: str, settings: Settings) -> tuple[SignIn, str]:
    """Open a session for somebody who has shown who they are.

    Returns
    -------
    SignIn
    str
        The secret for the cookie; only its hash is kept.
    """
    secret = secrets.token_urlsafe(32)
    opened = now()
    row = SignIn(
        user_id=user.id,
        token_hash=hashed(secret),
        agent="".join(character for character in agent if character.isprintable())[:200],
        created=opened,
        seen=opened,
        ends=opened + dt.timedelta(hours=settings.session_hours),
    )
    session.execute(delete(SignIn).where(SignIn.user_id == user.id, SignIn.ends < opened - KEPT))
    session.add(row)
    session.flush()
    return row, secret


def browser_of(agent: str) -> str:
    """Name a browser and its system by what it calls itself; "" where neither is known."""
    named = [next((name for sign, name in table if sign in agent), "") for table in (_BROWSERS, _SYSTEMS)]
    return " · ".join(filter(None, named))


def find(session: Session, secret: str, settings: Settings) -> SignIn | None:
    """Find the session that a secret opens; None if there is none, or it is over, or its user may not sign in."""
    row = session.scalar(select(SignIn).where(SignIn.token_hash == hashed(secret)).options(joinedload(SignIn.user)))
    return row if row is not None and row.user.active and not over(row, settings) else None


def over(row: SignIn, settings: Settings) -> bool:
    """Tell whether a session has ended: revoked, idle for too long, or too old."""
    moment = now()
    idle = dt.timedelta(minutes=settings.session_idle_minutes)
    return row.revoked is not None or moment >= row.ends or moment - row.seen >= idle


def outdated(row: SignIn) -> bool:
    """Tell whether the time of the last request is to be written."""
    return now() - row.seen >= TOUCH


def touch(session: Session, sign_in_id: str) -> None:
    """Write the time of the last request."""
    session.execute(update(SignIn).where(SignIn.id == sign_in_id).values(seen=now()))


def current(session: Session, user_id: str, settings: Settings) -> list[SignIn]:
    """List somebody's sessions that are not over, newest first."""
    rows = session.scalars(
        select(SignIn).where(SignIn.user_id == user_id, SignIn.revoked.is_(None)).order_by(SignIn.created.desc())
    )
    return [row for row in rows if not over(row, settings)]


def revoke(session: Session, user_id: str, sign_in_id: str) -> bool:
    """End one of somebody's sessions; tells whether there was one to end."""
    result = session.execute(
        update(SignIn)
        .where(SignIn.id == sign_in_id, SignIn.user_id == user_id, SignIn.revoked.is_(None))
        .values(revoked=now())
    )
    return cast(CursorResult[Any], result).rowcount == 1


def revoke_all(session: Session, user_id: str, keep: str | None = None) -> int:
    """End all of somebody's sessions but one; gives how many that were."""
    criteria = [SignIn.user_id == user_id, SignIn.revoked.is_(None)]
    if keep is not None:
        criteria.append(SignIn.id != keep)
    result = session.execute(update(SignIn).where(*criteria).values(revoked=now()))
    return cast(CursorResult[Any], result).rowcount
