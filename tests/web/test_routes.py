"""Every route of the application by everybody who may not: 401, 403 or 404; a route without a row here fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, url_for
from sqlalchemy import select

from mammolens.web.access import ROLES, Permission
from mammolens.web.database.tables import (
    Batch,
    BatchFile,
    Case,
    CaseState,
    Image,
    ImageState,
    Job,
    JobKind,
    Result,
    Role,
    SignIn,
    User,
)
from mammolens.web.security import tokens

MODEL = "ab" * 32

TABLE = """
static                            public     -
shell.look                        public     -
account.sign_in                   public     -
account.check_sign_in             public     -
account.code                      public     -
account.check_code                public     -
account.sign_out                  account    -
account.index                     account    -
account.password                  account    -
account.change_password           account    -
account.end_session               account    owned
account.end_other_sessions        account    -
account.second_step               account    -
account.begin_second_step         account    -
account.confirm_second_step       account    -
account.turn_off_second_step      account    -
account.make_token                account    -
account.revoke_token              account    owned
account.keep_preferences          account    -
users.index                       administer -
users.add                         administer -
users.change                      administer -
users.disable                     administer -
users.enable                      administer -
users.reset                       administer -
users.add_group                   administer -
users.remove_group                administer -
administration.index              administer -
administration.audit_pages        administer -
administration.verify_audit       administer -
administration.import_model       administer -
administration.roll_back          administer -
administration.switch_model       administer -
administration.set_retention      administer -
worklist.index                    view       -
worklist.changes                  view       -
uploads.open_batches              upload     -
uploads.new_batch                 upload     -
uploads.batch                     upload     owned
uploads.cancel                    upload     owned
uploads.close                     upload     owned
uploads.events                    upload     owned
uploads.known                     upload     owned
uploads.file                      upload     owned
uploads.cancel_file               upload     owned
uploads.retry_file                upload     owned
case.show                         view       owned
case.state                        view       owned
case.card                         view       -
case.remember                     account    -
case.delete                       delete     owned
assessments.write                 assess     owned
assessments.disagreements         view       -
assessments.table                 export     -
exports.as_json                   export     owned
exports.as_pdf                    export     owned
pictures.colours                  view       -
pictures.thumb                    view       owned
pictures.preview                  view       owned
pictures.levels                   view       owned
pictures.tile                     view       owned
pictures.heat                     view       owned
pictures.grid                     view       owned
pictures.overlay                  view       owned
pictures.export                   export     owned
pictures.export_overlay           export     owned
pictures.export_pair              export     owned
evaluation.index                  view       -
api_v1.live                       public     -
api_v1.ready                      public     -
api_v1.openapi                    public     -
api_v1.me                         view       -
api_v1.metrics                    metrics    -
api_v1.listed                     view       -
api_v1.case                       view       owned
api_v1.delete                     delete     owned
api_v1.history                    view       owned
api_v1.assess                     assess     owned
api_v1.report                     export     owned
api_v1.upload                     upload     -
api_v1.image                      view       owned
api_v1.artifacts                  view       owned
api_v1.artifact                   export     owned
api_v1.prediction                 view       owned
api_v1.job                        view       owned
api_v1.cancel_job                 upload     owned
api_v1.retry_job                  upload     owned
"""
"""Endpoint, permission, and whether it is about something that belongs to somebody."""

ROWS = {row[0]: (Permission(row[1]), row[2] == "owned") for row in map(str.split, TABLE.strip().splitlines())}
BODIES = {
    "assessments.write": {"laterality": "L", "birads": "2", "agrees": "", "comment": ""},
    "api_v1.assess": {"laterality": "L", "birads": 2},
    "uploads.known": {"hashes": {}},
}


@pytest.fixture
def belongings(services: Any, people: Any, app: Flask, sign_in: Any) -> dict[str, Any]:
    """One of everything that can belong to somebody: all of it the user ``owner``'s, of the group ``north``."""
    owner = people("owner", group="north")
    sign_in(app.test_client(), owner)
    with services.database.session() as session:
        case = Case(number=1001, owner_id=owner.id, group_id=owner.group_id, examination="e", state=CaseState.ANSWERED)
        session.add(case)
        session.flush()
        image = Image(case_id=case.id, sha256="cd" * 32, bytes=1, kind="png", state=ImageState.ANSWERED)
        session.add(image)
        session.flush()
        job = Job(image_id=image.id, kind=JobKind.ANSWER)
        batch = Batch(owner_id=owner.id)
        result = Result(
            image_id=image.id, model_name="m", model_version="1", model_sha256=MODEL, probability=0.5, logit=0.0,
            threshold=0.5, label="benign", confidence=0.5, regions=[], notices=[],
            geometry={"box": [0, 0, 1, 1], "mirrored": False, "size": [1, 1]}, timing_ms={},
        )  # fmt: skip
        session.add_all([job, batch, result])
        session.flush()
        file = BatchFile(batch_id=batch.id, name="x.png", image_id=image.id)
        session.add(file)
        token, _ = tokens.make(session, session.get_one(User, owner.id), "script", {Permission.VIEW})
        session.flush()
        sign_in_id = session.scalar(select(SignIn.id).where(SignIn.user_id == owner.id))
        return {
            "case_id": case.id, "image_id": image.id, "job_id": job.id, "batch_id": batch.id, "file_id": file.id,
            "token_id": token.id, "sign_in_id": sign_in_id, "user_id": owner.id, "group_id": owner.group_id,
            "model": MODEL[:16], "model_sha256": MODEL, "level": 0, "x": 0, "y": 0, "name": "overlay.png",
            "filename": "base.css",
        }  # fmt: skip


