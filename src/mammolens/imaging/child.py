"""One decoding process as its parent sees it: start it, give it a job, believe nothing, bury it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

import mammolens
from mammolens.errors import DecodeError, DecodeOutOfMemory, DecoderDied, DecodeTimeout, InputError
from mammolens.imaging import wire
from mammolens.imaging.channel import Channel, Header

Result = TypeVar("Result")
Build = Callable[[Header, NDArray[Any], bytes], Result]
"""Makes the result of a reply's header, array and trailer; raises ValueError where they do not hold."""

_START_SECONDS = 60.0
_PIPE_BYTES = 1 << 20
_MOST_GROWTH_BYTES = 512 << 20
_JOBS_BETWEEN_LOOKS = 16
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONHOME")
_TUNING = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # Keep freed memory for the next picture: giving it back to the system and faulting it in again, page by
    # page, costs a third of the time that a small picture takes (glibc; others ignore it).
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}

_LATE = "Decoding took longer than it may. Raise MAMMOLENS_DECODE_SECONDS, or export the image again."
_DIED = "The decoding process ended without an answer: the file is damaged, or it needs more memory than there is."
_GARBLED = "The decoding process gave no valid answer: the file is damaged. Export or copy it again."
_FULL = "There was not enough memory to take the decoded picture. Close other programs or give a smaller picture."


class NotTaken(Exception):
    """The process was gone before it took the job; another one may have it."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a decoding process is asked.

    Attributes
    ----------
    name : str
        Kind of job.
    payload : bytes
        Path of a file, or its content.
    path : bool
        Whether it is a path.
    options : dict
        What JSON can hold.
    seconds : float
        How long it may take.
    max_pixels : int
        Most pixels of the answer.
    threads : int
        How many it may run.
    """

    name: str
    payload: bytes
    path: bool
    options: Header
    seconds: float
    max_pixels: int
    threads: int = 1


class Child:
    """A decoding process.

    Parameters
    ----------
    module : str
        Module that it runs.
    memory : int
        Address space that it may take, bytes.

    Raises
    ------
    OSError
        If the system starts no more processes.
    """

    def __init__(self, module: str, memory: int) -> None:
        theirs_in, self._writing = os.pipe()
        self._reading, theirs_out = os.pipe()
        try:
            # A session of its own, so that Ctrl-C at the terminal reaches the parent alone.
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", module, str(memory)],
                stdin=theirs_in,
                stdout=theirs_out,
                stderr=subprocess.DEVNULL,
                cwd=os.sep,
                env=_environment(),
                start_new_session=True,
            )
        except OSError:
            os.close(self._writing)
            os.close(self._reading)
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        _widen(self._writing)
        _widen(self._reading)
        self._channel = Channel(self._reading, self._writing)
        self._open = True
        self._started = time.monotonic()
        self._first_bytes = 0
        self.ready = False
        self.busy = False
        self.fit = True
        self.jobs = 0

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def run(self, job: Job, build: Build[Result]) -> Result:
        """Have a job done.

        Parameters
        ----------
        job : Job
        build : callable
            Makes the result of the reply's header, array and trailer.

        Returns
        -------
        Result
            What ``build`` made.

        Raises
        ------
        NotTaken
            If the process was gone before it took the job.
        InputError
            What the process reports, or what became of it.
        """
        self.fit = False
        self._await_ready()
        deadline = time.monotonic() + job.seconds
        try:
            self._send(job, deadline)
            return self._receive(job, build, deadline)
        except EOFError:
            if self._channel.unread():
                raise NotTaken from None
            raise self._obituary() from None
        except TimeoutError:
            raise DecodeTimeout(_LATE) from None
        except ValueError:
            raise DecodeError(_GARBLED) from None
        except MemoryError:
            raise DecodeOutOfMemory(_FULL) from None

    def kill(self) -> None:
        """End the process, wait for its end, and close the pipes unless somebody still listens to them."""
        self._process.kill()
        self._process.wait()
        if self._open and not self.busy:
            self._open = False
            os.close(self._writing)
            os.close(self._reading)

    def worn(self, most_jobs: int) -> bool:
        """Whether the process has done its share of jobs, or has grown."""
        if self.jobs >= most_jobs:
            return True
        if self.jobs % _JOBS_BETWEEN_LOOKS:
            return False
        return self.ready and self._resident() - self._first_bytes > _MOST_GROWTH_BYTES

    def _await_ready(self) -> None:
        if self.ready:
            return
        try:
            header, size = self._channel.receive_header(self._started + _START_SECONDS)
        except (EOFError, TimeoutError, ValueError):
            raise NotTaken from None
        if header.get("ready") is not True or size:
            raise NotTaken
        self.ready = True
        self._first_bytes = self._resident()

    def _send(self, job: Job, deadline: float) -> None:
        header = {
            "job": job.name,
            "path": job.path,
            "options": job.options,
            "seconds": job.seconds,
            "threads": job.threads,
        }
        try:
            self._channel.send(header, job.payload, deadline=deadline)
        except EOFError:
            # One without room for the file says so and leaves before it has taken it all.
            if not self._channel.waiting():
                raise

    def _receive(self, job: Job, build: Build[Result], deadline: float) -> Result:
        header, size = self._channel.receive_header(deadline)
        if "error" in header:
            error = wire.error_from(header)
            if size:
                raise ValueError("a refusal with a body")
            self._done(header)
            raise error
        trailer = bytearray(wire.trailer_size(header))
        array = wire.array_from(header, size - len(trailer), job.max_pixels)
        self._channel.receive_into(wire.room_of(array), deadline)
        self._channel.receive_into(memoryview(trailer), deadline)
        result = build(header, array, bytes(trailer))
        self._done(header)
        return result

    def _done(self, header: Header) -> None:
        """Note that a whole, valid answer has come; a process that calls itself unfit gets no other job."""
        self.jobs += 1
        self.fit = header.get("fit") is not False

    def _obituary(self) -> InputError:
        """Say what the process died of."""
        with suppress(subprocess.TimeoutExpired):
            # It hung up; a process that goes on all the same is killed by whoever takes it back.
            if -self._process.wait(timeout=1.0) in (signal.SIGXCPU, signal.SIGALRM):
                return DecodeTimeout(_LATE)
        return DecoderDied(_DIED)

    def _resident(self) -> int:
        """Bytes of memory that the process holds; 0 where the system does not say."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")


def _environment() -> dict[str, str]:
    """Environment of a decoding process: what Python needs, and no secret of the parent's."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # It stands in another folder and must find this very package, however the parent found it.
    places = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(Path(mammolens.__file__).parents[1])]
    kept["PYTHONPATH"] = os.pathsep.join(str(Path.cwd() / place) for place in dict.fromkeys(places) if place)
    return kept | _TUNING


def _widen(descriptor: int) -> None:
    """Make a pipe hold a picture in few pieces, where the system allows it."""
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
