"""What readers found, and where that differs from the model."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, Response, flash, redirect, render_template, request, url_for
from flask_babel import ngettext

from mammolens.errors import RequestInvalid
from mammolens.web import audit, models_in_use
from mammolens.web.access import Permission, actor, allow, case_of
from mammolens.web.app import reading, services
from mammolens.web.cases import assessments as readings
from mammolens.web.cases import disagreements as differences
from mammolens.web.cases import page as pages
from mammolens.web.cases import worklist
from mammolens.web.cases.assessments import Finding
from mammolens.web.views import case as case_views
from mammolens.web.wording import explain

blueprint = Blueprint("assessments", __name__)

_AGREES = {"": None, "yes": True, "no": False}


def register(app: Flask) -> None:
    """Add the assessments to the application."""
    app.register_blueprint(blueprint)


@blueprint.post("/cases/<case_id>/assessments")
@allow(Permission.ASSESS)
def write(case_id: str) -> Any:
    """Write the assessment of each breast that a category was chosen for."""
    asking = actor()
    case_of(reading(), asking, case_id)
    try:
        findings = _findings()
        with services().database.session() as session:
            case = case_of(session, asking, case_id)
            model = models_in_use.current(session).sha256
            for finding in findings:
                readings.write(session, asking, case, finding, model)
                detail = {"breast": finding.laterality, "birads": finding.birads}
                audit.record(session, asking.name, "assessment-written", f"case A-{case.number}", detail)
    except RequestInvalid as error:
        shown = pages.gather(reading(), asking, case_id)
        return case_views.rendered(shown, request.form.to_dict(), explain(error)), 400
    words = ngettext("The assessment is saved.", "%(num)d assessments are saved.", len(findings))
    flash(words, "info")
    query: dict[str, Any] = dict(worklist.Wish.of(request.args).arguments())
    return redirect(url_for("case.show", case_id=case_id, _anchor="assessment", **query), 303)


def _findings() -> list[Finding]:
    """Read the findings in the form that was sent.

    Raises
    ------
    RequestInvalid
        If there is none, or a value does not fit.
    """
    form = request.form
    found = []
    for side in readings.SIDES:
        category, agrees = form.get(f"birads-{side}", ""), form.get(f"agrees-{side}", "")
        comment = form.get(f"comment-{side}", "").replace("\r\n", "\n")
        if not category and not agrees and not comment.strip():
            continue
        if not (category.isascii() and category.isdecimal() and len(category) == 1):
            raise RequestInvalid("Choose a BI-RADS category for the breast that you wrote about.")
        if agrees not in _AGREES:
            raise RequestInvalid("The marks are agreed with, or not, or nothing is said of them.")
        found.append(Finding(side, int(category), _AGREES[agrees], comment))
    if not found:
        raise RequestInvalid("Choose a BI-RADS category for at least one breast.")
    return found


@blueprint.get("/disagreements")
@allow(Permission.VIEW)
def disagreements() -> str:
    """List where reader and model differ."""
    asking = actor()
    rows, after = differences.listed(reading(), asking, request.args.get("after") or None)
    return render_template(
        "case/disagreements.html",
        rows=rows,
        after=url_for("assessments.disagreements", after=after) if after else None,
        first="after" not in request.args,
        may_export=asking.may(Permission.EXPORT),
    )


@blueprint.get("/disagreements.csv")
@allow(Permission.EXPORT)
def table() -> Response:
    """Give the disagreements, or with ``?all=1`` all assessments in force, as CSV."""
    asking = actor()
    everything = request.args.get("all") == "1"
    rows = list(differences.compared(reading(), asking, everything))
    with services().database.session() as session:
        detail = {"rows": len(rows), "all": everything}
        audit.record(session, asking.name, "assessments-exported", "assessments", detail)
    # The mark at the beginning tells Excel that this is UTF-8.
    answer = Response("\ufeff" + differences.as_csv(rows), mimetype="text/csv")
    name = "assessments" if everything else "disagreements"
    answer.headers["Content-Disposition"] = f'attachment; filename="mammolens-{name}.csv"'
    answer.headers["Cache-Control"] = "no-store"
    return answer
