"""The routes of pictures: what they give, to whom, and what the browser may keep."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from numpy.typing import NDArray
from sqlalchemy import select

from mammolens.imaging.display import RenderOptions, render
from mammolens.web.app import Services
from mammolens.web.database.tables import AuditEvent, Image, ImageState, Result, Role
from mammolens.web.pictures import levels

MODEL = "5" * 16


@dataclass
class Stage:
    """A reader who is signed in, and a picture of hers with an answer."""

    client: FlaskClient
    image: Image
    result: Result
    file: bytes

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(f"/pictures/{self.image.id}{path}", **options)


@pytest.fixture
def stage(
    services: Services,
    client: FlaskClient,
    people: Callable[..., Any],
    sign_in: Callable[..., Any],
    answered: Callable[..., tuple[Image, Result]],
    phantom_files: dict[str, bytes],
) -> Stage:
    reader = people("reader")
    sign_in(client, reader)
    file = phantom_files["RMLO.dcm"]
    return Stage(client, *answered(services, file, reader.id), file)


def png(data: bytes) -> NDArray[Any]:
    """Pixels by OpenCV's own decoder."""
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


def events(services: Services) -> list[AuditEvent]:
    with services.database.reading() as session:
        return list(session.scalars(select(AuditEvent).where(AuditEvent.action == "picture-exported")))


def test_the_tiles_put_together_are_the_picture(stage: Stage, services: Services) -> None:
    found = stage.get("/levels.json").get_json()
    for number, level in enumerate(found["levels"]):
        whole = np.zeros((level["rows"], level["columns"]), np.uint16)
        for y in range(0, level["rows"], 256):
            for x in range(0, level["columns"], 256):
                url = f"{found['tiles']}{number}/{x // 256}/{y // 256}?v={found['tag']}"
                response = stage.client.get(url, headers={"Accept-Encoding": "gzip"})
                assert response.headers["Content-Encoding"] == "gzip"
                part = whole[y : y + 256, x : x + 256]
                part[:] = np.frombuffer(gzip.decompress(response.data), "<u2").reshape(part.shape)
        np.testing.assert_array_equal(whole, levels.pixels(services, stage.image.id, number))
    assert len(found["levels"]) == 2


