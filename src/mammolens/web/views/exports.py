"""Reports of a case, as JSON and PDF."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Flask, Response, request

from mammolens.errors import RequestInvalid
from mammolens.web import audit
from mammolens.web.access import Actor, Permission, actor, allow, case_of
from mammolens.web.app import reading, services
from mammolens.web.exports.document import document, shown_number

pages = Blueprint("exports", __name__)


@pages.get("/cases/<case_id>/report.json")
@allow(Permission.EXPORT)
def as_json(case_id: str) -> Response:
    """Give the report of a case as JSON; ``?identifiers=yes`` says in it what may name the woman."""
    asking = actor()
    made = _document(asking, case_id, "json")
    return _download(json.dumps(made, ensure_ascii=False, indent=1), "application/json", made["case"]["number"], "json")


@pages.get("/cases/<case_id>/report.pdf")
@allow(Permission.EXPORT)
def as_pdf(case_id: str) -> Response:
    """Give the report of a case as PDF; ``?identifiers=yes`` as in `as_json`."""
    from mammolens.web.exports.pdf import pdf

    asking = actor()
    made = _document(asking, case_id, "pdf")
    content = pdf(made, services().folder / "derived")
    return _download(content, "application/pdf", made["case"]["number"], "pdf")


def _document(asking: Actor, case_id: str, form: str) -> dict[str, Any]:
    """Make the document, once it is written down that it leaves."""
    named = {"": False, "no": False, "yes": True}.get(request.args.get("identifiers", ""))
    if named is None:
        raise RequestInvalid("The parameter identifiers is yes or no.")
    case = case_of(reading(), asking, case_id)
    made = document(reading(), case, identifiers=named)
    with services().database.session() as session:
        detail = {"form": form, "identifiers": named}
        audit.record(session, asking.name, "report-exported", f"case {shown_number(case)}", detail)
    return made


def _download(content: str | bytes, kind: str, number: str, ending: str) -> Response:
    answer = Response(content, mimetype=kind)
    answer.headers["Content-Disposition"] = f'attachment; filename="{number}.{ending}"'
    answer.headers["Cache-Control"] = "no-store"
    return answer


def register(app: Flask) -> None:
    """Add the downloads to the application."""
    app.register_blueprint(pages)
