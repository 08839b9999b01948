"""That a folder and a database belong together: what one does not name is removed from the other."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import select

from mammolens.errors import ConfigurationError
from mammolens.web.app import Services
from mammolens.web.database.columns import new_id
from mammolens.web.database.tables import Choice, Image
from mammolens.web.store import Store

MARK = "folder.id"
"""File in the application's folder, and name of the row of `Choice`, that hold the same identifier."""

_STRANGERS = (
    "The application's folder and the database do not belong together, and a wrong pair would lose pictures. "
    "Check MAMMOLENS_HOME and MAMMOLENS_DATABASE_URL; after a restore, restore both from the same backup."
)


def ensure(services: Services) -> None:
    """Check that folder and database belong together; the first time, tie them.

    Parameters
    ----------
    services : Services

    Raises
    ------
    ConfigurationError
        If they were tied to others, or what the database names can't be what lies in the folder.
    DatabaseUnavailable
        If the database can't be reached.
    """
    path = services.folder / MARK
    mark = path.read_text("ascii").strip() if path.exists() else None
    with services.database.session() as session:
        row = session.get(Choice, MARK)
        named = None if row is None else str(row.value["id"])
        if mark is not None and mark == named:
            return
        rows = session.scalar(select(Image.id).limit(1)) is not None
        files = any(Store(services.folder).hashes())
        crossed = mark is not None and named is not None
        # Never tied: a database without pictures beside files is the one pair that loses something.
        untied = mark is None and named is None and files and not rows
        half_tied = (mark is None) is not (named is None) and (files if named is None else rows)
        if crossed or untied or half_tied:
            raise ConfigurationError(_STRANGERS)
        chosen = mark or named or new_id()
        if named is None:
            session.add(Choice(name=MARK, value={"id": chosen}))
    if mark is None:
        _write(path, chosen)


def _write(path: Path, mark: str) -> None:
    fresh = path.with_name(f".{MARK}.{new_id()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(mark)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
