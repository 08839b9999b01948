"""A worker: a process of its own that opens the model once and empties the queue.

Nothing is lost when it dies: what it writes to the database stands in the transaction that ends its job, and what it
writes to the disk is written anew by whoever does the job again.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy.orm import Session

from mammolens.errors import (
    BundleNotFound,
    BundleTampered,
    DatabaseUnavailable,
    DecoderDied,
    DecodeTimeout,
    FileMissing,
    InputError,
    InternalError,
    MammolensError,
    StorageFull,
)
from mammolens.imaging.sandbox import default_pool
from mammolens.inference.predictor import Predictor
from mammolens.settings import Settings
from mammolens.web.app import Services, open_services
from mammolens.web.database.tables import Image, JobKind
from mammolens.web.models_in_use import Use, available, current
from mammolens.web.pictures import levels, rendering
from mammolens.web.store import Store
from mammolens.web.work import answers, deletion, queue
from mammolens.web.work.heartbeat import Heartbeat

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from types import FrameType

POLL = 0.05
"""Seconds between two looks at an empty queue."""

PATIENCE = 20.0
"""Seconds for which a result is offered to a database that is gone; after that the job is done again."""

_PASSING = (DecodeTimeout, DecoderDied)
"""Refusals that a busy machine gives as well: only the last attempt's counts."""

_PAUSE = 1.0
_KEPT_MODELS = 2
_MISTAKE = InternalError("Mammolens failed on this picture. Try again; if it fails again, tell the administrator.")
_MISSING = InternalError("The stored picture is missing. Delete the case and upload it again.")

_log = logging.getLogger(__name__)


