"""The case page: what it shows and to whom, what it remembers, and that seeing and deleting are written down."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from mammolens.inference.examination import Method, Picture, assemble
from mammolens.models.bundle import load_bundle
from mammolens.models.manifest import Calibration, Examination, Level, OperatingPoint
from mammolens.web import models_in_use
from mammolens.web.app import Services
from mammolens.web.cases import viewer
from mammolens.web.cases.viewer import Look
from mammolens.web.database.tables import Assessment, AuditEvent, Case, CaseState, Role, User

FOUR = {"R CC": 0.62, "L CC": 0.2, "R MLO": 0.4, "L MLO": 0.1}


@pytest.fixture
def signed_in(client: FlaskClient, people: Any, sign_in: Any) -> Callable[..., Any]:
    """Make somebody and sign them in: the same arguments as `people`."""

    def make(*arguments: Any, **more: Any) -> Any:
        person = people(*arguments, **more)
        sign_in(client, person)
        return person

    return make


def data_of(page: str) -> dict[str, Any]:
    """What the page gives its scripts."""
    found = re.search(r'<script type="application/json" id="case-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def actions(services: Services) -> list[tuple[str, str, str]]:
    with services.database.reading() as session:
        events = session.scalars(select(AuditEvent).order_by(AuditEvent.number))
        return [(event.actor, event.action, event.subject) for event in events]


def picture(name: str, probability: float) -> Picture:
    side, _, view = name.partition(" ")
    return Picture(side, view, (), math.log(probability / (1 - probability)))


def test_the_page_hangs_four_views_and_says_the_score_with_its_meaning(
    client: FlaskClient, signed_in: Any, make_case: Any
) -> None:
    case = make_case(signed_in(), FOUR)
    page = client.get(f"/cases/{case.id}").get_data(as_text=True)
    assert re.findall(r'class="cell-view">([^<]+)<', page) == ["R CC", "L CC", "R MLO", "L MLO"]
    manifest = load_bundle().manifest
    said = assemble([picture(name, p) for name, p in FOUR.items()], Method.unmeasured(manifest.threshold)).score
    side = "at or above" if said.label == "malignant" else "below"
    assert f"{side} the threshold {said.threshold:.2f}" in page
    assert f'<span class="score-number number">{said.probability:.2f}</span>' in page
    assert "The model was calibrated for single views" in page
    assert page.count('data-region="') == 4
    assert "30 × 40" not in page  # pixels
    assert "3 × 4 mm" in page  # 0.1 mm a pixel
    data = data_of(page)
    images = [data["images"][image_id] for image_id in data["order"]]
    # All lie as the maker of the fixture says: right breasts' chest walls on the right, so none has to be turned.
    assert [image["flipped"] for image in images] == [False] * 4
    assert [image["side"] for image in images] == ["right", "left", "right", "left"]


def test_the_page_is_written_down_as_seen_once_for_each_time(
    client: FlaskClient, signed_in: Any, make_case: Any, services: Services
) -> None:
    case = make_case(signed_in("mary"), FOUR)
    for _ in range(2):
        client.get(f"/cases/{case.id}")
    seen = [entry for entry in actions(services) if entry[1] == "case-seen"]
    assert seen == [("mary", "case-seen", f"case A-{case.number}")] * 2


def test_a_stranger_meets_the_same_404_as_for_a_case_that_is_not_there(
    client: FlaskClient, signed_in: Any, people: Any, make_case: Any, services: Services, csrf: Any
) -> None:
    case = make_case(people("owner"), FOUR)
    signed_in("stranger")
    headers = csrf(client)
    for method, path in (
        ("get", ""),
        ("get", "/state"),
        ("post", "/delete"),
        ("post", "/assessments"),
    ):
        there = getattr(client, method)(f"/cases/{case.id}{path}", headers=headers)
        absent = getattr(client, method)(f"/cases/{'0' * 32}{path}", headers=headers)
        assert (there.status_code, absent.status_code) == (404, 404)
    assert "case-seen" not in [action for _, action, _ in actions(services)]


def test_an_uncalibrated_answer_is_not_called_a_probability(
    client: FlaskClient, signed_in: Any, make_case: Any
) -> None:
    notices = [{"code": "uncalibrated", "message": "x"}]
    case = make_case(signed_in(), {"R CC": 0.62}, notices=notices)
    page = client.get(f"/cases/{case.id}").get_data(as_text=True)
    assert "never calibrated" in page
    assert "Of 100 images" not in page


def test_an_answer_by_a_model_that_is_gone_is_shown_as_such(
    client: FlaskClient, signed_in: Any, make_case: Any
) -> None:
    case = make_case(signed_in(), {"R CC": 0.62}, model="e" * 64)
    page = client.get(f"/cases/{case.id}").get_data(as_text=True)
    assert "not installed any more" in page
    assert "Of 100 images" not in page
    assert client.get(f"/models/{'e' * 64}/card").status_code == 404


def test_words_of_files_and_readers_are_shown_as_text(
    client: FlaskClient, signed_in: Any, make_case: Any, services: Services, csrf: Any
) -> None:
    case = make_case(signed_in(), {"R CC": 0.6})
    evil = "</script><script>alert(1)</script>"
    client.post(f"/cases/{case.id}/assessments", data={"birads-R": "2", "comment-R": evil}, headers=csrf(client))
    page = client.get(f"/cases/{case.id}").get_data(as_text=True)
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page


def test_nothing_in_the_page_needs_inline_style_or_script(client: FlaskClient, signed_in: Any, make_case: Any) -> None:
    case = make_case(signed_in(), FOUR)
    for path in (f"/cases/{case.id}", "/disagreements"):
        page = client.get(path).get_data(as_text=True)
        assert not re.search(r"<[^>]+\s(style|on\w+)=", page)
        kinds = re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page)
        assert kinds
        assert all('type="application/json"' in kind for kind in kinds)


def test_neighbours_follow_the_order_that_the_reader_came_by(
    client: FlaskClient, signed_in: Any, make_case: Any
) -> None:
    reader = signed_in()
    low, high, middle = (make_case(reader, {"R CC": score}) for score in (0.1, 0.9, 0.5))
    page = client.get(f"/cases/{middle.id}?order=suspicion").get_data(as_text=True)
    assert f'href="/cases/{high.id}?order=suspicion" id="case-before"' in page
    assert f'href="/cases/{low.id}?order=suspicion" id="case-after"' in page
    assert ">2/3<" in page
    newest = client.get(f"/cases/{middle.id}").get_data(as_text=True)
    assert f'href="/cases/{high.id}" id="case-after"' in newest
    assert 'id="case-before"' not in newest


def test_a_waiting_case_says_where_it_stands(client: FlaskClient, signed_in: Any, make_case: Any) -> None:
    case = make_case(signed_in(), {"R CC": None})
    told = client.get(f"/cases/{case.id}/state").get_json()
    assert told["state"] == CaseState.WAITING
    assert list(told["images"].values()) == ["queued"]
    assert data_of(client.get(f"/cases/{case.id}").get_data(as_text=True))["waiting"] is True


def test_viewers_see_but_neither_assess_nor_export_nor_delete(
    client: FlaskClient, signed_in: Any, people: Any, make_case: Any, csrf: Any
) -> None:
    case = make_case(people("owner", group="g"), FOUR)
    signed_in("student", Role.VIEWER, "g")
    page = client.get(f"/cases/{case.id}").get_data(as_text=True)
    for absent in ("assessment-form", "report.pdf", "delete-case"):
        assert absent not in page
    for path in ("assessments", "delete"):
        assert client.post(f"/cases/{case.id}/{path}", headers=csrf(client)).status_code == 403
    assert client.get("/disagreements.csv").status_code == 403


def test_a_colleague_does_not_delete_and_the_owner_does_for_good(
    client: FlaskClient,
    app: Any,
    signed_in: Any,
    people: Any,
    make_case: Any,
    services: Services,
    csrf: Any,
    sign_in: Any,
) -> None:
    case = make_case(signed_in("owner", group="g"), FOUR)
    other = app.test_client()
    sign_in(other, people("colleague", group="g"))
    assert "delete-case" not in other.get(f"/cases/{case.id}").get_data(as_text=True)
    assert other.post(f"/cases/{case.id}/delete", headers=csrf(other)).status_code == 403
    assert client.post(f"/cases/{case.id}/delete").status_code == 400  # without the token that proves the page
    assert client.post(f"/cases/{case.id}/delete", headers=csrf(client)).status_code == 303
    with services.database.reading() as session:
        assert session.get(Case, case.id) is None
    assert ("owner", "case-deleted", f"case A-{case.number}") in actions(services)


def test_the_look_of_the_viewer_is_remembered_with_the_user(
    client: FlaskClient, signed_in: Any, make_case: Any, services: Services, csrf: Any
) -> None:
    person = signed_in()
    case = make_case(person, FOUR)
    wish = {"map": False, "opacity": 0.35, "colours": "cividis", "contour": False, "boxes": True}
    assert client.post("/preferences/viewer", json=wish, headers=csrf(client)).status_code == 204
    with services.database.session() as session:
        user = session.get_one(User, person.id)
        user.preferences = user.preferences | {"theme": "light"}
    assert client.post("/preferences/viewer", json=wish, headers=csrf(client)).status_code == 204
    assert data_of(client.get(f"/cases/{case.id}").get_data(as_text=True))["look"] == wish
    with services.database.reading() as session:
        assert session.get_one(User, person.id).preferences["theme"] == "light"


@pytest.mark.parametrize(
    "wrong",
    [
        {"opacity": 0.81},
        {"opacity": 0.05},
        {"opacity": True},
        {"opacity": "0.5"},
        {"opacity": float("nan")},
        {"map": 1},
        {"colours": "jet"},
        {"unknown": 1},
        [],
        "x",
        None,
    ],
)
def test_a_look_that_does_not_fit_is_refused_and_the_old_one_stays(
    client: FlaskClient, signed_in: Any, services: Services, csrf: Any, wrong: Any
) -> None:
    person = signed_in()
    answer = client.post("/preferences/viewer", json=wrong, headers=csrf(client))
    assert answer.status_code == 400
    with services.database.reading() as session:
        assert "viewer" not in session.get_one(User, person.id).preferences
    assert Look() == viewer.Look(map=True, opacity=0.6, colours="inferno", contour=True, boxes=True)


def test_the_score_of_a_model_that_was_measured_on_breasts_comes_with_what_it_means(
    client: FlaskClient, signed_in: Any, make_case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = load_bundle()
    assert found.manifest.calibration is not None
    level = Level(
        rule="max",
        calibration=Calibration(slope=1.0, intercept=0.0, prevalence=0.34),
        operating_points=(OperatingPoint(name="balanced", threshold=0.4, sensitivity=0.71, specificity=0.82),),
        default_operating_point="balanced",
    )
    section = Examination(views=found.manifest.calibration, breast=level, protocol="by hand")
    manifest = found.manifest.model_copy(update={"examination": section})
    monkeypatch.setattr(models_in_use, "installed_manifests", lambda: {found.identity.sha256: manifest})
    page = client.get(f"/cases/{make_case(signed_in(), FOUR).id}").get_data(as_text=True)
    assert '<span class="score-number number">0.62</span>' in page
    assert "Of 100 breasts with this score in the evaluation set, about 62 showed cancer" in page
    assert "that set held 34 % breasts with cancer" in page
    assert "sensitivity 71 %, specificity 82 %, per breast" in page


def test_assessments_are_written_for_each_breast_with_a_category(
    client: FlaskClient, signed_in: Any, make_case: Any, services: Services, csrf: Any
) -> None:
    case = make_case(signed_in("mary"), FOUR)
    form = {"birads-R": "4", "agrees-R": "yes", "comment-R": "spiculated\r\nmass", "birads-L": "1", "agrees-L": ""}
    answer = client.post(f"/cases/{case.id}/assessments?order=suspicion", data=form, headers=csrf(client))
    assert answer.status_code == 303
    assert answer.location == f"/cases/{case.id}?order=suspicion#assessment"
    with services.database.reading() as session:
        rows = session.scalars(select(Assessment).order_by(Assessment.laterality)).all()
        told = [(row.laterality, row.birads, row.agrees, row.comment, row.probability) for row in rows]
    method = Method.unmeasured(load_bundle().manifest.threshold)
    breasts = assemble([picture(name, p) for name, p in FOUR.items()], method).breasts
    scores = {breast.laterality: pytest.approx(breast.score.probability) for breast in breasts}
    assert told == [("L", 1, None, "", scores["L"]), ("R", 4, True, "spiculated\nmass", scores["R"])]
    written = [entry for entry in actions(services) if entry[1] == "assessment-written"]
    assert written == [("mary", "assessment-written", f"case A-{case.number}")] * 2
    page = client.get(f"/cases/{case.id}").get_data(as_text=True)
    assert "Right breast: BI-RADS 4" in page
    assert "agrees with the marks" in page


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({}, "at least one breast"),
        ({"comment-R": "only words"}, "Choose a BI-RADS category for the breast"),
        ({"birads-R": "9"}, "0 to 6"),
        ({"birads-R": "10"}, "Choose a BI-RADS category"),
        ({"birads-R": "²"}, "Choose a BI-RADS category"),
        ({"birads-R": "2", "agrees-R": "maybe"}, "The marks are agreed with"),
        ({"birads-R": "2", "birads--": "2"}, "no such breast"),
    ],
)
def test_what_can_not_be_taken_is_said_beside_the_form_and_nothing_of_it_is_lost_or_written(
    client: FlaskClient,
    signed_in: Any,
    make_case: Any,
    services: Services,
    csrf: Any,
    form: dict[str, str],
    words: str,
) -> None:
    case = make_case(signed_in(), FOUR)
    sent = form | {"comment-R": "kept as it was"} if form else {}
    answer = client.post(f"/cases/{case.id}/assessments", data=sent, headers=csrf(client))
    page = answer.get_data(as_text=True)
    assert answer.status_code == 400
    assert words in page
    assert ("kept as it was" in page) == bool(sent)
    with services.database.reading() as session:
        assert session.scalars(select(Assessment)).all() == []


def test_the_table_to_take_away_is_csv_for_spreadsheets_and_is_written_down(
    client: FlaskClient, signed_in: Any, make_case: Any, services: Services, csrf: Any
) -> None:
    case = make_case(signed_in("mary"), FOUR)
    client.post(f"/cases/{case.id}/assessments", data={"birads-R": "2", "birads-L": "2"}, headers=csrf(client))
    differing, everything = client.get("/disagreements.csv"), client.get("/disagreements.csv?all=1")
    assert differing.mimetype == "text/csv"
    assert "attachment" in differing.headers["Content-Disposition"]
    assert differing.get_data().startswith(b"\xef\xbb\xbfcase,breast,")
    assert [len(answer.get_data().splitlines()) for answer in (differing, everything)] == [2, 3]
    exported = [entry for entry in actions(services) if entry[1] == "assessments-exported"]
    assert len(exported) == 2
    listed = client.get("/disagreements").get_data(as_text=True)
    assert f"A-{case.number}" in listed
    assert "only the model is suspicious" in listed


def test_an_empty_list_says_what_to_do(client: FlaskClient, signed_in: Any) -> None:
    signed_in()
    assert "No disagreements" in client.get("/disagreements").get_data(as_text=True)


def test_the_model_card_of_the_model_in_use_can_be_read(
    client: FlaskClient, signed_in: Any, make_case: Any, services: Services
) -> None:
    case = make_case(signed_in(), FOUR)
    page = client.get(f"/cases/{case.id}").get_data(as_text=True)
    link = re.search(r'href="(/models/[0-9a-f]{64}/card)"', page)
    assert link is not None
    card = client.get(link[1]).get_data(as_text=True)
    assert "Research software, not a medical device" in card
