"""Administration in the browser: models, retention, audit log, state; and the evaluation page."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from mammolens.models.bundle import BUILT_IN, DEFAULT
from mammolens.web import audit, models_in_use
from mammolens.web.administration import audit_log, models
from mammolens.web.app import Services, create_app
from mammolens.web.database.tables import AuditEvent, Case, CaseState, Image, ImageState, Result, Role
from mammolens.web.work import retention


@pytest.fixture
def services(home: Path, make_services: Callable[..., Services]) -> Services:
    """Services whose home is the process's own, with a second model installed."""
    opened = make_services(home=home)
    place = home / "models" / "second"
    shutil.copytree(BUILT_IN / DEFAULT, place)
    manifest = json.loads((place / "manifest.json").read_text())
    changes = {"name": "second", "version": "2", "metrics": [], "evaluation": None}
    (place / "manifest.json").write_text(json.dumps(manifest | changes))
    return opened


@pytest.fixture
def app(services: Services) -> Flask:
    made = create_app(services)
    made.testing = True
    return made


@pytest.fixture
def chief(client: FlaskClient, people: Callable[..., Any], sign_in: Callable[..., Any]) -> Any:
    person = people("chief", Role.ADMINISTRATOR)
    sign_in(client, person)
    return person


def entries(services: Services, action: str) -> list[AuditEvent]:
    with services.database.reading() as session:
        return list(session.scalars(select(AuditEvent).where(AuditEvent.action == action).order_by(AuditEvent.number)))


def test_models_are_switched_and_rolled_back_in_the_browser(
    client: FlaskClient, chief: Any, services: Services, csrf: Callable[..., dict[str, str]]
) -> None:
    page = client.get("/administration/").get_data(as_text=True)
    assert "second" in page
    assert "No other model was in use yet." in page
    switched = client.post("/administration/models/switch", data={"place": "second"}, headers=csrf(client))
    assert switched.status_code == 303
    with services.database.reading() as session:
        assert models_in_use.current(session).version == "2"
    again = client.post("/administration/models/switch", data={"place": "second"}, headers=csrf(client))
    assert again.status_code == 409
    assert client.post("/administration/models/roll-back", headers=csrf(client)).status_code == 303
    with services.database.reading() as session:
        assert models_in_use.current(session).name == DEFAULT
    [switch], [back] = entries(services, "model-switched"), entries(services, "model-rolled-back")
    assert (switch.subject, back.subject) == ("model second", f"model {DEFAULT}")
    assert switch.detail["before"] == back.detail["sha256"]


def test_cases_follow_a_switch_of_the_model(services: Services, people: Callable[..., Any]) -> None:
    nurse = people("nurse")
    second = next(one for one in models_in_use.available() if one.place == "second")
    with services.database.session() as session:
        first = models_in_use.current(session)
        case = Case(
            number=1001, owner_id=nurse.id, examination="e", state=CaseState.ANSWERED, score=0.2, label="benign"
        )
        session.add(case)
        session.flush()
        image = Image(case_id=case.id, sha256="b" * 64, bytes=1, kind="png", state=ImageState.ANSWERED)
        session.add(image)
        session.flush()
        for sha, probability, label in ((second.sha256, 0.9, "malignant"), (first.sha256, 0.2, "benign")):
            session.add(
                Result(
                    image_id=image.id, model_name="m", model_version="1", model_sha256=sha, probability=probability,
                    logit=math.log(probability / (1 - probability)), threshold=0.5, label=label, confidence=0.5,
                    regions=[], notices=[], geometry={}, timing_ms={},
                )
            )  # fmt: skip
            session.flush()
        case_id = case.id
    use = models.switch(services, "second", "chief")
    assert models.refresh_cases(services, use) == 1
    with services.database.reading() as session:
        assert session.get_one(Case, case_id).score == pytest.approx(0.9)
    models.refresh_in_background(services, models.roll_back(services, "chief")).join(60)
    with services.database.reading() as session:
        assert session.get_one(Case, case_id).score == pytest.approx(0.2)
    assert models.refresh_cases(services, use) == 0  # no longer in use


