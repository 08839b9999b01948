"""The queue: who gets a job, who may end it, and what becomes of those that nobody ends."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import select, update

from mammolens.errors import CaseConflict, NoBreast
from mammolens.web.app import Services
from mammolens.web.database.columns import now
from mammolens.web.database.tables import Case, CaseState, Image, ImageState, Job, JobKind, JobState
from mammolens.web.work import queue

Add = Callable[..., list[str]]


def _claim(services: Services, worker: str = "w", kinds: tuple[JobKind, ...] = tuple(JobKind)) -> queue.Lease | None:
    with services.database.session() as session:
        return queue.claim(session, worker, kinds)


def _taken(services: Services, worker: str = "w") -> queue.Lease:
    lease = _claim(services, worker)
    assert lease is not None
    return lease


def _image(services: Services, image_id: str) -> Image:
    with services.database.reading() as session:
        image = session.get_one(Image, image_id)
        session.expunge(image)
        return image


def _job(services: Services, job_id: str) -> Job:
    with services.database.reading() as session:
        job = session.get_one(Job, job_id)
        session.expunge(job)
        return job


def _run_out(services: Services, lease: queue.Lease) -> None:
    with services.database.session() as session:
        past = now() - dt.timedelta(seconds=1)
        session.execute(update(Job).where(Job.id == lease.job_id).values(lease_ends=past))


def _due(services: Services) -> None:
    """Let the time pass for which a failed job waits."""
    with services.database.session() as session:
        session.execute(update(Job).where(Job.state == JobState.QUEUED).values(lease_ends=None))


def test_jobs_come_in_the_order_of_priority_then_of_arrival(any_services: Services, add_images: Add) -> None:
    first, second, third = add_images(any_services, [b"1", b"2", b"3"], queued=False)
    with any_services.database.session() as session:
        queue.enqueue(session, first, JobKind.LEVELS)
        queue.enqueue(session, second)
    with any_services.database.session() as session:
        queue.enqueue(session, third)
        queue.enqueue(session, first, priority=5)
    order = [_taken(any_services) for _ in range(4)]
    assert [(lease.image_id, lease.kind) for lease in order] == [
        (first, JobKind.ANSWER),
        (second, JobKind.ANSWER),
        (third, JobKind.ANSWER),
        (first, JobKind.LEVELS),
    ]
    assert _claim(any_services) is None


def test_a_job_is_queued_once_however_often_it_is_asked_for(any_services: Services, add_images: Add) -> None:
    (image_id,) = add_images(any_services, [b"1"])
    with any_services.database.session() as session:
        again = queue.enqueue(session, image_id)
        other_model = queue.enqueue(session, image_id, model_sha256="0" * 64)
    assert _taken(any_services).job_id == again.id
    assert _taken(any_services).job_id == other_model.id
    assert _claim(any_services) is None


def test_a_worker_gets_only_the_kinds_that_it_takes(any_services: Services, add_images: Add) -> None:
    (image_id,) = add_images(any_services, [b"1"])
    assert _claim(any_services, kinds=(JobKind.LEVELS,)) is None
    with any_services.database.reading() as session:
        assert not queue.waiting(session, (JobKind.LEVELS,))
        assert queue.waiting(session)
    lease = _claim(any_services, kinds=(JobKind.ANSWER,))
    assert lease is not None
    assert lease.image_id == image_id


def test_claimed_at_once_by_many_each_job_goes_to_one(any_services: Services, add_images: Add) -> None:
    add_images(any_services, [str(number).encode() for number in range(40)])
    taken: list[str] = []
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            while True:
                lease = _claim(any_services, name)
                with any_services.database.reading() as session:
                    left = queue.waiting(session)
                if lease is None and not left:
                    return
                if lease is not None:
                    taken.append(lease.job_id)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(taken) == 40
    assert len(set(taken)) == 40


def test_only_the_holder_of_the_lease_ends_a_job(any_services: Services, add_images: Add) -> None:
    add_images(any_services, [b"1"])
    slow = _taken(any_services, "slow")
    _run_out(any_services, slow)
    with any_services.database.session() as session:
        assert queue.sweep(session) == 1
    quick = _taken(any_services, "quick")
    assert quick.job_id == slow.job_id
    with any_services.database.session() as session:
        assert not queue.extend(session, slow)
    with pytest.raises(queue.LeaseLost), any_services.database.session() as session:
        queue.end(session, slow)
    with any_services.database.session() as session:
        queue.end(session, quick)
    assert _job(any_services, quick.job_id).state is JobState.DONE


def test_a_sign_of_life_keeps_the_job(any_services: Services, add_images: Add) -> None:
    add_images(any_services, [b"1"])
    lease = _taken(any_services)
    _run_out(any_services, lease)
    with any_services.database.session() as session:
        assert queue.extend(session, lease)
    with any_services.database.session() as session:
        assert queue.sweep(session) == 0


def test_what_a_dead_worker_held_is_free_at_once_and_costs_no_attempt(any_services: Services, add_images: Add) -> None:
    (first, second) = add_images(any_services, [b"1", b"2"])
    dead, living = _taken(any_services, "house/dead"), _taken(any_services, "house/living")
    with any_services.database.session() as session:
        assert queue.release(session, "house/dead") == 1
    assert _image(any_services, first).state is ImageState.QUEUED
    assert _image(any_services, second).state is ImageState.RUNNING
    again = _taken(any_services, "other")
    assert (again.job_id, again.attempt) == (dead.job_id, 1)
    with any_services.database.session() as session:
        queue.end(session, living)


def test_a_picture_that_kills_every_worker_is_given_up(any_services: Services, add_images: Add) -> None:
    (image_id,) = add_images(any_services, [b"1"])
    for _ in range(queue.LOSSES):
        lease = _taken(any_services)
        with any_services.database.session() as session:
            queue.release(session, "w")
    assert _claim(any_services) is None
    assert _job(any_services, lease.job_id).state is JobState.FAILED
    image = _image(any_services, image_id)
    assert (image.state, image.error_code) == (ImageState.FAILED, "worker-lost")


def test_our_failures_are_tried_again_later_and_given_up_after_three(any_services: Services, add_images: Add) -> None:
    (image_id,) = add_images(any_services, [b"1"])
    for attempt, again in ((1, True), (2, True), (3, False)):
        lease = _taken(any_services)
        assert lease.attempt == attempt
        with any_services.database.session() as session:
            assert queue.fail(session, lease, "engine-error", "The engine failed.") is again
        assert _claim(any_services) is None, "not at once"
        _due(any_services)
    assert _claim(any_services) is None
    image = _image(any_services, image_id)
    assert (image.state, image.error_code, image.error_message) == (
        ImageState.FAILED,
        "engine-error",
        "The engine failed.",
    )
    with any_services.database.reading() as session:
        case = session.get_one(Case, image.case_id)
        assert case.state is CaseState.REFUSED


def test_a_refused_file_is_a_job_that_is_done(any_services: Services, add_images: Add) -> None:
    (image_id,) = add_images(any_services, [b"1"])
    lease = _taken(any_services)
    with any_services.database.session() as session:
        queue.refuse(session, lease, NoBreast("No breast was found."))
    image = _image(any_services, image_id)
    assert (image.state, image.error_code, image.error_message) == (
        ImageState.REFUSED,
        "no-breast",
        "No breast was found.",
    )
    assert _job(any_services, lease.job_id).state is JobState.DONE
    with pytest.raises(CaseConflict), any_services.database.session() as session:
        queue.retry(session, image_id)


def test_what_was_handed_back_has_cost_no_attempt(any_services: Services, add_images: Add) -> None:
    (image_id,) = add_images(any_services, [b"1"])
    with any_services.database.session() as session:
        lease = queue.claim(session, "w")
        assert lease is not None
        queue.hand_back(session, lease)
    assert _image(any_services, image_id).state is ImageState.QUEUED
    assert _taken(any_services).attempt == 1


def test_cancelled_before_or_in_work_leaves_no_result_and_can_be_tried_again(
    any_services: Services, add_images: Add
) -> None:
    running, waiting = add_images(any_services, [b"1", b"2"])
    lease = _taken(any_services)
    assert lease.image_id == running
    with any_services.database.session() as session:
        assert queue.cancel(session, [running, waiting]) == 2
    with pytest.raises(queue.LeaseLost), any_services.database.session() as session:
        queue.end(session, lease)
    assert {_image(any_services, one).state for one in (running, waiting)} == {ImageState.CANCELLED}
    assert _claim(any_services) is None
    with any_services.database.session() as session:
        queue.retry(session, waiting)
    assert _taken(any_services).image_id == waiting


def test_cancelling_leaves_answered_images_and_their_jobs_alone(any_services: Services, add_images: Add) -> None:
    (image_id,) = add_images(any_services, [b"1"], queued=False)
    with any_services.database.session() as session:
        session.execute(update(Image).values(state=ImageState.ANSWERED))
        queue.enqueue(session, image_id, JobKind.LEVELS)
    with any_services.database.session() as session:
        assert queue.cancel(session, [image_id]) == 0
    assert _taken(any_services).kind is JobKind.LEVELS


def test_the_place_in_the_queue_counts_answers_before(any_services: Services, add_images: Add) -> None:
    first, second, third = add_images(any_services, [b"1", b"2", b"3"])
    with any_services.database.session() as session:
        urgent = session.scalar(select(Job).where(Job.image_id == third))
        assert urgent is not None
        urgent.priority = 1
    with any_services.database.reading() as session:
        assert queue.ahead(session, [first, second, third]) == {third: 0, first: 1, second: 2}
        assert queue.counts(session) == {(JobKind.ANSWER, JobState.QUEUED): 3}


def test_a_result_and_the_end_of_its_job_are_written_together_or_not_at_all(
    any_services: Services, add_images: Add
) -> None:
    (image_id,) = add_images(any_services, [b"1"])
    lease = _taken(any_services)

    def write_half() -> None:
        with any_services.database.session() as session:
            queue.end(session, lease)
            session.get_one(Image, image_id).state = ImageState.ANSWERED
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert _job(any_services, lease.job_id).state is JobState.RUNNING
    assert _image(any_services, image_id).state is ImageState.RUNNING
