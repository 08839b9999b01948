"""The OpenAPI 3.1 document, generated from the routes, their permissions and their pydantic models."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from mammolens import __version__
from mammolens.web.access import Permission
from mammolens.web.api.documents import Problem
from mammolens.web.api.operation import Operation

_REFERENCE = "#/components/schemas/{model}"
_PROBLEM = "application/problem+json"
_ID = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_REASONS = {
    400: "The request does not fit: `request-invalid`.",
    401: "No token, or one that is unknown, revoked or over: `sign-in-required`.",
    403: "The token's scopes or the user's role do not allow it: `permission-missing`.",
    404: "There is no such thing, or it is not yours to see: `not-found`.",
    409: "The thing stands in a state that does not allow this: `conflict`.",
    413: "Over a limit: `too-large` or `quota-exceeded`.",
    422: "The picture gets no answer; the code says why.",
    429: "Too many requests: wait as `Retry-After` says.",
    503: "Too much at once, or the database can't be reached; the same request will do later.",
    507: "No room for an upload; nothing of it was kept: `storage-full`.",
}


def generate(app: Flask, prefix: str) -> dict[str, Any]:
    """Describe every operation of the API.

    Parameters
    ----------
    app : Flask
    prefix : str
        Of the routes that belong to the API, for example ``/api/v1``.

    Returns
    -------
    dict
        OpenAPI 3.1, without ``servers``: where the application lies, each request tells.
    """
    rules = sorted(
        (rule for rule in app.url_map.iter_rules() if rule.rule.startswith(f"{prefix}/")), key=lambda rule: rule.rule
    )
    operations = [(rule, _operation(app, rule)) for rule in rules]
    paths: dict[str, Any] = {}
    for rule, told in operations:
        view: Any = app.view_functions[rule.endpoint]
        permission: Permission = view.permission
        address = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule.removeprefix(prefix))
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths.setdefault(address, {})[method.lower()] = _describe(rule, told, permission)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mammolens",
            "version": __version__,
            "description": "Mammograms in; a probability, a heat map and the suspicious region out. For research and "
            "teaching only: no medical device. Coordinates are source pixels, x to the right and y down.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API token, made on the account's page. Its scopes are permissions.",
                }
            },
            "schemas": _schemas(told for _, told in operations),
        },
    }


def _operation(app: Flask, rule: Rule) -> Operation:
    """Operation of a route."""
    view: Any = app.view_functions[rule.endpoint]
    told: Operation = view.operation
    return told


def _schemas(operations: Iterable[Operation]) -> dict[str, Any]:
    """Write down every model that goes in or out, and those that they hold."""
    known = list(operations)
    inward = {told.body for told in known if told.body is not None}
    outward: set[type[BaseModel]] = {Problem, *(told.answer for told in known if told.answer is not None)}
    outward |= {model for told in known for model in told.also.values()}
    wanted = [(model, "validation") for model in sorted(inward, key=_name)]
    wanted += [(model, "serialization") for model in sorted(outward, key=_name)]
    _, schemas = models_json_schema(wanted, ref_template=_REFERENCE)  # type: ignore[arg-type]
    found: dict[str, Any] = schemas["$defs"]
    for told in known:
        if told.query is not None:
            found |= told.query.model_json_schema(ref_template=_REFERENCE).get("$defs", {})
    return found


def _name(model: type[BaseModel]) -> str:
    return model.__name__


def _describe(rule: Rule, told: Operation, permission: Permission) -> dict[str, Any]:
    """One operation object."""
    # A token that does not work is refused everywhere, where none is needed too.
    errors = {400, 401, 429, 503, *told.errors} - set(told.also)
    if permission is not Permission.PUBLIC:
        errors.add(403)
    if rule.arguments:
        errors.add(404)
    content = {kind: {"schema": schema} for kind, schema in told.media.items()}
    if told.answer is not None:
        content["application/json"] = {"schema": _reference(told.answer)}
    success: dict[str, Any] = {"description": "Done.", **({"content": content} if content else {})}
    described: dict[str, Any] = {
        "operationId": rule.endpoint.rpartition(".")[2],
        "summary": told.summary,
        "description": f"Needs the scope `{permission}`." if permission is not Permission.PUBLIC else "Open to all.",
        "responses": {
            str(told.status): success,
            **{
                str(status): {
                    "description": "Not done.",
                    "content": {"application/json": {"schema": _reference(model)}},
                }
                for status, model in told.also.items()
            },
            **{str(status): _problem(status) for status in sorted(errors)},
        },
    }
    parameters = [*_path_parameters(rule), *_query_parameters(told)]
    if parameters:
        described["parameters"] = parameters
    if told.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(told.body)}},
        }
    elif told.uploads:
        described["requestBody"] = {
            "required": True,
            "content": {kind: {"schema": schema} for kind, schema in told.uploads.items()},
        }
    if permission is Permission.PUBLIC:
        described["security"] = []
    return described


def _problem(status: int) -> dict[str, Any]:
    return {"description": _REASONS[status], "content": {_PROBLEM: {"schema": _reference(Problem)}}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _path_parameters(rule: Rule) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _ID if name.endswith("_id") else {"type": "string"},
        }
        for name in sorted(rule.arguments)
    ]


def _query_parameters(told: Operation) -> list[dict[str, Any]]:
    """Each field of the query's model as a parameter."""
    if told.query is None:
        return []
    schema = told.query.model_json_schema(ref_template=_REFERENCE)
    required = schema.get("required", [])
    parameters = []
    for name, found in schema["properties"].items():
        inner = {key: value for key, value in found.items() if key not in ("title", "description")}
        parameter = {"name": name, "in": "query", "required": name in required, "schema": inner}
        if "description" in found:
            parameter["description"] = found["description"]
        parameters.append(parameter)
    return parameters
