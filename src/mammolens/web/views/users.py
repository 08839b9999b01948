"""Administration of users and groups."""

from __future__ import annotations

from flask import Blueprint, Flask, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from mammolens.errors import CaseConflict, RequestInvalid
from mammolens.web.access import Permission, actor, allow
from mammolens.web.app import reading, services
from mammolens.web.database.tables import Role
from mammolens.web.security import users
from mammolens.web.wording import explain

pages = Blueprint("users", __name__)


def register(app: Flask) -> None:
    """Add the pages."""
    app.register_blueprint(pages)


@pages.get("/users")
@allow(Permission.ADMINISTER)
def index() -> str:
    """List users and groups."""
    return _page(None)


@pages.post("/users")
@allow(Permission.ADMINISTER)
def add() -> ResponseReturnValue:
    """Add a user; the next page shows the password, once."""
    form = request.form
    try:
        with services().database.session() as session:
            user, password = users.add(
                session,
                actor().name,
                form.get("name", ""),
                _role(form.get("role", "")),
                group=form.get("group", "").strip() or None,
            )
    except (RequestInvalid, CaseConflict) as error:
        return _page(explain(error)), 400
    return render_template("users/password.html", user=user, password=password), 201


@pages.post("/users/<user_id>")
@allow(Permission.ADMINISTER)
def change(user_id: str) -> ResponseReturnValue:
    """Change a user's role and group."""
    with services().database.session() as session:
        user = users.get(session, user_id)
        users.set_role(session, actor().name, user, _role(request.form.get("role", "")))
        users.set_group(session, actor().name, user, request.form.get("group_id") or None)
    flash(_("The changes are kept."))
    return redirect(url_for("users.index"), 303)


@pages.post("/users/<user_id>/disable")
@allow(Permission.ADMINISTER)
def disable(user_id: str) -> ResponseReturnValue:
    """Let a user sign in no more."""
    with services().database.session() as session:
        users.disable(session, actor().name, users.get(session, user_id))
    flash(_("The user can sign in no more; all sessions are ended."))
    return redirect(url_for("users.index"), 303)


@pages.post("/users/<user_id>/enable")
@allow(Permission.ADMINISTER)
def enable(user_id: str) -> ResponseReturnValue:
    """Let a user sign in again."""
    with services().database.session() as session:
        users.enable(session, actor().name, users.get(session, user_id))
    flash(_("The user can sign in again."))
    return redirect(url_for("users.index"), 303)


@pages.post("/users/<user_id>/reset")
@allow(Permission.ADMINISTER)
def reset(user_id: str) -> ResponseReturnValue:
    """Give a user a random password; the next page shows it, once."""
    if user_id == actor().user_id:
        raise CaseConflict("Change your own password on your account's page.")
    with services().database.session() as session:
        user = users.get(session, user_id)
        password = users.reset(session, actor().name, user)
    return render_template("users/password.html", user=user, password=password)


@pages.post("/groups")
@allow(Permission.ADMINISTER)
def add_group() -> ResponseReturnValue:
    """Add a group."""
    try:
        with services().database.session() as session:
            users.add_group(session, actor().name, request.form.get("name", ""))
    except (RequestInvalid, CaseConflict) as error:
        return _page(explain(error)), 400
    flash(_("The group is added."))
    return redirect(url_for("users.index"), 303)


@pages.post("/groups/<group_id>/remove")
@allow(Permission.ADMINISTER)
def remove_group(group_id: str) -> ResponseReturnValue:
    """Remove a group."""
    with services().database.session() as session:
        users.remove_group(session, actor().name, group_id)
    flash(_("The group is removed."))
    return redirect(url_for("users.index"), 303)


def _page(message: str | None) -> str:
    session = reading()
    return render_template(
        "users/index.html", users=users.listed(session), groups=users.groups(session), roles=list(Role), message=message
    )


def _role(value: str) -> Role:
    if value not in {role.value for role in Role}:
        raise RequestInvalid("There is no such role.")
    return Role(value)
