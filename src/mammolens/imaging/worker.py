"""The decoding process: reads what comes from outside, so that nothing else has to.

Started by `mammolens.imaging.sandbox` as ``python -m mammolens.imaging.worker``. It
bounds itself before it reads a single byte from outside, then answers one job after
the other until its input ends. Decoders run one thread, because more would each take
address space; where this is the only such process, resizing takes a second one.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from mammolens.errors import DecodeError, DecodeOutOfMemory, InputError
from mammolens.imaging import wire
from mammolens.imaging.channel import Channel, Header

Options = TypeVar("Options")
Answer = tuple[Header, memoryview, bytes]
Handler = Callable[[Path | bytes, Header], Answer]

_OPEN_FILES = 64
_GRACE_SECONDS = 3
_NO_NEW_PRIVILEGES = 38
_WARM = ("mammolens.imaging.reading", "mammolens.imaging.dicom_pixels", "mammolens.imaging.raster")

_OUT_OF_MEMORY = (
    "Decoding this file takes more memory than it may. Raise MAMMOLENS_DECODE_MEMORY_BYTES or give a smaller picture."
)
_FAILED = "The picture could not be decoded: the file is damaged or of an unknown kind. Export it again."


def read(source: Path | bytes, options: Header) -> Answer:
    """Answer the job "read": a mammogram."""
    from mammolens.imaging.reading import ReadOptions, read_mammogram

    mammogram = read_mammogram(source, _options(ReadOptions, options))
    header, trailer = wire.describe_mammogram(mammogram)
    return header, wire.bytes_of(mammogram.pixels), trailer


def render(source: Path | bytes, options: Header) -> Answer:
    """Answer the job "render": a picture to look at."""
    from mammolens.imaging import display

    picture = display.render(source, _options(display.RenderOptions, options))
    return wire.describe_array(picture), wire.bytes_of(picture), b""


def identify(source: Path | bytes, options: Header) -> Answer:
    """Answer the job "identify": what the header says, with a picture of one pixel, for a reply holds one."""
    from mammolens.imaging.identity import describe_identity, read_identity
    from mammolens.imaging.reading import ReadOptions

    identity = read_identity(source, _options(ReadOptions, options))
    return {"shape": [1, 1], "dtype": "|u1", "identity": describe_identity(identity)}, memoryview(b"\0"), b""


def view(source: Path | bytes, options: Header) -> Answer:
    """Answer the job "view": a whole picture for a viewer."""
    from mammolens.imaging.options import ReadOptions
    from mammolens.imaging.viewable import describe_viewable
    from mammolens.imaging.viewing import read_viewable

    viewable = read_viewable(source, _options(ReadOptions, options))
    return describe_viewable(viewable), wire.bytes_of(viewable.pixels), b""


def _options(kind: Callable[..., Options], values: Header) -> Options:
    """Make the options of a job again; JSON knows no tuples and no dataclasses."""
    from mammolens.imaging.limits import Limits

    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return kind(**{**plain, "limits": Limits(**values["limits"])})


HANDLERS: Mapping[str, Handler] = {"read": read, "render": render, "identify": identify, "view": view}
"""Kinds of job."""


def serve(handlers: Mapping[str, Handler], warm: Sequence[str] = ()) -> None:
    """Answer jobs until the parent hangs up.

    Parameters
    ----------
    handlers : mapping of str to callable
        Kinds of job; each takes the source and the options, and gives the reply's
        header, the array's bytes and what follows them.
    warm : sequence of str
        Modules to import while there is nothing to do.
    """
    channel = _take_over_pipes()
    bound(int(sys.argv[1]))
    grant_threads(1)
    channel.send({"ready": True})
    if not channel.waiting():
        for name in warm:
            import_module(name)
    while True:
        try:
            header, size = channel.receive_header()
            (reply, body, trailer), fit = _answer(handlers, header, _payload(channel, size))
            signal.alarm(0)
            channel.send({**reply, "fit": fit, "trailer": len(trailer)}, body, trailer)
        except EOFError:
            return
        if not fit:
            return


def _answer(handlers: Mapping[str, Handler], header: Header, payload: bytes | None) -> tuple[Answer, bool]:
    """Answer one job, and say whether this process is fit for another one."""
    try:
        if payload is None:
            raise MemoryError
        grant_seconds(float(header["seconds"]))
        grant_threads(int(header["threads"]))
        source = Path(os.fsdecode(payload)) if header["path"] else payload
        return handlers[header["job"]](source, header["options"]), True
    except InputError as error:
        return _refusal(error), not isinstance(error, DecodeOutOfMemory)
    except MemoryError:
        return _refusal(DecodeOutOfMemory(_OUT_OF_MEMORY)), False
    except BaseException:  # a Rust PanicException is one; whatever it was, it must not pass for a silent death
        return _refusal(DecodeError(_FAILED)), False


def _refusal(error: InputError) -> Answer:
    return wire.describe_error(error), memoryview(b""), b""


def _payload(channel: Channel, size: int) -> bytes | None:
    """Body of a job; ``None`` where there is no room for it, and then some of it may stay unread."""
    try:
        payload = bytearray(size)
        channel.receive_into(memoryview(payload))
        return bytes(payload)
    except MemoryError:
        return None


def _take_over_pipes() -> Channel:
    """Keep standard input and output to ourselves: a library that prints must not garble the frames."""
    reading, writing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    return Channel(reading, writing)


def bound(memory: int) -> None:
    """Give up what a decoder does not need: memory, files, core dumps, new privileges, the terminal's signals.

    Parameters
    ----------
    memory : int
        Address space, bytes.
    """
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A file may not grow, so a decoder can't write; nor can Python cache what it compiles.
    sys.dont_write_bytecode = True
    bounds = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
    }
    for kind, most in bounds.items():
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def grant_seconds(seconds: float) -> None:
    """Let this process work so much longer; the kernel kills it a little later than the parent would.

    Parameters
    ----------
    seconds : float
        Of processor time, and by the clock.
    """
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds) + 1, hard))
    # For the child whose parent has been killed.
    signal.alarm(math.ceil(seconds) + _GRACE_SECONDS)


def grant_threads(count: int) -> None:
    """Let OpenCV run so many threads; decoders have one.

    Parameters
    ----------
    count : int
    """
    import cv2

    if cv2.getNumThreads() != count:
        cv2.setNumThreads(count)


if __name__ == "__main__":
    serve(HANDLERS, _WARM)
    # Nothing is left to tidy up, and taking an interpreter with large libraries down takes longer than leaving.
    os._exit(0)
