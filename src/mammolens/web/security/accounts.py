"""Signing in and out, and what people change of their own account. Each opens its own short transactions.

A password's slow hash is never computed inside a transaction: nobody waits for it but who signs in.
"""

from __future__ import annotations

from typing import NoReturn

from sqlalchemy.orm import Session

from mammolens.errors import PermissionMissing, RequestInvalid, SignInRequired
from mammolens.web.access import Actor
from mammolens.web.app import Services
from mammolens.web.audit import record
from mammolens.web.database.tables import SignIn, User
from mammolens.web.security import lockout, passwords, sessions, totp, users
from mammolens.web.security.keys import application_key

REFUSED = "The name or the password is wrong, or there were too many tries. Wait a little, then try again."
"""The same whatever was wrong, so that nobody learns which names there are."""


def check_password(services: Services, name: str, password: str) -> User:
    """Check a name and a password.

    Takes the same time, writes the database as often, and gives the same answer for a name that nobody has, that waits
    after wrong passwords, or that may not sign in.

    Parameters
    ----------
    services : Services
    name, password : str

    Returns
    -------
    User
        Detached; signed in by `open_session` only.

    Raises
    ------
    SignInRequired
        If they do not fit.
    """
    with services.database.session() as session:
        user = users.by_name(session, name)
        counts = lockout.count(session, user)
    stored = None if user is None else user.password_hash
    right = passwords.verify_password(stored, password)
    if user is None or not right or not counts or not user.active:
        _refuse(services, user)
    return user


def open_session(services: Services, user: User, agent: str, replaced: Actor | None = None) -> tuple[SignIn, str]:
    """Open a session for somebody who has shown all that is asked of them.

    Parameters
    ----------
    services : Services
    user : User
    agent : str
        What the browser calls itself.
    replaced : Actor, optional
        Who was signed in there; that session ends.

    Returns
    -------
    SignIn
    str
        The secret for the cookie.

    Raises
    ------
    SignInRequired
        If they may not sign in any more.
    """
    with services.database.session() as session:
        present = session.get(User, user.id)
        if present is None or not present.active or present.password_hash != user.password_hash:
            raise SignInRequired(REFUSED)
        lockout.forget(session, user.id)
        if replaced is not None and replaced.sign_in_id is not None:
            sessions.revoke(session, replaced.user_id, replaced.sign_in_id)
        opened = sessions.open_session(session, present, agent, services.settings)
        record(session, present.name, "sign-in", f"user {present.name}", {"second_step": present.totp_confirmed})
    return opened


def renew_hash(services: Services, user: User, password: str) -> None:
    """Hash a password that was just checked anew, where it was hashed with other parameters than today's."""
    if not passwords.outdated(user.password_hash):
        return
    fresh = passwords.hash_password(password)
    with services.database.session() as session:
        present = session.get_one(User, user.id)
        if present.password_hash == user.password_hash:
            present.password_hash = fresh
            user.password_hash = fresh


def check_code(services: Services, user_id: str, code: str) -> User:
    """Check the code of the second step; wrong ones count as wrong passwords do.

    Raises
    ------
    SignInRequired
        If it does not fit.
    """
    key = application_key(services.folder)
    with services.database.session() as session:
        user = session.get(User, user_id)
        counts = lockout.count(session, user)
        fits = user is not None and counts and user.totp_confirmed and totp.take(session, key, user, code)
    if user is None or not fits or not user.active:
        _refuse(services, user)
    return user


def sign_out(services: Services, asking: Actor) -> None:
    """End the session of who asks."""
    if asking.sign_in_id is None:
        raise PermissionMissing("A token has no session to end.")
    with services.database.session() as session:
        sessions.revoke(session, asking.user_id, asking.sign_in_id)
        record(session, asking.name, "sign-out", f"user {asking.name}")


def change_password(services: Services, asking: Actor, old: str, new: str) -> int:
    """Choose another password; all other sessions end.

    Returns
    -------
    int
        How many sessions that were.

    Raises
    ------
    RequestInvalid
        If the old one is wrong or the new one does not fit.
    """
    confirm(services, asking, old)
    if old == new:
        raise RequestInvalid("The new password is the old one. Take another.")
    passwords.check_new_password(new, asking.name)
    fresh = passwords.hash_password(new)
    with services.database.session() as session:
        user = session.get_one(User, asking.user_id)
        user.password_hash, user.must_change_password = fresh, False
        ended = sessions.revoke_all(session, user.id, keep=asking.sign_in_id)
        record(session, asking.name, "password-changed", f"user {asking.name}", {"sessions": ended})
    return ended


def confirm(services: Services, asking: Actor, password: str) -> None:
    """Check the password of who is signed in, before what a stolen session should not be able to do.

    Raises
    ------
    RequestInvalid
        If it is wrong, or there were too many tries.
    """
    try:
        check_password(services, asking.name, password)
    except SignInRequired as error:
        raise RequestInvalid("Your present password is wrong, or there were too many tries.") from error
    with services.database.session() as session:
        lockout.forget(session, asking.user_id)


def own(session: Session, asking: Actor) -> User:
    """Row of who asks."""
    return session.get_one(User, asking.user_id)


def _refuse(services: Services, user: User | None) -> NoReturn:
    name = "unknown" if user is None else user.name
    with services.database.session() as session:
        # What was typed may be a password in the wrong field: an unknown name is not written down.
        record(session, "unknown", "sign-in-refused", f"user {name}")
    raise SignInRequired(REFUSED)
