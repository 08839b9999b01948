"""Who may do heavy work now: a few at a time in a process, one at a time for an image in all processes."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mammolens.errors import Overloaded
from mammolens.web.pictures.files import private, writing

AT_ONCE = 2
"""Pictures of full size in work at a time in one process: each takes some 200 MB and a core."""

PATIENCE_SECONDS = 20.0
"""How long one waits for a turn; a page shows its waiting, and a server has few threads."""

_LOOK_SECONDS = 0.02
_BUSY = "Other pictures are being made ready. Try again in a few seconds."
_SLOTS = threading.BoundedSemaphore(AT_ONCE)


@contextmanager
def turn(patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Wait for one of the few turns.

    Parameters
    ----------
    patience : float
        Seconds.

    Raises
    ------
    Overloaded
        If none comes in time.
    """
    if not _SLOTS.acquire(timeout=patience):
        raise Overloaded(_BUSY)
    try:
        yield
    finally:
        _SLOTS.release()


@contextmanager
def alone(folder: Path, image_id: str, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Be the only one, among all processes, who changes what belongs to an image.

    Parameters
    ----------
    folder : Path
        Where the locks lie: a fixed number of files, each for many images.
    image_id : str
    patience : float
        Seconds.

    Raises
    ------
    Overloaded
        If another one does not end in time.
    StorageFull, OutputError
        If the locks can't be made.
    """
    with writing():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.fdopen(private(str(folder / f"{image_id[:2]}.lock"), os.O_WRONLY | os.O_CREAT), "wb")
    with lock:
        end = time.monotonic() + patience
        while not _taken(lock):
            if time.monotonic() > end:
                raise Overloaded(_BUSY)
            time.sleep(_LOOK_SECONDS)
        yield


def _taken(lock: BinaryIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
