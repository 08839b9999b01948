"""The case page: pictures, answers, regions, and what readers found."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, Flask, Response, flash, jsonify, redirect, render_template, request, url_for
from flask_babel import gettext

from mammolens.errors import NotFound, RequestInvalid
from mammolens.explain.regions import REGION_THRESHOLD
from mammolens.models.bundle import CARD, load_bundle
from mammolens.web import audit, models_in_use
from mammolens.web.access import Actor, Permission, actor, allow, case_of, may_delete
from mammolens.web.app import reading, services
from mammolens.web.cases import card as model_card
from mammolens.web.cases import page as pages
from mammolens.web.cases import viewer, worklist
from mammolens.web.cases.assessments import LONGEST_COMMENT
from mammolens.web.cases.hanging import chest_wall, flipped
from mammolens.web.cases.page import CasePage, View
from mammolens.web.database.tables import Case, CaseState, Image, Role
from mammolens.web.pictures import heat
from mammolens.web.wording import words
from mammolens.web.work.deletion import delete_case

blueprint = Blueprint("case", __name__)

_MODEL_DIGITS = 16
"""Digits of a model's hash in addresses of what it made."""


def register(app: Flask) -> None:
    """Add the case page to the application."""
    app.register_blueprint(blueprint)


@blueprint.get("/cases/<case_id>")
@allow(Permission.VIEW)
def show(case_id: str) -> str:
    """Show a case."""
    asking = actor()
    shown = pages.gather(reading(), asking, case_id)
    with services().database.session() as session:
        audit.record(session, asking.name, "case-seen", f"case A-{shown.case.number}")
    return rendered(shown)


def rendered(shown: CasePage, given: dict[str, str] | None = None, refused: str = "") -> str:
    """Render the page of a case.

    Parameters
    ----------
    shown : CasePage
    given : dict, optional
        What the reader had written into the form, where it could not be taken.
    refused : str
        Why not.

    Returns
    -------
    str
        HTML.
    """
    asking = actor()
    may_erase = asking.may(Permission.DELETE) and (
        asking.role is Role.ADMINISTRATOR or shown.case.owner_id == asking.user_id
    )
    return render_template(
        "case/show.html",
        page=shown,
        data=_data(shown, viewer.look_of(reading(), asking)),
        way=_way(asking, shown.case),
        level=_level(shown),
        points=_points(shown),
        origin=_origin(shown),
        reasons={view.image.id: reason(view.image) for view in shown.views if view.ended},
        reports=_reports(shown.case),
        given=given or {},
        refused=refused,
        longest_comment=LONGEST_COMMENT,
        may_assess=asking.may(Permission.ASSESS),
        may_export=asking.may(Permission.EXPORT),
        may_delete=may_erase,
    )


@blueprint.get("/cases/<case_id>/state")
@allow(Permission.VIEW)
def state(case_id: str) -> Response:
    """Say where a case stands, for a page that waits for its answers."""
    case = case_of(reading(), actor(), case_id)
    return jsonify(state=case.state.value, images={image.id: image.state.value for image in case.images})


@blueprint.post("/cases/<case_id>/delete")
@allow(Permission.DELETE)
def delete(case_id: str) -> Any:
    """Delete a case for good."""
    asking = actor()
    case = case_of(reading(), asking, case_id)
    may_delete(asking, case)
    delete_case(services(), case.id, asking.name)
    flash(gettext("A-%(number)s was deleted.", number=case.number), "info")
    return redirect(url_for("worklist.index"), 303)


@blueprint.post("/preferences/viewer")
@allow(Permission.ACCOUNT)
def remember() -> tuple[str, int]:
    """Keep how the viewer is to look; JSON as `mammolens.web.cases.viewer.Look` has it."""
    values = request.get_json(silent=True)
    if not isinstance(values, dict):
        raise RequestInvalid("The viewer's settings are sent as a JSON object.")
    look = viewer.Look.of(values)
    with services().database.session() as session:
        viewer.remember(session, actor(), look)
    return "", 204


@blueprint.get("/models/<model_sha256>/card")
@allow(Permission.VIEW)
def card(model_sha256: str) -> str:
    """Show the card of an installed model."""
    found = next((one for one in models_in_use.available() if one.manifest and one.sha256 == model_sha256), None)
    if found is None:
        raise NotFound("There is no such model installed.")
    text = load_bundle(found.place).read(CARD).decode("utf-8", "replace")
    return render_template(
        "case/card.html", manifest=found.manifest, parts=model_card.parts(text), pieces=model_card.pieces
    )


def reason(image: Image) -> str:
    """Say in the reader's language why a picture has no answer."""
    return words(image.error_code or image.state.value)


