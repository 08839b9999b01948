"""Liveness, readiness, figures, and the document that describes the API."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from mammolens.errors import DatabaseUnavailable
from mammolens.web.access import Permission
from mammolens.web.app import Services
from mammolens.web.database.columns import now
from mammolens.web.database.tables import Job, JobState, Role

DOCS = Path(__file__).parents[3] / "docs"
FIGURE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")


def figures(text: str) -> dict[tuple[str, str], float]:
    found = (FIGURE.match(line) for line in text.splitlines() if not line.startswith("#"))
    return {(match[1], match[2] or ""): float(match[3]) for match in found if match}


def test_alive_and_ready_need_no_token(api_app: Flask) -> None:
    client = api_app.test_client()
    assert client.get("/api/v1/health/live").get_json() == {"status": "live"}
    ready = client.get("/api/v1/health/ready")
    assert (ready.status_code, ready.get_json()["status"]) == (200, "ready")


def test_unready_while_jobs_wait_and_nobody_works(
    api_app: Flask, program: Any, examination: Any, services: Services
) -> None:
    made = examination(program().user_id)
    client = api_app.test_client()
    with services.database.session() as session:
        old = now() - dt.timedelta(minutes=5)
        session.add(Job(image_id=made["image"], kind="answer", created=old))
    unready = client.get("/api/v1/health/ready")
    assert unready.status_code == 503
    assert unready.get_json() == {"status": "unready", "database": True, "disk": True, "queue": False}
    with services.database.session() as session:
        ends = now() + dt.timedelta(seconds=30)
        session.add(Job(image_id=made["refused"], kind="answer", state=JobState.RUNNING, lease="x", lease_ends=ends))
    assert client.get("/api/v1/health/ready").status_code == 200


def test_unready_while_the_database_is_gone(
    api_app: Flask, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise DatabaseUnavailable("The database can't be reached at the moment. Try again shortly.")

    monkeypatch.setattr(services.database, "reading", gone)
    unready = api_app.test_client().get("/api/v1/health/ready")
    assert unready.status_code == 503
    assert unready.get_json()["database"] is False


def test_figures_count_jobs_cases_and_refusals(program: Any, examination: Any) -> None:
    admin = program("admin", Role.ADMINISTRATOR)
    examination(admin.user_id)
    answer = admin.get("/metrics")
    assert answer.mimetype == "text/plain"
    found = figures(answer.get_data(as_text=True))
    assert found["mammolens_jobs", 'kind="answer",state="done"'] == 1
    assert found["mammolens_cases", 'state="answered"'] == 1
    assert found["mammolens_images", 'state="refused"'] == 1
    assert found["mammolens_refusals", 'code="no-breast"'] == 1
    assert found["mammolens_answer_seconds", 'quantile="0.5"'] == pytest.approx(0.133)


def test_figures_name_no_woman_no_user_and_no_address(program: Any, examination: Any) -> None:
    admin = program("canaryadmin", Role.ADMINISTRATOR)
    made = examination(admin.user_id)
    admin.get(f"/cases/{made['case']}")
    admin.get("/nothing/q7canary")
    admin.send("CANARY", "/cases")
    text = admin.get("/metrics").get_data(as_text=True).lower()
    assert 'route="api_v1.case",method="get"' in text or 'method="get",route="api_v1.case"' in text
    for word in ("canary", made["case"], made["image"], admin.user_id, "a-1001"):
        assert word not in text, word


def test_figures_need_the_scope(program: Any) -> None:
    assert program(scopes={Permission.VIEW}).get("/metrics").status_code == 403


def test_me_tells_whose_the_token_is_and_what_it_may(program: Any) -> None:
    told = program("robot", scopes={Permission.VIEW, Permission.UPLOAD}).get("/me").get_json()
    assert told == {"name": "robot", "role": "reader", "scopes": ["public", "upload", "view"]}


@pytest.mark.parametrize("token", ["", "mml_wrong", "x" * 5000])
def test_a_token_that_does_not_work_is_refused(api_app: Flask, token: str) -> None:
    refused = api_app.test_client().get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})
    assert refused.status_code == 401
    assert refused.mimetype == "application/problem+json"
    assert refused.get_json()["code"] == "sign-in-required"


def test_the_document_tells_every_route_of_the_api_and_its_scope(api_app: Flask) -> None:
    told = api_app.test_client().get("/api/v1/openapi.json").get_json()
    assert told["openapi"].startswith("3.1")
    described = {
        (method.upper(), path)
        for path, methods in told["paths"].items()
        for method in methods
        if method != "parameters"
    }
    routes = {
        (method, re.sub(r"<(\w+)>", r"{\1}", rule.rule.removeprefix("/api/v1")))
        for rule in api_app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert described == routes
    assert len(routes) >= 19
    upload = told["paths"]["/images"]["post"]
    assert "`upload`" in upload["description"]
    assert set(upload["requestBody"]["content"]) >= {"application/dicom", "application/zip", "multipart/form-data"}
    assert told["paths"]["/health/live"]["get"]["security"] == []


def test_every_reference_of_the_document_leads_somewhere(api_app: Flask) -> None:
    told = api_app.test_client().get("/api/v1/openapi.json")
    schemas = told.get_json()["components"]["schemas"]
    named = set(re.findall(r"#/components/schemas/(\w+)", told.get_data(as_text=True)))
    assert named
    assert named <= set(schemas)


def test_behind_a_prefix_the_document_says_where_the_api_is(api_app: Flask) -> None:
    told = api_app.test_client().get("/api/v1/openapi.json", base_url="http://h/imaging/").get_json()
    assert told["servers"] == [{"url": "/imaging/api/v1"}]


def test_the_page_of_the_api_names_every_route_with_its_scope(api_app: Flask) -> None:
    told = api_app.test_client().get("/api/v1/openapi.json").get_json()["paths"]
    text = (DOCS / "web-api.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`(?:GET|POST|DELETE) .+?) \| (\S+) \|", text, re.MULTILINE)
    documented = {(route, scope.strip("`")) for cell, scope in rows for route in re.findall(r"`([A-Z]+ \S+)`", cell)}
    scopes = {
        (f"{method.upper()} {path}", (re.findall(r"`(\w+)`", one["description"]) or ["none"])[0])
        for path, methods in told.items()
        for method, one in methods.items()
    }
    assert documented == scopes


@pytest.mark.parametrize("name", ["tour.md", "web-api.md", "web-install.md", "web-administration.md"])
def test_what_the_pages_link_to_is_there(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    places = [place.partition("#")[0] for place in re.findall(r"\]\(([^)\s]+)\)", text) if place and "://" not in place]
    assert [place for place in places if not (DOCS / place).exists()] == []
    assert f"({name})" in (DOCS / "index.md").read_text(encoding="utf-8")