def test_retention_is_chosen_and_wrong_days_are_refused(
    client: FlaskClient, chief: Any, services: Services, csrf: Callable[..., dict[str, str]]
) -> None:
    assert client.post("/administration/retention", data={"days": "90"}, headers=csrf(client)).status_code == 303
    with services.database.reading() as session:
        assert retention.days(session) == 90
    assert "90 days" in client.get("/administration/").get_data(as_text=True)
    for wrong in ("0", "-1", "1.5", "٣", "9999999", "x"):
        assert client.post("/administration/retention", data={"days": wrong}, headers=csrf(client)).status_code == 400
    assert client.post("/administration/retention", data={"days": ""}, headers=csrf(client)).status_code == 303
    with services.database.reading() as session:
        assert retention.days(session) is None


def test_audit_log_is_filtered_paged_and_verified(
    client: FlaskClient, chief: Any, services: Services, csrf: Callable[..., dict[str, str]]
) -> None:
    with services.database.session() as session:
        for number in range(audit_log.PAGE + 5):
            audit.record(session, "nurse", "case-seen", f"case A-{2000 + number}", {"views": 4})
    page = client.get("/administration/audit?action=case-seen&actor=nurse").get_data(as_text=True)
    assert "A-2104" in page
    assert "A-2004<" not in page
    assert "before=" in page
    one = client.get("/administration/audit?subject=A-2003").get_data(as_text=True)
    assert one.count('<td class="nowrap">case-seen</td>') == 1
    assert "No entry fits" in client.get("/administration/audit?subject=%25").get_data(as_text=True)
    assert "No entry fits" in client.get("/administration/audit?last=2001-01-01").get_data(as_text=True)
    assert client.get("/administration/audit?first=yesterday").status_code == 400
    assert client.get("/administration/audit?before=x").status_code == 400
    verified = client.post("/administration/audit/verify", headers=csrf(client))
    assert "The chain is whole" in verified.get_data(as_text=True)


def test_every_page_of_the_log_follows_on_the_one_before(services: Services) -> None:
    with services.database.session() as session:
        for number in range(2 * audit_log.PAGE):
            audit.record(session, "nurse", "case-seen", f"case A-{number}")
    seen: list[int] = []
    before: int | None = None
    with services.database.reading() as session:
        while True:
            found, before = audit_log.page(session, audit_log.Filter(), before)
            seen += [entry.number for entry in found]
            if before is None:
                break
    assert seen == list(range(2 * audit_log.PAGE, 0, -1))


def test_evaluation_page_tells_the_bundles_figures_and_that_some_are_not_recorded(
    client: FlaskClient, chief: Any, services: Services
) -> None:
    page = client.get("/evaluation").get_data(as_text=True)
    assert "0.715 (0.680–0.748)" in page  # AUC per breast, as the model card has it
    assert "too few women, or one class" in page
    assert page.count('<svg class="chart"') == 3  # curve, calibration, weeks: nothing has been answered here
    assert "No pictures have come in these days." in page
    assert "style=" not in page
    models.switch(services, "second", "chief")
    bare = client.get("/evaluation").get_data(as_text=True)
    assert "Not recorded: nobody has measured this model." in bare
    assert "The curve is not recorded in this bundle" in bare


def test_evaluation_page_without_the_bundle_in_use_says_so(client: FlaskClient, chief: Any, services: Services) -> None:
    models.switch(services, "second", "chief")
    shutil.rmtree(services.settings.home / "models" / "second")
    page = client.get("/evaluation")
    assert page.status_code == 200
    assert "has changed or is gone" in page.get_data(as_text=True)
    assert client.get("/administration/").status_code == 200


def test_readers_see_the_evaluation_and_not_the_administration(
    client: FlaskClient, people: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    sign_in(client, people("nurse", Role.READER))
    assert client.get("/evaluation").status_code == 200
    assert client.get("/administration/").status_code == 403
    assert client.get("/administration/audit").status_code == 403
