"""The tables. SQLite and PostgreSQL alike; times are UTC, aware in Python, stored without zone.

A *case* is one examination of one woman: its *images* are her views. Everything that may name her stands in
`Identifier`, apart from the pictures and their answers.
"""

from __future__ import annotations

import datetime as dt
import enum
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from mammolens.web.database.columns import Base, Serial, new_id, now, words


class Role(enum.StrEnum):
    """What somebody may do; see `mammolens.web.access`."""

    ADMINISTRATOR = "administrator"
    READER = "reader"
    VIEWER = "viewer"


class Group(Base):
    """People who share cases."""

    __tablename__ = "groups"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(80), unique=True)


class User(Base):
    """Somebody who may sign in."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    role: Mapped[Role] = mapped_column(words(Role))
    group_id: Mapped[str | None] = mapped_column(ForeignKey("groups.id"))
    active: Mapped[bool] = mapped_column(default=True)
    must_change_password: Mapped[bool] = mapped_column(default=False)
    totp_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    """What the secret is derived from, with the application's key; in use when `totp_confirmed`."""
    totp_confirmed: Mapped[bool] = mapped_column(default=False)
    totp_last_step: Mapped[int | None] = mapped_column(BigInteger)
    """Time step of the last code that was taken; none is taken twice."""
    failures: Mapped[int] = mapped_column(default=0)
    """Wrong passwords in a row."""
    locked_until: Mapped[dt.datetime | None]
    preferences: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Language, theme, colour map, opacity and the like."""
    created: Mapped[dt.datetime] = mapped_column(default=now)
    group: Mapped[Group | None] = relationship()


class SignIn(Base):
    """One session in one browser, kept on the server so that it can be revoked."""

    __tablename__ = "sign_ins"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the secret in the browser's cookie."""
    agent: Mapped[str] = mapped_column(String(200), default="")
    created: Mapped[dt.datetime] = mapped_column(default=now)
    seen: Mapped[dt.datetime] = mapped_column(default=now)
    ends: Mapped[dt.datetime]
    """Absolute timeout."""
    revoked: Mapped[dt.datetime | None]
    user: Mapped[User] = relationship()


class ApiToken(Base):
    """A program's key; shown once, kept as a hash."""

    __tablename__ = "api_tokens"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(80))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[Any]]
    """Values of `mammolens.web.access.Permission`."""
    created: Mapped[dt.datetime] = mapped_column(default=now)
    ends: Mapped[dt.datetime | None]
    used: Mapped[dt.datetime | None]
    revoked: Mapped[dt.datetime | None]
    user: Mapped[User] = relationship()


class CaseState(enum.StrEnum):
    """Where a case stands, by its images."""

    WAITING = "waiting"
    """Some image is queued or in work."""
    ANSWERED = "answered"
    """Every image has come to its end, at least one with an answer."""
    REFUSED = "refused"
    """No image has an answer, and none will."""


class Case(Base):
    """One examination.

    ``state``, ``score``, ``label``, ``images_count`` and ``assessed`` repeat what its images, results and
    assessments say, so that a worklist of 100,000 cases is one index away; `mammolens.web.cases.summary.refresh`
    is the one place that writes them.
    """

    __tablename__ = "cases"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    number: Mapped[int] = mapped_column(Serial, unique=True)
    """Counts up from 1001; shown as ``A-1043``."""
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    group_id: Mapped[str | None] = mapped_column(ForeignKey("groups.id"), index=True)
    """Everybody of this group sees the case; the owner and administrators always do."""
    examination: Mapped[str] = mapped_column(String(64))
    """What images are grouped by: keyed hash of StudyInstanceUID, else the batch and folder they came in."""
    arrived: Mapped[dt.datetime] = mapped_column(default=now)
    state: Mapped[CaseState] = mapped_column(words(CaseState), default=CaseState.WAITING)
    images_count: Mapped[int] = mapped_column(default=0)
    score: Mapped[float | None]
    """Probability of malignancy, 0 to 1, as `mammolens.web.cases.scoring` makes it of its images' answers."""
    label: Mapped[str | None] = mapped_column(String(12))
    assessed: Mapped[dt.datetime | None]
    """When the newest assessment was written."""
    assessor_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    birads: Mapped[int | None]
    """Highest BI-RADS category of the assessments in force."""
    images: Mapped[list[Image]] = relationship(back_populates="case", order_by="Image.arrived", passive_deletes=True)
    owner: Mapped[User] = relationship(foreign_keys=[owner_id])

    # The worklist walks along one of these and finds what it filters by in it, without a look at the table.
    __table_args__ = (
        UniqueConstraint("owner_id", "examination"),
        Index("ix_cases_arrived", "arrived", "id", "state", "assessor_id"),
        Index("ix_cases_score", "score", "id", "state", "assessor_id"),
        Index("ix_cases_state_arrived", "state", "arrived", "id", "assessor_id"),
        Index("ix_cases_group_arrived", "group_id", "arrived", "id", "owner_id", "state", "assessor_id"),
        Index("ix_cases_owner_arrived", "owner_id", "arrived", "id", "state", "assessor_id"),
        Index("ix_cases_group_score", "group_id", "score", "id", "owner_id", "state", "assessor_id"),
        Index("ix_cases_owner_score", "owner_id", "score", "id", "state", "assessor_id"),
    )


