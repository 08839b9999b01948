"""Fixtures for the API's tests: programs with tokens, and cases to ask for."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from mammolens.models.bundle import load_bundle
from mammolens.web.access import ROLES, Permission
from mammolens.web.app import Services
from mammolens.web.cases.summary import refresh
from mammolens.web.database.tables import (
    Case,
    Identifier,
    Image,
    ImageState,
    Job,
    JobKind,
    JobState,
    Result,
    Role,
    User,
)
from mammolens.web.security import tokens


@dataclass(frozen=True)
class Program:
    """A client that sends one token with everything."""

    client: FlaskClient
    token: str
    user_id: str

    def send(self, method: str, path: str, **more: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        # Buffered, so that a file that was sent is closed again.
        return self.client.open(f"/api/v1{path}", method=method, headers=headers, buffered=True, **more)

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.send("GET", path, **more)

    def post(self, path: str, **more: Any) -> TestResponse:
        return self.send("POST", path, **more)


@pytest.fixture
def api_app(services: Services, app_of: Callable[..., Flask]) -> Flask:
    """Make an application of the guard, the failure pages, the uploads and the API."""
    return app_of(services, "mammolens.web.views.uploads", "mammolens.web.api.v1")


@pytest.fixture
def program(services: Services, api_app: Flask, people: Callable[..., Any]) -> Callable[..., Program]:
    """Make a user and a token for them: name, role, group, scopes (all of the role unless given)."""

    def make(
        name: str = "robot",
        role: Role = Role.READER,
        group: str | None = None,
        scopes: set[Permission] | None = None,
    ) -> Program:
        person = people(name, role, group)
        wanted = scopes if scopes is not None else set(ROLES[role]) & set(tokens.SCOPES)
        with services.database.session() as session:
            _, token = tokens.make(session, session.get_one(User, person.id), "test", wanted)
        return Program(api_app.test_client(), token, person.id)

    return make


@pytest.fixture
def examination(services: Services) -> Callable[..., dict[str, str]]:
    """Make a case of one answered and one refused image; gives their ids."""

    def make(
        owner_id: str,
        examination: str = "e",
        number: int = 1001,
        group_id: str | None = None,
        probability: float = 0.62,
    ) -> dict[str, str]:
        identity = load_bundle("default").identity
        with services.database.session() as session:
            case = Case(number=number, owner_id=owner_id, group_id=group_id, examination=examination)
            session.add(case)
            session.flush()
            answered = Image(
                case_id=case.id,
                sha256=("a" + examination).encode().hex().ljust(64, "0"),
                bytes=1234,
                kind="dicom",
                state=ImageState.ANSWERED,
                laterality="L",
                view="MLO",
                rows=2294,
                columns=1914,
                spacing_row_mm=0.1,
                spacing_column_mm=0.1,
                spacing_origin="imager",
            )
            refused = Image(
                case_id=case.id,
                sha256=("b" + examination).encode().hex().ljust(64, "0"),
                bytes=99,
                kind="png",
                state=ImageState.REFUSED,
                error_code="no-breast",
                error_message="No breast was found in the picture.",
            )
            session.add_all((answered, refused))
            session.flush()
            session.add(Identifier(image_id=answered.id, file_name="Q7canary.dcm", patient_name="Q7CANARY^ANNA"))
            session.add(
                Result(
                    image_id=answered.id,
                    model_name=identity.name,
                    model_version=identity.version,
                    model_sha256=identity.sha256,
                    probability=probability,
                    logit=math.log(probability / (1 - probability)),
                    threshold=0.31,
                    label="malignant" if probability >= 0.31 else "benign",
                    confidence=max(probability, 1 - probability),
                    regions=[{"box": [812, 1033, 1020, 1260], "centre": [915, 1140], "score": 0.9}],
                    notices=[{"code": "view-unknown", "message": "The view is not known."}],
                    geometry={"box": [0.0, 0.0, 1914.0, 2294.0], "mirrored": False, "size": [384, 288]},
                    timing_ms={"read": 81.0, "total": 133.0},
                )
            )
            job = Job(image_id=answered.id, kind=JobKind.ANSWER, state=JobState.DONE, attempts=1)
            session.add(job)
            session.flush()
            refresh(session, case.id)
            return {"case": case.id, "image": answered.id, "refused": refused.id, "job": job.id}

    return make


@pytest.fixture
def lay_artifact(services: Services) -> Callable[[str, str, bytes], Path]:
    """Write a file as a worker does: image id, name, content."""

    def lay(image_id: str, name: str, content: bytes) -> Path:
        folder = services.folder / "derived" / image_id
        if name not in ("thumb.png", "preview.png"):
            folder = folder / load_bundle("default").identity.sha256[:16]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        return folder / name

    yield lay
    shutil.rmtree(services.folder / "derived", ignore_errors=True)
