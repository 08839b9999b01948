"""A decoding process whose decoders go astray on command; run as ``python -m evil_worker``.

It is the real worker with other handlers. A job's bytes say what shall happen.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from mammolens.errors import DecodeError, NoBreast
from mammolens.imaging import wire, worker
from mammolens.imaging.channel import Header
from mammolens.types import Mammogram, Notice, PixelSpacing


class PanicException(BaseException):
    """Named and derived as pyo3's, which passes ``except Exception``."""


def picture(value: int, height: int = 4, width: int = 6) -> worker.Answer:
    mammogram = Mammogram(
        np.full((height, width), value, np.uint16),
        rows=height,
        columns=width,
        sha256="0" * 64,
        source="dicom",
        laterality="L",
        view="MLO",
        view_modifiers=("spot compression",),
        pixel_spacing=PixelSpacing(0.07, 0.08, "imager"),
        negative=True,
        notices=(Notice("code", "Message."),),
    )
    header, trailer = wire.describe_mammogram(mammogram)
    return header, wire.bytes_of(mammogram.pixels), trailer


def write_to_parent(data: bytes) -> None:
    """Write behind the protocol's back: the pipe to the parent is one of the low descriptors."""
    for descriptor in range(3, 32):
        try:
            os.write(descriptor, data)
        except OSError:
            continue


def act(source: Path | bytes, options: Header) -> worker.Answer:
    command, _, argument = (source if isinstance(source, bytes) else source.read_bytes()).decode().partition(" ")
    header, body, trailer = picture(int(argument) if command in ("picture", "slow") else 0)
    match command:
        case "slow":
            time.sleep(0.01)
        case "large":
            header, body, trailer = picture(7, 1339, 1229)
        case "pid":
            header, body, trailer = picture(os.getpid() % 65536)
        case "print":
            os.write(1, b"a library's chatter")
            print("more of it", flush=True)
        case "sleep":
            time.sleep(60)
        case "spin":
            if argument:
                worker.grant_seconds(float(argument))
            while True:
                pass
        case "allocate":
            np.ones(10 << 27)
        case "hoard":
            hoard = []
            while True:
                hoard.append(bytearray(64 << 20))
        case "signal":
            os.kill(os.getpid(), getattr(signal, argument))
        case "exit":
            os._exit(int(argument))
        case "panic":
            raise PanicException("DOE^JANE")
        case "raise":
            raise RuntimeError("DOE^JANE in /home/jane")
        case "recurse":
            act(source, options)
        case "refuse":
            raise NoBreast("No breast.")
        case "leak":
            raise DecodeError("x" * 5000)
        case "write":
            Path(argument).write_bytes(b"x")
        case "garbage":
            write_to_parent(b"GARBAGE" * 100)
            time.sleep(60)
        case "half":
            write_to_parent(b"MLW1\x10\x00\x00\x00")
            time.sleep(60)
        case "huge-header":
            write_to_parent(b"MLW1" + (1 << 31).to_bytes(4, "little") + bytes(8))
            time.sleep(60)
        case "not-json":
            write_to_parent(b"MLW1" + (4).to_bytes(4, "little") + bytes(8) + b"\xff\xfe\x00{")
            time.sleep(60)
        case "lie":
            header = {**header, **json.loads(argument)}
    return header, body, trailer


if __name__ == "__main__":
    worker.serve({"read": act, "render": act}, ())
    sys.exit(0)
