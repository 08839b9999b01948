"""Uploading as the page does it: by requests, and with progress told as it goes."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import logging
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from mammolens import phantom
from mammolens.web.app import Services
from mammolens.web.database.tables import AuditEvent, Identifier, Image, ImageState, Job, JobState, Role
from mammolens.web.intake import progress
from mammolens.web.intake.slots import Slots
from mammolens.web.views.uploads import Places

PARTS = ("mammolens.web.views.account", "mammolens.web.views.uploads")


class Page:
    """What the page's script does, for somebody who is signed in."""

    def __init__(self, client: FlaskClient, header: Callable[[FlaskClient], dict[str, str]]) -> None:
        self.client, self._header = client, header

    def post(self, path: str, message: object = None, **more: Any) -> TestResponse:
        headers = {**self._header(self.client), "Accept": "application/json"}
        return self.client.post(f"/uploads{path}", json=message, headers=headers, **more)

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.client.get(f"/uploads{path}", headers={"Accept": "application/json"}, **more)

    def announce(self, *names: str) -> tuple[str, list[str]]:
        answer = self.post("/batches", {"names": names})
        assert answer.status_code == 201
        return answer.json["id"], answer.json["files"]

    def send(self, file_id: str, data: bytes) -> TestResponse:
        headers = {**self._header(self.client), "Accept": "application/json"}
        return self.client.post(
            f"/uploads/files/{file_id}", data=data, headers=headers, content_type="application/octet-stream"
        )


@pytest.fixture
def app(services: Services, app_of: Callable[..., Flask]) -> Flask:
    """Make an application with the parts that uploading needs."""
    return app_of(services, *PARTS)


@pytest.fixture
def page_of(
    app: Flask, people: Callable[..., Any], sign_in: Callable[..., TestResponse], csrf: Callable[..., dict[str, str]]
) -> Callable[..., Page]:
    """Sign somebody new in and give their page."""

    def make(name: str = "nurse", role: Role = Role.READER) -> Page:
        client = app.test_client()
        sign_in(client, people(name, role))
        return Page(client, csrf)

    return make


def test_a_file_goes_from_the_page_to_the_queue(
    page_of: Callable[..., Page], phantom_files: dict[str, bytes], services: Services
) -> None:
    page = page_of()
    batch, [file] = page.announce("STUDY/LCC.dcm")
    assert [one["state"] for one in page.get(f"/batches/{batch}").json["files"]] == ["expected"]
    answer = page.send(file, phantom_files["LCC.dcm"])
    assert answer.status_code == 201
    assert {name: answer.json[name] for name in ("outcome", "state", "duplicate", "number", "name")} == {
        "outcome": "received", "state": "queued", "duplicate": False, "number": "A-1001", "name": "STUDY/LCC.dcm",
    }  # fmt: skip
    told = page.get(f"/batches/{batch}").json
    assert (told["total"], told["arrived"], told["ended"], told["ahead"]) == (1, 1, 0, 0)
    assert told["files"][0]["image"] == answer.json["image"]
    with services.database.session() as session:
        session.get_one(Image, answer.json["image"]).state = ImageState.ANSWERED
    assert page.get(f"/batches/{batch}").json["ended"] == 1


def test_a_refused_file_says_what_would_help_now_and_after_a_reload(page_of: Callable[..., Page]) -> None:
    page = page_of()
    batch, [letter, empty] = page.announce("letter.pdf", "empty.dcm")
    answer = page.send(letter, b"%PDF-1.7")
    assert (answer.status_code, answer.json["code"]) == (422, "unknown-format")
    assert "Export the picture as DICOM" in answer.json["message"]
    assert page.send(empty, b"").status_code == 422
    [again] = page.get("/batches").json["batches"]
    assert again["id"] == batch
    assert [(file["state"], file["code"]) for file in again["files"]] == [("refused", "unknown-format")] * 2


