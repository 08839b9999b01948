"""Signing in and out, and one's own account: password, second step, sessions, tokens, preferences."""

from __future__ import annotations

import datetime as dt
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, flash, g, jsonify, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import login_user, logout_user

from mammolens.errors import NotFound, RequestInvalid, SignInRequired
from mammolens.web.access import ROLES, Permission, actor, allow
from mammolens.web.app import reading, services
from mammolens.web.audit import record
from mammolens.web.database.columns import now
from mammolens.web.database.tables import User
from mammolens.web.language import home
from mammolens.web.security import accounts, limits, passwords, preferences, sessions, tokens, totp
from mammolens.web.security.front import SignedIn
from mammolens.web.security.keys import application_key
from mammolens.web.wording import explain

pages = Blueprint("account", __name__)
SECOND_STEP = dt.timedelta(minutes=5)
"""How long after the password the code may come."""


def register(app: Flask) -> None:
    """Add the pages."""
    passwords.prepare()
    app.register_blueprint(pages)


@pages.get("/sign-in")
@allow(Permission.PUBLIC)
def sign_in() -> ResponseReturnValue:
    """Ask for name and password."""
    return render_template("account/sign_in.html", next=request.args.get("next", ""), message=None, ended=False)


@pages.post("/sign-in")
@limits.limiter.limit(limits.SIGN_IN)
@allow(Permission.PUBLIC)
def check_sign_in() -> ResponseReturnValue:
    """Check name and password; on to the code, or in."""
    opened, onward = services(), request.form.get("next", "")
    password = request.form.get("password", "")
    try:
        user = accounts.check_password(opened, request.form.get("name", ""), password)
    except SignInRequired:
        words = _("The name or the password is wrong, or there were too many tries. Wait a little, then try again.")
        return render_template("account/sign_in.html", next=onward, message=words, ended=False), 401
    accounts.renew_hash(opened, user, password)
    if user.totp_confirmed:
        _forget()
        session["second_step"] = {"user": user.id, "until": (now() + SECOND_STEP).timestamp(), "next": onward}
        return redirect(url_for("account.code"), 303)
    return _in(user, onward)


@pages.get("/sign-in/code")
@allow(Permission.PUBLIC)
def code() -> ResponseReturnValue:
    """Ask for the code of the second step."""
    if _waiting() is None:
        return redirect(url_for("account.sign_in"), 303)
    return render_template("account/code.html", message=None)


@pages.post("/sign-in/code")
@limits.limiter.limit(limits.SIGN_IN)
@allow(Permission.PUBLIC)
def check_code() -> ResponseReturnValue:
    """Check the code, and in."""
    waiting = _waiting()
    if waiting is None:
        return redirect(url_for("account.sign_in"), 303)
    user_id, onward = waiting
    try:
        user = accounts.check_code(services(), user_id, request.form.get("code", ""))
    except SignInRequired:
        words = _("The code is wrong, was used already, or there were too many tries. Wait for the next one.")
        return render_template("account/code.html", message=words), 401
    return _in(user, onward)


@pages.post("/sign-out")
@allow(Permission.ACCOUNT)
def sign_out() -> ResponseReturnValue:
    """End this session, on the server and in the browser."""
    accounts.sign_out(services(), actor())
    _forget()
    answer = redirect(url_for("account.sign_in"), 303)
    # Pictures are kept by the browser while somebody is signed in, and no longer.
    answer.headers["Clear-Site-Data"] = '"cache", "storage"'
    return answer


@pages.get("/account")
@allow(Permission.ACCOUNT)
def index() -> str:
    """Show one's own account."""
    asking, opened = actor(), services()
    user = accounts.own(reading(), asking)
    return render_template(
        "account/index.html",
        user=user,
        this_session=asking.sign_in_id,
        sessions=sessions.current(reading(), user.id, opened.settings),
        tokens=tokens.current(reading(), user.id),
        scopes=[scope for scope in tokens.SCOPES if scope in ROLES[user.role]],
        moment=now(),
        browser=sessions.browser_of,
        preferences=preferences.of(user),
        choices=preferences.CHOICES,
    )


@pages.get("/account/password")
@allow(Permission.ACCOUNT)
def password() -> str:
    """Ask for a new password."""
    must = accounts.own(reading(), actor()).must_change_password
    return render_template("account/password.html", must=must, message=None)


@pages.post("/account/password")
@limits.limiter.limit(limits.SIGN_IN)
@allow(Permission.ACCOUNT)
def change_password() -> ResponseReturnValue:
    """Take a new password."""
    form = request.form
    try:
        if form.get("new", "") != form.get("again", ""):
            raise RequestInvalid(_("The two new passwords differ."))
        ended = accounts.change_password(services(), actor(), form.get("old", ""), form.get("new", ""))
    except RequestInvalid as error:
        return render_template("account/password.html", must=False, message=explain(error)), 400
    flash(_("The password is changed. %(count)s other sessions were ended.", count=ended))
    return redirect(url_for("account.index"), 303)


@pages.post("/account/sessions/<sign_in_id>/end")
@allow(Permission.ACCOUNT)
def end_session(sign_in_id: str) -> ResponseReturnValue:
    """End one of one's own sessions."""
    with services().database.session() as writing:
        if not sessions.revoke(writing, actor().user_id, sign_in_id):
            raise NotFound("There is no such session, or it has ended.")
        record(writing, actor().name, "session-ended", f"user {actor().name}")
    flash(_("The session is ended."))
    return redirect(url_for("account.index"), 303)


