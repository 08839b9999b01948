"""Who did what, when: entries are only added, and each holds the hash of the one before it.

The database refuses to change or delete an entry (triggers of migration 0001). Who goes round it, by the database's
own tools, breaks the chain, which `verify` finds; who cuts off its end, or writes the whole chain anew, is found by
comparing the newest hash with one that was noted elsewhere.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from mammolens.errors import InternalError
from mammolens.web.database.columns import now
from mammolens.web.database.tables import AuditEvent

FIRST = "0" * 64
"""What stands for the hash before the first entry."""
_LOCK = 0x6D616D6D6F
"""Number of PostgreSQL's advisory lock: one entry is written at a time."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check of the chain found.

    Attributes
    ----------
    entries : int
        How many entries were read.
    head : str
        Hash of the newest, 64 hexadecimal digits; `FIRST` where there is none.
    broken : int or None
        Number of the first entry that does not fit; None if all do.
    """

    entries: int
    head: str
    broken: int | None


def record(
    session: Session, actor_name: str, action: str, subject: str, detail: Mapping[str, Any] | None = None
) -> AuditEvent:
    """Add an entry, in the caller's transaction: what it tells of and the entry are written together or not at all.

    Parameters
    ----------
    session : Session
        Of `Database.session`.
    actor_name : str
        User's name, or ``system``.
    action : str
        For example ``case-seen``; at most 40 characters.
    subject : str
        For example ``case A-1043``; at most 80 characters. Never anything that names a woman.
    detail : mapping, optional
        JSON: counts, states, codes.
    """
    if not action or len(action) > 40 or len(subject) > 80 or len(actor_name) > 80:
        raise InternalError("An audit entry does not fit its table.")
    session.flush()
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
    last = session.execute(
        select(AuditEvent.number, AuditEvent.hash).order_by(AuditEvent.number.desc()).limit(1)
    ).first()
    number, previous = (last.number + 1, last.hash) if last else (1, FIRST)
    at = now()
    kept = json.loads(json.dumps(dict(detail or {}), allow_nan=False))
    entry = AuditEvent(
        number=number, at=at, actor=actor_name, action=action, subject=subject, detail=kept, previous=previous, hash=""
    )
    entry.hash = hash_of(entry)
    session.add(entry)
    session.flush()
    return entry


def hash_of(entry: AuditEvent) -> str:
    """Hash of an entry: SHA-256 of its fields and the hash before it, as JSON with sorted keys and no spaces."""
    fields = {
        "number": entry.number,
        "at": entry.at.astimezone(dt.UTC).isoformat(timespec="microseconds"),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "detail": entry.detail,
        "previous": entry.previous,
    }
    written = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(written.encode()).hexdigest()


def verify(session: Session) -> Verified:
    """Go through the chain from its first entry: numbers without a gap, and every hash right."""
    entries, head = 0, FIRST
    for entry in session.scalars(select(AuditEvent).order_by(AuditEvent.number).execution_options(yield_per=1000)):
        entries += 1
        if entry.number != entries or entry.previous != head or entry.hash != hash_of(entry):
            return Verified(entries, head, entries)
        head = entry.hash
        session.expunge(entry)
    return Verified(entries, head, None)


def holds(session: Session, number: int, digest: str) -> bool:
    """Tell whether an entry that was noted elsewhere is in the chain as it was; ``0`` stands before the first."""
    if number == 0:
        return digest == FIRST
    return session.scalar(select(AuditEvent.hash).where(AuditEvent.number == number)) == digest
