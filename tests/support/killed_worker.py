"""A worker that does nothing but the queue's own steps, to be killed at any of them."""

from __future__ import annotations

import datetime as dt
import random
import time

from sqlalchemy.orm import configure_mappers

from mammolens.errors import DatabaseUnavailable
from mammolens.web.database.connection import Database
from mammolens.web.database.tables import Result
from mammolens.web.work import queue

# This module is loaded once and forked from: what each worker would do at its start is done here.
configure_mappers()

LEASE = dt.timedelta(seconds=5)
"""Short, for the test waits until leases that nobody released have ended."""


def work(url: str, name: str, seed: int) -> None:
    """Take jobs, write a row for each, end them; until killed, or there are none, or the database is gone."""
    dice, database, idle = random.Random(seed), Database(url), 0
    while idle < 100:
        try:
            with database.session() as session:
                lease = queue.claim(session, name, length=LEASE)
            if lease is None:
                idle += 1
                time.sleep(0.02)
                continue
            idle = 0
            time.sleep(dice.uniform(0.0, 0.01))
            with database.session() as session:
                queue.end(session, lease)
                session.add(_row(lease.image_id, name))
        except queue.LeaseLost:
            continue
        except DatabaseUnavailable:
            # Busy, or gone with the test that made it: then nobody would end this process.
            idle += 1
            time.sleep(0.02)


def _row(image_id: str, name: str) -> Result:
    # Of another model for each worker, so that the table itself would take a second answer for the same job.
    return Result(
        image_id=image_id,
        model_name="m",
        model_version="1",
        model_sha256=name,
        label="benign",
        probability=0.25,
        logit=-1.1,
        threshold=0.5,
        confidence=0.75,
        regions=[],
        notices=[],
        geometry={},
        timing_ms={},
    )