def _way(asking: Actor, case: Case) -> dict[str, Any]:
    """Links to the worklist and to the cases before and after, in the order that the reader came by."""
    wish = worklist.Wish.of(request.args)
    before, after = worklist.neighbours(reading(), asking, wish, case)
    total = worklist.count(reading(), asking, wish)
    query: dict[str, Any] = dict(wish.arguments())
    links = [url_for("case.show", case_id=other, **query) if other else None for other in (before, after)]
    return {
        "back": url_for("worklist.index", **query),
        "query": query,
        "before": links[0],
        "after": links[1],
        "place": worklist.rank(reading(), asking, wish, case),
        "total": total if total <= worklist.COUNTED else None,
    }


def _level(shown: CasePage) -> str:
    """Step of the suspicion scale: below the threshold, above it, more than half way from it to 1."""
    score = None if shown.scored is None else shown.scored.score
    if score is None or score.probability < score.threshold:
        return "low"
    return "high" if score.probability >= (1.0 + score.threshold) / 2 else "middle"


def _points(shown: CasePage) -> list[float]:
    """Operating points of the model beside the one in use."""
    return [point.threshold for point in shown.points if point != shown.point]


def _origin(shown: CasePage) -> list[tuple[str, list[str]]]:
    """Say what the files tell of whose they are, each value once."""
    columns = (
        (gettext("Patient"), "patient_id"),
        (gettext("Name"), "patient_name"),
        (gettext("Born"), "birth_date"),
        (gettext("Examined"), "study_date"),
        (gettext("Accession"), "accession"),
        (gettext("Files"), "file_name"),
    )
    return [
        (words, list(dict.fromkeys(filter(None, (getattr(one, column) for one in shown.identifiers)))))
        for words, column in columns
    ]


def _reports(case: Case) -> list[dict[str, str]]:
    return [
        {"words": gettext("Report, PDF"), "address": url_for("exports.as_pdf", case_id=case.id)},
        {"words": gettext("Report, JSON"), "address": url_for("exports.as_json", case_id=case.id)},
    ]


def _data(shown: CasePage, look: viewer.Look) -> dict[str, Any]:
    """Give the scripts of the page what they need."""
    sides = {cell.image.id: cell.side for cell in shown.hanging.cells if cell.image is not None}
    return {
        "images": {view.image.id: _image(view, sides.get(view.image.id)) for view in shown.views},
        "order": [view.image.id for view in shown.views],
        "look": asdict(look),
        "contour": REGION_THRESHOLD,
        "waiting": shown.case.state is CaseState.WAITING,
        "urls": {
            "colours": url_for("pictures.colours"),
            "remember": url_for("case.remember"),
            "state": url_for("case.state", case_id=shown.case.id),
        },
        "words": _texts(),
    }


def _image(view: View, side: str | None) -> dict[str, Any]:
    image, result = view.image, view.result
    spacing = None
    if image.spacing_row_mm is not None and image.spacing_column_mm is not None:
        spacing = {"row": image.spacing_row_mm, "column": image.spacing_column_mm, "origin": image.spacing_origin}
    made: dict[str, Any] = {
        "id": image.id,
        "name": view.name or gettext("view unknown"),
        "side": side,
        "chest": chest_wall(result),
        "flipped": flipped(side, result),
        "rows": image.rows,
        "columns": image.columns,
        "spacing": spacing,
        "open": result is None and not view.ended,
        "levels": url_for("pictures.levels", image_id=image.id),
        "regions": [],
    }
    if result is not None:
        model = result.model_sha256[:_MODEL_DIGITS]
        made |= {
            "box": result.geometry["box"],
            "regions": result.regions,
            "heat": heat.describe(result) | {"grid": url_for("pictures.grid", image_id=image.id, model=model)},
        }
    return made


def _texts() -> dict[str, str]:
    """Words that the scripts show."""
    return {
        "arrived": gettext("An answer has come."),
        "reload": gettext("Show it"),
        "default": gettext("Window: breast"),
        "preset": gettext("Window: {name}"),
        "unnamed": gettext("of the file {number}"),
        "harder": gettext("harder"),
        "softer": gettext("softer"),
        "normal": gettext("normal"),
        "table": gettext("table"),
        "level": gettext("level {level}, width {width}"),
        "zoom": gettext("{percent} %"),
        "mirrored": gettext("turned left to right"),
        "imager": gettext("at the detector, so somewhat larger than in the breast"),
        "detector": gettext("of the detector's elements, so somewhat larger than in the breast"),
        "calibrated": gettext("calibrated in the file"),
        "pixels": gettext("{length} px, spacing unknown"),
        "millimetres": gettext("{length} mm"),
        "failed": gettext("The picture could not be shown: {reason}"),
        "busy": gettext("Too much is being opened at the moment. The picture comes as soon as there is room."),
        "picture": gettext("{name}: picture. Enter makes it large, keys are listed under ?"),
        "map_on": gettext("Map on"),
        "map_off": gettext("Map off"),
        "region": gettext("Region {number} of {name}"),
        "original": gettext("original"),
        "with_map": gettext("with map"),
        "leave": gettext("The assessment is not saved."),
    }
