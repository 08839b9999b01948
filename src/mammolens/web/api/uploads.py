"""Route of uploading: the body is the file, or a form of several."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response, request

from mammolens.errors import RequestInvalid
from mammolens.web.access import Permission, actor, allow
from mammolens.web.api.documents import Refusal, Uploaded, UploadedFile, UploadQuery
from mammolens.web.api.images import jobs_of
from mammolens.web.api.operation import BINARY, Operation, document, operation
from mammolens.web.app import services
from mammolens.web.intake.receive import Received, Refused, receive
from mammolens.web.views.uploads import places

FORM = "multipart/form-data"
FIELD = "file"
RAW = ("application/dicom", "application/octet-stream", "application/zip", "image/jpeg", "image/png")
"""Types of a body that is the file itself. What it is, its bytes say."""

_UPLOADS = {kind: BINARY for kind in RAW} | {
    FORM: {
        "type": "object",
        "properties": {FIELD: {"type": "array", "items": BINARY, "minItems": 1}},
        "required": [FIELD],
    }
}


def add(api: Blueprint) -> None:
    """Add the route to the API."""
    api.post("/images")(upload)


@allow(Permission.UPLOAD)
@operation(
    Operation(
        "Upload a picture, a ZIP of pictures, or several files as a form.",
        Uploaded,
        status=201,
        query=UploadQuery,
        uploads=_UPLOADS,
        errors=(413, 422, 507),
    )
)
def upload(query: UploadQuery) -> Response:
    """Take files in; a single picture that is refused is the refusal, of several each has its own outcome."""
    with places().uploads.place(actor().user_id):
        if request.mimetype == FORM:
            outcomes = _form()
        elif request.mimetype in RAW:
            outcomes = receive(services(), actor(), query.name, request.stream, request.content_length)
            if len(outcomes) == 1 and isinstance(refused := outcomes[0], Refused) and refused.name == query.name:
                raise refused.error
        else:
            raise RequestInvalid(f"Send the file itself, its type one of {', '.join(RAW)}; or a form: {FORM}.")
    return document(_told(outcomes), 201)


def _form() -> list[Received | Refused]:
    files = request.files.getlist(FIELD)
    if not files:
        raise RequestInvalid(f"The form has no file in the field `{FIELD}`.")
    found: list[Received | Refused] = []
    for one in files:
        found += receive(services(), actor(), one.filename or "upload", one.stream)
    return found


def _told(outcomes: Sequence[Received | Refused]) -> Uploaded:
    kept = [outcome.image_id for outcome in outcomes if isinstance(outcome, Received)]
    with services().database.reading() as session:
        jobs = jobs_of(session, kept)
    return Uploaded(files=[_file(outcome, jobs) for outcome in outcomes])


def _file(outcome: Received | Refused, jobs: dict[str, str]) -> UploadedFile:
    if isinstance(outcome, Refused):
        why = Refusal(code=outcome.error.code, message=outcome.error.message)
        return UploadedFile(name=outcome.name, image=None, case=None, job=None, duplicate=False, error=why)
    return UploadedFile(
        name=outcome.name,
        image=outcome.image_id,
        case=outcome.case_id,
        job=jobs.get(outcome.image_id),
        duplicate=outcome.duplicate,
        error=None,
    )
