"""Examinations with answers, for the tests of cases and their pages."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from mammolens.web import models_in_use
from mammolens.web.access import ROLES, Actor
from mammolens.web.app import Services
from mammolens.web.cases import summary
from mammolens.web.database.columns import new_id, now
from mammolens.web.database.tables import Case, CaseState, Identifier, Image, ImageState, Result, Role


@pytest.fixture
def make_case(services: Services) -> Callable[..., Case]:
    """Make a case: its owner, ``{"R CC": probability or None, …}``, threshold 0.5, the model in use, no pixels."""

    def make(owner: Any, answers: dict[str, float | None], model: str | None = None, **result: Any) -> Case:
        with services.database.session() as session:
            sha256 = model or models_in_use.current(session).sha256
            number = (session.scalar(select(func.max(Case.number))) or 1000) + 1
            case = Case(number=number, owner_id=owner.id, group_id=owner.group_id, examination=new_id())
            session.add(case)
            session.flush()
            for name, probability in answers.items():
                side, _, view = name.partition(" ")
                image = Image(
                    case_id=case.id,
                    sha256=new_id() * 2,
                    bytes=1,
                    kind="dicom",
                    state=ImageState.QUEUED if probability is None else ImageState.ANSWERED,
                    laterality=side if side in ("L", "R", "B") else None,
                    view=view or None,
                    rows=100,
                    columns=80,
                    spacing_row_mm=0.1,
                    spacing_column_mm=0.1,
                    spacing_origin="imager",
                )
                session.add(image)
                session.flush()
                session.add(Identifier(image_id=image.id, file_name="a.dcm", patient_id="P-77"))
                if probability is not None:
                    session.add(_answer(image.id, sha256, probability, side, result))
            summary.refresh(session, case.id)
        return case

    return make


def _answer(image_id: str, sha256: str, probability: float, side: str, more: dict[str, Any]) -> Result:
    values: dict[str, Any] = {
        "model_name": "m",
        "model_version": "1",
        "model_sha256": sha256,
        "probability": probability,
        "logit": math.log(probability / (1 - probability)),
        "threshold": 0.5,
        "label": "malignant" if probability >= 0.5 else "benign",
        "confidence": max(probability, 1 - probability),
        "regions": [{"box": [10, 20, 40, 60], "centre": [25, 40], "score": 0.75}],
        "notices": [],
        "geometry": {"box": [0, 0, 80, 100], "mirrored": side == "R", "size": [8, 6]},
        "timing_ms": {},
    }
    return Result(image_id=image_id, **(values | more))


def actor_of(person: Any) -> Actor:
    return Actor(person.id, person.name, person.role, person.group_id, ROLES[person.role])


@pytest.fixture
def ward(people: Callable[..., Any]) -> dict[str, Actor]:
    """Two of one group, one of another, one of none, one who administers."""
    return {
        "anna": actor_of(people("anna", Role.READER, "ward")),
        "bert": actor_of(people("bert", Role.READER, "ward")),
        "carl": actor_of(people("carl", Role.READER, "clinic")),
        "dora": actor_of(people("dora", Role.VIEWER)),
        "root": actor_of(people("root", Role.ADMINISTRATOR)),
    }


@pytest.fixture
def ward_cases(services: Services, ward: dict[str, Actor]) -> list[str]:
    """120 cases, some of one moment, some of one score, of four owners; oldest first."""
    rng = random.Random(4)
    start = now() - dt.timedelta(days=3)
    owners = [ward[name] for name in ("anna", "bert", "carl", "dora")]
    made = []
    with services.database.session() as session:
        for number in range(120):
            owner = rng.choice(owners)
            state = rng.choice(list(CaseState))
            case = Case(
                number=1001 + number,
                owner_id=owner.user_id,
                group_id=owner.group_id,
                examination=new_id(),
                arrived=start + dt.timedelta(minutes=number // 3),
                state=state,
                score=rng.choice([0.1, 0.25, rng.random()]) if state is CaseState.ANSWERED else None,
                assessor_id=rng.choice([None, ward["anna"].user_id, ward["bert"].user_id]),
            )
            case.assessed = now() if case.assessor_id else None
            session.add(case)
            session.flush()
            made.append(case.id)
            image = Image(case_id=case.id, sha256=new_id() * 2, bytes=1, kind="dicom", state=ImageState.ANSWERED)
            session.add(image)
            session.flush()
            session.add(Identifier(image_id=image.id, patient_id=f"P-{number // 2}", accession=f"ACC{number}"))
    return made
