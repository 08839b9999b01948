"""The worklist page, and what keeps it up to date."""

from __future__ import annotations

import datetime as dt
import hashlib

from flask import Blueprint, Flask, Response, jsonify, render_template, request
from sqlalchemy import select

from mammolens.errors import RequestInvalid
from mammolens.web.access import Permission, actor, allow, visible
from mammolens.web.app import reading
from mammolens.web.cases import worklist as cases
from mammolens.web.cases.worklist import Order, Row, Wish
from mammolens.web.database.columns import now
from mammolens.web.database.tables import Case, CaseState
from mammolens.web.language import moment_words

worklist = Blueprint("worklist", __name__)
MOST_CHANGES = 2 * cases.PAGE
"""Rows that one request may ask after."""


def register(app: Flask) -> None:
    """Add the page."""
    app.register_blueprint(worklist)


@worklist.get("/")
@allow(Permission.VIEW)
def index() -> str:
    """Show a page of the cases that somebody sees."""
    asked_at = now()
    wish = Wish.of(request.args)
    after, before = (
        cases.read_position(request.args[name], wish.order) if request.args.get(name) else None
        for name in ("after", "before")
    )
    shown = cases.page(reading(), actor(), wish, after, before)
    return render_template(
        "worklist/index.html",
        wish=wish,
        page=shown,
        count=cases.count(reading(), actor(), wish),
        counted=cases.COUNTED,
        before=cases.write_position(shown.before) if shown.before else None,
        after=cases.write_position(shown.after) if shown.after else None,
        first=after is None and before is None,
        readers=cases.readers(reading(), actor()),
        asked_at=asked_at.isoformat(),
        version_of=version_of,
        Order=Order,
        CaseState=CaseState,
        UNREAD=cases.UNREAD,
    )


@worklist.get("/worklist/changes")
@allow(Permission.VIEW)
def changes() -> Response:
    """Tell what has changed in a page that somebody looks at.

    Query: that of the page; ``seen``, a list ``<case id>.<version>`` with commas; ``since``, when the page was made.
    Answer: ``rows``, the HTML of those that changed; ``gone``, those that are there no more; ``times``, how long ago
    each arrived; ``newer``, how many of the list have arrived since.
    """
    wish = Wish.of(request.args)
    seen = dict(_seen(request.args.get("seen", "")))
    try:
        since = dt.datetime.fromisoformat(request.args.get("since", ""))
    except ValueError as error:
        raise RequestInvalid("The moment of the page is missing. Load the page again.") from error
    if since.tzinfo is None:
        raise RequestInvalid("The moment of the page has no zone. Load the page again.")
    found = reading().scalars(select(Case).where(Case.id.in_(list(seen)), visible(actor()))).all()
    rows = cases.rows_of(reading(), found)
    return jsonify(
        rows={
            row.case.id: render_template("worklist/_row.html", row=row, wish=wish, version=version_of(row))
            for row in rows
            if version_of(row) != seen[row.case.id]
        },
        gone=sorted(set(seen) - {row.case.id for row in rows}),
        times={row.case.id: moment_words(row.case.arrived) for row in rows},
        newer=cases.newer(reading(), actor(), wish, since),
    )


def version_of(row: Row) -> str:
    """Give a short text that changes whenever what the row shows does, but for how long ago it was."""
    case = row.case
    shown = (
        case.state,
        case.score,
        case.label,
        case.birads,
        case.assessed,
        row.reader,
        [(image.id, image.state, image.error_code, image.laterality, image.view) for image in row.images],
    )
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:12]


def _seen(text: str) -> list[tuple[str, str]]:
    """Cases and their versions; no more than `MOST_CHANGES`."""
    pairs = [part.partition(".") for part in text.split(",") if part]
    return [(case_id[:32], version[:12]) for case_id, _, version in pairs[:MOST_CHANGES]]
