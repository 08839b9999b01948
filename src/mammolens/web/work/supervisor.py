"""Starts the workers, starts another where one died, and does what is due each minute."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import socket
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess

from mammolens.errors import DatabaseUnavailable, StorageFull
from mammolens.web.app import Services
from mammolens.web.database.columns import new_id
from mammolens.web.database.tables import JobKind
from mammolens.web.work import queue, retention, worker

MINUTE = 60.0
"""Seconds between two sweeps."""

PATIENCE = 20.0
"""Seconds that workers have for the job in hand when all stops."""

PAUSES = (0.0, 1.0, 5.0, 30.0)
"""Seconds before the place of a worker is filled again, by how many before it died young."""

_LOOK = 0.5
_SHORT_LIFE = 10.0
_PICTURES_NICENESS = 10

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Place:
    """A place for a worker: what it takes, and who stands there."""

    kinds: tuple[JobKind, ...]
    niceness: int
    name: str = ""
    process: SpawnProcess | None = None
    started: float = 0.0
    short_lives: int = 0
    due: float = 0.0


class Supervisor:
    """Keeps workers running beside the web server. One for each folder of the application.

    Parameters
    ----------
    services : Services
    workers : int
        Processes that answer; one more makes the resolutions to look at, and yields to them. 0 takes one per two
        cores.
    pauses : tuple of float
        As `PAUSES`.
    """

    def __init__(self, services: Services, workers: int = 0, pauses: tuple[float, ...] = PAUSES) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        count = workers or services.settings.workers or max(1, cores // 2)
        self._services, self._pauses = services, pauses
        self._threads = services.settings.threads or max(1, cores // count)
        self._places = [_Place((JobKind.ANSWER,), 0) for _ in range(count)]
        self._places.append(_Place((JobKind.LEVELS,), _PICTURES_NICENESS))
        where = f"{socket.gethostname()}\0{services.folder.resolve()}"
        self._installation = hashlib.sha256(where.encode()).hexdigest()[:12]
        self._stopping = threading.Event()
        self._housekeeping = retention.Housekeeping(services)
        self._threads_here = [
            threading.Thread(target=self._run, name="supervisor", daemon=True),
            threading.Thread(target=self._sweep, name="sweep", daemon=True),
        ]

    @property
    def answering(self) -> int:
        """How many workers answer."""
        return len(self._places) - 1

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the living workers."""
        living = (place.process for place in self._places)
        return [process.pid for process in living if process is not None and process.pid is not None]

    def start(self) -> None:
        """Free what earlier workers of this folder held, and start the workers.

        Raises
        ------
        DatabaseUnavailable
            If the database can't be reached.
        """
        with self._services.database.session() as session:
            freed = queue.release(session, f"{self._installation}/") + queue.sweep(session)
        if freed:
            _log.info("%d jobs of workers that are gone are queued again.", freed)
        for place in self._places:
            self._fill(place)
        for thread in self._threads_here:
            thread.start()

    def stop(self, patience: float = PATIENCE) -> None:
        """Let the workers end their jobs, then stop them; what they still held is queued again.

        Parameters
        ----------
        patience : float
            Seconds; after that they are killed.
        """
        self._stopping.set()
        for thread in self._threads_here:
            if thread.is_alive():
                # A sweep may be deleting a lot; it goes on where it was at the next start.
                thread.join(patience)
        running = [place.process for place in self._places if place.process is not None]
        for process in running:
            process.terminate()
        until = time.monotonic() + patience
        for process in running:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        for place in self._places:
            self._bury(place)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look_after_places()
            except OSError as error:
                _log.error("No worker could be started (%s); trying again.", type(error).__name__)
                self._stopping.wait(_SHORT_LIFE)

    def _look_after_places(self) -> None:
        """Wait until a worker dies, at most a moment; free its job and fill its place."""
        living = [place.process.sentinel for place in self._places if place.process is not None]
        if living:
            wait(living, timeout=_LOOK)
        else:
            self._stopping.wait(_LOOK)
        for place in self._places:
            if self._stopping.is_set():
                return
            process = place.process
            if process is not None and not process.is_alive():
                short = time.monotonic() - place.started < _SHORT_LIFE
                place.short_lives = place.short_lives + 1 if short else 0
                place.due = (
                    time.monotonic() + self._pauses[min(place.short_lives, len(self._pauses)) - 1] if short else 0.0
                )
                _log.warning("A worker ended with status %s; another one takes its place.", process.exitcode)
                self._bury(place)
            if place.process is None and time.monotonic() >= place.due:
                self._fill(place)

    def _fill(self, place: _Place) -> None:
        place.name = f"{self._installation}/{new_id()}"
        arguments = (self._services.settings, place.name, place.kinds, self._threads, place.niceness)
        # Never forked: the web server runs threads.
        place.process = multiprocessing.get_context("spawn").Process(target=worker.main, args=arguments)
        place.process.start()
        place.started = time.monotonic()

    def _bury(self, place: _Place) -> None:
        """Free what a dead worker held; where the database is gone, its lease ends by itself."""
        place.process = None
        if not place.name:
            return
        try:
            with self._services.database.session() as session:
                queue.release(session, place.name)
        except (DatabaseUnavailable, StorageFull) as error:
            _log.warning("A dead worker's job comes back when its lease ends [%s].", error.code)

    def _sweep(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._services.database.session() as session:
                    queue.sweep(session)
                self._housekeeping.run()
            except (DatabaseUnavailable, StorageFull) as error:
                _log.warning("The sweep comes again in a minute [%s].", error.code)
            except Exception as error:
                # The fence between one sweep and the next; the text may be another library's.
                _log.error("A sweep failed of %s; it comes again in a minute.", type(error).__name__)
            self._stopping.wait(MINUTE)
