"""The process that opens HDF5 and ``.keras`` files, so that a bug in the HDF5 library harms nobody.

Started by `mammolens.models.importing.bounded` as ``python -m
mammolens.models.importing.worker KIND SIZE MEMORY SECONDS``, with the model file as
standard input. It bounds itself, walks the file, and answers on standard output: the
length of a JSON header in eight bytes, the header, and the tensors' bytes in the
header's order, little-endian and in C order.
"""

from __future__ import annotations

import json
import math
import os
import signal
import struct
import sys
import time
from dataclasses import replace
from typing import Any, BinaryIO

from mammolens.errors import ModelFileError, ModelFileMalformed, ModelFileUnsafe
from mammolens.models.importing import hdf5, keras_zip, layouts
from mammolens.models.importing.contents import pack
from mammolens.models.importing.layouts import Found
from mammolens.models.importing.source import Format

HDF5, ZIP = "hdf5", "zip"
"""Kinds of file that are opened here."""

LENGTH = struct.Struct("<Q")
"""Of the header, in front of it."""

TOO_MUCH_MEMORY = "Opening this file takes more memory than it may, which no model does. Do not use this file."
BROKEN = "The HDF5 structure of the file is broken: it is damaged or cut off. Copy or save the model again."
_SECONDS = 4.0
_WALKED_PER_SECOND = 200e6
_READ_PER_SECOND = 20e6


def examine(stream: BinaryIO, kind: str, size: int) -> Found:
    """Open a file and tell what it holds; its tensors stay unread.

    Parameters
    ----------
    stream : binary file
        Stays open as long as the tensors shall be read.
    kind : str
        `HDF5` or `ZIP`.
    size : int
        Bytes of the file.

    Raises
    ------
    ModelFileError
    """
    if kind == HDF5:
        return _examine_hdf5(stream, size)
    config, metadata, weights, inner = keras_zip.unpack(stream, size)
    contents, tensors = _examine_hdf5(weights, inner)
    if contents.format is not Format.WEIGHTS_KERAS_3:
        raise ModelFileMalformed("The weights in the zip are not in the layout of a .keras file. Save the model again.")
    version = metadata.get("keras_version")
    contents = replace(
        contents,
        format=Format.KERAS,
        config=config,
        keras_version=version if isinstance(version, str) else "",
        compiled=contents.compiled or bool(config.get("compile_config")),
    )
    return contents, tensors


def read(tensor: hdf5.Stored) -> memoryview:
    """Give a tensor's bytes, little-endian and in C order.

    Raises
    ------
    ModelFileMalformed
    """
    try:
        return memoryview(tensor.read().tobytes())
    except (OSError, RuntimeError, ValueError, TypeError):
        raise ModelFileMalformed(BROKEN) from None


def _examine_hdf5(stream: BinaryIO, size: int) -> Found:
    import h5py

    try:
        # A file object, never a path: so the library has no folder to resolve other files' names in.
        return layouts.find(hdf5.walk(h5py.File(stream, "r"), size))
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError):
        raise ModelFileMalformed(BROKEN) from None


def main(kind: str, size: int, memory: int, seconds: float) -> None:
    """Answer for the file on standard input.

    Parameters
    ----------
    kind : str
    size : int
        Bytes of the file.
    memory : int
        Address space that this process may take, bytes.
    seconds : float
        By the clock.
    """
    import h5py  # noqa: F401 - loading the library is not the file's fault: its time is not counted

    from mammolens.imaging.worker import bound

    answer = _take_over_output()
    bound(memory)
    signal.alarm(math.ceil(seconds))
    _grant(_SECONDS + size / _WALKED_PER_SECOND)
    try:
        contents, tensors = examine(os.fdopen(0, "rb", closefd=False), kind, size)
        header = pack(contents)
    except ModelFileError as error:
        tensors, header = (), _refusal(error)
    except MemoryError:
        tensors, header = (), _refusal(ModelFileUnsafe(TOO_MUCH_MEMORY))
    _send(answer, LENGTH.pack(len(header)) + header)
    _grant(_SECONDS + sum(tensor.dataset.nbytes for tensor in tensors) / _READ_PER_SECOND)
    for tensor in tensors:
        # An error from here on ends the process, and the parent sees that bytes are missing.
        _send(answer, read(tensor))


def _refusal(error: ModelFileError) -> bytes:
    return json.dumps({"error": error.code, "message": error.message}).encode()


def _send(answer: int, data: Any) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(answer, rest) :]


def _take_over_output() -> int:
    """Keep standard output to ourselves: a library that prints must not garble the answer."""
    answer = os.dup(1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.close(nothing)
    return answer


def _grant(seconds: float) -> None:
    """Let this process compute so much longer; a library that loops for ever is killed by the kernel."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds), hard))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    # Nothing is left to tidy up, and taking the interpreter down takes longer than leaving.
    os._exit(0)