class Worker:
    """Takes jobs and carries them out, one at a time.

    Parameters
    ----------
    services : Services
    name : str
        At most 80 characters, of no other worker.
    kinds : tuple of JobKind
        What it takes.
    threads : int
        Of the inference engine; 0 takes one per core.
    """

    def __init__(
        self, services: Services, name: str, kinds: tuple[JobKind, ...] = tuple(JobKind), threads: int = 0
    ) -> None:
        self._services, self._name, self._kinds, self._threads = services, name, kinds, threads
        self._store = Store(services.folder)
        self._predictors: dict[str, Predictor] = {}
        self._heartbeat = Heartbeat(services.database)
        self._stopping = False

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """End after the present job; may be called from a signal."""
        self._stopping = True

    def watch(self, supervisor: BaseProcess | None) -> None:
        """End at once when the supervisor is gone, however it went: another one starts its own workers."""

        def wait() -> None:
            if supervisor is not None:
                supervisor.join()
                os._exit(0)

        threading.Thread(target=wait, name="watch", daemon=True).start()

    def prepare(self) -> None:
        """Open the model in use, so that the first picture does not wait for it."""
        default_pool().start(1)
        if JobKind.ANSWER not in self._kinds:
            return
        try:
            with self._services.database.reading() as session:
                use = current(session)
            predictor = self._predictor(use)
            predictor.engine.run(np.zeros((1, *predictor.size), np.uint8))
        except MammolensError as error:
            # Each job says it again, and an administrator may choose another model meanwhile.
            _log.error("The model in use can't be opened [%s].", error.code)

    def run(self) -> None:
        """Work until `stop`; where the database is gone or the disk full, wait until that is over."""
        gone = False
        while not self._stopping:
            try:
                busy = self.step()
            except (DatabaseUnavailable, StorageFull) as error:
                if not gone:
                    _log.warning("Nothing can be written [%s]; waiting.", error.code)
                gone, busy = True, True
                time.sleep(_PAUSE)
            else:
                if gone:
                    _log.info("Work goes on.")
                gone = False
            if not busy:
                time.sleep(POLL)

    def step(self) -> bool:
        """Do one job; False where there was none.

        Raises
        ------
        DatabaseUnavailable
            If the database can't be reached; the job, if one was taken, comes back when its lease ends.
        StorageFull
            If the disk is full; the job has been put back.
        """
        database = self._services.database
        with database.reading() as session:
            if not queue.waiting(session, self._kinds) or self._yields(session):
                return False
        with database.session() as session:
            lease = queue.claim(session, self._name, self._kinds)
            if lease is None:
                return False
            image = session.get_one(Image, lease.image_id)
            session.expunge(image)
        began = time.perf_counter()
        with self._heartbeat.keeping(lease):
            try:
                outcome = self._carry_out(lease, image)
            except queue.LeaseLost:
                outcome = "no longer ours"
                deletion.remove_pictures_of_none(self._services, lease.image_id)
        _log.info("%s %s: %s, %.0f ms.", lease.kind, lease.image_id, outcome, 1e3 * (time.perf_counter() - began))
        return True

    def _yields(self, session: Session) -> bool:
        """Whether answers wait, which come first: whoever opens a case meanwhile has its tiles made on demand."""
        return JobKind.ANSWER not in self._kinds and queue.waiting(session, (JobKind.ANSWER,))

    def _carry_out(self, lease: queue.Lease, image: Image) -> str:
        try:
            if lease.kind is JobKind.LEVELS:
                levels.make(self._services, image)
                self._write(lambda session: queue.end(session, lease))
            else:
                self._answer(lease, image)
            return "done"
        except (DatabaseUnavailable, queue.LeaseLost):
            raise
        except StorageFull:
            with suppress(DatabaseUnavailable, StorageFull), self._services.database.session() as session:
                queue.hand_back(session, lease)
            raise
        except FileMissing as error:
            return self._failed(lease, _MISSING, error)
        except InputError as error:
            if isinstance(error, _PASSING) and lease.attempt < queue.ATTEMPTS:
                return self._failed(lease, error, error)
            return self._refused(lease, error)
        except MammolensError as error:
            return self._failed(lease, error, error)
        except Exception as error:
            # The fence between one picture and the next: whatever it is, the job says so and is tried again.
            return self._failed(lease, _MISTAKE, error)

    def _answer(self, lease: queue.Lease, image: Image) -> None:
        with self._services.database.reading() as session:
            use = current(session)
        predictor = self._predictor(self._asked_for(lease.model_sha256, use))
        prediction = predictor.predict(self._store.path(image.sha256))
        began = time.perf_counter()
        rendering.write_answer(self._services, image.id, prediction)
        extra = {"waited": lease.waited_ms, "pictures": 1e3 * (time.perf_counter() - began)}

        def write(session: Session) -> None:
            queue.end(session, lease)
            answers.record(session, image.id, prediction, extra)
            queue.enqueue(session, image.id, JobKind.LEVELS)

        self._write(write)

    def _refused(self, lease: queue.Lease, error: InputError) -> str:
        if lease.kind is JobKind.LEVELS:
            self._write(lambda session: queue.end(session, lease, error.code))
        else:
            self._write(lambda session: queue.refuse(session, lease, error))
        return f"refused [{error.code}]"

    def _failed(self, lease: queue.Lease, error: MammolensError, cause: Exception) -> str:
        # Another library's text may quote a header: only where it happened is said.
        place = " < ".join(
            f"{frame.name}:{frame.lineno}" for frame in reversed(traceback.extract_tb(cause.__traceback__))
        )
        _log.error("Job %s failed [%s] of %s at %s.", lease.job_id, error.code, type(cause).__name__, place)
        again = []
        self._write(lambda session: again.append(queue.fail(session, lease, error.code, error.message)))
        return "to be tried again" if again[-1] else "given up"

    def _write(self, change: Callable[[Session], object]) -> None:
        """Write a job's end; a database that is gone for a moment does not cost the work."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                with self._services.database.session() as session:
                    change(session)
                return
            except DatabaseUnavailable:
                if time.monotonic() > until or self._stopping:
                    raise
                time.sleep(_PAUSE)

    def _asked_for(self, sha256: str, use: Use) -> Use:
        if sha256 in ("", use.sha256):
            return use
        for model in available():
            if model.sha256 == sha256 and model.manifest is not None:
                return Use(model.place, model.manifest.name, model.manifest.version, sha256)
        raise BundleNotFound("The model that was asked for is no longer installed.")

    def _predictor(self, use: Use) -> Predictor:
        """Give the opened model; the last `_KEPT_MODELS` stay open, so that switching back costs nothing."""
        found = self._predictors.pop(use.sha256, None)
        if found is None:
            found = Predictor.from_bundle(use.place, threads=self._threads)
            if found.bundle.identity.sha256 != use.sha256:
                raise BundleTampered("The model in use has changed since it was chosen. Choose it again under Models.")
            _log.info("Opened the model %s %s.", use.name, use.version)
        self._predictors[use.sha256] = found
        while len(self._predictors) > _KEPT_MODELS:
            del self._predictors[next(iter(self._predictors))]
        return found


def main(table: Settings, name: str, kinds: tuple[JobKind, ...], threads: int, niceness: int) -> None:
    """Run a worker; what the supervisor starts in a process of its own.

    It ends after its job on ``SIGTERM``, and at once when the supervisor is gone.
    """
    # A Ctrl-C at the terminal is for the supervisor, who then asks us to end after the present job.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(niceness)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    worker = Worker(open_services(table, upgrade=False), name, kinds, threads)
    signal.signal(signal.SIGTERM, worker.stop)
    worker.watch(multiprocessing.parent_process())
    worker.prepare()
    worker.run()
