"""Find the files that a command is to read, in an order that does not depend on the machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

Identity = tuple[int, int]
"""Device and inode: what a file is, whatever it is called."""


def identity(path: Path) -> Identity | None:
    """Device and inode of what a path leads to; ``None`` where it leads nowhere."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def find(folder: Path, leave_out: Collection[Identity | None] = ()) -> Iterator[Path]:
    """Files of a folder and of all folders in it, sorted by name.

    Parameters
    ----------
    folder : Path
    leave_out : collection of Identity
        Files and folders that are not to be read, such as results.

    Yields
    ------
    Path
        Files, links that lead nowhere, and folders that can't be listed: each of them
        wants an answer. Left out are hidden names, ``DICOMDIR`` (an index of the
        others), devices, pipes and sockets, and folders that have been listed before
        (a link may lead back to one).
    """
    listed: set[Identity | None] = set()
    waiting = [folder]
    # A stack instead of recursion: folders may be nested deeper than Python's own stack.
    while waiting:
        path = waiting.pop()
        what = identity(path)
        if what is not None and what in leave_out and path != folder:
            continue
        if not os.path.isdir(path):  # unlike Path.is_dir, False where the path can't be looked up
            if _wants_an_answer(path):
                yield path
            continue
        if what in listed:
            continue
        listed.add(what)
        try:
            names = os.listdir(path)
        except OSError:
            yield path
            continue
        waiting += [path / name for name in sorted(names, reverse=True) if not _is_passed_over(name)]


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name.upper() == "DICOMDIR"


def _wants_an_answer(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def sha256_of(path: Path, most_bytes: int) -> str | None:
    """SHA-256 of a file; ``None`` where it can't be read or has more than ``most_bytes`` bytes."""
    import hashlib

    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > most_bytes:
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def overwrites_a_foreign_file(path: Path) -> bool:
    """Whether writing JSON Lines to a path would destroy a file that holds something else."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            return file.read(1) not in (b"", b"{")
    except OSError:
        return False
