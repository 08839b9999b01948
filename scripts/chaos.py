#!/usr/bin/env python3
"""Kill workers with ``kill -9`` while they work, and count what was done: each job once, none lost.

``chaos.py [--jobs 2000] [--kills 500] [--workers 2] [--database URL] [--seed 1]``

Every job is the answer for a generated picture, done by the processes that ``mammolens serve`` runs. Ends are counted
by a trigger of the database, which knows nothing of the queue. Exits with 1 unless every job was done exactly once
and every picture has the answer that the predictor gives for it. Without ``--database`` it works on SQLite.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, text

from mammolens import phantom
from mammolens.imaging.png import encode_png
from mammolens.inference.predictor import Predictor
from mammolens.settings import Settings
from mammolens.web.app import Services, open_services
from mammolens.web.database.columns import new_id
from mammolens.web.database.tables import Case, Image, Job, JobKind, JobState, Result, Role, User
from mammolens.web.store import Store
from mammolens.web.work import queue
from mammolens.web.work.supervisor import Supervisor

STALLED = 300.0
"""Seconds without a job done after which the run has failed."""

TRIGGERS = {
    "sqlite": (
        "CREATE TABLE ends (job_id TEXT)",
        "CREATE TRIGGER count_ends AFTER UPDATE OF state ON jobs WHEN NEW.state = 'done' AND OLD.state <> 'done' "
        "BEGIN INSERT INTO ends VALUES (NEW.id); END",
    ),
    "postgresql": (
        "CREATE TABLE ends (job_id TEXT)",
        "CREATE FUNCTION count_end() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO ends VALUES (NEW.id); RETURN NEW; END $$",
        "CREATE TRIGGER count_ends AFTER UPDATE OF state ON jobs FOR EACH ROW "
        "WHEN (NEW.state = 'done' AND OLD.state <> 'done') EXECUTE FUNCTION count_end()",
    ),
}


def prepare(services: Services, jobs: int) -> dict[str, float]:
    """Store four generated pictures, queue them in turn; the probability that each must get, by its hash."""
    store, predictor, expected, hashes = Store(services.folder), Predictor.from_bundle(threads=1), {}, []
    for view in phantom.examination(rows=700, columns=580).values():
        content = encode_png(view.pixels * 16)
        path = services.folder / "picture"
        path.write_bytes(content)
        with open(path, "rb") as file:
            arrived = store.take(file, lambda _head: 1 << 30)
        store.keep(arrived)
        path.unlink()
        hashes.append(arrived.sha256)
        expected[arrived.sha256] = predictor.predict(content).probability
    with services.database.session() as session:
        for statement in TRIGGERS[session.get_bind().dialect.name]:
            session.execute(text(statement))
        owner = User(name="chaos", password_hash="-", role=Role.READER)  # noqa: S106 - nobody can sign in with it
        session.add(owner)
        session.flush()
        for number in range(jobs):
            if number % len(hashes) == 0:
                case = Case(number=1001 + number, owner_id=owner.id, examination=new_id())
                session.add(case)
                session.flush()
            image = Image(case_id=case.id, sha256=hashes[number % len(hashes)], bytes=1, kind="png")
            session.add(image)
            session.flush()
            queue.enqueue(session, image.id)
    return expected


def alive(supervisor: Supervisor) -> list[int]:
    """Process ids of the workers that live, without those that nobody has buried yet."""
    found = []
    for pid in supervisor.process_ids:
        status = Path(f"/proc/{pid}/stat")
        if status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z":
            found.append(pid)
    return found


def run(services: Services, supervisor: Supervisor, jobs: int, kills: int, dice: random.Random) -> int:
    """Kill a worker again and again until all is done; how many were killed."""
    killed = done = 0
    moved = time.monotonic()
    while True:
        with services.database.reading() as session:
            open_jobs = session.scalar(select(func.count()).where(Job.state.in_((JobState.QUEUED, JobState.RUNNING))))
            answered = select(func.count()).where(Job.kind == JobKind.ANSWER, Job.state == JobState.DONE)
            now_done = session.scalar(answered) or 0
        if not open_jobs:
            return killed
        if now_done != done:
            done, moved = now_done, time.monotonic()
            print(f"\r{done} of {jobs} answers, {killed} kills", end="", file=sys.stderr, flush=True)
        if time.monotonic() - moved > STALLED:
            raise SystemExit("\nNothing was done for minutes; the queue stands still.")
        # As many kills as the answers done call for, so that they are spread over the run.
        if killed * jobs < kills * min(jobs, done + 1) and (living := alive(supervisor)):
            os.kill(dice.choice(living), signal.SIGKILL)
            killed += 1
        time.sleep(dice.uniform(0.0, 0.4))


def judge(services: Services, expected: dict[str, float]) -> list[tuple[str, int]]:
    """Count what must be zero."""
    with services.database.reading() as session:
        states = Counter(session.scalars(select(Job.state)))
        ends = Counter(session.scalars(text("SELECT job_id FROM ends")))
        ids = set(session.scalars(select(Job.id)))
        rows: Sequence[Any] = session.execute(
            select(Image.id, Image.sha256, Result.probability).outerjoin(Result)
        ).all()
    answers = Counter(image_id for image_id, _, _ in rows)
    return [
        ("jobs not done", sum(states.values()) - states[JobState.DONE]),
        ("jobs ended more than once", sum(count > 1 for count in ends.values())),
        ("jobs without an end", len(ids - set(ends))),
        ("pictures with more than one answer", sum(count > 1 for count in answers.values())),
        (
            "pictures without the right answer",
            sum(value is None or abs(value - expected[sha256]) > 1e-4 for _, sha256, value in rows),
        ),
    ]


def main() -> int:
    """Run the program; 0 where each job was done once."""
    parser = argparse.ArgumentParser(description="Kill workers while they work; each job must be done once.")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--database", default="", help="address of an empty database; SQLite unless given")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    dice = random.Random(wanted.seed)  # noqa: S311 - chooses victims, no secrets
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        services = open_services(Settings(home=Path(folder), database_url=wanted.database, threads=1))
        expected = prepare(services, wanted.jobs)
        supervisor = Supervisor(services, wanted.workers, pauses=(0.0,))
        supervisor.start()
        try:
            killed = run(services, supervisor, wanted.jobs, wanted.kills, dice)
        finally:
            supervisor.stop()
        found = judge(services, expected)
        services.database.close()
    print(file=sys.stderr)
    print(f"{'answers asked for':<36}{wanted.jobs:>6}")
    print(f"{'workers killed':<36}{killed:>6}")
    for what, count in found:
        print(f"{what:<36}{count:>6}")
    print(f"{'minutes':<36}{(time.monotonic() - began) / 60:>6.1f}")
    return int(any(count for _, count in found) or killed < wanted.kills)


if __name__ == "__main__":
    sys.exit(main())
