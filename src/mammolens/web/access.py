"""Who may do what: permissions, roles, and which cases somebody sees.

Every view names its permission with `allow`; the application refuses to start while one does not.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from flask import g
from sqlalchemy import ColumnElement, or_, select, true
from sqlalchemy.orm import Session

from mammolens.errors import NotFound, PermissionMissing, SignInRequired
from mammolens.web.database.tables import Case, Image, Role


class Permission(enum.StrEnum):
    """What a view needs; also the scopes of API tokens."""

    PUBLIC = "public"
    """Nothing: sign-in, its assets, liveness."""
    ACCOUNT = "account"
    """To be signed in: one's own password, sessions, preferences. No token can have it."""
    VIEW = "view"
    """See cases, pictures and answers."""
    UPLOAD = "upload"
    ASSESS = "assess"
    EXPORT = "export"
    """Take reports, tables and pictures away."""
    DELETE = "delete"
    ADMINISTER = "administer"
    METRICS = "metrics"


_VIEWER = frozenset({Permission.PUBLIC, Permission.ACCOUNT, Permission.VIEW})
_READER = _VIEWER | {Permission.UPLOAD, Permission.ASSESS, Permission.EXPORT, Permission.DELETE}
ROLES: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.READER: _READER,
    Role.ADMINISTRATOR: frozenset(Permission),
}
"""What each role may do. Readers delete what they uploaded themselves; administrators anything."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks.

    Attributes
    ----------
    user_id, name : str
    role : Role
    group_id : str or None
    permissions : frozenset of Permission
        Of the role; for a token, those of its scopes that the role has.
    sign_in_id : str or None
        None for a token.
    """

    user_id: str
    name: str
    role: Role
    group_id: str | None
    permissions: frozenset[Permission]
    sign_in_id: str | None = None

    def may(self, permission: Permission) -> bool:
        """Tell whether this actor has a permission."""
        return permission in self.permissions


View = TypeVar("View", bound=Callable[..., object])


def allow(permission: Permission) -> Callable[[View], View]:
    """Name the permission that a view needs; stands directly above the function, below the route."""

    def mark(view: View) -> View:
        view.permission = permission  # type: ignore[attr-defined]
        return view

    return mark


def actor() -> Actor:
    """Who asks, in a request.

    Raises
    ------
    SignInRequired
        If nobody is signed in.
    """
    asking: Actor | None = g.get("actor")
    if asking is None:
        raise SignInRequired("Sign in first.")
    return asking


def visible(asking: Actor) -> ColumnElement[bool]:
    """Criterion for `select(Case)`: the cases that somebody sees."""
    if asking.role is Role.ADMINISTRATOR:
        return true()
    own = Case.owner_id == asking.user_id
    return own if asking.group_id is None else or_(own, Case.group_id == asking.group_id)


def case_of(session: Session, asking: Actor, case_id: str) -> Case:
    """Find a case that somebody sees.

    Raises
    ------
    NotFound
        If there is none, or it is another's: both look the same.
    """
    case = session.scalar(select(Case).where(Case.id == case_id, visible(asking)))
    if case is None:
        raise NotFound("There is no such case, or it is not yours.")
    return case


def image_of(session: Session, asking: Actor, image_id: str) -> Image:
    """Find an image of a case that somebody sees; raises as `case_of`."""
    image = session.scalar(select(Image).join(Case).where(Image.id == image_id, visible(asking)))
    if image is None:
        raise NotFound("There is no such picture, or it is not yours.")
    return image


def may_delete(asking: Actor, case: Case) -> None:
    """Check that somebody may delete a case that they see.

    Raises
    ------
    PermissionMissing
        Unless they uploaded it or administer.
    """
    if not _has_in_hand(asking, case):
        raise PermissionMissing("Only who uploaded a case, or an administrator, may delete it.")


def may_direct(asking: Actor, case: Case) -> None:
    """Check that somebody may cancel or repeat the work on a case that they see; raises as `may_delete`."""
    if not _has_in_hand(asking, case):
        raise PermissionMissing("Only who uploaded a case, or an administrator, may cancel or repeat its work.")


def _has_in_hand(asking: Actor, case: Case) -> bool:
    return asking.role is Role.ADMINISTRATOR or case.owner_id == asking.user_id