def test_a_folder_dropped_again_is_not_sent_again(
    page_of: Callable[..., Page], phantom_files: dict[str, bytes]
) -> None:
    page = page_of()
    views = ["LCC.dcm", "RCC.dcm"]
    _, files = page.announce(*views)
    page.send(files[0], phantom_files["LCC.dcm"])
    # As the browser reckons: the preamble cleared.
    hashes = [hashlib.sha256(bytes(128) + phantom_files[name][128:]).hexdigest() for name in views]
    batch, again = page.announce(*views)
    answer = page.post(f"/batches/{batch}/known", {"hashes": dict(zip(again, hashes, strict=True))})
    assert answer.json == {"known": [again[0]]}
    states = [(file["state"], file["duplicate"]) for file in page.get(f"/batches/{batch}").json["files"]]
    assert states == [("queued", True), ("expected", False)]


def test_whether_another_has_a_file_is_not_told(page_of: Callable[..., Page], phantom_files: dict[str, bytes]) -> None:
    owner, other = page_of("owner"), page_of("other")
    _, [file] = owner.announce("LCC.dcm")
    owner.send(file, phantom_files["LCC.dcm"])
    batch, [mine] = other.announce("LCC.dcm")
    digest = hashlib.sha256(bytes(128) + phantom_files["LCC.dcm"][128:]).hexdigest()
    assert other.post(f"/batches/{batch}/known", {"hashes": {mine: digest}}).json == {"known": []}


def test_anothers_batch_and_files_are_not_there(page_of: Callable[..., Page], grey_png: Callable[[int], bytes]) -> None:
    owner, other = page_of("owner"), page_of("other")
    batch, [file] = owner.announce("1.png")
    answers = [
        other.get(f"/batches/{batch}"),
        other.get(f"/batches/{batch}/events"),
        other.post(f"/batches/{batch}/known", {"hashes": {}}),
        other.post(f"/batches/{batch}/close", {}),
        other.post(f"/batches/{batch}/cancel", {}),
        other.send(file, grey_png(1)),
        other.post(f"/files/{file}/cancel", {}),
        other.post(f"/files/{file}/retry", {}),
    ]
    assert [answer.status_code for answer in answers] == [404] * 8
    assert other.get("/batches").json == {"batches": []}
    assert owner.get(f"/batches/{batch}").json["files"][0]["state"] == "expected"


def test_who_may_not_upload_is_refused(page_of: Callable[..., Page], app: Flask) -> None:
    viewer = page_of("viewer", Role.VIEWER)
    assert viewer.post("/batches", {"names": ["a.dcm"]}).status_code == 403
    assert viewer.send("0" * 32, b"x").status_code == 403
    assert app.test_client().get("/uploads/batches", headers={"Accept": "application/json"}).status_code == 401


def test_a_request_without_the_pages_token_is_refused(page_of: Callable[..., Page]) -> None:
    page = page_of()
    _, [file] = page.announce("a.dcm")
    assert page.client.post(f"/uploads/files/{file}", data=b"x").status_code == 400
    assert page.client.post("/uploads/batches", json={"names": ["a"]}).status_code == 400


def test_a_zip_is_answered_file_by_file(
    page_of: Callable[..., Page], phantom_files: dict[str, bytes], services: Services
) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/LCC", phantom_files["LCC.dcm"])
        archive.writestr("a/notes.txt", "hello")
    page = page_of()
    batch, [file] = page.announce("study.zip")
    answer = page.send(file, stream.getvalue())
    lines = [json.loads(line) for line in answer.get_data(as_text=True).splitlines()]
    assert answer.status_code == 200
    assert [(line["outcome"], line["name"]) for line in lines] == [
        ("received", "study.zip/a/LCC"), ("refused", "study.zip/a/notes.txt"),
    ]  # fmt: skip
    # The ZIP's own row is gone: its files stand for it.
    assert [one["name"] for one in page.get(f"/batches/{batch}").json["files"]] == [line["name"] for line in lines]
    assert list((services.folder / "incoming").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/batches", {"names": []}),
        ("/batches", {"names": "a.dcm"}),
        ("/batches", {"names": [1]}),
        ("/batches", ["a.dcm"]),
        ("/batches", {"names": ["a"] * 2001}),
        ("/batches/BATCH/known", {"hashes": {"x": "short"}}),
        ("/batches/BATCH/known", {"hashes": ["a" * 64]}),
        ("/batches/BATCH/known", {}),
    ],
)
def test_a_message_that_does_not_fit_is_refused(page_of: Callable[..., Page], path: str, message: object) -> None:
    page = page_of()
    batch, _ = page.announce("a.dcm")
    answer = page.post(path.replace("BATCH", batch), message)
    assert (answer.status_code, answer.json["code"]) == (400, "request-invalid")


