"""Keep the cache of levels within its limit: what was looked at longest ago goes first."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from mammolens.errors import StorageFull

_INDEX = "levels.json"
_TOUCH_SECONDS = 60.0
_LEFTOVER_SECONDS = 3600.0
_FULL = "There is no room on the server for the pictures to show. Nothing was lost. Ask the administrator to make room."


@dataclass(frozen=True, slots=True)
class _Entry:
    """One image's levels: when they were looked at, how many bytes they take, and where."""

    seen: float
    size: int
    place: Path


def touch(index: Path) -> None:
    """Note that an image is being looked at; at most once a minute, for it is asked with every tile."""
    try:
        if time.time() - index.stat().st_mtime > _TOUCH_SECONDS:
            os.utime(index)
    except FileNotFoundError:
        # Put out of the cache at this moment; who asks next makes it anew.
        return


def make_room(root: Path, wanted: int, most: int, free: int) -> None:
    """Remove levels until so many bytes more fit, under the limit and on the disk.

    Parameters
    ----------
    root : Path
        Folder of all levels.
    wanted : int
        Bytes of what is to come.
    most : int
        Bytes that all levels may take; one image is kept whatever it takes.
    free : int
        Bytes that must stay free on the disk.

    Raises
    ------
    StorageFull
        If the disk has no room even when all are gone.
    """
    entries = sorted(_entries(root), key=lambda entry: entry.seen)
    taken = sum(entry.size for entry in entries)
    while entries and (taken + wanted > most or _free(root) < free + wanted):
        oldest = entries.pop(0)
        shutil.rmtree(oldest.place, ignore_errors=True)
        taken -= oldest.size
    if _free(root) < free + wanted:
        raise StorageFull(_FULL)


def _entries(root: Path) -> list[_Entry]:
    """All levels; what a killed process left half made is removed on the way."""
    found = []
    for place in root.iterdir():
        if place.name.endswith(".part"):
            if time.time() - place.stat().st_mtime > _LEFTOVER_SECONDS:
                shutil.rmtree(place, ignore_errors=True)
        elif not place.name.startswith("."):
            try:
                size = sum(file.stat().st_size for file in place.iterdir())
                found.append(_Entry((place / _INDEX).stat().st_mtime, size, place))
            except FileNotFoundError:
                # Another process removes it just now.
                continue
    return found


def _free(root: Path) -> int:
    return shutil.disk_usage(root).free