def test_a_tile_is_given_plain_to_who_takes_no_gzip(stage: Stage) -> None:
    tag = stage.get("/levels.json").get_json()["tag"]
    plain = stage.get(f"/tiles/0/1/1?v={tag}")
    packed = stage.get(f"/tiles/0/1/1?v={tag}", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert gzip.decompress(packed.data) == plain.data
    assert len(plain.data) == 256 * 256 * 2
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert "Accept-Encoding" in packed.headers["Vary"]


def test_a_tile_may_be_kept_by_this_browser_alone_and_costs_nothing_when_it_is(stage: Stage) -> None:
    tag = stage.get("/levels.json").get_json()["tag"]
    first = stage.get(f"/tiles/0/0/0?v={tag}")
    kept = first.headers["Cache-Control"]
    assert {"private", "immutable"} <= {part.strip() for part in kept.split(",")}
    again = stage.get(f"/tiles/0/0/0?v={tag}", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert "immutable" not in stage.get("/tiles/0/0/0?v=old").headers["Cache-Control"]


def test_a_tile_of_a_cache_that_is_gone_is_made_anew(stage: Stage, services: Services) -> None:
    first = stage.get("/tiles/1/0/0")
    levels.forget(services, stage.image.id)
    assert stage.get("/tiles/1/0/0").data == first.data


@pytest.mark.parametrize("path", ["2/0/0", "0/3/0", "0/0/3", "0/99999999999/0", "-1/0/0"])
def test_there_is_no_tile_beyond_the_picture(stage: Stage, path: str) -> None:
    assert stage.get(f"/tiles/{path}").status_code == 404


def test_tiles_are_found_below_a_path_prefix(stage: Stage) -> None:
    found = stage.client.get(f"/pictures/{stage.image.id}/levels.json", base_url="http://localhost/mammo/").get_json()
    assert found["tiles"] == f"/mammo/pictures/{stage.image.id}/tiles/"


def test_the_heat_map_comes_as_bytes_with_its_place(stage: Stage) -> None:
    where = stage.get(f"/answers/{MODEL}/heat.json").get_json()
    response = stage.get(f"/answers/{MODEL}/heat.bin")
    grid = np.frombuffer(response.data, np.uint8).reshape(where["rows"], where["columns"])
    assert grid.max() > 250
    assert where["box"] == stage.result.geometry["box"]
    assert 0.0 < where["contour"] < 1.0
    assert stage.get(f"/answers/{'6' * 16}/heat.bin").status_code == 404


def test_overlays_come_in_both_colour_maps(stage: Stage) -> None:
    inferno = png(stage.get(f"/answers/{MODEL}/overlay.png").data)
    cividis = png(stage.get(f"/answers/{MODEL}/overlay.png?colours=cividis").data)
    assert inferno.shape == cividis.shape
    assert (inferno != cividis).any()
    assert stage.get(f"/answers/{MODEL}/overlay.png?colours=jet").status_code == 400


@pytest.mark.parametrize(("bits", "kind"), [(8, np.uint8), (16, np.uint16)])
def test_the_png_taken_away_is_that_of_the_preview_command(stage: Stage, bits: int, kind: type) -> None:
    response = stage.get(f"/export.png?bits={bits}&window=2000,3000")
    expected = render(stage.file, RenderOptions(bits=bits, window=(2000.0, 3000.0)))
    shown = png(response.data)
    assert shown.dtype == kind
    np.testing.assert_array_equal(shown, expected)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Disposition"] == "attachment; filename=A-1043-R-MLO.png"


@pytest.mark.parametrize("asked", ["bits=12", "window=1", "window=a,b", "window=nan,5", "window=5,0", "crop=yes"])
def test_what_does_not_fit_is_refused_before_anything_is_given(stage: Stage, services: Services, asked: str) -> None:
    assert stage.get(f"/export.png?{asked}").status_code == 400
    assert events(services) == []


def test_everything_taken_away_stands_in_the_audit_log_and_names_no_woman(stage: Stage, services: Services) -> None:
    for path, name in (
        ("/export.png?crop=1", "A-1043-R-MLO.png"),
        (f"/answers/{MODEL}/export-overlay.png", "A-1043-R-MLO-overlay.png"),
        (f"/answers/{MODEL}/export-pair.png?colours=cividis", "A-1043-R-MLO-pair.png"),
    ):
        response = stage.get(path)
        assert response.status_code == 200
        assert response.headers["Content-Disposition"] == f"attachment; filename={name}"
    seen = events(services)
    assert [event.detail["picture"] for event in seen] == ["picture", "overlay", "pair"]
    assert {(event.actor, event.subject) for event in seen} == {("reader", "case A-1043")}
    assert {event.detail["image"] for event in seen} == {stage.image.id}


_SEEN = ("/thumb.png", "/preview.png", "/levels.json", "/tiles/0/0/0", f"/answers/{MODEL}/heat.json")
_SEEN += (f"/answers/{MODEL}/heat.bin", f"/answers/{MODEL}/overlay.png")
_TAKEN = ("/export.png", f"/answers/{MODEL}/export-overlay.png", f"/answers/{MODEL}/export-pair.png")


def test_strangers_learn_nothing_and_viewers_take_nothing_away(
    stage: Stage, app: Flask, services: Services, people: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    other = app.test_client()
    sign_in(other, people("stranger"))
    viewer = app.test_client()
    sign_in(viewer, people("viewer", Role.VIEWER))
    base = f"/pictures/{stage.image.id}"
    for path in (*_SEEN, *_TAKEN):
        assert other.get(base + path).status_code == 404, path
        assert app.test_client().get(base + path, headers={"Accept": "application/json"}).status_code == 401, path
    for path in _TAKEN:
        assert viewer.get(base + path).status_code == 403, path
    for path in _SEEN:
        assert stage.get(path).status_code == 200, path
    assert events(services) == []


def test_a_viewer_of_the_group_sees_and_takes_nothing_away(
    stage: Stage, app: Flask, services: Services, people: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    viewer = people("colleague", Role.VIEWER, group="ward")
    with services.database.session() as session:
        session.get_one(Image, stage.image.id).case.group_id = viewer.group_id
    browser = app.test_client()
    sign_in(browser, viewer)
    assert browser.get(f"/pictures/{stage.image.id}/preview.png").status_code == 200
    assert browser.get(f"/pictures/{stage.image.id}/export.png").status_code == 403
    assert events(services) == []


def test_what_was_refused_as_no_mammogram_can_be_seen_and_what_is_broken_cannot(
    stage: Stage, services: Services, keep: Callable[..., Image]
) -> None:
    with services.database.reading() as session:
        owner = session.get_one(Image, stage.image.id).case.owner_id
    buffer = io.BytesIO()
    rows = np.linspace(0, 255, 300).astype(np.uint8)
    ok, jpeg = cv2.imencode(".png", np.tile(rows[:, None], (1, 400)))
    assert ok
    buffer.write(jpeg.tobytes())
    refused = {"state": ImageState.REFUSED, "kind": "png"}
    photograph = keep(services, buffer.getvalue(), owner, error_code="no-breast", **refused)
    broken = keep(services, stage.file[:-9000], owner, error_code="malformed-file", **refused)
    waiting = keep(services, stage.file[:-9001], owner, state=ImageState.QUEUED)
    shown = stage.client.get(f"/pictures/{photograph.id}/thumb.png")
    assert png(shown.data).shape == (192, 256)
    for image in (broken, waiting):
        assert stage.client.get(f"/pictures/{image.id}/thumb.png").status_code == 404
    assert stage.client.get(f"/pictures/{broken.id}/levels.json").status_code == 422
