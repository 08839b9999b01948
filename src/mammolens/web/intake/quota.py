"""What one user may keep, and how full the disk may get."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from sqlalchemy import func, select

from mammolens.errors import QuotaExceeded, StorageFull
from mammolens.web.app import Services
from mammolens.web.database.connection import Database
from mammolens.web.database.tables import Case, Image
from mammolens.web.store import FULL

_FRESH_SECONDS = 30.0


@dataclass(slots=True)
class _Account:
    """What one user's images take, and what is on its way, bytes."""

    stored: int
    read: float
    pending: int = 0


_accounts: WeakKeyDictionary[Database, dict[str, _Account]] = WeakKeyDictionary()
_lock = threading.Lock()


def check_disk(opened: Services, wanted: int) -> None:
    """Refuse what would leave less free than the setting ``upload_free_bytes``.

    Parameters
    ----------
    opened : Services
    wanted : int
        Bytes that are to come.

    Raises
    ------
    StorageFull
    """
    if shutil.disk_usage(opened.folder).free - wanted < opened.settings.upload_free_bytes:
        raise StorageFull(FULL)


def check_user(opened: Services, user_id: str, wanted: int) -> None:
    """Refuse what would be more than the setting ``upload_user_bytes``.

    Raises
    ------
    QuotaExceeded
    """
    with _lock:
        _check(opened, _account(opened, user_id), wanted)


@contextmanager
def reserved(opened: Services, user_id: str, wanted: int) -> Iterator[None]:
    """Count bytes as the user's while they are being kept, so that uploads at the same time don't exceed together.

    Raises
    ------
    QuotaExceeded
    """
    with _lock:
        account = _account(opened, user_id)
        _check(opened, account, wanted)
        account.pending += wanted
    kept = False
    try:
        yield
        kept = True
    finally:
        with _lock:
            account.pending -= wanted
            account.stored += wanted if kept else 0


def used(opened: Services, user_id: str) -> int:
    """Bytes that one user's images take."""
    with opened.database.reading() as session:
        total = session.scalar(select(func.sum(Image.bytes)).join(Case).where(Case.owner_id == user_id))
    return int(total or 0)


def _account(opened: Services, user_id: str) -> _Account:
    """Account of a user; asked of the database anew from time to time, for the sum takes long where there is much."""
    accounts = _accounts.setdefault(opened.database, {})
    account = accounts.get(user_id)
    if account is None:
        account = accounts[user_id] = _Account(used(opened, user_id), time.monotonic())
    elif time.monotonic() - account.read > _FRESH_SECONDS:
        account.stored, account.read = used(opened, user_id), time.monotonic()
    return account


def _check(opened: Services, account: _Account, wanted: int) -> None:
    most = opened.settings.upload_user_bytes
    if account.stored + account.pending + wanted > most:
        raise QuotaExceeded(
            f"Your uploads may take {most >> 20} MiB together. Delete cases that you no longer need, or ask the "
            "administrator for more."
        )
