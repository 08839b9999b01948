"""The report of a case as JSON and PDF: what it says, to whom, and that its export is written down."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from flask import Flask
from sqlalchemy import select

from mammolens.web.app import Services
from mammolens.web.database.columns import new_id
from mammolens.web.database.tables import (
    Assessment,
    AuditEvent,
    Case,
    CaseState,
    Identifier,
    Image,
    ImageState,
    Result,
    Role,
)
from mammolens.web.exports.document import document

SHA = "a" * 64
NAME = "Müller^Żaneta"


@pytest.fixture
def chief(people: Callable[..., Any]) -> Any:
    return people("chief", Role.ADMINISTRATOR)


@pytest.fixture
def case_id(services: Services, chief: Any) -> str:
    """A case of two answered views and a refused one, assessed twice; pictures of one view are at hand."""
    with services.database.session() as session:
        case = Case(
            number=1043, owner_id=chief.id, examination="e", state=CaseState.ANSWERED, score=0.62, label="malignant"
        )
        session.add(case)
        session.flush()
        for side, view, probability in (("L", "MLO", 0.2), ("R", "CC", 0.62), (None, None, None)):
            refused = probability is None
            image = Image(
                case_id=case.id,
                sha256=new_id() * 2,
                bytes=1,
                kind="dicom",
                laterality=side,
                view=view,
                rows=None if refused else 1000,
                columns=None if refused else 800,
                spacing_row_mm=0.1,
                spacing_column_mm=0.05,
                spacing_origin="imager",
                state=ImageState.REFUSED if refused else ImageState.ANSWERED,
                error_code="no-breast" if refused else None,
                error_message="No breast was found." if refused else None,
            )
            session.add(image)
            session.flush()
            session.add(Identifier(image_id=image.id, file_name="IMG 1.dcm", patient_id="P-77", patient_name=NAME))
            if probability is None:
                continue
            session.add(
                Result(
                    image_id=image.id,
                    model_name="m",
                    model_version="1",
                    model_sha256=SHA,
                    probability=probability,
                    logit=math.log(probability / (1 - probability)),
                    threshold=0.31,
                    label="malignant" if probability > 0.31 else "benign",
                    confidence=0.6,
                    regions=[{"box": [100, 200, 300, 500], "centre": [200, 350], "score": 0.9}],
                    notices=[{"code": "c", "message": "A warning & <b>more</b>."}],
                    geometry={"box": [0, 0, 800, 1000], "mirrored": False, "size": [384, 288]},
                    timing_ms={"total": 12.0},
                )
            )
            if view == "CC":
                made = services.folder / "derived" / image.id / SHA[:16]
                made.mkdir(parents=True)
                cv2.imwrite(str(made / "overlay.png"), np.full((500, 460, 3), 90, np.uint8))
                cv2.imwrite(str(made.parent / "preview.png"), np.full((500, 400), 120, np.uint8))
        for birads in (2, 5):
            session.add(
                Assessment(case_id=case.id, laterality="R", reader_id=chief.id, birads=birads, comment="<para>a & b")
            )
            session.flush()
        return case.id


@pytest.fixture
def client(app_of: Callable[..., Flask], services: Services, chief: Any, sign_in: Callable[..., Any]) -> Any:
    app = app_of(services, "mammolens.web.views.account", "mammolens.web.views.exports")
    app.add_url_rule("/", "worklist.index")
    browser = app.test_client()
    sign_in(browser, chief)
    return browser


def text_of(pdf: bytes) -> str:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext (poppler-utils) is not installed")
    done = subprocess.run(["pdftotext", "-layout", "-", "-"], input=pdf, capture_output=True, check=True)
    return done.stdout.decode()


def test_document_says_what_the_tables_hold(services: Services, case_id: str) -> None:
    with services.database.reading() as session:
        case = session.get_one(Case, case_id)
        made = document(session, case)
    assert made["schema"] == "mammolens.case/1"
    assert made["case"]["number"] == "A-1043"
    assert [(image["laterality"], image["view"]) for image in made["images"]] == [
        ("R", "CC"),
        ("L", "MLO"),
        (None, None),
    ]
    answer = made["images"][0]["answer"]
    assert (answer["probability"], answer["threshold"], answer["model"]["sha256"]) == (0.62, 0.31, SHA)
    assert answer["regions"][0]["box"] == [100, 200, 300, 500]
    assert made["images"][2]["answer"] is None
    assert made["images"][2]["error"] == {"code": "no-breast", "message": "No breast was found."}
    assert [(breast["laterality"], breast["probability"]) for breast in made["breasts"]] == [
        ("R", pytest.approx(0.62)),
        ("L", pytest.approx(0.2)),
    ]
    assert [(entry["birads"], entry["in_force"]) for entry in made["assessments"]] == [(2, False), (5, True)]
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_what_may_name_the_woman_is_left_out_unless_asked_for(services: Services, case_id: str) -> None:
    with services.database.reading() as session:
        case = session.get_one(Case, case_id)
        without, named = document(session, case), document(session, case, identifiers=True)
    assert without["identifiers"] is None
    assert not re.search("P-77|Müller|IMG", json.dumps(without, ensure_ascii=False))
    assert named["identifiers"]["patient_id"] == ["P-77"]
    assert named["identifiers"]["patient_name"] == [NAME]
    assert set(named["identifiers"]["files"].values()) == {"IMG 1.dcm"}


def test_answer_of_the_model_in_use_comes_before_a_newer_one(services: Services, case_id: str) -> None:
    from mammolens.web import models_in_use

    with services.database.session() as session:
        use = models_in_use.current(session)
        result = session.scalars(select(Result).where(Result.probability == 0.62)).one()
        older = {name: getattr(result, name) for name in ("image_id", "regions", "notices", "geometry", "timing_ms")}
        session.add(
            Result(
                **older, model_name=use.name, model_version=use.version, model_sha256=use.sha256, probability=0.4,
                logit=math.log(0.4 / 0.6), threshold=0.3, label="malignant", confidence=0.6,
                created=result.created.replace(year=2020),
            )
        )  # fmt: skip
        session.flush()
        made = document(session, session.get_one(Case, case_id))
    assert made["images"][0]["answer"]["probability"] == 0.4
    assert [other["probability"] for other in made["images"][0]["other_answers"]] == [0.62]


def test_json_report_is_a_download_and_is_written_down(client: Any, services: Services, case_id: str) -> None:
    response = client.get(f"/cases/{case_id}/report.json")
    assert response.status_code == 200
    assert response.headers["Content-Disposition"] == 'attachment; filename="A-1043.json"'
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json["identifiers"] is None
    assert client.get(f"/cases/{case_id}/report.json?identifiers=yes").json["identifiers"]["patient_id"] == ["P-77"]
    with services.database.reading() as session:
        entries = session.scalars(select(AuditEvent).where(AuditEvent.action == "report-exported")).all()
    assert [(entry.actor, entry.subject, entry.detail) for entry in entries] == [
        ("chief", "case A-1043", {"form": "json", "identifiers": False}),
        ("chief", "case A-1043", {"form": "json", "identifiers": True}),
    ]
    assert client.get(f"/cases/{case_id}/report.json?identifiers=1").status_code == 400


@pytest.mark.slow
def test_pdf_report_says_the_same(client: Any, case_id: str) -> None:
    response = client.get(f"/cases/{case_id}/report.pdf")
    assert response.status_code == 200
    assert response.mimetype == "application/pdf"
    text = text_of(response.data)
    for part in (
        "Case A-1043",
        "0.62",
        "no breast found",
        "A warning & <b>more</b>.",
        "<para>a & b",
        "10 × 30 mm",
    ):
        assert part in text, part
    assert text.count("Research use only") == 1
    assert "The picture is not at hand." in text  # of the view whose pictures are missing
    assert not re.search("P-77|Müller|IMG", text)
    named = text_of(client.get(f"/cases/{case_id}/report.pdf?identifiers=yes").data)
    assert NAME in named


@pytest.mark.slow
def test_pdf_speaks_the_language_of_who_asks(client: Any, case_id: str) -> None:
    response = client.get(f"/cases/{case_id}/report.pdf", headers={"Accept-Language": "de"})
    text = text_of(response.data)
    for english in ("Case A-1043", "Research use only", "no breast found", "Assessments", "above", "page 1"):
        assert english not in text
    assert "A-1043" in text
    assert b"/Lang (de)" in response.data


def test_pdf_holds_the_pictures_and_names_nobody_in_its_description(client: Any, case_id: str) -> None:
    content = client.get(f"/cases/{case_id}/report.pdf?identifiers=yes").data
    assert content.count(b"/DCTDecode") == 2
    assert b"Title (A-1043)" in content
    assert NAME.encode() not in content


@pytest.mark.slow
def test_letters_that_the_font_lacks_are_marked_and_told(client: Any, services: Services, case_id: str) -> None:
    with services.database.session() as session:
        for row in session.scalars(select(Identifier)):
            row.patient_name = "山田^Ελένη"
    text = text_of(client.get(f"/cases/{case_id}/report.pdf?identifiers=yes").data)
    assert "□□^Ελένη" in text
    assert "does not have" in text


def test_reports_are_for_those_who_see_the_case_and_may_export(
    client: Any, people: Callable[..., Any], sign_in: Callable[..., Any], case_id: str
) -> None:
    for name, role, status in (("other", Role.READER, 404), ("guest", Role.VIEWER, 403)):
        browser = client.application.test_client()
        sign_in(browser, people(name, role))
        for ending in ("json", "pdf"):
            assert browser.get(f"/cases/{case_id}/report.{ending}").status_code == status


def test_damaged_picture_is_an_error_of_ours_and_no_gap(client: Any, services: Services, case_id: str) -> None:
    [preview] = (services.folder / "derived").glob("*/preview.png")
    preview.write_bytes(io.BytesIO(b"no picture").getvalue())
    assert client.get(f"/cases/{case_id}/report.pdf").status_code == 500
