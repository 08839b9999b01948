"""What a process gives up before it works on a stranger's model: network, other programs, memory, time.

On Linux (x86-64 and ARM) the kernel keeps the promises: a seccomp filter refuses the
system calls that make a socket, start a program, or reach into another process, for
every thread and for good, and where the process may do so it also leaves the network's
name space. Elsewhere sockets are taken from Python alone, which a library's own code
could get round; the caller is told which of the two it is.

Not prevented: reading files that the user can read, and writing, up to a size, where
the user can write. Nothing of the file is run as code, so nothing should want to.

References
----------
Linux: seccomp(2), unshare(2), ``include/uapi/linux/{seccomp,filter,audit}.h``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
import sys
from contextlib import suppress

KERNEL, PYTHON = "kernel", "python"
"""Who keeps the network away."""

_NO_NEW_PRIVILEGES = 38
_NEW_NETWORK = 0x40000000
_SET_FILTER, _ALL_THREADS = 1, 1
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_X32 = 0x40000000
_TABLES: dict[str, tuple[int, int, tuple[int, ...]]] = {
    # Architecture of the filter, number of seccomp(2); socket, connect, execve, execveat, ptrace, process_vm_readv,
    # process_vm_writev, io_uring_setup, kill, pidfd_getfd.
    "x86_64": (0xC000003E, 317, (41, 42, 59, 322, 101, 310, 311, 425, 62, 438)),
    "aarch64": (0xC00000B7, 277, (198, 203, 221, 281, 117, 270, 271, 425, 129, 438)),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def leave_network() -> str:
    """Give up the network and other programs, for good.

    Returns
    -------
    str
        `KERNEL` or `PYTHON`.
    """
    kept = sys.platform == "linux" and _filtered()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).unshare(_NEW_NETWORK)

    class NoSocket(socket.socket):
        """Refuses to be made; a class, because libraries derive from it when they are imported."""

        def __init__(self, *_: object, **__: object) -> None:
            raise PermissionError(errno.EPERM, "no network here")

    socket.socket = NoSocket  # type: ignore[misc]
    return KERNEL if kept else PYTHON


def _filtered() -> bool:
    """Have the kernel refuse the calls of the table; whether it does."""
    table = _TABLES.get(platform.machine())
    if table is None:
        return False
    architecture, number, calls = table
    code = ctypes.create_string_buffer(_instructions(architecture, calls))
    program = _Program(len(code.raw) // 8, ctypes.addressof(code))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return False
    return not library.syscall(number, _SET_FILTER, _ALL_THREADS, ctypes.byref(program))


def _instructions(architecture: int, calls: tuple[int, ...]) -> bytes:
    """Berkeley packet filter: refuse another architecture and the calls, allow the rest."""
    tests = len(calls)
    lines = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 0, tests + 3, architecture),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, tests + 1, 0, _X32),
        *((_EQUAL, tests - index, 0, call) for index, call in enumerate(calls)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return b"".join(struct.pack("<HBBI", *line) for line in lines)


def bound(memory: int, processor_seconds: int, file_bytes: int) -> None:
    """Limit this process.

    Parameters
    ----------
    memory : int
        Address space, bytes.
    processor_seconds : int
        Of all its threads together.
    file_bytes : int
        Largest file that it may write.
    """
    import resource

    bounds = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: processor_seconds,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in bounds.items():
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(ValueError, OSError):
            # macOS knows no limit of the address space.
            resource.setrlimit(kind, (most, most))
    os.umask(0o077)
