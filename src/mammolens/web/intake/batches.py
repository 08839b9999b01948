"""Batches: files that somebody dropped together, so that a page that was closed can go on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from mammolens.errors import NotFound, RequestInvalid
from mammolens.web.access import Actor
from mammolens.web.database.columns import now
from mammolens.web.database.tables import Batch, BatchFile, Case, Image, ImageState
from mammolens.web.intake.names import clean
from mammolens.web.work import queue

MOST_FILES = 2000
"""In one batch."""

MOST_OPEN = 20
"""Batches that are shown for going on with, newest first."""

_KEPT = dt.timedelta(days=30)
_KEPT_CLOSED = dt.timedelta(days=1)


def announce(session: Session, asking: Actor, names: Sequence[str]) -> Batch:
    """Open a batch and name its files, before they come.

    Parameters
    ----------
    session : Session
    asking : Actor
    names : sequence of str
        As the user's machine calls them, with the folders they stand in.

    Returns
    -------
    Batch
        Its ``files`` stand in the order of the names.

    Raises
    ------
    RequestInvalid
        If there are too many.
    """
    if len(names) > MOST_FILES:
        raise RequestInvalid(f"At most {MOST_FILES} files may be uploaded together. Send them in parts.")
    batch, moment = Batch(owner_id=asking.user_id), now()
    for place, name in enumerate(names):
        # One microsecond apart: files are shown by time, and keep the order they were dropped in.
        batch.files.append(BatchFile(name=clean(name), created=moment + dt.timedelta(microseconds=place)))
    session.add(batch)
    session.flush()
    return batch


def batch_of(session: Session, asking: Actor, batch_id: str) -> Batch:
    """Find one's own batch.

    Raises
    ------
    NotFound
        If there is none, or it is another's.
    """
    batch = session.scalar(select(Batch).where(Batch.id == batch_id, Batch.owner_id == asking.user_id))
    if batch is None:
        raise NotFound("There is no such upload, or it is not yours.")
    return batch


def file_of(session: Session, asking: Actor, file_id: str) -> BatchFile:
    """Find a file of one's own batches; raises as `batch_of`."""
    criteria = (BatchFile.id == file_id, Batch.owner_id == asking.user_id)
    file = session.scalar(select(BatchFile).join(Batch).where(*criteria))
    if file is None:
        raise NotFound("There is no such upload, or it is not yours.")
    return file


def open_batches(session: Session, asking: Actor) -> list[Batch]:
    """One's own batches that were not put away, newest first."""
    mine = select(Batch).where(Batch.owner_id == asking.user_id, Batch.closed.is_(None))
    return list(session.scalars(mine.order_by(Batch.created.desc()).limit(MOST_OPEN)))


def image_with(session: Session, asking: Actor, sha256: str) -> Image | None:
    """One's own image of this content, if there is one; the oldest."""
    mine = select(Image).join(Case).where(Image.sha256 == sha256, Case.owner_id == asking.user_id)
    return session.scalar(mine.order_by(Image.arrived).limit(1))


def recognise(session: Session, asking: Actor, batch_id: str, hashes: Mapping[str, str]) -> list[str]:
    """Mark files of a batch as arrived whose content is here already, so that they need not be sent.

    Parameters
    ----------
    session : Session
    asking : Actor
    batch_id : str
    hashes : mapping of str to str
        SHA-256 of the files' bytes (a DICOM preamble cleared), by the files' identifiers.

    Returns
    -------
    list of str
        Identifiers of those that are here.
    """
    files = {file.id: file for file in batch_of(session, asking, batch_id).files}
    found = []
    for file_id, sha256 in hashes.items():
        image = image_with(session, asking, sha256) if file_id in files else None
        if image is None:
            continue
        file = files[file_id]
        if file.image_id != image.id:
            file.image_id, file.duplicate = image.id, True
        file.error_code = file.error_message = None
        try_again(session, image)
        found.append(file_id)
    return found


def try_again(session: Session, image: Image) -> None:
    """Queue an image again that came a second time, if it failed or was cancelled the first time."""
    if image.state in (ImageState.FAILED, ImageState.CANCELLED):
        queue.retry(session, image.id)


def put_away(session: Session, asking: Actor, batch_id: str) -> None:
    """Close a batch: the upload page shows it no more; its images stay."""
    batch = batch_of(session, asking, batch_id)
    batch.closed = batch.closed or now()


def cancel(session: Session, asking: Actor, batch_id: str) -> int:
    """Take the pictures of a batch that wait out of the queue; files that have not come are not expected any more.

    Pictures that were here before this batch go on.

    Returns
    -------
    int
        How many pictures were cancelled.
    """
    batch = batch_of(session, asking, batch_id)
    own = [file.image_id for file in batch.files if file.image_id is not None and not file.duplicate]
    _forget_announced(session, batch.id)
    return queue.cancel(session, own)


def cancel_file(session: Session, asking: Actor, file_id: str) -> None:
    """Do for one file what `cancel` does."""
    file = file_of(session, asking, file_id)
    if file.image_id is not None:
        queue.cancel(session, [file.image_id])
    elif file.error_code is None:
        session.delete(file)


def retry_file(session: Session, asking: Actor, file_id: str) -> None:
    """Queue the picture of a file again.

    Raises
    ------
    RequestInvalid
        If it has not come: then it must be sent.
    CaseConflict
        If it is refused or answered.
    """
    file = file_of(session, asking, file_id)
    if file.image_id is None:
        raise RequestInvalid("This file has not arrived. Choose it again and send it.")
    queue.retry(session, file.image_id)


def remove_old(session: Session) -> int:
    """Remove batches that were put away a day ago, and all that are a month old: they hold names.

    Returns
    -------
    int
        How many.
    """
    # Not at once: a program's batch is put away before its file is in.
    over = (Batch.closed < now() - _KEPT_CLOSED) | (Batch.created < now() - _KEPT)
    return len(session.scalars(delete(Batch).where(over).returning(Batch.id)).all())


def _forget_announced(session: Session, batch_id: str) -> None:
    session.execute(
        delete(BatchFile).where(
            BatchFile.batch_id == batch_id, BatchFile.image_id.is_(None), BatchFile.error_code.is_(None)
        )
    )
