"""Removing what broken-off uploads and forgotten pages leave behind.

Files that no row names are `mammolens.web.work.deletion.remove_orphans`'s.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from mammolens.web.app import Services
from mammolens.web.intake import batches
from mammolens.web.store import Store

IDLE_SECONDS = 3600.0
"""An upload on its way that nothing was written to for so long is dead."""


@dataclass(frozen=True, slots=True)
class Swept:
    """How many were removed: half uploads, and batches with the names of their files."""

    incoming: int
    batches: int


def sweep(opened: Services, idle_seconds: float = IDLE_SECONDS) -> Swept:
    """Remove half uploads and old batches; safe at any time, beside uploads and other sweeps.

    Parameters
    ----------
    opened : Services
    idle_seconds : float
        Age from which an upload on its way counts as left behind.

    Returns
    -------
    Swept
    """
    before = time.time() - idle_seconds
    dead = [path for path in Store(opened.folder).incoming.iterdir() if _older(path, before)]
    for path in dead:
        path.unlink(missing_ok=True)
    with opened.database.session() as session:
        old = batches.remove_old(session)
    return Swept(len(dead), old)


def _older(path: Path, before: float) -> bool:
    try:
        return path.is_file() and path.stat().st_mtime < before
    except FileNotFoundError:
        return False
