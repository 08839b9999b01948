"""Uploads by the API: one file as the body, several as a form, a ZIP."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from sqlalchemy import func, select

from mammolens.web.access import Permission
from mammolens.web.app import Services
from mammolens.web.database.tables import Image, Job

FOREIGN = b"MZ" + b"\0" * 300


def test_a_picture_is_kept_and_queued_once(program: Any, services: Services, phantom_files: dict[str, bytes]) -> None:
    robot = program()
    sent = {"data": phantom_files["LCC.png"], "content_type": "image/png", "query_string": {"name": "a b.png"}}
    first = robot.post("/images", **sent)
    assert first.status_code == 201
    [file] = first.get_json()["files"]
    assert (file["name"], file["duplicate"], file["error"]) == ("a b.png", False, None)
    job = robot.get(f"/jobs/{file['job']}").get_json()
    assert (job["image"], job["state"], job["ahead"]) == (file["image"], "queued", 0)
    assert robot.get(f"/images/{file['image']}").get_json()["case"] == file["case"]
    [again] = robot.post("/images", **sent).get_json()["files"]
    assert (again["image"], again["duplicate"]) == (file["image"], True)
    with services.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Image)) == 1
        assert session.scalar(select(func.count()).select_from(Job)) == 1


def test_a_single_file_that_is_no_picture_is_the_refusal(program: Any, services: Services) -> None:
    refused = program().post("/images", data=FOREIGN, content_type="application/octet-stream")
    assert refused.status_code == 422
    assert refused.mimetype == "application/problem+json"
    assert refused.get_json()["code"] == "unknown-format"
    with services.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Image)) == 0


def test_each_file_of_a_form_has_its_own_outcome(program: Any, phantom_files: dict[str, bytes]) -> None:
    form = {"file": [(io.BytesIO(phantom_files["LCC.png"]), "good.png"), (io.BytesIO(FOREIGN), "bad.dcm")]}
    answer = program().post("/images", data=form, content_type="multipart/form-data")
    assert answer.status_code == 201
    files = {file["name"]: file for file in answer.get_json()["files"]}
    assert files["good.png"]["image"] is not None
    assert files["bad.dcm"]["image"] is None
    assert files["bad.dcm"]["error"]["code"] == "unknown-format"


def test_the_files_of_a_zip_make_one_case(program: Any, phantom_files: dict[str, bytes]) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("LCC.dcm", "RCC.dcm"):
            archive.writestr(f"study/{name}", phantom_files[name])
    answer = program().post("/images", data=packed.getvalue(), content_type="application/zip")
    assert answer.status_code == 201
    files = answer.get_json()["files"]
    assert len(files) == 2
    assert len({file["image"] for file in files}) == 2
    assert len({file["case"] for file in files}) == 1


def test_a_body_of_another_type_and_an_empty_form_are_refused(program: Any, phantom_files: dict[str, bytes]) -> None:
    robot = program()
    for kind, data in (
        ("text/plain", phantom_files["LCC.png"]),
        ("application/x-www-form-urlencoded", b"file=x"),
        ("multipart/form-data", {"other": (io.BytesIO(b"x"), "x.png")}),
    ):
        refused = robot.post("/images", data=data, content_type=kind)
        assert (refused.status_code, refused.get_json()["code"]) == (400, "request-invalid"), kind


def test_a_token_without_the_scope_uploads_nothing(
    program: Any, services: Services, phantom_files: dict[str, bytes]
) -> None:
    looks = program(scopes={Permission.VIEW})
    assert looks.post("/images", data=phantom_files["LCC.png"], content_type="image/png").status_code == 403
    with services.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Image)) == 0


def test_only_who_uploaded_a_case_deletes_it(program: Any, services: Services, phantom_files: dict[str, bytes]) -> None:
    owner, colleague = program("owner", group="ward"), program("colleague", group="ward")
    sent = owner.post("/images", data=phantom_files["LCC.png"], content_type="image/png").get_json()["files"][0]
    path = f"/cases/{sent['case']}"
    assert colleague.get(path).status_code == 200
    assert colleague.send("DELETE", path).status_code == 403
    gone = owner.send("DELETE", path)
    assert (gone.status_code, gone.data) == (204, b"")
    assert owner.get(path).status_code == 404
    assert not list((services.folder / "store").glob("*/*"))
