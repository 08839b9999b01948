"""Deleting cases for good: rows, files, and what was made from them; the audit tells that it was done."""

from __future__ import annotations

import logging
import re
import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from mammolens.errors import NotFound
from mammolens.web import audit
from mammolens.web.app import Services
from mammolens.web.database.columns import new_id
from mammolens.web.database.connection import Database
from mammolens.web.database.tables import Assessment, BatchFile, Case, Identifier, Image, Job, Result
from mammolens.web.store import Store

MADE = ("derived", "levels")
"""Folders that hold a folder for each image."""

_IMAGE_ID = re.compile(r"[0-9a-f]{32}")
_GONE = ".gone-"
_CHECKPOINT_MS = 2000
_ROWS = 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Deleted:
    """What went with a case.

    Attributes
    ----------
    number : int
        The case's.
    images, results, assessments, identifiers : int
        Rows.
    files : int
        Uploads that no other case shares.
    """

    number: int
    images: int
    results: int
    assessments: int
    identifiers: int
    files: int


def delete_case(services: Services, case_id: str, actor_name: str, reason: str = "asked-for") -> Deleted:
    """Delete a case for good, with an audit entry in the same transaction.

    Files go after the rows: where that is interrupted, `remove_orphans` ends it. A picture in work at that moment
    ends without a result. On SQLite the rows' bytes are overwritten; on PostgreSQL the next VACUUM does that.

    Parameters
    ----------
    services : Services
    case_id : str
        Whether the actor may is for the caller to check.
    actor_name : str
        User's name, or ``system``.
    reason : {"asked-for", "retention"}

    Returns
    -------
    Deleted

    Raises
    ------
    NotFound
        If there is no such case (any more).
    DatabaseUnavailable
        If the database can't be reached; nothing was deleted.
    """
    with services.database.session() as session:
        case = session.scalar(select(Case).where(Case.id == case_id))
        if case is None:
            raise NotFound("There is no such case, or it is not yours.")
        images = session.execute(select(Image.id, Image.sha256).where(Image.case_id == case_id)).all()
        ids, hashes = [row.id for row in images], {row.sha256 for row in images}
        # Jobs before images before cases, as everywhere; the names of files would else outlive their images.
        session.execute(delete(Job).where(Job.image_id.in_(ids)))
        names = delete(BatchFile).where(BatchFile.image_id.in_(ids))
        session.execute(names)
        counted = {
            "images": len(images),
            "results": _count(session, Result, Result.image_id.in_(ids)),
            "assessments": _count(session, Assessment, Assessment.case_id == case_id),
            "identifiers": _count(session, Identifier, Identifier.image_id.in_(ids)),
        }
        number = case.number
        session.execute(delete(Case).where(Case.id == case_id).execution_options(synchronize_session=False))
        detail = counted | {"reason": reason}
        audit.record(session, actor_name, "case-deleted", f"case A-{number}", detail)
    for image_id in ids:
        _remove_made(services.folder, image_id)
    files = Store(services.folder).remove_unnamed(services.database, hashes)
    _overwrite(services.database)
    return Deleted(number, files=files, **counted)


def remove_pictures_of_none(services: Services, image_id: str) -> None:
    """Remove what was made from an image, if that has been deleted meanwhile."""
    with services.database.reading() as session:
        there = session.scalar(select(Image.id).where(Image.id == image_id))
    if there is None:
        _remove_made(services.folder, image_id)


def remove_orphans(services: Services) -> int:
    """Remove files that no row names: what an interrupted deletion, or an interrupted upload, left behind.

    Returns
    -------
    int
        How many uploads and folders of made pictures were removed; the audit notes them if there were any.
    """
    removed = 0
    for name in MADE:
        folder = services.folder / name
        found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        candidates = [entry for entry in found if _IMAGE_ID.fullmatch(entry)]
        for first in range(0, len(candidates), _ROWS):
            some = candidates[first : first + _ROWS]
            with services.database.reading() as session:
                there = set(session.scalars(select(Image.id).where(Image.id.in_(some))))
            removed += sum(_remove_tree(folder / entry) for entry in some if entry not in there)
        for entry in found:
            if entry.startswith(_GONE):
                shutil.rmtree(folder / entry, ignore_errors=True)
    store = Store(services.folder)
    for hashes in store.hashes():
        removed += store.remove_unnamed(services.database, hashes)
    if removed:
        with services.database.session() as session:
            audit.record(session, "system", "orphans-removed", "files", {"count": removed})
    return removed


def _count(session: Session, table: type, criterion: object) -> int:
    return session.scalar(select(func.count()).select_from(table).where(criterion)) or 0  # type: ignore[arg-type]


def _remove_made(folder: Path, image_id: str) -> None:
    for name in MADE:
        _remove_tree(folder / name / image_id)


def _remove_tree(path: Path) -> bool:
    """Remove a folder; moved aside first, so that nobody finds half of it or writes into it meanwhile."""
    aside = path.with_name(f"{_GONE}{new_id()}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return False
    try:
        shutil.rmtree(aside)
    except OSError:
        _log.warning("A folder of made pictures could not be removed at once; it is tried again each hour.")
    return True


def _overwrite(database: Database) -> None:
    """Bring deleted rows, which SQLite overwrites (``secure_delete``), out of its journal as well."""
    if database.engine.dialect.name != "sqlite":
        return
    with closing(database.engine.raw_connection()) as connection:
        cursor = connection.cursor()
        # Readers hold it up; it is not worth waiting long, for the next deletion does it too.
        cursor.execute(f"PRAGMA busy_timeout={_CHECKPOINT_MS}")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cursor.execute("PRAGMA busy_timeout=30000")
        cursor.close()
