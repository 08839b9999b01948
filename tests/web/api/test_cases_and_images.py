"""Cases, images, answers, files and assessments by the API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mammolens.web.access import Permission
from mammolens.web.app import Services
from mammolens.web.database.tables import Assessment, AuditEvent, Image, ImageState, Job, JobState, Role, User

NONE = "0" * 32


def test_an_image_comes_with_its_answer_and_without_a_name(program: Any, examination: Any) -> None:
    robot = program()
    made = examination(robot.user_id)
    answer = robot.get(f"/images/{made['image']}")
    assert answer.status_code == 200
    told = answer.get_json()
    assert told["case"] == made["case"]
    assert told["job"] == made["job"]
    assert told["state"] == "answered"
    assert told["pixel_spacing_mm"] == [0.1, 0.1]
    assert told["prediction"]["probability"] == 0.62
    assert told["prediction"]["label"] == "malignant"
    assert told["prediction"]["regions"] == [{"box": [812, 1033, 1020, 1260], "centre": [915, 1140], "score": 0.9}]
    assert told["prediction"]["warnings"] == [{"code": "view-unknown", "message": "The view is not known."}]
    assert "q7canary" not in answer.get_data(as_text=True).lower()


def test_a_refused_image_says_why_and_has_no_prediction(program: Any, examination: Any) -> None:
    robot = program()
    made = examination(robot.user_id)
    told = robot.get(f"/images/{made['refused']}").get_json()
    assert told["state"] == "refused"
    assert told["error"] == {"code": "no-breast", "message": "No breast was found in the picture."}
    assert told["prediction"] is None
    refused = robot.get(f"/images/{made['refused']}/prediction")
    assert refused.status_code == 422
    assert refused.mimetype == "application/problem+json"
    assert refused.get_json()["code"] == "no-breast"


def test_an_image_that_waits_answers_409_until_it_is_answered(
    program: Any, examination: Any, services: Services
) -> None:
    robot = program()
    made = examination(robot.user_id)
    with services.database.session() as session:
        image = session.get_one(Image, made["refused"])
        image.state, image.error_code, image.error_message = ImageState.QUEUED, None, None
    waiting = robot.get(f"/images/{made['refused']}/prediction")
    assert waiting.status_code == 409
    assert waiting.get_json()["code"] == "conflict"
    assert robot.get(f"/images/{made['image']}/prediction").get_json()["probability"] == 0.62


@pytest.mark.parametrize(
    "path",
    [
        "/cases/{case}",
        "/cases/{case}/report",
        "/cases/{case}/assessments",
        "/images/{image}",
        "/images/{image}/prediction",
        "/images/{image}/artifacts",
        "/images/{image}/artifacts/overlay.png",
        "/jobs/{job}",
    ],
)
def test_what_another_owns_looks_like_what_does_not_exist(program: Any, examination: Any, path: str) -> None:
    owner, other = program("owner"), program("other")
    made = examination(owner.user_id)
    assert owner.get(path.format(**made)).status_code in (200, 404)
    hidden = other.get(path.format(**made))
    missing = other.get(path.format(case=NONE, image=NONE, job=NONE))
    assert hidden.status_code == missing.status_code == 404
    assert hidden.get_json() == missing.get_json()


def test_a_group_shares_its_cases(program: Any, examination: Any, people: Any) -> None:
    first, second = program("first", group="ward"), program("second", group="ward")
    group = people("third", Role.READER, "ward").group_id
    made = examination(first.user_id, group_id=group)
    assert second.get(f"/cases/{made['case']}").get_json()["number"] == "A-1001"


def test_a_case_holds_its_images_and_its_highest_score(program: Any, examination: Any) -> None:
    robot = program()
    made = examination(robot.user_id)
    told = robot.get(f"/cases/{made['case']}").get_json()
    assert (told["number"], told["state"], told["score"], told["label"]) == (
        "A-1001",
        "answered",
        pytest.approx(0.62),
        "malignant",
    )
    assert told["images_count"] == 2
    assert {one["id"] for one in told["images"]} == {made["image"], made["refused"]}


def test_looking_and_taking_is_written_into_the_audit_log(
    program: Any, examination: Any, services: Services, lay_artifact: Any
) -> None:
    robot = program()
    made = examination(robot.user_id)
    lay_artifact(made["image"], "overlay.png", b"\x89PNG")
    robot.get(f"/cases/{made['case']}")
    robot.get(f"/cases/{made['case']}/report")
    robot.get(f"/images/{made['image']}/artifacts/overlay.png")
    with services.database.reading() as session:
        events = session.scalars(select(AuditEvent).order_by(AuditEvent.number)).all()
    assert [(event.actor, event.action, event.subject) for event in events] == [
        ("robot", "case-seen", "case A-1001"),
        ("robot", "report-exported", "case A-1001"),
        ("robot", "picture-exported", "case A-1001"),
    ]


def test_artifacts_are_those_that_lie_there(
    program: Any, examination: Any, lay_artifact: Callable[[str, str, bytes], Path]
) -> None:
    robot = program()
    made = examination(robot.user_id)
    assert robot.get(f"/images/{made['image']}/artifacts").get_json() == {"artifacts": []}
    lay_artifact(made["image"], "preview.png", b"\x89PNG-preview")
    lay_artifact(made["image"], "overlay.png", b"\x89PNG-overlay!")
    told = robot.get(f"/images/{made['image']}/artifacts").get_json()["artifacts"]
    assert [(one["name"], one["bytes"]) for one in told] == [("preview.png", 12), ("overlay.png", 13)]
    got = robot.get(f"/images/{made['image']}/artifacts/overlay.png")
    assert (got.data, got.mimetype) == (b"\x89PNG-overlay!", "image/png")
    assert got.headers["Content-Disposition"].startswith("attachment")
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    for name in ("heat.npy", "..%2f..%2f..%2fsecret.key", "secret.key", "levels.json"):
        assert robot.get(f"/images/{made['image']}/artifacts/{name}").status_code == 404, name


def test_a_token_without_the_scope_is_refused(program: Any, examination: Any, services: Services) -> None:
    looks = program("looks", scopes={Permission.VIEW})
    made = examination(looks.user_id)
    assert looks.get(f"/cases/{made['case']}").status_code == 200
    for method, path in (
        ("GET", f"/cases/{made['case']}/report"),
        ("GET", f"/images/{made['image']}/artifacts/overlay.png"),
        ("POST", f"/jobs/{made['job']}/cancel"),
        ("GET", "/metrics"),
    ):
        refused = looks.send(method, path)
        assert refused.status_code == 403, path
        assert refused.get_json()["code"] == "permission-missing"
    finding = {"laterality": "L", "birads": 4}
    assert looks.post(f"/cases/{made['case']}/assessments", json=finding).status_code == 403
    with services.database.reading() as session:
        assert session.scalars(select(Assessment)).all() == []


def test_an_assessment_is_kept_with_what_the_model_said_of_the_breast(program: Any, examination: Any) -> None:
    robot = program()
    made = examination(robot.user_id)
    path = f"/cases/{made['case']}/assessments"
    first = robot.post(path, json={"laterality": "L", "birads": 4, "agrees": True, "comment": " by hand "})
    assert first.status_code == 201
    told = first.get_json()
    assert (told["birads"], told["agrees"], told["comment"], told["reader"]) == (4, True, "by hand", "robot")
    assert told["probability"] == 0.62
    robot.post(path, json={"laterality": "L", "birads": 2})
    history = robot.get(path).get_json()["assessments"]
    assert [one["birads"] for one in history] == [2, 4]
    assert robot.get(f"/cases/{made['case']}").get_json()["birads"] == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"laterality": "X", "birads": 4}, "laterality"),
        ({"laterality": "L", "birads": 7}, "birads"),
        ({"laterality": "L", "birads": "4"}, "birads"),
        ({"laterality": "L", "birads": True}, "birads"),
        ({"laterality": "L"}, "birads"),
        ({"laterality": "L", "birads": 1, "agrees": "yes"}, "agrees"),
        ({"laterality": "L", "birads": 1, "comment": "Q7CANARY\0"}, "comment"),
        ({"laterality": "L", "birads": 1, "comment": "x" * 5000}, "comment"),
    ],
)
def test_a_value_that_does_not_fit_is_named_and_not_repeated(
    program: Any, examination: Any, body: dict[str, Any], field: str
) -> None:
    robot = program()
    made = examination(robot.user_id)
    refused = robot.post(f"/cases/{made['case']}/assessments", json=body)
    assert refused.status_code == 400
    told = refused.get_json()
    assert told["code"] == "request-invalid"
    assert f"These values do not fit: {field}." in told["detail"]
    assert "Q7CANARY" not in refused.get_data(as_text=True)


@pytest.mark.parametrize(
    ("data", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[" * 20000, "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"laterality": "L", "birads": 4}', "text/plain", 400),
        (b'"' + b"x" * (64 << 10) + b'"', "application/json", 413),
    ],
)
def test_a_body_that_is_no_small_json_is_refused(
    program: Any, examination: Any, data: bytes, kind: str, status: int
) -> None:
    robot = program()
    made = examination(robot.user_id)
    refused = robot.post(f"/cases/{made['case']}/assessments", data=data, content_type=kind)
    assert refused.status_code == status
    assert refused.mimetype == "application/problem+json"


def test_a_job_that_waits_can_be_cancelled_and_tried_again(program: Any, examination: Any, services: Services) -> None:
    robot = program()
    made = examination(robot.user_id)
    assert robot.post(f"/jobs/{made['job']}/cancel").status_code == 409
    with services.database.session() as session:
        session.get_one(Image, made["refused"]).state = ImageState.QUEUED
        job = Job(image_id=made["refused"], kind="answer")
        session.add(job)
        session.flush()
        waiting = job.id
    assert robot.get(f"/jobs/{waiting}").get_json()["ahead"] == 0
    cancelled = robot.post(f"/jobs/{waiting}/cancel").get_json()
    assert (cancelled["id"], cancelled["state"]) == (waiting, "cancelled")
    again = robot.post(f"/jobs/{waiting}/retry")
    assert again.status_code == 201
    assert again.get_json()["state"] == "queued"
    with services.database.reading() as session:
        states = set(session.scalars(select(Job.state).where(Job.image_id == made["refused"])))
    assert states == {JobState.CANCELLED, JobState.QUEUED}


def test_a_colleague_sees_a_job_and_may_not_cancel_or_repeat_it(
    program: Any, examination: Any, services: Services
) -> None:
    robot, colleague = program(group="ward"), program("colleague", group="ward")
    with services.database.reading() as session:
        group_id = session.get_one(User, robot.user_id).group_id
    made = examination(robot.user_id, group_id=group_id)
    assert colleague.get(f"/jobs/{made['job']}").status_code == 200
    for deed in ("cancel", "retry"):
        refused = colleague.post(f"/jobs/{made['job']}/{deed}")
        assert (refused.status_code, refused.get_json()["code"]) == (403, "permission-missing")


def test_pages_give_every_case_once_and_only_those_one_sees(program: Any, examination: Any) -> None:
    robot, other = program(), program("other")
    made = [examination(robot.user_id, f"e{number}", 1001 + number)["case"] for number in range(5)]
    examination(other.user_id, "hers", 1050)
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = robot.get("/cases", query_string={"limit": 2, **after}).get_json()
        seen += [one["id"] for one in page["cases"]]
        assert len(page["cases"]) <= 2
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == made[::-1]


def test_cases_come_by_suspicion_on_request(program: Any, examination: Any) -> None:
    robot = program()
    for number, probability in enumerate((0.2, 0.9, 0.5)):
        examination(robot.user_id, f"e{number}", 1001 + number, probability=probability)
    told = robot.get("/cases", query_string={"order": "suspicion"}).get_json()["cases"]
    assert [one["score"] for one in told] == pytest.approx([0.9, 0.5, 0.2])


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 201},
        {"limit": "x"},
        {"order": "loudest"},
        {"state": "lost"},
        {"after": "x"},
        {"after": "0001-01-01T00:00:00+14:00~0"},
        {"after": "nan~0", "order": "suspicion"},
        {"after": "2026-01-01T00:00:00~0"},
        {"owner": "somebody"},
    ],
)
def test_a_query_that_does_not_fit_is_refused(program: Any, query: dict[str, Any]) -> None:
    refused = program().get("/cases", query_string=query)
    assert refused.status_code == 400
    assert refused.get_json()["code"] == "request-invalid"


def test_a_parameter_given_twice_is_refused(program: Any) -> None:
    assert program().get("/cases?limit=1&limit=2").status_code == 400
