"""The worklist page: what it shows of cases, what it offers when there are none, and what keeps it up to date."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from mammolens.web.app import Services
from mammolens.web.cases import summary
from mammolens.web.database.columns import new_id, now
from mammolens.web.database.tables import Assessment, Case, Identifier, Image, ImageState, Result, Role


@pytest.fixture
def add_case(services: Services) -> Callable[..., str]:
    """Add a case of somebody: one image for each state; answered ones have the probability given."""
    counter = iter(range(1001, 9999))

    def add(owner: Any, *states: ImageState, probability: float = 0.62, code: str = "no-breast", **more: Any) -> str:
        with services.database.session() as session:
            case = Case(number=next(counter), owner_id=owner.id, group_id=owner.group_id, examination=new_id(), **more)
            session.add(case)
            session.flush()
            for laterality, state in zip("RLRL", states, strict=False):
                image = Image(case_id=case.id, sha256=new_id() * 2, bytes=1, kind="dicom", state=state)
                image.laterality, image.view = laterality, "CC"
                image.error_code = code if state is ImageState.REFUSED else None
                session.add(image)
                session.flush()
                session.add(Identifier(image_id=image.id, file_name="zq-file", patient_id="zq-patient"))
                if state is ImageState.ANSWERED:
                    session.add(answer(image.id, probability))
            summary.refresh(session, case.id)
        return case.id

    return add


def answer(image_id: str, probability: float) -> Result:
    return Result(
        image_id=image_id,
        model_name="m",
        model_version="1",
        model_sha256="0" * 64,
        probability=probability,
        logit=math.log(probability / (1 - probability)),
        threshold=0.31,
        label="malignant" if probability >= 0.31 else "benign",
        confidence=0.6,
        regions=[],
        notices=[],
        geometry={"box": [0, 0, 1, 1], "mirrored": False, "size": [1, 1]},
        timing_ms={},
    )


@pytest.fixture
def reader(people: Callable[..., Any], client: FlaskClient, sign_in: Callable[..., Any]) -> Any:
    """Somebody signed in with `client`."""
    person = people("reader", Role.READER)
    sign_in(client, person)
    return person


def text_of(page: str) -> str:
    """What a page says, without its marks, scripts and heads."""
    body = re.sub(r"<(script|style|template)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def rows_of(page: str) -> list[str]:
    return [text_of(row) for row in re.findall(r"<tr role=\"row\" data-case.*?</tr>", page, re.DOTALL)]


def test_a_row_says_score_threshold_and_what_was_read(
    client: FlaskClient, services: Services, reader: Any, add_case: Callable[..., str]
) -> None:
    case_id = add_case(reader, ImageState.ANSWERED, ImageState.ANSWERED)
    with services.database.session() as session:
        session.add(Assessment(case_id=case_id, laterality="R", reader_id=reader.id, birads=4))
        summary.refresh(session, case_id)
    page = client.get("/").text
    (row,) = rows_of(page)
    for shown in ("A-1001", "0.62", "above threshold", "R CC", "L CC", "BI-RADS 4", "reader"):
        assert shown in row
    assert f"/cases/{case_id}" in page
    assert "zq-" not in page, "an identifier stands in the list"


def test_a_refused_case_says_why_and_what_would_help(
    client: FlaskClient, reader: Any, add_case: Callable[..., str]
) -> None:
    add_case(reader, ImageState.REFUSED, code="for-processing")
    (row,) = rows_of(client.get("/").text)
    assert "Raw detector picture (FOR PROCESSING). Upload the processed one" in row


def test_a_case_in_work_says_how_far_it_is(client: FlaskClient, reader: Any, add_case: Callable[..., str]) -> None:
    add_case(reader, ImageState.ANSWERED, ImageState.RUNNING, ImageState.QUEUED, ImageState.QUEUED)
    page = client.get("/").text
    assert "1 of 4" in rows_of(page)[0]
    assert re.search(r'<progress max="4" value="1"', page)


def test_an_empty_list_says_what_to_do_first(
    app: Flask, client: FlaskClient, reader: Any, people: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    assert "Drop the DICOM files of an examination above" in text_of(client.get("/").text)
    assert 'id="drop"' in client.get("/").text
    viewer = app.test_client()
    sign_in(viewer, people("viewer", Role.VIEWER))
    page = viewer.get("/").text
    assert "Cases appear here as they arrive" in text_of(page)
    assert 'id="drop"' not in page


def test_a_search_without_result_says_how_to_search(client: FlaskClient, reader: Any) -> None:
    page = client.get("/?search=A-77").text
    assert "No case found" in text_of(page)
    assert "1 case" not in text_of(page)


@pytest.mark.parametrize("query", ["order=x", "state=x", "after=x", "before=0.4~x&order=newest"])
def test_a_query_that_fits_nothing_is_refused(client: FlaskClient, reader: Any, query: str) -> None:
    answer = client.get(f"/?{query}")
    assert answer.status_code == 400
    assert "request-invalid" in answer.text


def test_pages_lead_to_the_next_and_back(client: FlaskClient, reader: Any, add_case: Callable[..., str]) -> None:
    for minutes in range(53):
        add_case(reader, arrived=now() - dt.timedelta(minutes=minutes))
    first = client.get("/").text
    assert len(rows_of(first)) == 50
    onward = re.search(r'rel="next" href="([^"]+)"', first)
    assert onward
    second = client.get(onward[1].replace("&amp;", "&")).text
    assert re.findall(r"A-\d+", " ".join(rows_of(second))) == ["A-1051", "A-1052", "A-1053"]
    assert "53 cases" in text_of(second)
    back = re.search(r'rel="prev" href="([^"]+)"', second)
    assert back
    assert rows_of(client.get(back[1].replace("&amp;", "&")).text) == rows_of(first)


def seen_in(page: str) -> str:
    return ",".join(f"{a}.{b}" for a, b in re.findall(r'data-case="(\w+)" data-version="(\w+)"', page))


def since_of(page: str) -> str:
    found = re.search(r'data-since="([^"]+)"', page)
    assert found
    return found[1]


def test_changes_give_what_changed_and_no_more(
    client: FlaskClient, services: Services, reader: Any, add_case: Callable[..., str]
) -> None:
    quiet = add_case(reader, ImageState.ANSWERED)
    busy = add_case(reader, ImageState.RUNNING)
    deleted = add_case(reader, ImageState.ANSWERED)
    page = client.get("/").text
    query = {"seen": seen_in(page), "since": since_of(page)}
    nothing = client.get("/worklist/changes", query_string=query).json
    assert nothing is not None
    assert (nothing["rows"], nothing["gone"], nothing["newer"]) == ({}, [], 0)
    assert set(nothing["times"]) == {quiet, busy, deleted}
    with services.database.session() as session:
        image = session.query(Image).filter_by(case_id=busy).one()
        image.state = ImageState.ANSWERED
        session.add(answer(image.id, 0.05))
        summary.refresh(session, busy)
        session.delete(session.get_one(Case, deleted))
    add_case(reader, ImageState.QUEUED)
    told = client.get("/worklist/changes", query_string=query).json
    assert told is not None
    assert list(told["rows"]) == [busy]
    assert "0.05" in told["rows"][busy]
    assert "below threshold" in told["rows"][busy]
    assert told["gone"] == [deleted]
    assert told["newer"] == 1


def test_changes_tell_nothing_of_anothers_case(
    client: FlaskClient, reader: Any, people: Callable[..., Any], add_case: Callable[..., str]
) -> None:
    other = add_case(people("other"), ImageState.ANSWERED)
    told = client.get("/worklist/changes", query_string={"seen": f"{other}.x", "since": now().isoformat()}).json
    assert told == {"rows": {}, "gone": [other], "times": {}, "newer": 0}


@pytest.mark.parametrize("since", ["", "yesterday", "2026-01-01T00:00:00"])
def test_changes_without_a_moment_are_refused(client: FlaskClient, reader: Any, since: str) -> None:
    assert client.get("/worklist/changes", query_string={"since": since}).status_code == 400
