"""Routes of images, their answers, the files made of them, and jobs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flask import Blueprint, Response, send_file
from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from mammolens.errors import CaseConflict, InputError, NotFound
from mammolens.web import audit, models_in_use
from mammolens.web.access import Permission, actor, allow, image_of, may_direct
from mammolens.web.api.documents import (
    Artifact,
    Artifacts,
    ImageDocument,
    JobDocument,
    PredictionDocument,
    image_document,
    job_document,
    prediction_of,
)
from mammolens.web.api.operation import BINARY, Operation, operation
from mammolens.web.app import reading, services
from mammolens.web.database.tables import Case, Image, ImageState, Job, JobKind, Result
from mammolens.web.exports.document import answer_of, shown_number
from mammolens.web.work import queue

MEDIA = {
    "thumb.png": "image/png",
    "preview.png": "image/png",
    "overlay.png": "image/png",
    "heat.png": "image/png",
    "heat.npy": "application/octet-stream",
}
"""Artifacts by name; the first two are of the picture, the others of the answer that the image's document shows."""

_OF_THE_PICTURE = ("thumb.png", "preview.png")


class _NoAnswer(InputError):
    """Refusal of an image, told again with its own code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]


def add(api: Blueprint) -> None:
    """Add the routes to the API."""
    api.get("/images/<image_id>")(image)
    api.get("/images/<image_id>/prediction")(prediction)
    api.get("/images/<image_id>/artifacts")(artifacts)
    api.get("/images/<image_id>/artifacts/<name>")(artifact)
    api.get("/jobs/<job_id>")(job)
    api.post("/jobs/<job_id>/cancel")(cancel_job)
    api.post("/jobs/<job_id>/retry")(retry_job)


def documents_of(session: Session, images: Sequence[Image]) -> list[ImageDocument]:
    """Make the documents of some images with three queries in all.

    Parameters
    ----------
    session : Session
    images : sequence of Image
        Their ``results`` are read if they are not loaded yet.

    Returns
    -------
    list of ImageDocument
        In the same order.
    """
    use = models_in_use.current(session)
    jobs = jobs_of(session, [one.id for one in images])
    return [image_document(one, jobs.get(one.id), answer_of(one, use.sha256)) for one in images]


def jobs_of(session: Session, image_ids: Sequence[str]) -> dict[str, str]:
    """Find the newest job that answers each of some images; from the image's id to the job's."""
    wanted = select(Job.image_id, Job.id).where(Job.image_id.in_(image_ids), Job.kind == JobKind.ANSWER)
    return {image_id: job_id for image_id, job_id in session.execute(wanted.order_by(Job.created))}


@allow(Permission.VIEW)
@operation(Operation("Give an image with its state and its answer.", ImageDocument))
def image(image_id: str) -> ImageDocument:
    """Give an image."""
    found = image_of(reading(), actor(), image_id)
    if found.results:
        _note(found, "case-seen")
    return documents_of(reading(), [found])[0]


@allow(Permission.VIEW)
@operation(Operation("Give an image's answer.", PredictionDocument, errors=(409, 422)))
def prediction(image_id: str) -> PredictionDocument:
    """Give an image's answer; 409 while there is none, 422 with the refusal's own code where there will be none."""
    found = image_of(reading(), actor(), image_id)
    answer = answer_of(found, models_in_use.current(reading()).sha256)
    if answer is not None:
        _note(found, "case-seen")
        return prediction_of(answer)
    if found.state is ImageState.REFUSED:
        raise _NoAnswer(found.error_code or InputError.code, found.error_message or "This picture gets no answer.")
    raise CaseConflict("This picture has no answer yet. Ask again when its state has changed.")


@allow(Permission.VIEW)
@operation(Operation("List the files made of an image.", Artifacts))
def artifacts(image_id: str) -> Artifacts:
    """List the files made of an image."""
    found = image_of(reading(), actor(), image_id)
    places = {name: _place(found, name) for name in MEDIA}
    return Artifacts(
        artifacts=[
            Artifact(name=name, media_type=MEDIA[name], bytes=place.stat().st_size)
            for name, place in places.items()
            if place is not None and place.is_file()
        ]
    )


@allow(Permission.EXPORT)
@operation(Operation("Give a file made of an image.", media={kind: BINARY for kind in sorted(set(MEDIA.values()))}))
def artifact(image_id: str, name: str) -> Response:
    """Give a file made of an image."""
    found = image_of(reading(), actor(), image_id)
    place = _place(found, name) if name in MEDIA else None
    if place is None or not place.is_file():
        raise NotFound("There is no such file of this picture. See its list of artifacts.")
    _note(found, "picture-exported", name)
    response = send_file(place, MEDIA[name], as_attachment=True, download_name=f"{image_id}-{name}", etag=False)
    response.headers["Cache-Control"] = "no-store"
    return response


@allow(Permission.VIEW)
@operation(Operation("Give a job.", JobDocument))
def job(job_id: str) -> JobDocument:
    """Give a job."""
    found = _job_of(reading(), job_id)
    return job_document(found, queue.ahead(reading(), [found.image_id]).get(found.image_id))


@allow(Permission.UPLOAD)
@operation(Operation("Cancel the work on a job's image.", JobDocument, errors=(409,)))
def cancel_job(job_id: str) -> JobDocument:
    """Take a job's image out of the queue; one that has come to its end stays as it is."""
    with services().database.session() as session:
        found = _own_job_of(session, job_id)
        if queue.cancel(session, [found.image_id]) == 0:
            raise CaseConflict("This picture has come to its end already.")
        session.refresh(found)
        return job_document(found, None)


@allow(Permission.UPLOAD)
@operation(Operation("Try an image again that failed or was cancelled.", JobDocument, status=201, errors=(409,)))
def retry_job(job_id: str) -> JobDocument:
    """Queue a job's image again; the answer names the new job."""
    with services().database.session() as session:
        made = queue.retry(session, _own_job_of(session, job_id).image_id)
        return job_document(made, queue.ahead(session, [made.image_id]).get(made.image_id))


def _own_job_of(session: Session, job_id: str) -> Job:
    """Find a job that who asks may cancel or repeat."""
    found = _job_of(session, job_id)
    may_direct(actor(), image_of(session, actor(), found.image_id).case)
    return found


def _job_of(session: Session, job_id: str) -> Job:
    """Find a job of an image that who asks sees."""
    found = session.get(Job, job_id)
    if found is None:
        raise NotFound("There is no such job, or it is not yours.")
    try:
        image_of(session, actor(), found.image_id)
    except NotFound:
        raise NotFound("There is no such job, or it is not yours.") from None
    return found


def _place(found: Image, name: str) -> Path | None:
    """Where an artifact lies, whether it is there or not; None for those of an answer where there is none."""
    folder = services().folder / "derived" / found.id
    if name in _OF_THE_PICTURE:
        return folder / name
    answer: Result | None = answer_of(found, models_in_use.current(reading()).sha256)
    return None if answer is None else folder / answer.model_sha256[:16] / name


def _note(found: Image, action: str, name: str = "") -> None:
    """Write into the audit log that a program saw or took something."""
    with services().database.session() as session:
        number = session.get_one(Case, found.case_id)
        detail = {"by": "api", "image": found.id, **({"file": name} if name else {})}
        audit.record(session, actor().name, action, f"case {shown_number(number)}", detail)


def with_results(case_id: str) -> list[Image]:
    """Images of a case, their answers loaded."""
    wanted = select(Image).where(Image.case_id == case_id).options(selectinload(Image.results)).order_by(Image.arrived)
    return list(reading().scalars(wanted))
