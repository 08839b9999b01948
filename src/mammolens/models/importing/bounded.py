"""Have a model file opened in a bounded process; every way that process can end is one typed error.

=======================================  =============================================
what happens to the process              what the caller gets
=======================================  =============================================
it refuses the file                      the same error, by its code
takes more time, by clock or processor   `ModelFileUnsafe`; it is killed
allocates over its address space         `ModelFileUnsafe`
dies of a signal, ends without answer    `ModelFileMalformed`
answers with what does not hold          `ModelFileMalformed`; it is killed
=======================================  =============================================
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

import mammolens
from mammolens.errors import (
    ConfigurationError,
    ModelFileError,
    ModelFileMalformed,
    ModelFileUnsafe,
    ModelIncomplete,
    ModelUnsupported,
)
from mammolens.models.importing import limits, worker
from mammolens.models.importing.contents import Contents, unpack
from mammolens.settings import settings

_MODULE = "mammolens.models.importing.worker"
_MOST_HEADER_BYTES = 64 << 20
_MOST_MESSAGE_CHARACTERS = 1000
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONHOME")
_ERRORS: dict[str, type[ModelFileError]] = {
    error.code: error for error in (ModelFileUnsafe, ModelFileMalformed, ModelIncomplete, ModelUnsupported)
}
_LATE = "Opening this file took longer than any model takes. Do not use it, or raise MAMMOLENS_DECODE_SECONDS."
_DIED = "The process that opened the file ended without an answer: the file is damaged. Copy or save the model again."
_GARBLED = "The process that opened the file gave no valid answer: the file is damaged. Copy or save the model again."


def open_bounded(file: BinaryIO, kind: str, size: int) -> tuple[Contents, memoryview]:
    """Open a model file in another process, or here if the settings trust files.

    Parameters
    ----------
    file : binary file
        Open for reading; is read from its start.
    kind : {"hdf5", "zip"}
    size : int
        Its bytes.

    Returns
    -------
    contents : Contents
    values : memoryview of bytes, read-only
        All tensors, one after the other in the order of the entries.

    Raises
    ------
    ModelFileError
        As the table of this module says.
    ConfigurationError
        If this system can't bound a process.
    """
    file.seek(0)
    if settings().decode_in_process:
        contents, tensors = worker.examine(file, kind, size)
        return contents, memoryview(b"".join(worker.read(tensor) for tensor in tensors)).toreadonly()
    if os.name != "posix":
        raise ConfigurationError(
            "This system can't bound a process that opens model files. For files that you trust, set "
            "MAMMOLENS_DECODE_IN_PROCESS=true."
        )
    seconds = settings().decode_seconds
    process = _start(file, kind, size)
    late = threading.Event()

    def _end() -> None:
        late.set()
        process.kill()

    clock = threading.Timer(seconds, _end)
    clock.daemon = True
    clock.start()
    try:
        return _answer(process)
    except EOFError:
        process.wait()
        if late.is_set() or -process.returncode in (signal.SIGXCPU, signal.SIGALRM):
            raise ModelFileUnsafe(_LATE) from None
        raise ModelFileMalformed(_DIED) from None
    finally:
        clock.cancel()
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _start(file: BinaryIO, kind: str, size: int) -> subprocess.Popen[bytes]:
    # A zip's members are held in memory beside the tensor that is being read.
    memory = settings().decode_memory_bytes + size
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-P", "-m", _MODULE, kind, str(size), str(memory), str(settings().decode_seconds)],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=os.sep,
        env=_environment(),
        start_new_session=True,
    )


def _answer(process: subprocess.Popen[bytes]) -> tuple[Contents, memoryview]:
    """Take the whole answer, or raise what it says or what is wrong with it; EOFError if it ends too soon."""
    header = _header(process)
    if "error" in header:
        kind = _ERRORS.get(str(header["error"]))
        message = header.get("message")
        if kind is None or not isinstance(message, str) or len(message) > _MOST_MESSAGE_CHARACTERS:
            raise ModelFileMalformed(_GARBLED)
        raise kind(message)
    try:
        contents = unpack(header)
    except (ValueError, KeyError, TypeError):
        raise ModelFileMalformed(_GARBLED) from None
    total = sum(entry.size for entry in contents.entries)
    limits.check_tensor("the file", (total,), 1)
    values = bytearray(total)
    _receive(process, memoryview(values))
    if process.stdout and process.stdout.read(1):
        raise ModelFileMalformed(_GARBLED)
    return contents, memoryview(values).toreadonly()


def _header(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    prefix = bytearray(worker.LENGTH.size)
    _receive(process, memoryview(prefix))
    (length,) = worker.LENGTH.unpack(prefix)
    if length > _MOST_HEADER_BYTES:
        raise ModelFileMalformed(_GARBLED)
    text = bytearray(length)
    _receive(process, memoryview(text))
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise ModelFileMalformed(_GARBLED) from None
    if not isinstance(header, dict):
        raise ModelFileMalformed(_GARBLED)
    return header


def _receive(process: subprocess.Popen[bytes], room: memoryview) -> None:
    """Fill a buffer from the process's output."""
    while room:
        count = process.stdout.readinto(room) if process.stdout else 0  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        room = room[count:]


def _environment() -> dict[str, str]:
    """Give what Python needs, no secret of the parent's, and no way for HDF5 to load a plug-in or lock the file."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    places = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(Path(mammolens.__file__).parents[1])]
    kept["PYTHONPATH"] = os.pathsep.join(str(Path.cwd() / place) for place in dict.fromkeys(places) if place)
    return kept | {
        "HDF5_PLUGIN_PRELOAD": "::",
        "HDF5_USE_FILE_LOCKING": "FALSE",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
