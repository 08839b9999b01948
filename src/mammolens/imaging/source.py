"""Get a file's bytes, held to the limit before they are read."""

from __future__ import annotations

import stat
from pathlib import Path

from mammolens.errors import FileMissing
from mammolens.imaging.limits import Limits

_MISSING = "There is no such file, or it can't be opened. Check the path and its permissions."


def file_bytes(source: Path | str | bytes, limits: Limits) -> bytes:
    """Read a file whole.

    Parameters
    ----------
    source : path or bytes
        A file, or its content.
    limits : Limits

    Returns
    -------
    bytes

    Raises
    ------
    FileMissing
        Also where the path is a folder or a device.
    TooLarge
    """
    if isinstance(source, bytes | bytearray | memoryview):
        limits.check_file(len(source))
        return bytes(source)
    try:
        path = Path(source)
        information = path.stat()
        if not stat.S_ISREG(information.st_mode):
            raise FileMissing("This is not a file. Give the path of a single image file.")
        limits.check_file(information.st_size)
        with path.open("rb") as stream:
            # Room for what there is, not for what is allowed: that much address space is slow to get and give back.
            data = stream.read(information.st_size + 1)
            if len(data) > information.st_size:
                # It grew in the meantime; one byte more than allowed tells whether it did by too much.
                data += stream.read(limits.max_file_bytes + 1 - len(data))
    except (OSError, ValueError) as cause:
        raise FileMissing(_MISSING) from cause
    limits.check_file(len(data))
    return data