def requests(app: Flask, values: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Endpoint, method and address of every route."""
    for rule in app.url_map.iter_rules():
        with app.test_request_context():
            address = url_for(rule.endpoint, **{name: values[name] for name in rule.arguments})
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            yield rule.endpoint, method, address


def ask(client: Any, csrf: Any, endpoint: str, method: str, address: str) -> Any:
    headers = csrf(client) if method != "GET" else {}
    body = BODIES.get(endpoint, {})
    if endpoint in ("uploads.known", "uploads.new_batch") or address.startswith("/api/"):
        return client.open(address, method=method, headers=headers, json=body if method != "GET" else None)
    return client.open(address, method=method, headers=headers, data=body)


def test_every_route_has_a_row_and_every_row_a_route(app: Flask) -> None:
    present = {
        rule.endpoint: app.view_functions[rule.endpoint].permission
        for rule in app.url_map.iter_rules()  # type: ignore[attr-defined]
    }
    assert present == {endpoint: permission for endpoint, (permission, _owned) in ROWS.items()}


def test_every_route_about_something_of_somebodys_is_marked_so(app: Flask) -> None:
    about = {"case_id", "image_id", "job_id", "batch_id", "file_id", "token_id", "sign_in_id"}
    owned = {rule.endpoint for rule in app.url_map.iter_rules() if about & rule.arguments}
    assert owned == {endpoint for endpoint, (_permission, owned) in ROWS.items() if owned}


def test_who_is_not_signed_in_gets_401_everywhere_but_at_the_door(app: Flask, csrf: Any, belongings: Any) -> None:
    asked = 0
    for endpoint, method, address in requests(app, belongings):
        if ROWS[endpoint][0] is Permission.PUBLIC:
            continue
        asked += 1
        assert ask(app.test_client(), csrf, endpoint, method, address).status_code == 401, (endpoint, method)
    assert asked > 70


@pytest.mark.parametrize("role", [Role.VIEWER, Role.READER])
def test_role_without_the_permission_gets_403(
    app: Flask, csrf: Any, people: Any, sign_in: Any, belongings: Any, role: Role
) -> None:
    """In the owner's own group, so that it is the role that refuses."""
    client, asked = app.test_client(), 0
    sign_in(client, people("colleague", role, "north"))
    for endpoint, method, address in requests(app, belongings):
        if ROWS[endpoint][0] in ROLES[role]:
            continue
        asked += 1
        assert ask(client, csrf, endpoint, method, address).status_code == 403, (endpoint, method)
    assert asked >= 15


@pytest.mark.parametrize("group", [None, "south"])
def test_what_is_anothers_is_not_found(
    app: Flask, csrf: Any, people: Any, sign_in: Any, services: Any, belongings: Any, group: str | None
) -> None:
    """A reader with every permission that readers have, of another group or of none."""
    client, asked = app.test_client(), 0
    sign_in(client, people("stranger", Role.READER, group))
    for endpoint, method, address in requests(app, belongings):
        if not ROWS[endpoint][1]:
            continue
        asked += 1
        assert ask(client, csrf, endpoint, method, address).status_code == 404, (endpoint, method)
    assert asked > 30
    with services.database.reading() as session:
        assert session.scalar(select(Case.id)) == belongings["case_id"]
        assert session.scalar(select(Job.state)).value == "queued"


def test_what_is_anothers_looks_like_what_is_not_there(
    app: Flask, csrf: Any, people: Any, sign_in: Any, belongings: Any
) -> None:
    client = app.test_client()
    sign_in(client, people("stranger"))
    for there in (f"/cases/{belongings['case_id']}", f"/pictures/{belongings['image_id']}/preview.png"):
        missing = there.replace(belongings["case_id"], "0" * 32).replace(belongings["image_id"], "0" * 32)
        answers = [client.get(address, headers={"Accept": "application/json"}) for address in (there, missing)]
        assert answers[0].status_code == answers[1].status_code == 404
        assert answers[0].json == answers[1].json
