"""Frames between a decoding process and its parent: JSON and raw bytes over two pipes.

A frame is a fixed prefix, a JSON object and a body of raw bytes. Nothing that arrives
is executed or unpickled.

========  =====  =========================================================
offset    bytes  meaning (little endian)
========  =====  =========================================================
0         4      ``MLW1``
4         4      length of the JSON object, at most `MOST_HEADER_BYTES`
8         8      length of the body
16        …      the JSON object, UTF-8, then the body
========  =====  =========================================================
"""

from __future__ import annotations

import json
import math
import os
import select
import struct
import time
from typing import Any

MOST_HEADER_BYTES = 1 << 16
"""Longest JSON object of a frame, bytes."""

Header = dict[str, Any]
"""What a frame says about itself: names to JSON values."""

_PREFIX = struct.Struct("<4sIQ")
_MAGIC = b"MLW1"
_COUNT = struct.Struct("i")


class Channel:
    """Both ends of the talk with the other process, over two pipes.

    Parameters
    ----------
    reading, writing : int
        File descriptors. The writing one is made non-blocking, so that a deadline
        holds even where the other side does not read.
    """

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        os.set_blocking(writing, False)
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(reading, select.POLLIN)
        self._writable.register(writing, select.POLLOUT)

    def waiting(self) -> bool:
        """Whether bytes have arrived already."""
        return any(event & select.POLLIN for _, event in self._readable.poll(0))

    def unread(self) -> bool:
        """Whether the other side has left some of what was sent to it."""
        # Here, so that the module can be imported on a system without them, where no child is started.
        import fcntl
        import termios

        count = fcntl.ioctl(self._writing, termios.FIONREAD, bytes(_COUNT.size))
        return bool(_COUNT.unpack(count)[0])

    def send(self, header: Header, *body: bytes | memoryview, deadline: float | None = None) -> None:
        """Send one frame.

        Parameters
        ----------
        header : dict
            What JSON can hold.
        *body : bytes or memoryview of bytes
            Parts of the body, one after the other.
        deadline : float, optional
            By `time.monotonic`, seconds.

        Raises
        ------
        EOFError
            If the other side is gone.
        TimeoutError
            If the deadline passes.
        """
        text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
        size = sum(len(part) for part in body)
        left = [memoryview(_PREFIX.pack(_MAGIC, len(text), size) + text), *(memoryview(part) for part in body)]
        while left:
            _await(self._writable, deadline)
            try:
                written = os.writev(self._writing, left)
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise EOFError from None
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if left:
                left[0] = left[0][written:]

    def receive_header(self, deadline: float | None = None) -> tuple[Header, int]:
        """Receive the start of a frame.

        Parameters
        ----------
        deadline : float, optional
            By `time.monotonic`, seconds.

        Returns
        -------
        header : dict
        size : int
            Bytes of the body, which `receive_into` has to take next.

        Raises
        ------
        EOFError
            If the other side is gone.
        TimeoutError
            If the deadline passes.
        ValueError
            If what arrives is no frame.
        """
        prefix = bytearray(_PREFIX.size)
        self.receive_into(memoryview(prefix), deadline)
        magic, length, size = _PREFIX.unpack(prefix)
        if magic != _MAGIC or length > MOST_HEADER_BYTES:
            raise ValueError("no frame")
        text = bytearray(length)
        self.receive_into(memoryview(text), deadline)
        try:
            header = json.loads(text)
        except RecursionError:
            raise ValueError("no frame") from None
        if not isinstance(header, dict):
            raise ValueError("no frame")
        return header, size

    def receive_into(self, buffer: memoryview, deadline: float | None = None) -> None:
        """Fill a buffer with the bytes that arrive next; raises as `receive_header` does."""
        while buffer:
            _await(self._readable, deadline)
            count = os.readv(self._reading, [buffer])
            if not count:
                raise EOFError
            buffer = buffer[count:]


def _await(poller: select.poll, deadline: float | None) -> None:
    if deadline is None:
        poller.poll()
        return
    remaining = deadline - time.monotonic()
    if remaining <= 0 or not poller.poll(math.ceil(remaining * 1000)):
        raise TimeoutError
