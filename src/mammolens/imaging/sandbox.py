"""Decode in bounded child processes, kept warm in a pool; every way they can die is one typed error.

===============================================  ==============================
what happens to the child                        what the caller gets
===============================================  ==============================
it refuses the file                              the same error, by its code
takes longer than the wall clock allows          `DecodeTimeout`; it is killed
uses more processor time (``SIGXCPU``)           `DecodeTimeout`
allocates over its address space                 `DecodeOutOfMemory`
dies of a signal (``SIGSEGV``, the OOM killer)   `DecoderDied`
ends without an answer                           `DecoderDied`
any other exception, panics included             `DecodeError`
answers with anything that does not hold         `DecodeError`; it is killed
===============================================  ==============================

A child that died, or that may have been harmed, is replaced at once. Children are
started as programs of their own, never forked: the parent runs an engine's threads.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from mammolens.errors import ConfigurationError, DecoderDied
from mammolens.imaging.child import Build, Job, NotTaken
from mammolens.imaging.stock import NOT_STARTED, Stock
from mammolens.settings import settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mammolens.imaging.display import RenderOptions
    from mammolens.imaging.identity import Identity
    from mammolens.imaging.options import ReadOptions
    from mammolens.imaging.viewable import Viewable
    from mammolens.types import Mammogram

Result = TypeVar("Result")

WORKER = "mammolens.imaging.worker"
"""Module that a child runs."""

_Queue = queue.SimpleQueue[tuple[Future["Mammogram"], Callable[[], None]] | None]

_MOST_WORKERS = 4
_ATTEMPTS = 3


class DecodePool:
    """Bounded decoding processes for files from outside.

    Thread-safe. Children start when they are first needed, or with `start`.

    Parameters
    ----------
    workers : int, optional
        Most children at a time; one more than there are processors, at most 4, unless
        given.
    seconds : float, optional
        Wall-clock seconds that one file may take; ``settings().decode_seconds``
        unless given.
    memory_bytes : int, optional
        Address space of each child; ``settings().decode_memory_bytes`` unless given.
    in_process : bool, optional
        Decode without children, for trusted files only; ``settings().decode_in_process``
        unless given.
    recycle_after : int
        Jobs after which a child is replaced.
    module : str
        Module that the children run.

    Raises
    ------
    ConfigurationError
        If a figure is not positive, or children can't be bounded on this system.

    Examples
    --------
    >>> with DecodePool(workers=2) as pool:  # doctest: +SKIP
    ...     mammogram = pool.read("unknown.dcm")
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        seconds: float | None = None,
        memory_bytes: int | None = None,
        in_process: bool | None = None,
        recycle_after: int = 1000,
        module: str = WORKER,
    ) -> None:
        table = settings()
        self._workers = min(_MOST_WORKERS, _processors() + 1) if workers is None else workers
        self._seconds = table.decode_seconds if seconds is None else seconds
        self._memory = table.decode_memory_bytes if memory_bytes is None else memory_bytes
        self._in_process = table.decode_in_process if in_process is None else in_process
        if self._workers < 1 or self._seconds <= 0 or self._memory <= 0 or recycle_after < 1:
            raise ConfigurationError("A decoding pool needs at least one worker, and time and memory above zero.")
        if os.name != "posix" and not self._in_process:
            raise ConfigurationError(
                "This system can't bound a decoding process. For files that you trust, set "
                "MAMMOLENS_DECODE_IN_PROCESS=true."
            )
        self._stock = Stock(module, self._memory, self._workers, recycle_after)
        self._lock = threading.Lock()
        self._closed = False
        self._queue: _Queue = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        # Also runs when the interpreter ends, so no child outlives a program that forgot to close its pool.
        self._finalizer = weakref.finalize(self, _let_go, self._stock, self._queue, self._workers)

    def __enter__(self) -> DecodePool:
        """Return the pool."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the pool."""
        self.close()

    @property
    def workers(self) -> int:
        """Most children at a time."""
        return self._workers

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closed

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the living children, for monitoring."""
        return self._stock.process_ids

    def start(self, count: int | None = None) -> None:
        """Start children without waiting until they are ready.

        Parameters
        ----------
        count : int, optional
            How many there shall be; all unless given. One is enough for one file.

        Raises
        ------
        ConfigurationError
            If the pool is closed.
        DecoderDied
            If the system starts no more processes.
        """
        self._check_open()
        if not self._in_process:
            self._stock.start(self._workers if count is None else count)

    def read(
        self, source: Path | str | bytes, options: ReadOptions | None = None, *, trusted: bool = False
    ) -> Mammogram:
        """Read a mammogram in a bounded child.

        Parameters
        ----------
        source : path or bytes
            A file, or its content.
        options : ReadOptions, optional
            Those of the settings unless given.
        trusted : bool
            Read in this process instead: faster, and unprotected.

        Returns
        -------
        Mammogram

        Raises
        ------
        InputError
            As `mammolens.imaging.reading.read_mammogram`, and as the table of this
            module says.
        ConfigurationError
            If the pool is closed.
        """
        self._check_open()
        return self._read(source, options, trusted)

    def render(
        self, source: Path | str | bytes, options: RenderOptions | None = None, *, trusted: bool = False
    ) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Render a picture to look at in a bounded child.

        Parameters
        ----------
        source : path or bytes
            A file, or its content.
        options : RenderOptions, optional
        trusted : bool
            Render in this process instead: faster, and unprotected.

        Returns
        -------
        ndarray of uint8 or uint16, shape (h, w)
            See `mammolens.imaging.display.render`.

        Raises
        ------
        InputError
            As `mammolens.imaging.display.render`, and as the table of this module says.
        ConfigurationError
            If the pool is closed.
        """
        from mammolens.imaging import display

        self._check_open()
        options = display.RenderOptions() if options is None else options
        if trusted or self._in_process:
            return display.render(source, options)
        return self._run(self._job("render", source, options), lambda _header, picture, _trailer: picture)

    def identify(self, source: Path | str | bytes, options: ReadOptions | None = None) -> Identity:
        """Read who and what a DICOM file is of in a bounded child; takes and raises what `read` does.

        Returns
        -------
        Identity
        """
        from mammolens.imaging import wire
        from mammolens.imaging.options import ReadOptions

        self._check_open()
        options = ReadOptions() if options is None else options
        if self._in_process:
            from mammolens.imaging.identity import read_identity

            return read_identity(source, options)
        return self._run(self._job("identify", source, options), wire.identity_from)

    def view(self, source: Path | str | bytes, options: ReadOptions | None = None) -> Viewable:
        """Decode a whole picture for a viewer in a bounded child; takes what `read` takes.

        Returns
        -------
        Viewable
            See `mammolens.imaging.viewing.read_viewable`.

        Raises
        ------
        InputError
            As `mammolens.imaging.viewing.read_viewable`, and as the table of this module says.
        ConfigurationError
            If the pool is closed.
        """
        from mammolens.imaging.options import ReadOptions
        from mammolens.imaging.viewable import viewable_from

        self._check_open()
        options = ReadOptions() if options is None else options
        if self._in_process:
            from mammolens.imaging.viewing import read_viewable

            return read_viewable(source, options)
        return self._run(self._job("view", source, options), viewable_from)

    def submit(
        self, source: Path | str | bytes, options: ReadOptions | None = None, *, trusted: bool = False
    ) -> Future[Mammogram]:
        """Read a mammogram in the background; takes what `read` takes.

        Returns
        -------
        Future of Mammogram
            Its exception is one that `read` raises.

        Raises
        ------
        ConfigurationError
            If the pool is closed.
        """
        future: Future[Mammogram] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(self._read(source, options, trusted))
            except BaseException as error:  # it belongs to whoever waits for the future
                future.set_exception(error)

        with self._lock:
            self._check_open()
            self._queue.put((future, work))
            if len(self._threads) < self._workers:
                # Daemons: an interrupted program must not wait for what is still queued.
                thread = threading.Thread(target=_serve_queue, args=(self._queue,), daemon=True)
                self._threads.append(thread)
                thread.start()
        return future

    def close(self) -> None:
        """Kill the children, cancel what is queued; jobs under way end with `DecoderDied`."""
        with self._lock:
            self._closed = True
        with suppress(queue.Empty):
            while entry := self._queue.get_nowait():
                entry[0].cancel()
        self._finalizer()
        for thread in self._threads:
            thread.join()

    def _read(self, source: Path | str | bytes, options: ReadOptions | None, trusted: bool) -> Mammogram:
        from mammolens.imaging import wire
        from mammolens.imaging.options import ReadOptions

        options = ReadOptions() if options is None else options
        if trusted or self._in_process:
            from mammolens.imaging.reading import read_mammogram

            return read_mammogram(source, options)
        return self._run(self._job("read", source, options), wire.mammogram_from)

    def _job(self, name: str, source: Path | str | bytes, options: ReadOptions | RenderOptions) -> Job:
        """Put a job in the child's terms; paths are made absolute, for the child stands in another folder."""
        path = not isinstance(source, bytes)
        payload = source if isinstance(source, bytes) else os.fsencode(Path.cwd() / source)
        if not path:
            options.limits.check_file(len(payload))
        return Job(name, payload, path, asdict(options), self._seconds, options.limits.max_pixels, self._allowance())

    def _allowance(self) -> int:
        """Threads that a child may run: a second one as long as there is one child and another processor for it."""
        return 2 if len(self._stock.process_ids) <= 1 and _processors() > 1 else 1

    def _run(self, job: Job, build: Build[Result]) -> Result:
        for _ in range(_ATTEMPTS):
            child = self._stock.take()
            try:
                return child.run(job, build)
            except NotTaken:
                continue
            finally:
                self._stock.give_back(child)
        raise DecoderDied(NOT_STARTED)

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigurationError("This decoding pool has been closed. Open a new one.")


def _serve_queue(jobs: _Queue) -> None:
    """Do what is queued until ``None`` comes. Holds no pool, so that a forgotten one can be collected."""
    while entry := jobs.get():
        entry[1]()
        del entry


def _let_go(stock: Stock, jobs: _Queue, threads: int) -> None:
    """Kill the children and let the threads end."""
    stock.close()
    for _ in range(threads):
        jobs.put(None)


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


_default: tuple[int, DecodePool] | None = None
_default_lock = threading.Lock()


def default_pool() -> DecodePool:
    """Give this process's pool, with everything from the settings; made when first asked for.

    Returns
    -------
    DecodePool
        The same one every time; a closed one, and one from before a fork, is replaced.
    """
    global _default
    with _default_lock:
        if _default is None or _default[0] != os.getpid() or _default[1].closed:
            _default = os.getpid(), DecodePool()
        return _default[1]
