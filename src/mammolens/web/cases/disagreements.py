"""Where reader and model differ, as a list and as a table to take away."""

from __future__ import annotations

import csv
import enum
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from mammolens.errors import NotFound
from mammolens.inference.examination import Method
from mammolens.web import models_in_use
from mammolens.web.access import Actor, visible
from mammolens.web.cases.assessments import POSITIVE, positive
from mammolens.web.database.tables import Assessment, Case, Image, Result, User

PAGE = 50
"""Lines of one page of the list."""

COLUMNS = (
    "case",
    "breast",
    "birads",
    "reader_verdict",
    "model_verdict",
    "model_probability",
    "model_threshold",
    "agrees_with_marks",
    "difference",
    "comment",
    "reader",
    "written_utc",
    "model",
    "model_sha256",
)
"""Of the table that `as_csv` writes."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_YES_NO = {None: "", True: "yes", False: "no"}


class Difference(enum.StrEnum):
    """In what reader and model differ."""

    MODEL_ONLY = "model-only"
    """The model at or above its threshold, the reader with a negative category."""
    READER_ONLY = "reader-only"
    """The reader with a positive category, the model below its threshold."""
    MARKS = "marks"
    """Alike in their verdict, but the reader does not agree with the marks."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The assessment in force of one breast beside what the model said of it at that time.

    Attributes
    ----------
    case : Case
    assessment : Assessment
    reader : str
        Name of the user.
    threshold : float or None
        Of the model that gave ``assessment.probability``; None where that had no answer.
    model : str
        Its name and version; empty where it had no answer.
    """

    case: Case
    assessment: Assessment
    reader: str
    threshold: float | None
    model: str

    @property
    def suspicious(self) -> bool | None:
        """Whether the model reached its threshold; None where it had no answer."""
        if self.assessment.probability is None or self.threshold is None:
            return None
        return self.assessment.probability >= self.threshold

    @property
    def difference(self) -> Difference | None:
        """In what they differ; None where they agree, or the model had no answer."""
        reader = positive(self.assessment.birads)
        if self.suspicious is not None and self.suspicious != reader:
            return Difference.MODEL_ONLY if self.suspicious else Difference.READER_ONLY
        return Difference.MARKS if self.assessment.agrees is False else None


def listed(
    session: Session, asking: Actor, after: str | None = None, most: int = PAGE
) -> tuple[list[Compared], str | None]:
    """List disagreements, newest first.

    Parameters
    ----------
    session : Session
    asking : Actor
        Only cases that they see are listed.
    after : str, optional
        Second value of the call before: goes on from there.
    most : int
        Length of the list.

    Returns
    -------
    list of Compared
    str or None
        What the next page goes on from; None after the last.

    Raises
    ------
    NotFound
        If ``after`` is no assessment.
    """
    query = _compared(asking).where(_differs())
    if after is not None:
        last = session.get(Assessment, after)
        if last is None:
            raise NotFound("This page of the list is gone. Begin with the first.")
        query = query.where(
            or_(
                Assessment.created < last.created,
                and_(Assessment.created == last.created, Assessment.id < last.id),
            )
        )
    found = [_row(values) for values in session.execute(query.limit(most + 1))]
    return found[:most], found[most - 1].assessment.id if len(found) > most else None


def compared(session: Session, asking: Actor, everything: bool) -> Iterable[Compared]:
    """Give all assessments in force of the cases somebody sees, newest first; or those that differ.

    Parameters
    ----------
    session : Session
    asking : Actor
    everything : bool
        Whether those that agree are wanted too.

    Yields
    ------
    Compared
    """
    query = _compared(asking) if everything else _compared(asking).where(_differs())
    for values in session.execute(query.execution_options(yield_per=500)):
        yield _row(values)


def counted(session: Session, asking: Actor) -> list[tuple[int, bool | None, bool | None, int]]:
    """Count the assessments in force of the cases somebody sees, in the database.

    Returns
    -------
    list of (int, bool or None, bool or None, int)
        BI-RADS category, `Compared.suspicious`, whether the reader agrees with the marks, how many.
    """
    suspicious = (Assessment.probability >= _threshold()).label("suspicious")
    rows = (
        _compared(asking).with_only_columns(Assessment.birads, suspicious, Assessment.agrees).order_by(None).subquery()
    )
    columns = (rows.c.birads, rows.c.suspicious, rows.c.agrees)
    return [
        (birads, model if model is None else bool(model), agrees, count)
        for birads, model, agrees, count in session.execute(select(*columns, func.count()).group_by(*columns))
    ]


def as_csv(rows: Iterable[Compared]) -> str:
    """Write a table with a heading, as RFC 4180 has it.

    Parameters
    ----------
    rows : iterable of Compared

    Returns
    -------
    str
        Columns as `COLUMNS`. A text that a spreadsheet would take for a formula is led by an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([harmless(cell) for cell in _cells(row)])
    return text.getvalue()