def test_a_message_of_gigabytes_is_refused_by_its_length(page_of: Callable[..., Page]) -> None:
    page = page_of()
    assert page.post("/batches", {"names": ["a" * (3 << 20)]}).status_code == 400


def test_low_disk_answers_507_and_keeps_what_there_is(
    make_services: Callable[..., Services], app_of: Callable[..., Flask], page_of: Callable[..., Page],
    sign_in: Callable[..., TestResponse], csrf: Callable[..., dict[str, str]], people: Callable[..., Any],
    grey_png: Callable[[int], bytes],
) -> None:  # fmt: skip
    client = app_of(make_services(upload_free_bytes=1 << 60), *PARTS).test_client()
    sign_in(client, people("nurse"))
    page = Page(client, csrf)
    batch, [file] = page.announce("1.png")
    answer = page.send(file, grey_png(1))
    assert (answer.status_code, answer.json["code"]) == (507, "storage-full")
    # It may be sent once there is room: nothing says that it was refused.
    assert page.get(f"/batches/{batch}").json["files"][0]["state"] == "expected"


def test_too_many_uploads_at_once_are_asked_to_wait(
    page_of: Callable[..., Page], app: Flask, grey_png: Callable[[int], bytes]
) -> None:
    page = page_of()
    _, [file] = page.announce("1.png")
    taken = Slots(1, each=1)
    assert taken.take("somebody")
    app.extensions["mammolens.uploads"] = Places(taken, Slots(0, each=1))
    answer = page.send(file, grey_png(1))
    assert (answer.status_code, answer.json["code"]) == (503, "overloaded")
    assert int(answer.headers["Retry-After"]) > 0
    taken.free("somebody")
    assert page.send(file, grey_png(1)).status_code == 201
    assert taken.take("somebody"), "the upload kept its place"