class ImageState(enum.StrEnum):
    """Where an image stands."""

    QUEUED = "queued"
    RUNNING = "running"
    ANSWERED = "answered"
    REFUSED = "refused"
    """The file gets no answer, ever: see ``error_code``."""
    FAILED = "failed"
    """Something of ours failed; it can be tried again."""
    CANCELLED = "cancelled"


class Image(Base):
    """One uploaded picture. Coordinates anywhere are its source pixels, x to the right, y down."""

    __tablename__ = "images"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), index=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    """Of the stored file, its preamble cleared; names it in the store."""
    bytes: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(8))
    """dicom, png or jpeg; ``unknown`` where the bytes are none of them."""
    arrived: Mapped[dt.datetime] = mapped_column(default=now)
    state: Mapped[ImageState] = mapped_column(words(ImageState), default=ImageState.QUEUED)
    error_code: Mapped[str | None] = mapped_column(String(40))
    error_message: Mapped[str | None] = mapped_column(Text)
    laterality: Mapped[str | None] = mapped_column(String(1))
    view: Mapped[str | None] = mapped_column(String(16))
    view_modifiers: Mapped[list[Any]] = mapped_column(default=list)
    rows: Mapped[int | None]
    columns: Mapped[int | None]
    spacing_row_mm: Mapped[float | None]
    spacing_column_mm: Mapped[float | None]
    spacing_origin: Mapped[str | None] = mapped_column(String(12))
    case: Mapped[Case] = relationship(back_populates="images")
    identifier: Mapped[Identifier | None] = relationship(back_populates="image", passive_deletes=True)
    results: Mapped[list[Result]] = relationship(back_populates="image", passive_deletes=True)

    __table_args__ = (UniqueConstraint("case_id", "sha256"),)


class Identifier(Base):
    """What may name a woman: shown to those who may see the case, and nowhere else; never in a log or an audit."""

    __tablename__ = "identifiers"

    image_id: Mapped[str] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    file_name: Mapped[str] = mapped_column(String(255), default="")
    patient_id: Mapped[str | None] = mapped_column(String(128), index=True)
    patient_name: Mapped[str | None] = mapped_column(String(255))
    birth_date: Mapped[str | None] = mapped_column(String(16))
    study_date: Mapped[str | None] = mapped_column(String(16))
    accession: Mapped[str | None] = mapped_column(String(64), index=True)
    study_uid: Mapped[str | None] = mapped_column(String(64))
    series_uid: Mapped[str | None] = mapped_column(String(64))
    instance_uid: Mapped[str | None] = mapped_column(String(64))
    image: Mapped[Image] = relationship(back_populates="identifier")


class Result(Base):
    """One model's answer for one image; written once."""

    __tablename__ = "results"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), index=True)
    model_name: Mapped[str] = mapped_column(String(80))
    model_version: Mapped[str] = mapped_column(String(40))
    model_sha256: Mapped[str] = mapped_column(String(64))
    probability: Mapped[float]
    logit: Mapped[float]
    share_cc: Mapped[float | None]
    """What the picture adds to its breast's logit in the model's network of two views, as CC; None: it has none."""
    share_mlo: Mapped[float | None]
    threshold: Mapped[float]
    label: Mapped[str] = mapped_column(String(12))
    confidence: Mapped[float]
    regions: Mapped[list[Any]]
    """``{"box": [x0, y0, x1, y1], "centre": [x, y], "score": s}``, highest first."""
    notices: Mapped[list[Any]]
    """``{"code": c, "message": m}``."""
    geometry: Mapped[dict[str, Any]]
    """``{"box": [x0, y0, x1, y1], "mirrored": b, "size": [height, width]}``: puts the heat map on source pixels."""
    timing_ms: Mapped[dict[str, Any]]
    created: Mapped[dt.datetime] = mapped_column(default=now, index=True)
    image: Mapped[Image] = relationship(back_populates="results")

    __table_args__ = (UniqueConstraint("image_id", "model_sha256"),)


class JobKind(enum.StrEnum):
    """What a worker is to do with an image."""

    ANSWER = "answer"
    """Predict, and write heat map, preview and overlay."""
    LEVELS = "levels"
    """Decode in full and write the resolutions that tiles are cut from."""


