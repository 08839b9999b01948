"""What the API takes and gives: pydantic models, and how rows of the database become them.

None holds what may name a woman: programs find their uploads again by the image's id or its SHA-256.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mammolens.web.cases.assessments import LONGEST_COMMENT
from mammolens.web.cases.worklist import Order
from mammolens.web.database.tables import (
    Assessment,
    Case,
    CaseState,
    Image,
    ImageState,
    Job,
    JobKind,
    JobState,
    Result,
)

Id = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


def _printable(text: str) -> str:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("The text holds characters that no text has.")
    return text


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable, for programs.")


class Health(_Document):
    """Whether the process answers."""

    status: Literal["live"]


class Readiness(_Document):
    """Whether work would be done, and what stands in its way."""

    status: Literal["ready", "unready"]
    database: bool = Field(description="It answers.")
    disk: bool = Field(description="There is room for uploads.")
    queue: bool = Field(description="No job has waited long while none is worked on.")


class Me(_Document):
    """Who asks."""

    name: str
    role: Literal["administrator", "reader", "viewer"]
    scopes: list[str] = Field(description="What this token may do, by the user's role.")


class Refusal(_Document):
    """Why a file got no answer."""

    code: str
    message: str


class JobDocument(_Document):
    """One piece of work."""

    id: Id
    image: Id
    kind: JobKind
    state: JobState
    ahead: int | None = Field(description="Answers that come before this one, while it is queued.")
    attempts: int
    created: dt.datetime
    started: dt.datetime | None
    ended: dt.datetime | None
    error: str | None = Field(description="Code of what went wrong.")


class RegionDocument(_Document):
    """A place that the score rests on, in source pixels."""

    box: tuple[int, int, int, int] = Field(description="x0, y0, x1, y1; half open.")
    centre: tuple[int, int]
    score: float = Field(ge=0, le=1)


class ModelDocument(_Document):
    """Which model answered."""

    name: str
    version: str
    sha256: str


class PredictionDocument(_Document):
    """One model's answer for one image. Research use only."""

    image: Id
    probability: float = Field(ge=0, le=1, description="Calibrated, at the prevalence that the model's card states.")
    label: Literal["benign", "malignant"]
    confidence: float = Field(ge=0, le=1, description="Probability of the label.")
    threshold: float = Field(ge=0, le=1, description="Probability from which the label is malignant.")
    regions: list[RegionDocument] = Field(description="Highest first.")
    warnings: list[Refusal]
    model: ModelDocument
    timing_ms: dict[str, float]
    created: dt.datetime


class ImageDocument(_Document):
    """One uploaded picture."""

    id: Id
    case: Id
    state: ImageState
    sha256: str = Field(description="Of the stored file; of a DICOM file with its preamble cleared.")
    bytes: int
    kind: str
    arrived: dt.datetime
    laterality: str | None
    view: str | None
    view_modifiers: list[str]
    rows: int | None
    columns: int | None
    pixel_spacing_mm: tuple[float, float] | None = Field(description="Between rows, between columns.")
    error: Refusal | None
    job: Id | None = Field(description="The newest job that answers it.")
    prediction: PredictionDocument | None = Field(description="Of the model in use, else the newest one.")


class CaseDocument(_Document):
    """One examination."""

    id: Id
    number: str = Field(description="As people call it, for example A-1043.")
    state: CaseState
    arrived: dt.datetime
    images_count: int
    score: float | None = Field(description="Probability of malignancy, of all its images together.")
    label: str | None
    assessed: dt.datetime | None
    birads: int | None = Field(description="Highest category of the assessments in force.")


class CaseWithImages(CaseDocument):
    """One examination and its views."""

    images: list[ImageDocument]


class CasePage(_Document):
    """Some cases, in order."""

    cases: list[CaseDocument]
    next: str | None = Field(description="Goes into `after` for the page that follows; null on the last one.")


class CaseQuery(_Document):
    """Which cases, and in what order."""

    order: Order = Field(Order.NEWEST, description="By suspicion, cases without any answer are left out.")
    state: CaseState | None = None
    limit: int = Field(50, ge=1, le=200)
    after: str | None = Field(None, max_length=200, description="`next` of the page before.")