def harmless(cell: str | float | None) -> str | float:
    """Give a cell that no spreadsheet runs: a text that could begin a formula gets an apostrophe before it.

    OWASP, "CSV Injection". Numbers stay numbers; None is an empty cell.
    """
    if cell is None:
        return ""
    if isinstance(cell, str) and cell.lstrip(" ").startswith(_FORMULA):
        return "'" + cell
    return cell


def _cells(row: Compared) -> tuple[str | float | None, ...]:
    written, suspicious = row.assessment, row.suspicious
    return (
        f"A-{row.case.number}",
        {"R": "right", "L": "left"}.get(written.laterality, "unknown"),
        written.birads,
        "positive" if positive(written.birads) else "negative",
        None if suspicious is None else "malignant" if suspicious else "benign",
        None if written.probability is None else round(written.probability, 4),
        None if row.threshold is None else round(row.threshold, 4),
        _YES_NO[written.agrees],
        row.difference.value if row.difference else "",
        written.comment,
        row.reader,
        written.created.strftime("%Y-%m-%d %H:%M:%S"),
        row.model,
        written.model_sha256,
    )


def _threshold() -> Any:
    """Threshold for a breast of the model that an assessment was written beside."""
    # A model that brings no rule for breasts, or is not installed any more, has that of its pictures.
    of_pictures = (
        select(Result.threshold)
        .join(Image)
        .where(Image.case_id == Assessment.case_id, Result.model_sha256 == Assessment.model_sha256)
        .limit(1)
        .correlate(Assessment)
        .scalar_subquery()
    )
    measured = {
        sha256: Method.of(manifest).breast.threshold
        for sha256, manifest in models_in_use.installed_manifests().items()
        if manifest.examination is not None
    }
    of_model = case(measured, value=Assessment.model_sha256, else_=of_pictures) if measured else of_pictures
    return func.coalesce(Assessment.threshold, of_model)


def _model() -> Any:
    return (
        select(Result.model_name + " " + Result.model_version)
        .join(Image)
        .where(Image.case_id == Assessment.case_id, Result.model_sha256 == Assessment.model_sha256)
        .limit(1)
        .correlate(Assessment)
        .scalar_subquery()
    )


def _compared(asking: Actor) -> Select[Any]:
    newer = aliased(Assessment)
    outdated = exists().where(
        newer.case_id == Assessment.case_id,
        newer.laterality == Assessment.laterality,
        or_(newer.created > Assessment.created, and_(newer.created == Assessment.created, newer.id > Assessment.id)),
    )
    return (
        select(Assessment, Case, User.name, _threshold(), _model())
        .join(Case, Case.id == Assessment.case_id)
        .join(User, User.id == Assessment.reader_id)
        .where(visible(asking), ~outdated)
        .order_by(Assessment.created.desc(), Assessment.id.desc())
    )


def _differs() -> ColumnElement[bool]:
    reader = Assessment.birads.in_(sorted(POSITIVE))
    model = Assessment.probability >= _threshold()
    return or_(and_(model, ~reader), and_(~model, reader), Assessment.agrees.is_(False))


def _row(values: Any) -> Compared:
    assessment, of, reader, threshold, model = values
    return Compared(of, assessment, reader, threshold, model or "")
