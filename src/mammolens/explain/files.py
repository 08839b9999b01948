"""Files written for a person: safe names, and whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import unicodedata
from contextlib import suppress
from pathlib import Path

from mammolens.errors import OutputError

_STEM_BYTES = 120
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows takes for devices."""


def safe_stem(stem: str) -> str:
    """Make a file name's stem out of any text.

    Letters and digits of every script, ``-``, ``_`` and inner ``.`` stay; all else
    becomes ``_``. A stem that had to be changed gets a hash of the original, so
    that two different stems stay two.

    Parameters
    ----------
    stem : str

    Returns
    -------
    str
        1 to 120 bytes in UTF-8, without separators, not hidden, not reserved.
    """
    composed = unicodedata.normalize("NFC", stem)
    kept = re.sub(r"[^\w.-]", "_", composed).strip(".-")
    short = kept.encode("utf-8", "ignore")[: _STEM_BYTES - 9].decode("utf-8", "ignore").rstrip(".-")
    if short and short == stem and not _RESERVED.fullmatch(short):
        return short
    digest = hashlib.sha256(stem.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{short or 'image'}-{digest}" if not _RESERVED.fullmatch(short) else f"_{short}-{digest}"


def write_file(folder: Path, name: str, *data: bytes | memoryview) -> Path:
    """Write a file whole or not at all.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    name : str
        Of the file, without a separator. A link that stands in its place is
        replaced, not followed.
    *data : bytes or memoryview of bytes
        Parts of the content, one after the other.

    Returns
    -------
    Path
        ``folder / name``.

    Raises
    ------
    OutputError
        If it can't be written.
    """
    target, part = folder / name, folder / f".{secrets.token_hex(8)}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
                for piece in data:
                    file.write(piece)
            part.replace(target)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()
    except OSError:
        raise OutputError("A result could not be written. Check the output folder's rights and free space.") from None
    return target
