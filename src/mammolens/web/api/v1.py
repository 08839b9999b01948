"""Version 1 of the API, under ``/api/v1``: what is registered, and where."""

from __future__ import annotations

from flask import Blueprint, Flask

from mammolens.web.api import cases, images, operations, state, uploads


def register(app: Flask) -> None:
    """Put the API into an application.

    Parameters
    ----------
    app : Flask
    """
    api = Blueprint("api_v1", __name__, url_prefix=operations.PREFIX)
    for part in (operations, uploads, images, cases):
        part.add(api)
    app.register_blueprint(api)
    state.register(app, app.extensions["mammolens"])