@pages.post("/account/sessions/end-others")
@allow(Permission.ACCOUNT)
def end_other_sessions() -> ResponseReturnValue:
    """End all of one's own sessions but this one."""
    with services().database.session() as writing:
        ended = sessions.revoke_all(writing, actor().user_id, keep=actor().sign_in_id)
        record(writing, actor().name, "session-ended", f"user {actor().name}", {"sessions": ended})
    flash(_("%(count)s other sessions were ended.", count=ended))
    return redirect(url_for("account.index"), 303)


@pages.get("/account/second-step")
@allow(Permission.ACCOUNT)
def second_step() -> ResponseReturnValue:
    """Show the QR code of a second step that has begun."""
    user = accounts.own(reading(), actor())
    if user.totp_secret is None or user.totp_confirmed:
        return redirect(url_for("account.index"), 303)
    return _second_step_page(user, None)


@pages.post("/account/second-step/begin")
@limits.limiter.limit(limits.SIGN_IN)
@allow(Permission.ACCOUNT)
def begin_second_step() -> ResponseReturnValue:
    """Draw a secret for the second step."""
    accounts.confirm(services(), actor(), request.form.get("password", ""))
    with services().database.session() as writing:
        totp.begin(accounts.own(writing, actor()))
    return redirect(url_for("account.second_step"), 303)


@pages.post("/account/second-step/confirm")
@limits.limiter.limit(limits.SIGN_IN)
@allow(Permission.ACCOUNT)
def confirm_second_step() -> ResponseReturnValue:
    """Turn the second step on with its first code."""
    key = application_key(services().folder)
    with services().database.session() as writing:
        user = accounts.own(writing, actor())
        try:
            totp.confirm(writing, key, user, request.form.get("code", ""))
        except RequestInvalid as error:
            return _second_step_page(user, explain(error)), 400
        record(writing, user.name, "second-step-on", f"user {user.name}")
    flash(_("The second step is on. The next sign-in asks for a code."))
    return redirect(url_for("account.index"), 303)


@pages.post("/account/second-step/off")
@limits.limiter.limit(limits.SIGN_IN)
@allow(Permission.ACCOUNT)
def turn_off_second_step() -> ResponseReturnValue:
    """Turn the second step off."""
    accounts.confirm(services(), actor(), request.form.get("password", ""))
    with services().database.session() as writing:
        user = accounts.own(writing, actor())
        totp.turn_off(user)
        record(writing, user.name, "second-step-off", f"user {user.name}")
    flash(_("The second step is off."))
    return redirect(url_for("account.index"), 303)


@pages.post("/account/tokens")
@limits.limiter.limit(limits.SIGN_IN)
@allow(Permission.ACCOUNT)
def make_token() -> ResponseReturnValue:
    """Make an API token; the next page shows it, once."""
    form = request.form
    accounts.confirm(services(), actor(), form.get("password", ""))
    known = {scope.value: scope for scope in tokens.SCOPES}
    chosen = form.getlist("scope")
    days = form.get("days", "90")
    if not set(chosen) <= set(known) or not days.isascii() or not days.isdigit():
        raise RequestInvalid("Choose at least one scope, and a number of days.")
    with services().database.session() as writing:
        user = accounts.own(writing, actor())
        row, token = tokens.make(writing, user, form.get("name", ""), {known[scope] for scope in chosen}, int(days))
        record(writing, user.name, "token-made", f"user {user.name}", {"scopes": row.scopes})
    page = render_template("account/token.html", token=token, name=row.name, ends=row.ends)
    return page, 201


@pages.post("/account/tokens/<token_id>/revoke")
@allow(Permission.ACCOUNT)
def revoke_token(token_id: str) -> ResponseReturnValue:
    """Revoke an API token."""
    with services().database.session() as writing:
        row = tokens.revoke(writing, actor().user_id, token_id)
        record(writing, actor().name, "token-revoked", f"user {actor().name}", {"scopes": row.scopes})
    flash(_("The token is revoked."))
    return redirect(url_for("account.index"), 303)


@pages.post("/account/preferences")
@allow(Permission.ACCOUNT)
def keep_preferences() -> ResponseReturnValue:
    """Keep preferences: a form's fields, or JSON of a script, which gets all of them back."""
    given = request.get_json() if request.is_json else preferences.from_form(request.form.to_dict())
    with services().database.session() as writing:
        user = accounts.own(writing, actor())
        preferences.keep(user, given)
        kept = preferences.of(user)
    if request.is_json:
        return jsonify(kept)
    flash(_("Your preferences are kept."))
    return redirect(url_for("account.index"), 303)


def _second_step_page(user: User, message: str | None) -> str:
    secret = totp.secret_of(application_key(services().folder), user)
    spaced = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
    picture = totp.picture(secret, user.name)
    return render_template("account/second_step.html", picture=picture, secret=spaced, message=message)


def _in(user: User, onward: str) -> Response:
    """Open a session under a new cookie: nothing of the one before is kept."""
    row, secret = accounts.open_session(services(), user, request.user_agent.string, g.get("actor"))
    _forget()
    login_user(SignedIn(sessions.actor_of(user, row.id), secret))
    target = onward if _is_ours(onward) else home()
    return redirect(target, 303)  # type: ignore[return-value]


def _forget() -> None:
    logout_user()
    session.clear()


def _waiting() -> tuple[str, str] | None:
    """User whose password was right and whose code is awaited, and where they go on; None if there is none."""
    waiting = session.get("second_step")
    if waiting is None or now().timestamp() > waiting["until"]:
        session.pop("second_step", None)
        return None
    return waiting["user"], waiting["next"]


def _is_ours(address: str) -> bool:
    """Whether an address is a path of this application, and no other site's dressed as one."""
    parts = urlsplit(address.replace("\\", "/"))
    return (
        address.isprintable()
        and not parts.scheme
        and not parts.netloc
        and address.startswith(f"{request.script_root}/")
        and not address.startswith(("//", "/\\"))
    )
