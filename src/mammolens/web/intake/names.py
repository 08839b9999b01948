"""Names of uploaded files: text to show, never a path on this machine."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from mammolens.imaging.identity import plain_text

LONGEST = 255
"""Characters."""

_UNNAMED = "unnamed"
_MOST_READ = 8192
_DRIVE = re.compile(r"^[A-Za-z]:")
_LITTER = frozenset({"thumbs.db", "desktop.ini", "autorun.inf", "dicomdir"})
_LITTER_FOLDERS = frozenset({"__macosx"})


def clean(name: str) -> str:
    """Make a file's name, with the folders it came in, fit to keep and show.

    Parameters
    ----------
    name : str
        As a browser, a program or a ZIP has it.

    Returns
    -------
    str
        Parts joined by ``/``, none of them empty, ``.`` or ``..``; at most `LONGEST` characters, the last ones.
    """
    shown = plain_text(_DRIVE.sub("", name.replace("\\", "/")), _MOST_READ) or ""
    kept = _parts(shown)
    # Cutting may make a part of dots of one that was none.
    return "/".join(_parts("/".join(kept)[-LONGEST:])) or _UNNAMED


def _parts(path: str) -> list[str]:
    stripped = (part.strip() for part in path.split("/"))
    return [part for part in stripped if part not in ("", ".", "..")]


def folder_of(name: str) -> str:
    """Folder of a clean name; empty where it stands in none."""
    parent = str(PurePosixPath(name).parent)
    return "" if parent == "." else parent


def is_litter(name: str) -> bool:
    """Whether a file is what systems leave beside pictures: hidden files, thumbnails, a directory of the DICOM disc."""
    parts = clean(name).lower().split("/")
    return parts[-1].startswith(".") or parts[-1] in _LITTER or not _LITTER_FOLDERS.isdisjoint(parts)
