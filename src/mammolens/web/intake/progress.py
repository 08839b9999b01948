"""How far the files of a batch have come, as data for the page: at once, or as a stream of events."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from mammolens.errors import DatabaseUnavailable, NotFound
from mammolens.web.access import Actor
from mammolens.web.app import Services
from mammolens.web.database.tables import BatchFile, Case, Image, ImageState
from mammolens.web.intake.batches import batch_of
from mammolens.web.work import queue

STREAM_SECONDS = 25.0
"""Longest stream; the page opens the next one. Each takes one of the server's threads."""

STEP_SECONDS = 0.4
"""Between two looks at the database."""

HEARTBEAT_SECONDS = 10.0
"""A proxy in front must not take a silent stream for dead."""

EXPECTED = "expected"
"""State of a file that was announced and has not come."""

_OPEN = frozenset({ImageState.QUEUED.value, ImageState.RUNNING.value})
_COLUMNS = (
    BatchFile.id,
    BatchFile.name,
    BatchFile.duplicate,
    BatchFile.error_code,
    BatchFile.error_message,
    Image.id.label("image_id"),
    Image.state,
    Image.error_code.label("image_error_code"),
    Image.error_message.label("image_error_message"),
    Case.id.label("case_id"),
    Case.number,
)

Words = Callable[[str, str], str]
"""Gives an error's sentence for people, from its code and its English message."""


def snapshot(session: Session, asking: Actor, batch_id: str, words: Words | None = None) -> dict[str, Any]:
    """How far one's own batch has come.

    Parameters
    ----------
    session : Session
        For reading.
    asking : Actor
    batch_id : str
    words : callable, optional
        Translates refusals; they stay English without it.

    Returns
    -------
    dict
        ``id``; ``created`` (ISO 8601); ``files``, each with ``id``, ``name``, ``state`` (`EXPECTED` or a value of
        `ImageState`), ``duplicate``, and where they are known ``code`` and ``message`` of a refusal, ``image``,
        ``case`` and ``number``; ``total``, ``arrived`` and ``ended``; ``ahead``, how many answers come before the
        batch's next one (None where none is queued).

    Raises
    ------
    NotFound
    """
    batch = batch_of(session, asking, batch_id)
    rows = session.execute(
        select(*_COLUMNS)
        .select_from(BatchFile)
        .outerjoin(Image, Image.id == BatchFile.image_id)
        .outerjoin(Case, Case.id == Image.case_id)
        .where(BatchFile.batch_id == batch.id)
        .order_by(BatchFile.created, BatchFile.name)
    ).all()
    files = [_described(row, words) for row in rows]
    states = Counter(file["state"] for file in files)
    queued = next((file["image"] for file in files if file["state"] == ImageState.QUEUED), None)
    open_files = sum(states[state] for state in _OPEN)
    return {
        "id": batch.id,
        "created": batch.created.isoformat(),
        "files": files,
        "total": len(files),
        "arrived": len(files) - states[EXPECTED],
        "ended": len(files) - states[EXPECTED] - open_files,
        "ahead": queue.ahead(session, [queued]).get(queued) if queued else None,
    }


def events(opened: Services, asking: Actor, batch_id: str, last: str = "", words: Words | None = None) -> Iterator[str]:
    """Tell of a batch's progress as Server-Sent Events (HTML standard, section 9.2), as long as something goes on.

    Parameters
    ----------
    opened : Services
    asking : Actor
    batch_id : str
    last : str
        Identifier of the last event that the page has got; the same state is not told again.
    words : callable, optional
        As in `snapshot`.

    Yields
    ------
    str
        Events named ``progress`` that hold a snapshot, and one named ``end`` where no file is expected, queued or in
        work any more: the page needs to ask no further then.
    """
    ends, beat = time.monotonic() + STREAM_SECONDS, time.monotonic() + HEARTBEAT_SECONDS
    yield "retry: 1000\n\n"
    while time.monotonic() < ends:
        try:
            with opened.database.reading() as session:
                found = snapshot(session, asking, batch_id, words)
        except (DatabaseUnavailable, NotFound):
            # The page falls back to asking, and gets the reason with a status.
            return
        text = json.dumps(found, separators=(",", ":"))
        mark = hashlib.sha256(text.encode()).hexdigest()[:16]
        if mark != last:
            last, beat = mark, time.monotonic() + HEARTBEAT_SECONDS
            yield f"id: {mark}\nevent: progress\ndata: {text}\n\n"
        elif time.monotonic() > beat:
            beat = time.monotonic() + HEARTBEAT_SECONDS
            yield ": still here\n\n"
        if found["ended"] == found["total"]:
            yield f"id: {mark}\nevent: end\ndata: {{}}\n\n"
            return
        time.sleep(STEP_SECONDS)


def _described(row: Row[*tuple[Any, ...]], words: Words | None) -> dict[str, Any]:
    state = row.state.value if row.state else (ImageState.REFUSED.value if row.error_code else EXPECTED)
    file: dict[str, Any] = {"id": row.id, "name": row.name, "state": state, "duplicate": row.duplicate}
    code, message = row.error_code or row.image_error_code, row.error_message or row.image_error_message
    if code:
        file |= {"code": code, "message": words(code, message or "") if words else message or ""}
    if row.image_id:
        file |= {"image": row.image_id, "case": row.case_id, "number": f"A-{row.number}"}
    return file
