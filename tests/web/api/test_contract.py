"""The API against its own description: schemathesis makes up requests and holds the answers against the document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings

pytest.importorskip("schemathesis", reason="schemathesis is not installed")

import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from mammolens.web.database.tables import Role

pytestmark = pytest.mark.slow

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
)
EXAMPLES = 40
"""Requests made up for each operation."""


settle = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


def _checked(told: set[int], known: dict[str, str], token: str) -> Callable[..., None]:
    """Make what sends one request; it notes the status that came back."""

    def check(case: Any) -> None:
        # Made-up identifiers are never there: every second request is about a case that is.
        if case.path_parameters and len(told) % 2 == 0 and case.method != "DELETE":
            case.path_parameters.update({name: known[name] for name in known if name in case.path_parameters})
        response = case.call(headers={"Authorization": f"Bearer {token}"})
        told.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    return check


def test_every_answer_to_made_up_requests_is_as_described(
    api_app: Flask, program: Callable[..., Any], examination: Callable[..., dict[str, str]]
) -> None:
    admin = program("admin", Role.ADMINISTRATOR)
    made = examination(admin.user_id)
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", api_app)
    known = {"case_id": made["case"], "image_id": made["image"], "job_id": made["job"]}
    statuses: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        told = statuses.setdefault(operation.label, set())

        settle(given(case=operation.as_strategy())(_checked(told, known, admin.token)))()
    # All but the document itself, which schemathesis leaves out.
    assert len(statuses) == 18
    assert statuses["GET /cases"] >= {200, 400}
    assert statuses["POST /cases/{case_id}/assessments"] >= {201, 400}
    assert statuses["GET /health/live"] == {200}
