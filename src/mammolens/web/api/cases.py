"""Routes of cases: lists of them, one with its images, what readers found, the report, deletion."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from mammolens.web import audit, models_in_use
from mammolens.web.access import Permission, actor, allow, case_of, may_delete
from mammolens.web.api.documents import (
    AssessmentDocument,
    Assessments,
    CaseDocument,
    CasePage,
    CaseQuery,
    CaseWithImages,
    NewAssessment,
    assessment_document,
    case_fields,
)
from mammolens.web.api.images import documents_of, with_results
from mammolens.web.api.operation import Operation, operation
from mammolens.web.app import reading, services
from mammolens.web.cases import assessments, worklist
from mammolens.web.database.tables import Case
from mammolens.web.exports.document import document as report_of
from mammolens.web.exports.document import shown_number
from mammolens.web.work.deletion import delete_case


def add(api: Blueprint) -> None:
    """Add the routes to the API."""
    api.get("/cases")(listed)
    api.get("/cases/<case_id>")(case)
    api.delete("/cases/<case_id>")(delete)
    api.get("/cases/<case_id>/report")(report)
    api.get("/cases/<case_id>/assessments")(history)
    api.post("/cases/<case_id>/assessments")(assess)


@allow(Permission.VIEW)
@operation(Operation("List the cases that you see, a page at a time.", CasePage, query=CaseQuery))
def listed(query: CaseQuery) -> CasePage:
    """List cases; ``next`` of a page goes into ``after`` of the one that follows."""
    wish = worklist.Wish(query.order, query.state)
    after = None if query.after is None else worklist.read_position(query.after, query.order)
    found = worklist.page(reading(), actor(), wish, after=after, size=query.limit)
    return CasePage(
        cases=[CaseDocument.model_validate(case_fields(row.case)) for row in found.rows],
        next=None if found.after is None else worklist.write_position(found.after),
    )


@allow(Permission.VIEW)
@operation(Operation("Give a case with its images and their answers.", CaseWithImages))
def case(case_id: str) -> CaseWithImages:
    """Give a case."""
    found = case_of(reading(), actor(), case_id)
    _note(found, "case-seen")
    return CaseWithImages.model_validate(
        {**case_fields(found), "images": documents_of(reading(), with_results(found.id))}
    )


@allow(Permission.DELETE)
@operation(Operation("Delete a case for good.", status=204))
def delete(case_id: str) -> Response:
    """Delete a case, its pictures and all that was made of them."""
    found = case_of(reading(), actor(), case_id)
    may_delete(actor(), found)
    delete_case(services(), found.id, actor().name)
    return Response(status=204)


@allow(Permission.EXPORT)
@operation(Operation("Give a case's report: `mammolens.case/1`.", media={"application/json": {"type": "object"}}))
def report(case_id: str) -> Response:
    """Give a case's report as the page of the case exports it, without what names the woman."""
    found = case_of(reading(), actor(), case_id)
    _note(found, "report-exported")
    response = jsonify(report_of(reading(), found))
    response.headers["Cache-Control"] = "no-store"
    return response


@allow(Permission.VIEW)
@operation(Operation("List what readers found, newest first.", Assessments))
def history(case_id: str) -> Assessments:
    """List what readers found."""
    found = case_of(reading(), actor(), case_id)
    past = assessments.history(reading(), found.id)
    return Assessments(assessments=[assessment_document(one) for one in past])


@allow(Permission.ASSESS)
@operation(Operation("Write what a reader finds in one breast.", AssessmentDocument, status=201, body=NewAssessment))
def assess(case_id: str, body: NewAssessment) -> AssessmentDocument:
    """Write an assessment; earlier ones stay in the history."""
    finding = assessments.Finding(body.laterality, body.birads, body.agrees, body.comment)
    with services().database.session() as session:
        found = case_of(session, actor(), case_id)
        written = assessments.write(session, actor(), found, finding, models_in_use.current(session).sha256)
        audit.record(
            session,
            actor().name,
            "assessment-written",
            f"case {shown_number(found)}",
            {"by": "api", "laterality": written.laterality, "birads": written.birads},
        )
        return assessment_document(written)


def _note(found: Case, action: str) -> None:
    with services().database.session() as session:
        audit.record(session, actor().name, action, f"case {shown_number(found)}", {"by": "api"})
