"""Errors as people and programs read them: a page, or a problem document (RFC 9457).

What is not ours to explain (another library's exception) becomes `InternalError` with a number; the log holds the
number, the exception's type and the lines of code it came through, and never its text, which may quote a header.
"""

from __future__ import annotations

import logging
import secrets
import traceback
from http import HTTPStatus

from flask import Flask, Response, g, jsonify, make_response, render_template, request
from flask.typing import ResponseReturnValue
from flask_limiter.errors import RateLimitExceeded
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import InterfaceError, OperationalError
from werkzeug.exceptions import HTTPException

from mammolens.errors import (
    DatabaseUnavailable,
    InternalError,
    MammolensError,
    NotFound,
    Overloaded,
    RequestInvalid,
    SignInRequired,
    TooLarge,
)
from mammolens.web.access import Actor
from mammolens.web.failures import status_of
from mammolens.web.wording import explain

_log = logging.getLogger(__name__)

_HTTP: dict[int, MammolensError] = {
    404: NotFound("There is no such page."),
    405: RequestInvalid("This address does not take requests of this kind."),
    413: TooLarge("The request is larger than this address takes."),
    415: RequestInvalid("This address does not take this kind of content."),
    416: RequestInvalid("There is no such range."),
    429: Overloaded("Too many tries from this place. Wait a minute, then try again."),
}
"""What Flask and Werkzeug raise, by status, in our words; anything else below 500 is `RequestInvalid`."""


def register(app: Flask) -> None:
    """Answer every failure of an application."""
    app.register_error_handler(MammolensError, ours)
    app.register_error_handler(HTTPException, of_http)
    app.register_error_handler(Exception, unforeseen)


def ours(error: MammolensError) -> ResponseReturnValue:
    """Answer an error that was raised on purpose."""
    status = status_of(error)
    if status in (401, 403):
        _note(error.code)
    return answer(error, status, _number(error) if status == 500 else "")


def of_http(error: HTTPException) -> ResponseReturnValue:
    """Answer what Flask and Werkzeug raise; redirections pass through."""
    status = error.code or 500
    if status < 400:
        return error.get_response()
    if status >= 500:
        return answer(InternalError("Something failed on the server."), status, _number(error))
    if isinstance(error, CSRFError):
        found: MammolensError = RequestInvalid("This page was open for too long. Load it again, then repeat the step.")
    else:
        found = _HTTP.get(status) or RequestInvalid("The request is not understood.")
    if isinstance(error, CSRFError | RateLimitExceeded):
        _note(type(error).__name__)
    response = make_response(answer(found, status))
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    if isinstance(error, RateLimitExceeded):
        response.headers.setdefault("Retry-After", "60")
    return response


def unforeseen(error: Exception) -> ResponseReturnValue:
    """Answer any other exception: the database's absence as what it is, the rest as a mistake of ours."""
    number = _number(error)
    if isinstance(error, OperationalError | InterfaceError):
        gone = DatabaseUnavailable("The database can't be reached at the moment. Try again shortly.")
        return answer(gone, status_of(gone), number)
    return answer(InternalError("Something failed on the server."), 500, number)


def answer(error: MammolensError, status: int, number: str = "") -> Response:
    """Answer an error as who asks reads it.

    Parameters
    ----------
    error : MammolensError
    status : int
        Of HTTP.
    number : str
        Under which the log tells more; "" where there is no more to tell.
    """
    if wants_document():
        return _document(error, status, number)
    title = HTTPStatus(status).phrase
    if status >= 500:
        # No frame and no language of the user: both may need what just failed.
        page = render_template("failures/plain.html", error=error, status=status, title=title, number=number)
    elif isinstance(error, SignInRequired) and request.method in ("GET", "HEAD"):
        page = render_template(
            "account/sign_in.html", next=request.full_path.rstrip("?"), message=None, ended=bool(request.cookies)
        )
    else:
        page = render_template("failures/page.html", words=explain(error), code=error.code, status=status)
    return make_response(page, status)


def wants_document() -> bool:
    """Tell whether a program asks: an address of the API, or a script that says it takes JSON."""
    if request.path.startswith("/api/"):
        return True
    accepted = request.accept_mimetypes
    json = max(accepted["application/json"], accepted["application/problem+json"])
    return bool(accepted) and json > accepted["text/html"]


def _document(error: MammolensError, status: int, number: str) -> Response:
    fields = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        # A program reads English; a script of ours shows it to a person.
        "detail": error.message if request.path.startswith("/api/") else explain(error),
        "code": error.code,
    }
    if number:
        fields["incident"] = number
    response = jsonify(fields)
    response.status_code = status
    response.mimetype = "application/problem+json"
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        response.headers.setdefault("Retry-After", "10")
    return response


def _note(what: str) -> None:
    """Write who was refused what into the log; who only has no session yet is no news."""
    asking: Actor | None = g.get("actor")
    if asking is not None or request.authorization is not None or request.method not in ("GET", "HEAD"):
        _log.warning("refused %s: user %s at %s", what, asking.user_id if asking else "-", request.endpoint)


def _number(error: BaseException) -> str:
    """Write a failure into the log; gives the number under which it stands there."""
    number = secrets.token_hex(4)
    kinds: list[str] = []
    current: BaseException | None = error
    while current is not None and len(kinds) < 5:
        kinds.append(type(current).__name__)
        current = current.__cause__ or current.__context__
    places = [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[-8:]
    ]
    _log.error("incident %s: %s at %s", number, " from ".join(kinds), " > ".join(places))
    _log.debug("incident %s", number, exc_info=error)
    return number
