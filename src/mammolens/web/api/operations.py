"""Routes for those who run the application: is it alive, is it ready, who am I, its figures, its description."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify, request

from mammolens.web.access import Permission, actor, allow
from mammolens.web.api import state
from mammolens.web.api.documents import Health, Me, Readiness
from mammolens.web.api.openapi import generate
from mammolens.web.api.operation import Operation, document, operation
from mammolens.web.app import services

PREFIX = "/api/v1"
_OPENAPI = "mammolens_openapi"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def add(api: Blueprint) -> None:
    """Add the routes to the API."""
    api.get("/health/live")(live)
    api.get("/health/ready")(ready)
    api.get("/me")(me)
    api.get("/metrics")(metrics)
    api.get("/openapi.json")(openapi)


@allow(Permission.PUBLIC)
@operation(Operation("Tell that the process answers.", Health))
def live() -> Health:
    """Tell that the process answers."""
    return Health(status="live")


@allow(Permission.PUBLIC)
@operation(Operation("Tell whether work would be done; 503 while not.", Readiness, also={503: Readiness}))
def ready() -> Response:
    """Tell whether work would be done."""
    found = state.readiness(services())
    return document(found, 200 if found.status == "ready" else 503)


@allow(Permission.VIEW)
@operation(Operation("Tell who asks.", Me))
def me() -> Me:
    """Tell who asks."""
    asking = actor()
    return Me(name=asking.name, role=asking.role.value, scopes=sorted(asking.permissions))


@allow(Permission.METRICS)
@operation(Operation("Figures for Prometheus.", media={"text/plain": {"type": "string"}}))
def metrics() -> Response:
    """Figures for Prometheus."""
    response = Response(state.metrics(current_app), content_type=_PROMETHEUS)
    response.headers["Cache-Control"] = "no-store"
    return response


@allow(Permission.PUBLIC)
@operation(Operation("This document.", media={"application/json": {"type": "object"}}))
def openapi() -> Response:
    """Describe the API as OpenAPI 3.1."""
    made = current_app.extensions.get(_OPENAPI)
    if made is None:
        made = current_app.extensions[_OPENAPI] = generate(current_app, PREFIX)
    # Behind a proxy the API lies below a prefix of its own.
    return jsonify(made | {"servers": [{"url": request.script_root + PREFIX}]})
