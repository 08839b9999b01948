"""What every page shares: its language, its theme, the links of its head, times and errors in words."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, current_app, g, make_response, redirect, request, url_for
from flask_babel import Babel, format_datetime, get_locale, gettext, lazy_gettext, ngettext

import mammolens
from mammolens.errors import RequestInvalid
from mammolens.web.access import Actor, Permission, allow
from mammolens.web.app import services
from mammolens.web.database.columns import now
from mammolens.web.database.tables import User
from mammolens.web.security.preferences import keep
from mammolens.web.wording import explain as explain
from mammolens.web.wording import notice_words as notice_words
from mammolens.web.wording import words as words

LANGUAGES = {"en": "English", "de": "Deutsch"}
"""Languages that every page comes in, each by its own name; the first is the source."""
THEMES = ("dark", "light")
YEAR = 365 * 24 * 3600
COOKIES = {"theme": "mammolens_theme", "language": "mammolens_language"}
"""Where a browser keeps the look of the pages before sign-in."""

LINKS = (
    ("worklist.index", lazy_gettext("Worklist"), Permission.VIEW, "bar"),
    ("assessments.disagreements", lazy_gettext("Disagreements"), Permission.VIEW, "bar"),
    ("evaluation.index", lazy_gettext("Evaluation"), Permission.VIEW, "bar"),
    ("administration.index", lazy_gettext("Administration"), Permission.ADMINISTER, "bar"),
    ("users.index", lazy_gettext("Users"), Permission.ADMINISTER, "bar"),
    ("account.index", lazy_gettext("Your account"), Permission.ACCOUNT, "menu"),
)
"""Endpoint, words, what one must be allowed to do, and where the link stands."""


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the page's head."""

    words: str
    address: str
    current: bool


def preferences() -> dict[str, Any]:
    """Give what who asks has chosen: language, theme and the like; the browser's cookies before sign-in."""
    if "preferences" not in g:
        # Of the user, read by the guard with the session: asking the database here would fix what this request sees.
        kept: dict[str, Any] = g.get("kept_preferences", {})
        cookies = {name: request.cookies[cookie] for name, cookie in COOKIES.items() if cookie in request.cookies}
        g.preferences = cookies | kept
    chosen: dict[str, Any] = g.preferences
    return chosen


def choose_language() -> str:
    """Language of this request: chosen, else the first that the browser asks for, else English."""
    chosen = preferences().get("language")
    return chosen if chosen in LANGUAGES else request.accept_languages.best_match(list(LANGUAGES)) or "en"


def theme() -> str:
    """Theme of this request: dark unless light was chosen."""
    chosen = preferences().get("theme")
    return chosen if chosen in THEMES else THEMES[0]


def links(place: str = "bar") -> list[Link]:
    """Links of the head (``bar``) or of the user's menu (``menu``) that who asks may follow."""
    asking: Actor | None = g.get("actor")
    if asking is None:
        return []
    here = (request.endpoint or "").partition(".")[0]
    return [
        Link(str(words), url_for(endpoint), endpoint == request.endpoint or endpoint.partition(".")[0] == here)
        for endpoint, words, permission, where in LINKS
        if where == place and endpoint in current_app.view_functions and asking.may(permission)
    ]


def home() -> str:
    """Address of the first page."""
    return url_for("worklist.index") if "worklist.index" in current_app.view_functions else request.script_root + "/"


def moment_words(moment: dt.datetime) -> str:
    """Say when something was, as people do: ``2 min``, ``3 h``, ``yesterday`` or the date."""
    past = max((now() - moment).total_seconds(), 0.0)
    if past < 60:
        return str(gettext("just now"))
    if past < 3600:
        return str(ngettext("%(num)s min ago", "%(num)s min ago", int(past // 60)))
    if past < 24 * 3600:
        return str(ngettext("%(num)s h ago", "%(num)s h ago", int(past // 3600)))
    if past < 7 * 24 * 3600:
        return str(ngettext("%(num)s day ago", "%(num)s days ago", int(past // (24 * 3600))))
    return str(format_datetime(moment, "d MMM y"))


def moment_exact(moment: dt.datetime) -> str:
    """Say when something was, to the minute, in UTC."""
    return f"{format_datetime(moment, 'd MMM y, HH:mm')} UTC"


def register(app: Flask) -> None:
    """Add languages, the look and what templates need for them."""
    app.config.setdefault("BABEL_TRANSLATION_DIRECTORIES", str(Path(__file__).with_name("locale")))
    Babel(app, default_locale="en", default_timezone="UTC", locale_selector=choose_language)
    app.register_blueprint(shell)
    app.context_processor(lambda: {"asking": g.get("actor")})
    app.jinja_env.globals.update(_for_templates())


def _for_templates() -> dict[str, Any]:
    return {
        "here": lambda: request.full_path if request.query_string else request.path,
        "home": home,
        "language": lambda: str(get_locale() or "en"),
        "languages": lambda: list(LANGUAGES.items()),
        "links": links,
        "error_words": words,
        "moment_exact": moment_exact,
        "moment_words": moment_words,
        "notice_words": notice_words,
        "sign_out": _sign_out,
        "theme": theme,
        "version": lambda: mammolens.__version__,
    }


def _sign_out() -> str:
    return url_for("account.sign_out") if "account.sign_out" in current_app.view_functions else ""


shell = Blueprint("shell", __name__)


@shell.post("/look")
@allow(Permission.PUBLIC)
def look() -> Response:
    """Keep a theme or a language: with the user where somebody is signed in, and in the browser."""
    chosen = {name: request.form[name] for name in COOKIES if name in request.form}
    if chosen.get("theme", "dark") not in THEMES or chosen.get("language", "en") not in LANGUAGES:
        raise RequestInvalid("There is no such theme or language.")
    asking: Actor | None = g.get("actor")
    if asking is not None and asking.may(Permission.ACCOUNT):
        with services().database.session() as session:
            keep(session.get_one(User, asking.user_id), chosen)
    by_script = request.accept_mimetypes.best == "application/json"
    answer = (
        make_response("", 204) if by_script else make_response(redirect(back_to(request.form.get("back", "")), 303))
    )
    for name, value in chosen.items():
        answer.set_cookie(
            COOKIES[name],
            value,
            max_age=YEAR,
            path=request.script_root or "/",
            secure=request.is_secure,
            httponly=True,
            samesite="Lax",
        )
    return answer


def back_to(address: str) -> str:
    """Give an address of this application to return to: the one named if it is one, else the first page."""
    parts = urlsplit(address)
    own = not parts.scheme and not parts.netloc and address.startswith("/") and not address.startswith(("//", "/\\"))
    return request.script_root + address if own else home()
