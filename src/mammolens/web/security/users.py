"""Users and groups: who there is, what they may do, and that somebody can always administer.

Each change writes its audit entry in the same transaction. ``by`` is the name of who does it, or ``system``.
"""

from __future__ import annotations

import re
import unicodedata

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mammolens.errors import CaseConflict, NotFound, RequestInvalid
from mammolens.web.audit import record
from mammolens.web.database.tables import Case, Group, Role, User
from mammolens.web.security import lockout, passwords, sessions, tokens

_NAME = re.compile(r"[\w.@+-]{1,80}")


def normal_name(name: str) -> str:
    """Write a user's name the one way it is kept: NFKC, small letters, no space around."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def by_name(session: Session, name: str) -> User | None:
    """Find a user by name, however it is written."""
    return session.scalar(select(User).where(User.name == normal_name(name)))


def get(session: Session, user_id: str) -> User:
    """Find a user.

    Raises
    ------
    NotFound
        If there is none.
    """
    user = session.get(User, user_id)
    if user is None:
        raise NotFound("There is no such user.")
    return user


def named(session: Session, name: str) -> User:
    """Find a user by name; raises as `get`."""
    user = by_name(session, name)
    if user is None:
        raise NotFound("There is no user of that name.")
    return user


def listed(session: Session) -> list[User]:
    """List all users by name."""
    return list(session.scalars(select(User).order_by(User.name)))


def add(
    session: Session,
    by: str,
    name: str,
    role: Role,
    password: str | None = None,
    group: str | None = None,
    must_change_password: bool = True,
) -> tuple[User, str]:
    """Add a user.

    Parameters
    ----------
    session : Session
    by : str
    name : str
        Letters, digits and ``. @ + - _``; kept in small letters.
    role : Role
    password : str, optional
        A random one unless given.
    group : str, optional
        Name of a group; made where it is missing.
    must_change_password : bool
        Whether they choose another at the first sign-in.

    Returns
    -------
    User
    str
        The password, to be shown once.

    Raises
    ------
    RequestInvalid
        If the name or the password does not fit.
    CaseConflict
        If there is somebody of that name.
    """
    name = normal_name(name)
    if not _NAME.fullmatch(name) or name == "system":
        raise RequestInvalid("A user's name has 1 to 80 letters, digits or . @ + - _ and no space.")
    if by_name(session, name) is not None:
        raise CaseConflict("There is a user of that name already. Take another name.")
    if password is None:
        password = passwords.random_password()
    else:
        passwords.check_new_password(password, name, group or "")
    joined = None if group is None else _group_named(session, by, group)
    user = User(
        name=name,
        password_hash=passwords.hash_password(password),
        role=role,
        group_id=None if joined is None else joined.id,
        must_change_password=must_change_password,
    )
    session.add(user)
    record(session, by, "user-added", f"user {name}", {"role": role.value})
    return user, password


def set_role(session: Session, by: str, user: User, role: Role) -> None:
    """Give a user another role; their sessions go on with it.

    Raises
    ------
    CaseConflict
        If nobody could administer then.
    """
    if role is user.role:
        return
    if user.role is Role.ADMINISTRATOR:
        _keep_an_administrator(session, user)
    record(session, by, "user-role", f"user {user.name}", {"from": user.role.value, "to": role.value})
    user.role = role


def set_group(session: Session, by: str, user: User, group_id: str | None) -> None:
    """Put a user into a group, or into none. Their cases stay with the group that they were uploaded for.

    Raises
    ------
    NotFound
        If there is no such group.
    """
    if group_id == user.group_id:
        return
    name = "" if group_id is None else _group(session, group_id).name
    user.group_id = group_id
    record(session, by, "user-group", f"user {user.name}", {"group": name})


def disable(session: Session, by: str, user: User) -> None:
    """Let a user sign in no more, and end their sessions; their cases stay, and their tokens work no more.

    Raises
    ------
    CaseConflict
        If nobody could administer then.
    """
    if user.role is Role.ADMINISTRATOR:
        _keep_an_administrator(session, user)
    user.active = False
    ended = sessions.revoke_all(session, user.id)
    record(session, by, "user-disabled", f"user {user.name}", {"sessions": ended})


def enable(session: Session, by: str, user: User) -> None:
    """Let a user sign in again."""
    user.active = True
    lockout.forget(session, user.id)
    record(session, by, "user-enabled", f"user {user.name}")


def reset(session: Session, by: str, user: User, password: str | None = None) -> str:
    """Give a user a new password: sessions, tokens and the second step end, wrong tries are forgotten.

    Returns
    -------
    str
        The password, to be shown once; they choose another at the next sign-in.

    Raises
    ------
    RequestInvalid
        If the password does not fit.
    """
    if password is None:
        password = passwords.random_password()
    else:
        passwords.check_new_password(password, user.name)
    user.password_hash = passwords.hash_password(password)
    user.must_change_password = True
    user.totp_secret, user.totp_confirmed, user.totp_last_step = None, False, None
    lockout.forget(session, user.id)
    ended = {"sessions": sessions.revoke_all(session, user.id), "tokens": tokens.revoke_all(session, user.id)}
    record(session, by, "password-reset", f"user {user.name}", ended)
    return password


def groups(session: Session) -> list[tuple[Group, int]]:
    """List groups by name, each with how many users it has."""
    counted = select(User.group_id, func.count().label("members")).group_by(User.group_id).subquery()
    rows = session.execute(
        select(Group, func.coalesce(counted.c.members, 0))
        .outerjoin(counted, counted.c.group_id == Group.id)
        .order_by(Group.name)
    )
    return [(group, int(members)) for group, members in rows]


def add_group(session: Session, by: str, name: str) -> Group:
    """Add a group.

    Raises
    ------
    RequestInvalid
        If the name does not fit.
    CaseConflict
        If there is one of that name.
    """
    name = _group_name(name)
    if session.scalar(select(Group).where(Group.name == name)) is not None:
        raise CaseConflict("There is a group of that name already.")
    return _new_group(session, by, name)


def remove_group(session: Session, by: str, group_id: str) -> None:
    """Remove a group that has neither users nor cases.

    Raises
    ------
    NotFound
        If there is none.
    CaseConflict
        If it has some.
    """
    group = _group(session, group_id)
    used = session.scalar(select(User.id).where(User.group_id == group_id).limit(1)) or session.scalar(
        select(Case.id).where(Case.group_id == group_id).limit(1)
    )
    if used is not None:
        raise CaseConflict("The group still has users or cases.")
    session.delete(group)
    record(session, by, "group-removed", f"group {group.name[:70]}")


def _group(session: Session, group_id: str) -> Group:
    group = session.get(Group, group_id)
    if group is None:
        raise NotFound("There is no such group.")
    return group


def _group_name(name: str) -> str:
    name = unicodedata.normalize("NFKC", name).strip()
    if not 1 <= len(name) <= 60 or not name.isprintable():
        raise RequestInvalid("A group's name has 1 to 60 characters.")
    return name


def _group_named(session: Session, by: str, name: str) -> Group:
    name = _group_name(name)
    found = session.scalar(select(Group).where(Group.name == name))
    return found or _new_group(session, by, name)


def _new_group(session: Session, by: str, name: str) -> Group:
    group = Group(name=name)
    session.add(group)
    record(session, by, "group-added", f"group {name}")
    return group


def _keep_an_administrator(session: Session, leaving: User) -> None:
    others = session.scalar(
        select(func.count())
        .select_from(User)
        .where(User.role == Role.ADMINISTRATOR, User.active.is_(True), User.id != leaving.id)
    )
    if not others:
        raise CaseConflict("This is the last administrator. Make somebody else one first.")
