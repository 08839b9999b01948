"""The browser's cookie: signed, out of scripts' reach, bound to TLS where there is TLS."""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Flask, has_request_context, request
from flask.sessions import SecureCookieSessionInterface

_NAME = "mammolens"


def _sha256(string: bytes = b"") -> Any:
    return hashlib.sha256(string)


class Cookies(SecureCookieSessionInterface):
    """Flask's signed cookie, with a name that browsers hold to its promises.

    By TLS at a host of its own it is ``__Host-mammolens``, by TLS under a path prefix ``__Secure-mammolens`` with that
    path (RFC 6265bis, section 4.1.3); without TLS ``mammolens``.
    """

    digest_method = staticmethod(_sha256)

    def get_cookie_name(self, app: Flask) -> str:
        """Name of the cookie at this request."""
        if not self.get_cookie_secure(app):
            return _NAME
        return f"__Host-{_NAME}" if self.get_cookie_path(app) == "/" else f"__Secure-{_NAME}"

    def get_cookie_secure(self, app: Flask) -> bool:
        """Whether the cookie goes by TLS only."""
        return bool(app.extensions["mammolens"].settings.hsts) or (has_request_context() and request.is_secure)

    def get_cookie_path(self, app: Flask) -> str:
        """Path below which the cookie is sent: the prefix at which a proxy has put the application."""
        return (has_request_context() and request.root_path.rstrip("/")) or "/"
