"""Failures as people and programs read them, and what none of them tells."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError

from mammolens import errors
from mammolens.web.access import Permission, allow
from mammolens.web.app import Services
from mammolens.web.failures import status_of

NAMES = [f"CANARY{number:04d}^ZENOBIA" for number in range(1000)]
"""Made-up patients' names."""


@pytest.fixture
def app(services: Services, app_of: Any) -> Flask:
    """Make the guard, the failure pages and the account pages."""
    made: Flask = app_of(services, "mammolens.web.views.account")
    return made


def raising(app: Flask, error: Exception, address: str = "/fails") -> None:
    def fail() -> str:
        raise error

    app.add_url_rule(address, endpoint=address.strip("/").replace("/", "-"), view_func=allow(Permission.PUBLIC)(fail))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.PermissionMissing("m"), 403),
        (errors.NotFound("m"), 404),
        (errors.CaseConflict("m"), 409),
        (errors.QuotaExceeded("m"), 413),
        (errors.TooLarge("m"), 413),
        (errors.NoBreast("m"), 422),
        (errors.RequestInvalid("m"), 400),
        (errors.Overloaded("m"), 503),
        (errors.DatabaseUnavailable("m"), 503),
        (errors.StorageFull("m"), 507),
        (errors.InternalError("m"), 500),
    ],
)
def test_error_is_a_page_for_people_and_a_problem_document_for_programs(
    app: Flask, client: Any, error: errors.MammolensError, status: int
) -> None:
    raising(app, error)
    raising(app, error, "/api/v1/fails")
    page = client.get("/fails", headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.status_code == status == status_of(error)
    assert page.mimetype == "text/html"
    assert error.code in page.get_data(as_text=True)
    for address, accept in (("/fails", "application/json"), ("/api/v1/fails", "*/*")):
        answer = client.get(address, headers={"Accept": accept})
        assert answer.status_code == status
        assert answer.mimetype == "application/problem+json"
        assert answer.json["status"] == status
        assert answer.json["code"] == error.code
        # A program reads the library's words, a person those of the catalogue.
        assert answer.json["detail"]
        assert answer.json["detail"] == "m" or not address.startswith("/api/")
        assert set(answer.json) - {"incident"} == {"type", "title", "status", "detail", "code"}


def test_every_error_of_the_tree_has_a_status_that_is_a_failure() -> None:
    kinds = [errors.MammolensError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    ours = {status_of(kind("m")) for kind in kinds if kind.__module__ == errors.__name__}
    assert ours <= {400, 401, 403, 404, 409, 413, 422, 500, 503, 507}


def test_unforeseen_error_gives_a_number_that_stands_in_the_log(
    app: Flask, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    raising(app, KeyError("CANARY"))
    with caplog.at_level(logging.INFO):
        answer = client.get("/fails", headers={"Accept": "application/json"})
    assert answer.status_code == 500
    assert re.fullmatch(r"[0-9a-f]{8}", answer.json["incident"])
    assert answer.json["incident"] in caplog.text
    assert "KeyError at " in caplog.text
    assert "test_failure_pages.py" in caplog.text


def test_thousand_made_up_names_in_exceptions_are_in_no_page_and_no_log(
    app: Flask, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """In texts of exceptions, their causes, addresses, query strings, file names, headers and form fields."""
    current = {"name": ""}

    def fail() -> str:
        try:
            raise ValueError(current["name"])
        except ValueError as error:
            raise RuntimeError(f"of {current['name']}") from error

    app.add_url_rule("/fails", endpoint="fails", view_func=allow(Permission.PUBLIC)(fail))
    seen = []
    with caplog.at_level(logging.INFO):
        for number, name in enumerate(NAMES):
            current["name"] = name
            accept = ("text/html", "application/json")[number % 2]
            answer = client.get("/fails", headers={"Accept": accept, "X-Name": name})
            assert answer.status_code == 500
            seen.append(answer.get_data(as_text=True))
        for name in NAMES[:40]:
            for accept in ("text/html", "application/json"):
                seen += [
                    client.get(f"/cases/{name}", headers={"Accept": accept}).get_data(as_text=True),
                    client.post("/look", data={"theme": name}, headers={"Accept": accept}).get_data(as_text=True),
                ]
    assert "CANARY" not in re.sub(r'name="back" value="[^"]*"', "", "".join(seen))
    assert "CANARY" not in caplog.text
    assert caplog.text.count("incident") == len(NAMES)


def test_refusals_are_in_the_log_with_who_and_where(
    app: Flask, client: Any, people: Any, sign_in: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app.add_url_rule("/admin", endpoint="admin", view_func=allow(Permission.ADMINISTER)(lambda: ""))
    nurse = people("nurse")
    sign_in(client, nurse)
    with caplog.at_level(logging.WARNING):
        assert client.get("/admin").status_code == 403
        assert client.post("/sign-out").status_code == 400
        assert app.test_client().get("/account").status_code == 401
    assert [record.getMessage() for record in caplog.records] == [
        f"refused permission-missing: user {nurse.id} at admin",
        f"refused CSRFError: user {nurse.id} at account.sign_out",
    ]


def test_absent_database_is_503_and_not_a_mistake_of_ours(app: Flask, client: Any) -> None:
    raising(app, OperationalError("SELECT CANARY", {}, Exception("CANARY")))
    answer = client.get("/fails", headers={"Accept": "application/json"})
    assert answer.status_code == 503
    assert answer.json["code"] == "database-unavailable"
    assert answer.headers["Retry-After"] == "10"
    assert "CANARY" not in answer.get_data(as_text=True)


@pytest.mark.parametrize(("method", "address", "status"), [("GET", "/nowhere", 404), ("DELETE", "/sign-in", 405)])
def test_addresses_and_methods_that_are_not_there_are_told_in_our_words(
    client: Any, method: str, address: str, status: int
) -> None:
    answer = client.open(address, method=method, headers={"Accept": "application/json"})
    assert answer.status_code == status
    assert answer.json["code"] == {404: "not-found", 405: "request-invalid"}[status]
    assert status != 405 or {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))


def test_page_for_who_is_not_signed_in_is_the_sign_in_form_with_401(client: Any) -> None:
    answer = client.get("/account", headers={"Accept": "text/html"})
    assert answer.status_code == 401
    assert 'action="/sign-in"' in answer.get_data(as_text=True)
    assert "WWW-Authenticate" not in answer.headers
