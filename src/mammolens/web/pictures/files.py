"""Files that the application makes for itself: private, whole or not at all, on the disk for good."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from mammolens.errors import InternalError, OutputError, StorageFull

_IMAGE_ID = re.compile(r"[0-9a-f]{32}")
_MODEL = re.compile(r"[0-9a-f]{16}")
_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_FULL = "There is no room on the server for the pictures to show. Nothing was lost. Ask the administrator to make room."
_UNWRITABLE = "A picture could not be written on the server. Tell the administrator; its disk may be at fault."


def folder_of(parent: Path, image_id: str) -> Path:
    """Folder of an image below another one.

    Raises
    ------
    InternalError
        If the identifier is none: no other name ever becomes a path.
    """
    if _IMAGE_ID.fullmatch(image_id) is None:
        raise InternalError("This is not the identifier of an image.")
    return parent / image_id


def model_tag(sha256: str) -> str:
    """First 16 digits of a model's hash, which name its folder; raises as `folder_of`."""
    if _MODEL.fullmatch(sha256[:16]) is None:
        raise InternalError("This is not the hash of a model.")
    return sha256[:16]


@contextmanager
def writing() -> Iterator[None]:
    """Turn what the system says of writing into our errors.

    Raises
    ------
    StorageFull
        If there is no room.
    OutputError
        On any other failure of the system.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFull(_FULL) from error
        raise OutputError(_UNWRITABLE) from error


def write(folder: Path, name: str, data: bytes | memoryview) -> None:
    """Write one file; as `write_all`."""
    write_all([(folder, name, data)])


def write_all(wanted: Sequence[tuple[Path, str, bytes | memoryview]]) -> None:
    """Write files: nobody sees half of one, and a loss of power does not take one back.

    Parameters
    ----------
    wanted : sequence of (Path, str, bytes or memoryview of bytes)
        Folder (made where it is missing, for this user alone), name and content of each. They appear in this order.

    Raises
    ------
    StorageFull, OutputError
        Then none has appeared, or some whole.
    """
    parts = [folder / f".{secrets.token_hex(8)}.part" for folder, _, _ in wanted]
    with writing():
        for folder in {folder for folder, _, _ in wanted}:
            folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.mkdir(exist_ok=True, mode=0o700)
        try:
            # Beside one another: the file system then carries several to the disk with one turn of its journal.
            with ThreadPoolExecutor(len(parts)) as threads:
                list(threads.map(_put, parts, (data for _, _, data in wanted)))
            for part, (folder, name, _) in zip(parts, wanted, strict=True):
                part.replace(folder / name)
        finally:
            for part in parts:
                part.unlink(missing_ok=True)


def _put(part: Path, data: bytes | memoryview) -> None:
    with open(part, "xb", opener=private) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def private(path: str, flags: int) -> int:
    """Open a file that only this user can read; an opener for `open`."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
