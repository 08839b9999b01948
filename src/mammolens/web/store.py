"""The store of uploads: each content once, named by its SHA-256, below one folder that only this user can read.

A file arrives in ``incoming/`` and is written to the disk for good before anything is said about it; then it is moved
to its place in one step. Whoever adds a file holds a shared lock until its row is committed; whoever removes files
that no row names holds an exclusive one. So no file goes while a row for it is on its way.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from sqlalchemy import select

from mammolens.errors import InternalError, MammolensError, RequestInvalid, StorageFull, TooLarge
from mammolens.web.database.connection import Database
from mammolens.web.database.tables import Image

HEAD_BYTES = 256
"""Bytes that tell a file's format."""

PREAMBLE_BYTES = 128
"""Bytes before the mark ``DICM``; any program may stand there (CVE-2019-11687), so they are cleared."""

FULL = "There is no room for this upload on the server. Nothing else was lost. Ask the administrator to make room."

_SHA256 = re.compile(r"[0-9a-f]{64}")
_STEP = 1 << 20
_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_ROWS = 500


class Readable(Protocol):
    """What bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Give at most ``size`` bytes; none at the end."""
        ...  # pragma: no cover - a protocol


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file that has arrived whole and is on the disk for good, not yet in its place.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of the bytes as they are kept: a DICOM preamble is cleared.
    size : int
        Bytes.
    head : bytes
        The first `HEAD_BYTES`, as they are kept.
    """

    path: Path
    sha256: str
    size: int
    head: bytes


class Store:
    """The store below an application's folder; thread-safe, and safe between processes.

    Parameters
    ----------
    folder : Path
        The application's own (`mammolens.web.app.Services`); the store is made in it.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "store"
        self.incoming = folder / "incoming"
        for made in (self.root, self.incoming):
            made.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, sha256: str) -> Path:
        """Where a file lies, whether it is there or not.

        Raises
        ------
        InternalError
            If this is no SHA-256 in hexadecimal: no other name ever becomes a path.
        """
        if _SHA256.fullmatch(sha256) is None:
            raise InternalError("This is not the name of a stored file.")
        return self.root / sha256[:2] / sha256

    def take(self, stream: Readable, limit: Callable[[bytes], int], length: int | None = None) -> Incoming:
        """Take a file in and write it to the disk for good.

        Parameters
        ----------
        stream : file object
        limit : callable
            Gives the most bytes that a file with such a head (at most `HEAD_BYTES`) may have, or raises.
        length : int, optional
            Bytes that were announced.

        Returns
        -------
        Incoming

        Raises
        ------
        TooLarge
            If there are more bytes than the limit.
        RequestInvalid
            If there are fewer or more bytes than were announced.
        StorageFull
            If the disk is full.

        Notes
        -----
        Nothing is left behind where it fails.
        """
        path = self.incoming / uuid.uuid4().hex
        try:
            with open(path, "xb", opener=_private) as file:
                arrived = _copy(stream, file, limit, path)
                if length is not None and length != arrived.size:
                    raise RequestInvalid("The file did not arrive whole. Send it again.")
                file.flush()
                os.fsync(file.fileno())
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise _of_system(error) from error
            raise
        return arrived

    def keep(self, arrived: Incoming) -> Path:
        """Move a file that has arrived to its place; call it within `adding`.

        Returns
        -------
        Path

        Raises
        ------
        StorageFull
        """
        path = self.path(arrived.sha256)
        try:
            if path.exists():
                arrived.path.unlink()
                return path
            if not path.parent.exists():
                path.parent.mkdir(exist_ok=True, mode=0o700)
                _sync_folder(self.root)
            arrived.path.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            raise _of_system(error) from error
        return path

    def drop(self, arrived: Incoming) -> None:
        """Remove a file that has arrived and is not to be kept."""
        arrived.path.unlink(missing_ok=True)

    def adding(self) -> AbstractContextManager[None]:
        """Keep removers out until the row of a new file is committed; a context manager."""
        return self._locked(fcntl.LOCK_SH)

    def remove_unnamed(self, database: Database, hashes: Iterable[str]) -> int:
        """Remove those files that no image names any more; call it after the rows are gone for good.

        Parameters
        ----------
        database : Database
        hashes : iterable of str

        Returns
        -------
        int
            How many files were removed.
        """
        wanted, removed = sorted(set(hashes)), 0
        for first in range(0, len(wanted), _ROWS):
            some = wanted[first : first + _ROWS]
            with self._locked(fcntl.LOCK_EX), database.reading() as session:
                named = set(session.scalars(select(Image.sha256).where(Image.sha256.in_(some))))
                for sha256 in some:
                    path = self.path(sha256)
                    if sha256 not in named and path.exists():
                        path.unlink()
                        removed += 1
        return removed

    def hashes(self) -> Iterator[list[str]]:
        """Names of the stored files, folder by folder."""
        for folder in sorted(self.root.iterdir()):
            if folder.is_dir():
                yield [file.name for file in folder.iterdir() if _SHA256.fullmatch(file.name)]

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        try:
            file = open(self.root / ".lock", "ab", opener=_private)  # noqa: SIM115 - closed below
        except OSError as error:
            raise _of_system(error) from error
        with file:
            fcntl.flock(file, how)
            yield


def cleared(head: bytes) -> bytes:
    """Clear the preamble in the start of a file, if it has one.

    Parameters
    ----------
    head : bytes
        At least 132 bytes, or the whole file.

    Returns
    -------
    bytes
        As many.
    """
    if head[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] != b"DICM":
        return head
    return bytes(PREAMBLE_BYTES) + head[PREAMBLE_BYTES:]


def _copy(stream: Readable, file: BinaryIO, limit: Callable[[bytes], int], path: Path) -> Incoming:
    head = b""
    while len(head) < HEAD_BYTES and (step := stream.read(HEAD_BYTES - len(head))):
        head += step
    head = cleared(head)
    most, size, digest, step = limit(head), 0, hashlib.sha256(), head
    while step:
        size += len(step)
        if size > most:
            raise TooLarge(f"The file is larger than the {most >> 20} MiB that may be uploaded. Send a smaller one.")
        digest.update(step)
        file.write(step)
        step = stream.read(_STEP)
    return Incoming(path, digest.hexdigest(), size, head)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _sync_folder(folder: Path) -> None:
    """Write a folder's entries to the disk for good."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _of_system(error: OSError) -> MammolensError:
    if error.errno in _NO_ROOM:
        return StorageFull(FULL)
    return InternalError("The upload could not be stored. Tell the administrator; the server's disk may be at fault.")
