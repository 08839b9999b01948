"""What the worklist knows of a case follows from its images, results and assessments."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Any

import pytest

from mammolens.web import models_in_use
from mammolens.web.app import Services
from mammolens.web.cases import summary
from mammolens.web.database.columns import new_id, now
from mammolens.web.database.tables import Assessment, Case, CaseState, Image, ImageState, ModelUse, Result

OLD, NEW = "0" * 64, "1" * 64


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def services(request: pytest.FixtureRequest, make_services: Callable[..., Services]) -> Services:
    """Services over each kind of database."""
    if request.param == "sqlite":
        return make_services()
    return make_services(database_url=request.getfixturevalue("postgres").new_database())


@pytest.fixture
def case_id(services: Services, people: Callable[..., Any]) -> str:
    owner = people("owner")
    with services.database.session() as session:
        case = Case(number=1001, owner_id=owner.id, examination="x")
        session.add(case)
    return case.id


def add_image(services: Services, case_id: str, state: ImageState, *answers: tuple[str, float]) -> str:
    """Add an image with answers: the model's hash and the probability, the newest last; threshold 0.5."""
    with services.database.session() as session:
        image = Image(case_id=case_id, sha256=new_id() * 2, bytes=1, kind="dicom", state=state)
        session.add(image)
        session.flush()
        for age, (model, probability) in enumerate(answers):
            session.add(
                Result(
                    image_id=image.id,
                    model_name="m",
                    model_version="1",
                    model_sha256=model,
                    probability=probability,
                    logit=math.log(probability / (1 - probability)),
                    threshold=0.5,
                    label="malignant" if probability >= 0.5 else "benign",
                    confidence=0.5,
                    regions=[],
                    notices=[],
                    geometry={},
                    timing_ms={},
                    created=now() + dt.timedelta(seconds=age),
                )
            )
        summary.refresh(session, case_id)
    return image.id


def use(services: Services, model: str) -> None:
    with services.database.session() as session:
        session.add(
            ModelUse(place="p", model_name="m", model_version="1", model_sha256=model, chosen_by="x", since=now())
        )


def read(services: Services, case_id: str) -> Case:
    with services.database.reading() as session:
        return session.get_one(Case, case_id)


def test_case_waits_while_an_image_is_on_its_way_and_is_answered_after(services: Services, case_id: str) -> None:
    use(services, NEW)
    add_image(services, case_id, ImageState.ANSWERED, (NEW, 0.2))
    waiting = add_image(services, case_id, ImageState.RUNNING)
    assert read(services, case_id).state is CaseState.WAITING
    with services.database.session() as session:
        session.get_one(Image, waiting).state = ImageState.REFUSED
        summary.refresh(session, case_id)
    case = read(services, case_id)
    assert (case.state, case.images_count, case.score) == (CaseState.ANSWERED, 2, pytest.approx(0.2))


@pytest.mark.parametrize("state", [ImageState.REFUSED, ImageState.FAILED, ImageState.CANCELLED])
def test_case_without_any_answer_is_refused(services: Services, case_id: str, state: ImageState) -> None:
    add_image(services, case_id, state)
    case = read(services, case_id)
    assert (case.state, case.score, case.label) == (CaseState.REFUSED, None, None)


def test_score_is_the_highest_of_the_images_and_label_malignant_if_any_is(services: Services, case_id: str) -> None:
    use(services, NEW)
    for probability in (0.1, 0.7, 0.4):
        add_image(services, case_id, ImageState.ANSWERED, (NEW, probability))
    case = read(services, case_id)
    assert (case.score, case.label) == (pytest.approx(0.7), "malignant")


def test_answer_of_the_model_in_use_counts_even_if_another_is_newer(services: Services, case_id: str) -> None:
    use(services, OLD)
    add_image(services, case_id, ImageState.ANSWERED, (OLD, 0.3), (NEW, 0.9))
    assert read(services, case_id).score == pytest.approx(0.3)


def test_newest_answer_counts_where_the_model_in_use_gave_none(services: Services, case_id: str) -> None:
    use(services, "2" * 64)
    add_image(services, case_id, ImageState.ANSWERED, (OLD, 0.3), (NEW, 0.9))
    assert read(services, case_id).score == pytest.approx(0.9)


def test_switching_the_model_brings_its_answers_back(services: Services, case_id: str) -> None:
    use(services, NEW)
    add_image(services, case_id, ImageState.ANSWERED, (OLD, 0.3), (NEW, 0.9))
    use(services, OLD)
    with services.database.session() as session:
        assert models_in_use.current(session).sha256 == OLD
        summary.refresh(session, case_id)
    assert (read(services, case_id).score, read(services, case_id).label) == (pytest.approx(0.3), "benign")


def test_category_is_the_highest_in_force_and_an_older_one_of_the_same_breast_is_not(
    services: Services, people: Callable[..., Any], case_id: str
) -> None:
    first, second = people("first"), people("second")
    start = now()
    entries = [("R", 5, first.id), ("R", 2, second.id), ("L", 3, first.id)]
    with services.database.session() as session:
        for minutes, (side, birads, reader) in enumerate(entries):
            at = start + dt.timedelta(minutes=minutes)
            session.add(Assessment(case_id=case_id, laterality=side, birads=birads, reader_id=reader, created=at))
        summary.refresh(session, case_id)
    case = read(services, case_id)
    assert case.birads == 3
    assert case.assessor_id == first.id
    assert case.assessed == start + dt.timedelta(minutes=2)


def test_refreshing_a_deleted_case_does_nothing(services: Services) -> None:
    with services.database.session() as session:
        summary.refresh(session, new_id())
        assert session.query(Case).count() == 0
