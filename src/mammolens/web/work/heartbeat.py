"""The sign of life of a worker: its lease is extended while it works, and it ends when nobody is left to end it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mammolens.errors import DatabaseUnavailable, StorageFull
from mammolens.web.database.connection import Database
from mammolens.web.work import queue

BEAT = 5.0
"""Seconds between two signs of life; a sixth of a lease."""

LONGEST = 900.0
"""Seconds after which a job hangs, whatever it is: the process ends itself and another takes the job."""

HUNG = 75
"""Exit status of a worker that ended itself so."""

_log = logging.getLogger(__name__)


class Heartbeat:
    """Extends the lease of the job in work, from a thread of its own.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._lease: queue.Lease | None = None
        self._since = 0.0
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    @contextmanager
    def keeping(self, lease: queue.Lease) -> Iterator[None]:
        """Keep a lease while the block runs."""
        with self._lock:
            self._lease, self._since = lease, time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._lease = None

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT)
            with self._lock:
                lease, since = self._lease, self._since
            if lease is None:
                continue
            if time.monotonic() - since > LONGEST:
                _log.error("Job %s hangs; this worker ends itself.", lease.job_id)
                os._exit(HUNG)
            try:
                with self._database.session() as session:
                    queue.extend(session, lease)
            except (DatabaseUnavailable, StorageFull) as error:
                _log.warning("The lease of job %s was not extended [%s].", lease.job_id, error.code)
