"""What happens before any view: who asks is found out, and a view is reached only by who may.

Every view names its permission (`mammolens.web.access.allow`). One that does not is refused at start, and, should it be
added later, at each request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, current_user
from flask_wtf.csrf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix

from mammolens.errors import InternalError, PermissionMissing, SignInRequired
from mammolens.web.access import Actor, Permission, actor, allow
from mammolens.web.app import services
from mammolens.web.security import cookies, headers, limits, sessions, tokens
from mammolens.web.security.keys import application_key, derive

FORM_BYTES = 1 << 20
"""Largest body of a request to a view that takes no upload."""
csrf = CSRFProtect()


class SignedIn(UserMixin):  # type: ignore[misc]
    """Somebody who has shown who they are, for Flask-Login.

    Parameters
    ----------
    asking : Actor
    secret : str
        Of the session; what Flask-Login keeps in the cookie instead of a user's number, so that a session can be
        ended. Empty for a token.
    preferences : dict, optional
    must_change_password : bool
    """

    def __init__(
        self,
        asking: Actor,
        secret: str,
        preferences: dict[str, Any] | None = None,
        must_change_password: bool = False,
    ) -> None:
        self.actor = asking
        self.secret = secret
        self.preferences = preferences or {}
        self.must_change_password = must_change_password

    def get_id(self) -> str:
        """Give the session's secret."""
        return self.secret


def register(app: Flask) -> None:
    """Put the guard before every view of an application."""
    opened = app.extensions["mammolens"]
    app.config.update(
        SECRET_KEY=derive(application_key(opened.folder), "signed cookies"),
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        # As long as the session, which the server ends.
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_CHECK_DEFAULT=False,
        # It would need the Referer that `headers` tells browsers to leave out; Sec-Fetch-Site stands in for it.
        WTF_CSRF_SSL_STRICT=False,
    )
    app.session_interface = cookies.Cookies()
    if opened.settings.proxies:
        count = opened.settings.proxies
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=count, x_proto=count, x_host=count, x_prefix=count
        )
    if "static" in app.view_functions:
        app.view_functions["static"] = allow(Permission.PUBLIC)(app.view_functions["static"])
    login = LoginManager()
    login.session_protection = None
    login.user_loader(_by_cookie)
    login.request_loader(_by_token)
    app.before_request(guard)
    # Without its `current_user` in templates: a page that says that the token is wrong must not look it up again.
    login.init_app(app, add_context_processor=False)
    csrf.init_app(app)
    limits.register(app)
    headers.register(app)


def refuse_unmarked(app: Flask) -> None:
    """Check that every view names its permission; `create_app` calls this when all are there.

    Raises
    ------
    InternalError
        If one does not; names the endpoints.
    """
    missing = sorted(endpoint for endpoint, view in app.view_functions.items() if permission_of(view) is None)
    if missing:
        raise InternalError(f"These views name no permission (mammolens.web.access.allow): {', '.join(missing)}.")


def permission_of(view: Callable[..., Any]) -> Permission | None:
    """Permission that a view names; None if it names none."""
    found: Permission | None = getattr(view, "permission", None)
    return found


def guard() -> ResponseReturnValue | None:
    """Let a request through to its view, or raise.

    Raises
    ------
    SignInRequired, PermissionMissing
        If it may not.
    """
    if request.endpoint is None or request.endpoint == "static":
        return None
    needed = permission_of(services_view(request.endpoint))
    if needed is None:
        raise PermissionMissing("This page names no permission.")
    request.max_content_length = services().settings.upload_zip_bytes if needed is Permission.UPLOAD else FORM_BYTES
    if request.cookies or request.authorization is not None:
        _identify()
    if needed is not Permission.PUBLIC and not actor().may(needed):
        raise PermissionMissing("Your role does not allow this.")
    if not g.get("by_token", False):
        _same_site()
        csrf.protect()
    return _password_first(needed)


def services_view(endpoint: str) -> Callable[..., Any]:
    """View function of an endpoint."""
    from flask import current_app

    return current_app.view_functions[endpoint]


def _identify() -> None:
    user = current_user._get_current_object()
    if user.is_authenticated:
        g.actor = user.actor
        g.kept_preferences = user.preferences
    else:
        session.pop("_user_id", None)


def _by_cookie(secret: str) -> SignedIn | None:
    """Who a cookie's secret stands for; a token, where there is one, comes first."""
    if request.authorization is not None:
        return None
    opened = services()
    # A session of its own: the request's would go on seeing the state before what its view writes.
    with opened.database.reading() as reading:
        row = sessions.find(reading, secret, opened.settings)
        if row is None:
            return None
        user = row.user
        found = SignedIn(sessions.actor_of(user, row.id), secret, dict(user.preferences), user.must_change_password)
    if sessions.outdated(row):
        with opened.database.session() as writing:
            sessions.touch(writing, row.id)
    return found


def _by_token(_request: object) -> SignedIn | None:
    """Who a token stands for.

    Raises
    ------
    SignInRequired
        If there is an Authorization header, and no token that works in it: nothing else is tried then.
    """
    given = request.authorization
    if given is None:
        return None
    opened = services()
    with opened.database.reading() as reading:
        row = tokens.find(reading, given.token) if given.type == "bearer" and given.token else None
        if row is None:
            raise SignInRequired("The token is unknown, revoked or over. Make a new one on your account's page.")
        asking = tokens.actor_of(row)
    if tokens.outdated(row):
        with opened.database.session() as writing:
            tokens.touch(writing, row.id)
    g.by_token = True
    return SignedIn(asking, "")


def _same_site() -> None:
    """Refuse what another site's page sends, where the browser says so (Fetch Metadata); beside the CSRF token.

    Raises
    ------
    PermissionMissing
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise PermissionMissing("This was sent by another site's page.")


def _password_first(needed: Permission) -> ResponseReturnValue | None:
    """Lead who has a password that somebody else chose to the page where they choose their own."""
    user = current_user._get_current_object() if g.get("actor") else None
    if user is None or not user.must_change_password or needed is Permission.PUBLIC:
        return None
    if request.endpoint in ("account.password", "account.change_password", "account.sign_out"):
        return None
    if request.method == "GET" and not request.path.startswith("/api/"):
        return redirect(url_for("account.password"))
    raise PermissionMissing("Choose a password of your own first.")