class JobState(enum.StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    """Carried out; an image that was refused is a job that is done."""
    FAILED = "failed"
    """Given up after its attempts."""
    CANCELLED = "cancelled"


class Job(Base):
    """One piece of work, leased to one worker at a time."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), index=True)
    kind: Mapped[JobKind] = mapped_column(words(JobKind))
    model_sha256: Mapped[str] = mapped_column(String(64), default="")
    """Model asked for, or "" for the one in use when the job is carried out."""
    state: Mapped[JobState] = mapped_column(words(JobState), default=JobState.QUEUED)
    priority: Mapped[int] = mapped_column(default=0)
    """Higher first."""
    attempts: Mapped[int] = mapped_column(default=0)
    """Times that it was begun and not lost."""
    losses: Mapped[int] = mapped_column(default=0)
    """Times that its worker died of it or beside it."""
    worker: Mapped[str | None] = mapped_column(String(80))
    lease: Mapped[str | None] = mapped_column(String(32))
    """Drawn anew at each claim; only its holder may end the job."""
    lease_ends: Mapped[dt.datetime | None]
    """While queued: not to be begun before."""
    created: Mapped[dt.datetime] = mapped_column(default=now)
    started: Mapped[dt.datetime | None]
    ended: Mapped[dt.datetime | None]
    error_code: Mapped[str | None] = mapped_column(String(40))

    __table_args__ = (
        Index("ix_jobs_claim", "state", "priority", "created"),
        Index("ix_jobs_lease", "state", "lease_ends"),
    )


class Batch(Base):
    """Files that somebody dropped together: what the upload page goes on from after it was closed."""

    __tablename__ = "batches"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created: Mapped[dt.datetime] = mapped_column(default=now, index=True)
    closed: Mapped[dt.datetime | None]
    """When the user put it away."""
    files: Mapped[list[BatchFile]] = relationship(back_populates="batch", passive_deletes=True)


class BatchFile(Base):
    """One file of a batch (of a ZIP too): arrived as an image, or refused on the doorstep."""

    __tablename__ = "batch_files"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    """As the user's machine calls it; an identifier like those of `Identifier`."""
    image_id: Mapped[str | None] = mapped_column(ForeignKey("images.id", ondelete="SET NULL"), index=True)
    duplicate: Mapped[bool] = mapped_column(default=False)
    """Whether the same picture was there already."""
    error_code: Mapped[str | None] = mapped_column(String(40))
    error_message: Mapped[str | None] = mapped_column(Text)
    created: Mapped[dt.datetime] = mapped_column(default=now)
    batch: Mapped[Batch] = relationship(back_populates="files")


class Assessment(Base):
    """What a reader found in one breast; never changed, only followed by a newer one."""

    __tablename__ = "assessments"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), index=True)
    laterality: Mapped[str] = mapped_column(String(1))
    """L, R, or ``-`` where the breast is unknown."""
    reader_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    birads: Mapped[int]
    """0 to 6."""
    agrees: Mapped[bool | None]
    """With the marks; None: not said."""
    comment: Mapped[str] = mapped_column(Text, default="")
    probability: Mapped[float | None]
    """What the model in use said of this breast when the reader wrote."""
    threshold: Mapped[float | None]
    """Of that, where a network of two views gave it; None: the one that the model has for other breasts."""
    model_sha256: Mapped[str | None] = mapped_column(String(64))
    created: Mapped[dt.datetime] = mapped_column(default=now)
    reader: Mapped[User] = relationship()


class AuditEvent(Base):
    """Who did what, when. Each entry holds the hash of the one before it."""

    __tablename__ = "audit_events"

    number: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=False)
    """1, 2, 3, … without a gap."""
    at: Mapped[dt.datetime]
    actor: Mapped[str] = mapped_column(String(80))
    """User's name, or ``system``."""
    action: Mapped[str] = mapped_column(String(40), index=True)
    """For example ``sign-in``, ``case-seen``, ``report-exported``, ``case-deleted``."""
    subject: Mapped[str] = mapped_column(String(80))
    """For example ``case A-1043``, ``user nurse``; no identifier of a woman."""
    detail: Mapped[dict[str, Any]]
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class Choice(Base):
    """Something that administrators choose while the application runs: the model in use, the days of retention."""

    __tablename__ = "choices"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[dict[str, Any]]
    changed: Mapped[dt.datetime] = mapped_column(default=now)


class ModelUse(Base):
    """Which model answered from when on."""

    __tablename__ = "model_uses"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    since: Mapped[dt.datetime] = mapped_column(default=now)
    place: Mapped[str] = mapped_column(String(255))
    """What `load_bundle` opens: a name."""
    model_name: Mapped[str] = mapped_column(String(80))
    model_version: Mapped[str] = mapped_column(String(40))
    model_sha256: Mapped[str] = mapped_column(String(64))
    chosen_by: Mapped[str] = mapped_column(String(80))