class UploadQuery(_Document):
    """What belongs to a body that is the file itself."""

    name: Annotated[str, AfterValidator(_printable)] = Field(
        "upload", min_length=1, max_length=255, description="The file's name; kept apart from the picture."
    )


class UploadedFile(_Document):
    """What became of one file."""

    name: str
    image: Id | None
    case: Id | None
    job: Id | None
    duplicate: bool = Field(description="The same picture was there already; it is not answered twice.")
    error: Refusal | None


class Uploaded(_Document):
    """What became of an upload."""

    files: list[UploadedFile]


class Artifact(_Document):
    """A file that was made of an image."""

    name: str
    media_type: str
    bytes: int


class Artifacts(_Document):
    """Files that were made of an image."""

    artifacts: list[Artifact]


class AssessmentDocument(_Document):
    """What a reader found in one breast."""

    id: Id
    laterality: Literal["L", "R", "-"]
    birads: int
    agrees: bool | None
    comment: str
    reader: str
    probability: float | None = Field(description="What the model in use said of this breast at that time.")
    model_sha256: str | None
    created: dt.datetime


class Assessments(_Document):
    """All assessments of a case, newest first."""

    assessments: list[AssessmentDocument]


class NewAssessment(_Document):
    """What a reader finds in one breast."""

    laterality: Literal["L", "R", "-"] = Field(description="`-` where the side is unknown.")
    birads: int = Field(strict=True, ge=0, le=6)
    agrees: bool | None = Field(None, strict=True, description="With the marks; null: not said.")
    comment: Annotated[str, AfterValidator(_printable)] = Field("", max_length=LONGEST_COMMENT)


def prediction_of(result: Result) -> PredictionDocument:
    """Document of an answer."""
    return PredictionDocument.model_validate(
        {
            "image": result.image_id,
            "probability": result.probability,
            "label": result.label,
            "confidence": result.confidence,
            "threshold": result.threshold,
            "regions": result.regions,
            "warnings": result.notices,
            "model": {"name": result.model_name, "version": result.model_version, "sha256": result.model_sha256},
            "timing_ms": result.timing_ms,
            "created": result.created,
        }
    )


def image_document(image: Image, job_id: str | None, result: Result | None) -> ImageDocument:
    """Document of an image, with the job that answers it and the answer to show."""
    row, column = image.spacing_row_mm, image.spacing_column_mm
    refused = image.error_code is not None
    return ImageDocument(
        id=image.id,
        case=image.case_id,
        state=image.state,
        sha256=image.sha256,
        bytes=image.bytes,
        kind=image.kind,
        arrived=image.arrived,
        laterality=image.laterality,
        view=image.view,
        view_modifiers=list(image.view_modifiers),
        rows=image.rows,
        columns=image.columns,
        pixel_spacing_mm=None if row is None or column is None else (row, column),
        error=Refusal(code=image.error_code or "", message=image.error_message or "") if refused else None,
        job=job_id,
        prediction=None if result is None else prediction_of(result),
    )


def case_fields(case: Case) -> dict[str, object]:
    """Fields of `CaseDocument`."""
    return {
        "id": case.id,
        "number": f"A-{case.number}",
        "state": case.state,
        "arrived": case.arrived,
        "images_count": case.images_count,
        "score": case.score,
        "label": case.label,
        "assessed": case.assessed,
        "birads": case.birads,
    }


def job_document(job: Job, ahead: int | None) -> JobDocument:
    """Document of a job; ``ahead`` is how many come before it."""
    return JobDocument(
        id=job.id,
        image=job.image_id,
        kind=job.kind,
        state=job.state,
        ahead=ahead,
        attempts=max(0, job.attempts),
        created=job.created,
        started=job.started,
        ended=job.ended,
        error=job.error_code,
    )


def assessment_document(assessment: Assessment) -> AssessmentDocument:
    """Document of an assessment."""
    return AssessmentDocument.model_validate(
        {
            "id": assessment.id,
            "laterality": assessment.laterality,
            "birads": assessment.birads,
            "agrees": assessment.agrees,
            "comment": assessment.comment,
            "reader": assessment.reader.name,
            "probability": assessment.probability,
            "model_sha256": assessment.model_sha256,
            "created": assessment.created,
        }
    )