def test_progress_is_told_as_it_goes_and_ends_with_the_last_answer(
    page_of: Callable[..., Page], services: Services, grey_png: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = page_of()
    batch, [file] = page.announce("1.png")
    image = page.send(file, grey_png(1)).json["image"]
    states = iter([ImageState.RUNNING, ImageState.RUNNING, ImageState.ANSWERED])

    def work(_seconds: float) -> None:
        with services.database.session() as session:
            session.get_one(Image, image).state = next(states)

    monkeypatch.setattr(progress.time, "sleep", work)
    answer = page.get(f"/batches/{batch}/events")
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    events = [block.splitlines() for block in answer.get_data(as_text=True).strip().split("\n\n")]
    assert events[0] == ["retry: 1000"]
    told = [json.loads(lines[2].removeprefix("data: ")) for lines in events[1:-1]]
    # What has not changed is not told again.
    assert [one["files"][0]["state"] for one in told] == ["queued", "running", "answered"]
    assert events[-1][1] == "event: end"


def test_a_stream_without_a_place_leads_to_asking(
    page_of: Callable[..., Page], app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "STREAM_SECONDS", 0.3)
    page = page_of()
    batch, _ = page.announce("1.png")
    streams = Slots(1, each=1)
    app.extensions["mammolens.uploads"] = Places(Slots(1, each=1), streams)
    assert streams.take("somebody")
    assert page.get(f"/batches/{batch}/events").status_code == 204
    streams.free("somebody")
    answer = page.get(f"/batches/{batch}/events")
    assert answer.status_code == 200
    answer.get_data()
    answer.close()  # as the server does, whether the page listened to the end or went away
    assert streams.take("somebody"), "the stream kept its place after its end"


def test_a_stream_ends_by_itself(page_of: Callable[..., Page], grey_png: Callable[[int], bytes], services: Services,
                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    page = page_of()
    batch, [file] = page.announce("1.png")
    page.send(file, grey_png(1))
    monkeypatch.setattr(progress, "STREAM_SECONDS", 0.3)
    monkeypatch.setattr(progress, "STEP_SECONDS", 0.05)
    text = page.get(f"/batches/{batch}/events").get_data(as_text=True)
    assert text.count("event: progress") == 1
    assert "event: end" not in text


def test_cancelled_files_leave_the_queue_and_come_back_when_tried_again(
    page_of: Callable[..., Page], services: Services, grey_png: Callable[[int], bytes]
) -> None:
    page = page_of()
    batch, files = page.announce("1.png", "2.png", "3.png")
    for place, file in enumerate(files[:2]):
        page.send(file, grey_png(place))
    assert page.post(f"/files/{files[0]}/cancel", {}).status_code == 204
    assert page.post(f"/batches/{batch}/cancel", {}).json == {"cancelled": 1}
    assert [one["state"] for one in page.get(f"/batches/{batch}").json["files"]] == ["cancelled"] * 2
    assert page.post(f"/files/{files[0]}/retry", {}).status_code == 204
    assert page.post(f"/files/{files[0]}/retry", {}).status_code == 409
    with services.database.reading() as session:
        states = sorted(session.scalars(select(Job.state)))
    assert states == [JobState.CANCELLED, JobState.CANCELLED, JobState.QUEUED]


def test_a_batch_put_away_is_shown_no_more_and_its_images_stay(
    page_of: Callable[..., Page], services: Services, grey_png: Callable[[int], bytes]
) -> None:
    page = page_of()
    batch, [file] = page.announce("1.png")
    page.send(file, grey_png(1))
    assert page.post(f"/batches/{batch}/close", {}).status_code == 204
    assert page.get("/batches").json == {"batches": []}
    with services.database.reading() as session:
        assert len(session.scalars(select(Image)).all()) == 1


@pytest.mark.parametrize("count", [25, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_name_of_a_woman_in_logs_metrics_errors_and_audit(
    page_of: Callable[..., Page], services: Services, caplog: pytest.LogCaptureFixture, app: Flask, count: int
) -> None:
    importlib.import_module("mammolens.web.api.v1").register(app)
    canaries = [f"Canary{number}^Quillfeather" for number in range(count)]
    view = phantom.make("CC", "L", rows=320, columns=256, seed=8)
    page, said = page_of(), []
    with caplog.at_level(logging.DEBUG):
        for number, canary in enumerate(canaries):

            def call(data: Any, canary: str = canary, number: int = number) -> None:
                data.PatientName, data.PatientID, data.AccessionNumber = canary, canary, canary[:16]
                data.StudyInstanceUID = f"1.2.{number}"
                if number % 3 == 1:
                    data.Modality, data.SOPClassUID = "CT", "1.2.840.10008.5.1.4.1.1.2"

            whole = phantom.dicom(view, change=call)
            _, [file] = page.announce(f"{canary}.dcm")
            answer = page.send(file, whole[: 400 + 7 * (number % 100)] if number % 3 == 2 else whole)
            if answer.status_code != 201:
                said.append({name: value for name, value in answer.json.items() if name != "name"})
            assert page.send("f" * 32, whole).status_code == 404
    with services.database.reading() as session:
        entries = session.scalars(select(AuditEvent)).all()
        told = [(entry.subject, entry.detail) for entry in entries]
    assert len(said) > count // 2
    assert len(told) > count // 4
    metrics = page_of("keeper", Role.ADMINISTRATOR).client.get("/api/v1/metrics")
    assert metrics.status_code == 200
    with services.database.reading() as session:
        assert session.scalar(select(Identifier.patient_name).limit(1)) in canaries  # kept, where it belongs
    for text in (caplog.text, json.dumps(said), str(told), metrics.get_data(as_text=True)):
        assert "Canary" not in text
        assert "Quillfeather" not in text
