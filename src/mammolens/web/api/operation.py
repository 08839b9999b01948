"""What a route of the API takes and gives: checked on the way in, written on the way out, told by OpenAPI."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Response, request
from pydantic import BaseModel, ValidationError

from mammolens.errors import RequestInvalid, TooLarge

MOST_JSON = 64 << 10
"""Largest JSON body, bytes; files go another way."""

BINARY: dict[str, Any] = {"type": "string", "format": "binary"}

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, as the OpenAPI document tells it.

    Attributes
    ----------
    summary : str
    answer : type of BaseModel or None
        What comes back as JSON; None where ``media`` says it.
    status : int
        Of success.
    query, body : type of BaseModel or None
        What the address may hold after ``?``, and the JSON that is sent.
    errors : tuple of int
        Statuses of refusals, beside those that every operation has.
    media : mapping of str to schema
        Media types of what comes back where that is no JSON document.
    uploads : mapping of str to schema
        Media types of a body that is no JSON document.
    also : mapping of int to type of BaseModel
        Statuses beside ``status`` whose document is no problem.
    """

    summary: str
    answer: type[BaseModel] | None = None
    status: int = 200
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    errors: tuple[int, ...] = ()
    media: Mapping[str, Any] = field(default_factory=dict)
    uploads: Mapping[str, Any] = field(default_factory=dict)
    also: Mapping[int, type[BaseModel]] = field(default_factory=dict)


def operation(told: Operation) -> Callable[[Callable[..., Any]], Callable[..., Response]]:
    """Let a view take its query and body checked, and give a document.

    The view gets the keyword arguments ``query`` and ``body`` where the operation has them, and gives an instance of
    ``answer``, or a response of its own.

    Parameters
    ----------
    told : Operation
    """

    def wrap(view: Callable[..., Any]) -> Callable[..., Response]:
        @functools.wraps(view)
        def run(**arguments: Any) -> Response:
            if told.query is not None:
                arguments["query"] = _check(told.query, _flat_query())
            if told.body is not None:
                arguments["body"] = _check(told.body, _json_body())
            given = view(**arguments)
            return given if isinstance(given, Response) else document(given, told.status)

        run.operation = told  # type: ignore[attr-defined]
        return run

    return wrap


def document(given: BaseModel, status: int = 200) -> Response:
    """Make a response of a document; answers about a woman are kept by no cache on the way."""
    response = Response(given.model_dump_json(), status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def _flat_query() -> dict[str, Any]:
    """Give the values of the query; one given twice is refused rather than taken by its first."""
    doubled = [name for name, values in request.args.lists() if len(values) > 1]
    if doubled:
        raise RequestInvalid("A parameter of the query is given more than once.")
    return request.args.to_dict()


def _json_body() -> Any:
    if request.mimetype != "application/json":
        raise RequestInvalid("Send the body as application/json.")
    if request.content_length is None or request.content_length > MOST_JSON:
        raise TooLarge(f"A JSON body holds at most {MOST_JSON} bytes, and says its length.")
    try:
        return json.loads(request.get_data(cache=False))
    except (ValueError, RecursionError):
        raise RequestInvalid("The body is no JSON.") from None


def _check(kind: type[Document], given: Any) -> Document:
    """Check what came, and name the fields that do not fit; never their values."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        known = set(kind.model_fields)
        names = {str(part) for problem in error.errors() for part in problem["loc"][:1]}
        wrong = ", ".join(sorted(names & known))
        if wrong:
            raise RequestInvalid(f"These values do not fit: {wrong}. See /api/v1/openapi.json.") from None
        raise RequestInvalid(f"What is taken here: {', '.join(sorted(known)) or 'nothing'}.") from None
