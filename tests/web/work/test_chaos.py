"""``kill -9`` at any moment: a short run of the program that ``make chaos`` runs in full."""

from __future__ import annotations

import multiprocessing
import random
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from sqlalchemy import func, select

from mammolens.web.app import Services
from mammolens.web.database.columns import new_id
from mammolens.web.database.tables import Job, JobState, Result
from mammolens.web.work import queue
from support.killed_worker import work

CHAOS = Path(__file__).resolve().parents[3] / "scripts" / "chaos.py"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_each_job_is_done_once_though_workers_are_killed(kind: str, request: pytest.FixtureRequest) -> None:
    address = request.getfixturevalue("postgres").new_database() if kind == "postgresql" else ""
    command = [sys.executable, str(CHAOS), "--jobs", "40", "--kills", "10", "--workers", "2", "--database", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=540)
    counts = {line[:36].strip(): line[36:].strip() for line in done.stdout.splitlines()}
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert counts.pop("answers asked for") == "40"
    assert counts.pop("workers killed") == "10"
    counts.pop("minutes")
    assert len(counts) == 5
    assert set(counts.values()) == {"0"}


@pytest.mark.slow
def test_killed_at_any_step_of_the_queue_no_job_is_lost_or_done_twice(
    any_services: Services, add_images: Callable[..., list[str]]
) -> None:
    jobs, kills = 240, 60
    add_images(any_services, [str(number).encode() for number in range(jobs)])
    engine = any_services.database.engine
    url = engine.url.render_as_string(hide_password=False)
    spawn = multiprocessing.get_context("forkserver")
    spawn.set_forkserver_preload(["support.killed_worker"])
    dice, killed = random.Random(1), 0
    living: dict[str, BaseProcess] = {}

    def look() -> tuple[int, int, set[str | None]]:
        with any_services.database.reading() as session:
            states = dict(session.execute(select(Job.state, func.count()).group_by(Job.state)).all())
            at_work = set(session.scalars(select(Job.worker).where(Job.state == JobState.RUNNING)))
        still_open = states.get(JobState.QUEUED, 0) + states.get(JobState.RUNNING, 0)
        return states.get(JobState.DONE, 0), still_open, at_work

    finished, still_open, at_work = look()
    try:
        while still_open:
            while len(living) < 4:
                name = new_id()
                living[name] = spawn.Process(target=work, args=(url, name, dice.randrange(1 << 30)))
                living[name].start()
            time.sleep(dice.uniform(0.0, 0.01))
            victims = sorted(at_work & living.keys())
            if victims and killed * jobs < kills * (finished + 1):
                living[dice.choice(victims)].kill()
                killed += 1
            for dead in [one for one, process in living.items() if not process.is_alive()]:
                living.pop(dead).join()
                with any_services.database.session() as session:
                    queue.release(session, dead)
            # PostgreSQL may still be at a killed worker's statement, and hold the row that `release` then leaves out:
            # such a job is freed as the supervisor frees it, by the sweep, when its lease has ended.
            if at_work - living.keys():
                with any_services.database.session() as session:
                    queue.sweep(session)
            finished, still_open, at_work = look()
    finally:
        for process in living.values():
            process.kill()
            process.join()
    with any_services.database.reading() as session:
        per_image = session.execute(select(Result.image_id, func.count()).group_by(Result.image_id)).all()
        states = session.scalars(select(Job.state).distinct()).all()
        lost = session.scalar(select(func.sum(Job.losses))) or 0
    assert killed >= kills
    assert lost > kills / 4, "most kills should meet a worker at its job"
    assert states == [JobState.DONE]
    assert len(per_image) == jobs
    assert {count for _, count in per_image} == {1}
