"""A case as one plain document, ``mammolens.case/1``: what the JSON report is, and what the PDF shows.

===============  ======================================================================================
``case``         number, when it arrived, state; probability of the examination, its label and threshold, notices
``model``        in use when the document was made: name, version, SHA-256 of the manifest
``breasts``      for each: probability, label
``images``       for each: what it is, its answer (by the model in use, else by the last that answered,
                 which is named in it), what other models answered, or why it has none
``assessments``  of readers, oldest first; ``in_force``: the last of its breast
``identifiers``  null, unless asked for: what the headers and the upload say of the woman
===============  ======================================================================================

Probabilities are 0 to 1, times ISO 8601 in UTC, coordinates source pixels (x to the right, y down), lengths
millimetres.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from mammolens import __version__
from mammolens.web import models_in_use
from mammolens.web.cases import scoring
from mammolens.web.cases.scoring import CaseScore
from mammolens.web.database.columns import now
from mammolens.web.database.tables import Assessment, Case, Identifier, Image, ImageState, Result

SCHEMA = "mammolens.case/1"

NOTICE = "Research use only. Not a medical device."

_IDENTIFIERS = ("patient_id", "patient_name", "birth_date", "study_date", "accession", "study_uid", "series_uid")
_VIEWS = {"CC": 0, "MLO": 1}
_SIDES = {"R": 0, "L": 1}


def document(session: Session, case: Case, *, identifiers: bool = False) -> dict[str, Any]:
    """Make the document of a case.

    Parameters
    ----------
    session : Session
    case : Case
        One that who asks may see.
    identifiers : bool
        Whether to say what may name the woman.

    Returns
    -------
    dict
        Plain values, ready for JSON.
    """
    use = models_in_use.current(session)
    images = session.scalars(
        select(Image)
        .where(Image.case_id == case.id)
        .options(selectinload(Image.results), selectinload(Image.identifier))
    ).all()
    ordered = sorted(images, key=_place)
    described = [_image(image, use.sha256) for image in ordered]
    scored = scoring.of_case(session, case.id)
    return {
        "schema": SCHEMA,
        "created": _time(now()),
        "software": {"name": "mammolens", "version": __version__},
        "notice": NOTICE,
        "case": {
            "id": case.id,
            "number": shown_number(case),
            "arrived": _time(case.arrived),
            "state": str(case.state),
            "probability": None if scored is None else scored.score.probability,
            "label": None if scored is None else scored.score.label,
            "threshold": None if scored is None else scored.score.threshold,
            "notices": [{"code": n.code, "message": n.message} for n in scored.notices] if scored else [],
        },
        "model": {"name": use.name, "version": use.version, "sha256": use.sha256},
        "breasts": [] if scored is None else _breasts(scored),
        "images": described,
        "assessments": _assessments(session, case),
        "identifiers": _identifiers(ordered) if identifiers else None,
    }


def shown_number(case: Case) -> str:
    """Give the number of a case as people see it: ``A-1043``."""
    return f"A-{case.number}"


def answer_of(image: Image, model_sha256: str) -> Result | None:
    """Give an image's answer: by the model in use, else by the last that answered."""
    ordered = sorted(image.results, key=lambda result: (result.model_sha256 == model_sha256, result.created))
    return ordered[-1] if ordered else None


def _place(image: Image) -> tuple[Any, ...]:
    """Order of the views: R CC, L CC, R MLO, L MLO, then the others as they came."""
    return (
        _VIEWS.get(image.view or "", 2),
        image.view or "",
        _SIDES.get(image.laterality or "", 2),
        image.arrived,
        image.id,
    )


def _image(image: Image, model_sha256: str) -> dict[str, Any]:
    answer = answer_of(image, model_sha256) if image.state is ImageState.ANSWERED else None
    spacing = None
    if image.spacing_row_mm is not None and image.spacing_column_mm is not None:
        spacing = {
            "row_mm": image.spacing_row_mm,
            "column_mm": image.spacing_column_mm,
            "origin": image.spacing_origin,
        }
    return {
        "id": image.id,
        "sha256": image.sha256,
        "kind": image.kind,
        "arrived": _time(image.arrived),
        "state": str(image.state),
        "laterality": image.laterality,
        "view": image.view,
        "view_modifiers": list(image.view_modifiers),
        "rows": image.rows,
        "columns": image.columns,
        "pixel_spacing": spacing,
        "error": None if image.error_code is None else {"code": image.error_code, "message": image.error_message},
        "answer": None if answer is None else _answer(answer),
        "other_answers": [
            {"model": _model(result), "probability": result.probability, "label": result.label}
            for result in sorted(image.results, key=lambda result: result.created)
            if result is not answer
        ],
    }


def _answer(result: Result) -> dict[str, Any]:
    return {
        "model": _model(result),
        "created": _time(result.created),
        "probability": result.probability,
        "logit": result.logit,
        "threshold": result.threshold,
        "label": result.label,
        "confidence": result.confidence,
        "regions": result.regions,
        "notices": result.notices,
        "geometry": result.geometry,
        "timing_ms": result.timing_ms,
    }


def _model(result: Result) -> dict[str, str]:
    return {"name": result.model_name, "version": result.model_version, "sha256": result.model_sha256}


def _breasts(scored: CaseScore) -> list[dict[str, Any]]:
    """Give the answer for each breast that is known as one."""
    return [
        {"laterality": side, "probability": scored.breasts[side].probability, "label": scored.breasts[side].label}
        for side in _SIDES
        if side in scored.breasts
    ]


def _assessments(session: Session, case: Case) -> list[dict[str, Any]]:
    rows = session.scalars(
        select(Assessment)
        .where(Assessment.case_id == case.id)
        .options(selectinload(Assessment.reader))
        .order_by(Assessment.created, Assessment.id)
    ).all()
    last = {row.laterality: row.id for row in rows}
    return [
        {
            "created": _time(row.created),
            "reader": row.reader.name,
            "laterality": row.laterality,
            "birads": row.birads,
            "agrees": row.agrees,
            "comment": row.comment,
            "probability_then": row.probability,
            "in_force": last[row.laterality] == row.id,
        }
        for row in rows
    ]


def _identifiers(images: list[Image]) -> dict[str, Any]:
    """Say what the headers call the woman (each value that occurs), and what each picture was called."""
    known: list[Identifier] = [image.identifier for image in images if image.identifier is not None]
    found: dict[str, Any] = {
        name: sorted({value for row in known if (value := getattr(row, name))}) for name in _IDENTIFIERS
    }
    found["files"] = {row.image_id: row.file_name for row in known}
    return found


def _time(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
