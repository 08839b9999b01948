"""How often one address may knock. Flask-Limiter, counted in this process: the server is one."""

from __future__ import annotations

from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

SIGN_IN = "30 per minute"
"""Tries to sign in from one address; a lock-out for each name stands beside it."""

limiter = Limiter(
    get_remote_address,
    storage_uri="memory://",
    strategy="moving-window",
)
"""``@limiter.limit("10 per minute")`` between `allow` and the route."""


def register(app: Flask) -> None:
    """Count the requests of this application."""
    limiter.init_app(app)
