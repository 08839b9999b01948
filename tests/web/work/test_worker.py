"""The worker: an uploaded picture becomes an answer, a refusal, or a failure that says so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import delete, select, update

from mammolens.errors import DecoderDied, EngineError, StorageFull
from mammolens.imaging.png import encode_png
from mammolens.inference.predictor import Predictor
from mammolens.web import models_in_use
from mammolens.web.app import Services
from mammolens.web.database.tables import (
    Case,
    CaseState,
    Image,
    ImageState,
    Job,
    JobKind,
    JobState,
    ModelUse,
    Result,
)
from mammolens.web.pictures import rendering
from mammolens.web.store import Store
from mammolens.web.work import queue
from mammolens.web.work.worker import Worker

Add = Callable[..., list[str]]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_bundle("default", threads=1)


@pytest.fixture
def worker(services: Services) -> Worker:
    return Worker(services, "test/1", threads=1)


def _image(services: Services, image_id: str) -> Image:
    with services.database.reading() as session:
        image = session.get_one(Image, image_id)
        session.expunge(image)
        return image


def test_an_upload_gets_the_answer_that_the_predictor_gives(
    services: Services, worker: Worker, predictor: Predictor, add_images: Add, phantom_files: dict[str, bytes]
) -> None:
    content = phantom_files["RMLO.dcm"]
    (image_id,) = add_images(services, [content])
    expected = predictor.predict(content)
    assert worker.step()
    with services.database.reading() as session:
        result = session.scalar(select(Result).where(Result.image_id == image_id))
        case = session.scalar(select(Case))
        levels = session.scalar(select(Job).where(Job.kind == JobKind.LEVELS))
    assert result is not None
    assert case is not None
    assert result.probability == pytest.approx(expected.probability, abs=1e-6)
    assert (result.model_sha256, result.label) == (expected.model.sha256, expected.label)
    assert result.geometry["size"] == list(expected.geometry.size)
    assert [region["centre"] for region in result.regions] == [list(region.centre) for region in expected.regions]
    assert {"read", "infer", "total", "waited", "pictures"} <= set(result.timing_ms)
    image = _image(services, image_id)
    assert (image.state, image.rows, image.columns) == (ImageState.ANSWERED, 700, 580)
    assert (image.laterality, image.view, image.kind) == ("R", "MLO", "dicom")
    assert (case.state, case.score, case.label) == (CaseState.ANSWERED, pytest.approx(result.probability), result.label)
    assert rendering.preview_path(services, image_id).is_file()
    assert rendering.thumb_path(services, image_id).is_file()
    assert levels is not None
    assert levels.state is JobState.QUEUED


def test_the_resolutions_follow_the_answer(
    services: Services, worker: Worker, add_images: Add, phantom_files: dict[str, bytes]
) -> None:
    (image_id,) = add_images(services, [phantom_files["LCC.png"]], kind="png")
    assert [worker.step(), worker.step(), worker.step()] == [True, True, False]
    assert (services.folder / "levels" / image_id / "levels.json").is_file()
    with services.database.reading() as session:
        assert set(session.scalars(select(Job.state))) == {JobState.DONE}


def test_resolutions_wait_until_no_answer_does(
    services: Services, worker: Worker, add_images: Add, phantom_files: dict[str, bytes]
) -> None:
    beside = Worker(services, "test/2", (JobKind.LEVELS,), threads=1)
    (answered,) = add_images(services, [phantom_files["LCC.dcm"]])
    assert worker.step()
    (waiting,) = add_images(services, [phantom_files["RCC.dcm"]])
    assert not beside.step()
    with services.database.session() as session:
        queue.cancel(session, [waiting])
    assert beside.step()
    assert (services.folder / "levels" / answered / "levels.json").is_file()


def test_a_photograph_is_refused_with_its_code_and_never_tried_again(
    services: Services, worker: Worker, add_images: Add
) -> None:
    blank = encode_png(np.full((900, 700), 80, np.uint8))
    (image_id,) = add_images(services, [blank], kind="png")
    assert [worker.step(), worker.step()] == [True, False]
    image = _image(services, image_id)
    assert image.state is ImageState.REFUSED
    assert image.error_code == "blank-image"
    assert image.error_message


def test_a_decoder_that_died_is_tried_again_before_the_file_is_refused(
    services: Services,
    worker: Worker,
    add_images: Add,
    phantom_files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dying(*_: object) -> None:
        raise DecoderDied("The decoding process ended without an answer.")

    monkeypatch.setattr(Predictor, "predict", dying)
    (image_id,) = add_images(services, [phantom_files["LCC.dcm"]])
    for expected in (ImageState.QUEUED, ImageState.QUEUED, ImageState.REFUSED):
        assert worker.step()
        assert _image(services, image_id).state is expected
        with services.database.session() as session:
            session.execute(update(Job).where(Job.state == JobState.QUEUED).values(lease_ends=None))
    assert _image(services, image_id).error_code == "decoder-died"


def test_a_failing_engine_is_tried_three_times_and_then_said(
    services: Services,
    worker: Worker,
    add_images: Add,
    phantom_files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = []

    def broken(*_: object) -> None:
        calls.append(1)
        raise EngineError("The engine failed.") if len(calls) < 3 else ValueError("DOE^JANE")

    monkeypatch.setattr(Predictor, "predict", broken)
    (image_id,) = add_images(services, [phantom_files["LCC.dcm"]])
    for _ in range(3):
        assert worker.step()
        with services.database.session() as session:
            session.execute(update(Job).where(Job.state == JobState.QUEUED).values(lease_ends=None))
    assert not worker.step()
    assert len(calls) == 3
    image = _image(services, image_id)
    assert (image.state, image.error_code) == (ImageState.FAILED, "internal-error")
    assert "DOE" not in caplog.text
    assert "DOE" not in str(image.error_message)


def test_the_model_switches_between_two_pictures_without_a_restart(
    services: Services,
    worker: Worker,
    add_images: Add,
    phantom_files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_images(services, [phantom_files["LCC.dcm"], phantom_files["RCC.dcm"]])
    assert worker.step()
    with services.database.session() as session:
        session.add(
            ModelUse(place="no-such", model_name="n", model_version="1", model_sha256="f" * 64, chosen_by="admin")
        )
    assert worker.step()
    with services.database.reading() as session:
        rows = session.scalars(select(Job).where(Job.kind == JobKind.ANSWER).order_by(Job.created)).all()
    assert [(row.state, row.error_code) for row in rows] == [
        (JobState.DONE, None),
        (JobState.QUEUED, "bundle-not-found"),
    ]
    with services.database.session() as session:
        session.execute(delete(ModelUse))
        session.execute(update(Job).values(lease_ends=None))
    assert worker.step()
    with services.database.reading() as session:
        shas = set(session.scalars(select(Result.model_sha256)))
        assert shas == {models_in_use.current(session).sha256}
        assert len(session.scalars(select(Result)).all()) == 2


def test_an_answer_that_comes_after_the_deletion_leaves_nothing(
    services: Services,
    worker: Worker,
    add_images: Add,
    phantom_files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (image_id,) = add_images(services, [phantom_files["LCC.dcm"]])
    write = rendering.write_answer

    def deleted_meanwhile(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        with services.database.session() as session:
            session.execute(delete(Case))

    monkeypatch.setattr(rendering, "write_answer", deleted_meanwhile)
    assert worker.step()
    assert not (services.folder / "derived" / image_id).exists()
    with services.database.reading() as session:
        assert session.scalars(select(Result)).all() == []


def test_a_full_disk_costs_no_attempt_and_no_picture(
    services: Services,
    worker: Worker,
    add_images: Add,
    phantom_files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (image_id,) = add_images(services, [phantom_files["LCC.dcm"]])

    def full(*_: object) -> None:
        raise StorageFull("There is no room.")

    with monkeypatch.context() as patch:
        patch.setattr(rendering, "write_answer", full)
        for _ in range(queue.ATTEMPTS + 1):
            with pytest.raises(StorageFull):
                worker.step()
    assert _image(services, image_id).state is ImageState.QUEUED
    assert worker.step()
    assert _image(services, image_id).state is ImageState.ANSWERED


def test_a_stored_file_that_is_gone_is_our_failure_not_the_files(
    services: Services, worker: Worker, add_images: Add, phantom_files: dict[str, bytes]
) -> None:
    (image_id,) = add_images(services, [phantom_files["LCC.dcm"]])
    Store(services.folder).path(_image(services, image_id).sha256).unlink()
    assert worker.step()
    with services.database.reading() as session:
        job = session.scalar(select(Job))
    assert job is not None
    assert (job.state, job.error_code) == (JobState.QUEUED, "internal-error")
    assert _image(services, image_id).state is ImageState.QUEUED


def test_a_second_answer_by_the_same_model_changes_nothing(
    services: Services, worker: Worker, add_images: Add, phantom_files: dict[str, bytes]
) -> None:
    (image_id,) = add_images(services, [phantom_files["LCC.dcm"]])
    assert worker.step()
    with services.database.reading() as session:
        first = session.scalar(select(Result.id))
    with services.database.session() as session:
        queue.enqueue(session, image_id, priority=10)
    assert worker.step()
    with services.database.reading() as session:
        assert session.scalars(select(Result.id)).all() == [first]
