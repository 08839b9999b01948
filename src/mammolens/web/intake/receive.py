"""Taking one upload in: bytes, then what they are, then the row and the job; acknowledged only when all of it stands.

::

    bytes ──▶ incoming/ (written for good) ──▶ what is it? ──▶ store/ ──▶ row, job, name in one transaction ──▶ answer
                 │                                 │              │
                 ▼ a crash leaves                  ▼              ▼ a crash leaves a file that no row names:
               a file that `sweep` removes      a refusal          `sweep` removes it

"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from mammolens.errors import InputError
from mammolens.imaging.identity import Identity
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.sandbox import default_pool
from mammolens.imaging.sniff import Format, sniff
from mammolens.web import audit
from mammolens.web.access import Actor
from mammolens.web.app import Services
from mammolens.web.cases import summary
from mammolens.web.database.tables import BatchFile, Case, Identifier, Image, ImageState
from mammolens.web.intake import archive, batches, quota
from mammolens.web.intake.grouping import examination
from mammolens.web.intake.names import clean, folder_of
from mammolens.web.store import Incoming, Readable, Store
from mammolens.web.work import queue

FIRST_NUMBER = 1001
"""Of the first case."""

_LOCK = 0x6D616D6D63
"""Number of PostgreSQL's advisory lock: one case is numbered at a time."""

_IDENTIFIERS = (
    "patient_id", "patient_name", "birth_date", "study_date", "accession", "study_uid", "series_uid", "instance_uid",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where an upload belongs.

    Attributes
    ----------
    batch_id : str
        One's own batch.
    name : str
        As the user's machine calls the file, with its folders.
    file_id : str or None
        The file of the batch that this is; None where it was not announced.
    """

    batch_id: str
    name: str
    file_id: str | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """A picture that is here for good.

    Attributes
    ----------
    file_id, name : str
        In the batch.
    image_id, case_id : str
    case_number : int
    state : ImageState
    duplicate : bool
        Whether the same picture was here already.
    """

    file_id: str
    name: str
    image_id: str
    case_id: str
    case_number: int
    state: ImageState
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that was not taken.

    Attributes
    ----------
    file_id, name : str
    error : InputError
    """

    file_id: str
    name: str
    error: InputError


def check_length(opened: Services, asking: Actor, length: int) -> None:
    """Refuse what there is no room for, before a byte is read.

    Raises
    ------
    StorageFull, QuotaExceeded
    """
    quota.check_disk(opened, length)
    quota.check_user(opened, asking.user_id, length)


def take(opened: Services, stream: Readable, length: int | None = None) -> Incoming:
    """Take the bytes of one file in, on the disk for good; to be given to `deliver`.

    Parameters
    ----------
    opened : Services
    stream : file object
    length : int, optional
        Bytes that were announced.

    Returns
    -------
    Incoming

    Raises
    ------
    UnknownFormat, TooLarge
        After the first bytes.
    RequestInvalid
        If they are not as many as announced.
    StorageFull
    """
    table = opened.settings

    def limit(head: bytes) -> int:
        if archive.is_zip(head):
            return table.upload_zip_bytes
        sniff(head)
        return table.upload_file_bytes

    return Store(opened.folder).take(stream, limit, length)


def deliver(opened: Services, asking: Actor, arrival: Arrival, arrived: Incoming) -> Iterator[Received | Refused]:
    """Keep what has arrived: a picture, or those in a ZIP.

    Parameters
    ----------
    opened : Services
    asking : Actor
    arrival : Arrival
    arrived : Incoming
        Gone afterwards, whatever happens.

    Yields
    ------
    Received or Refused
        One for each file; a ZIP is no file itself, unless it is refused as a whole.

    Raises
    ------
    StorageFull, QuotaExceeded, DatabaseUnavailable
        Those before are kept; the rest may be sent again.
    """
    try:
        if archive.is_zip(arrived.head):
            yield from _unpack(opened, asking, arrival, arrived)
            return
        yield _keep(opened, asking, arrival, arrived)
    except InputError as error:
        yield refuse(opened, asking, arrival, error)
    finally:
        Store(opened.folder).drop(arrived)


def receive(
    opened: Services, asking: Actor, name: str, stream: Readable, length: int | None = None
) -> list[Received | Refused]:
    """Take one upload in from beginning to end, in a batch of its own that no page shows: what programs call.

    Parameters
    ----------
    opened : Services
    asking : Actor
    name : str
        As the sender calls the file.
    stream : file object
    length : int, optional
        Bytes that were announced.

    Returns
    -------
    list of Received or Refused
        One for each file: of a ZIP, those in it.

    Raises
    ------
    StorageFull, QuotaExceeded, RequestInvalid, DatabaseUnavailable
        What was kept before is recognised when it is sent again.
    """
    check_length(opened, asking, length or 0)
    with opened.database.session() as session:
        batch = batches.announce(session, asking, [name])
        arrival = Arrival(batch.id, batch.files[0].name, batch.files[0].id)
        batches.put_away(session, asking, batch.id)
    try:
        arrived = take(opened, stream, length)
    except InputError as error:
        return [refuse(opened, asking, arrival, error)]
    return list(deliver(opened, asking, arrival, arrived))


def refuse(opened: Services, asking: Actor, arrival: Arrival, error: InputError) -> Refused:
    """Write down that a file was not taken, and why, so that the page can say so after it was closed."""
    with opened.database.session() as session:
        file = _file(session, asking, arrival)
        file.image_id, file.duplicate = None, False
        file.error_code, file.error_message = error.code, error.message
    return Refused(file.id, file.name, error)


def _unpack(opened: Services, asking: Actor, arrival: Arrival, arrived: Incoming) -> Iterator[Received | Refused]:
    table = opened.settings
    with archive.Archive(arrived.path, archive.Limit(table.upload_zip_files, table.upload_zip_bytes)) as files:
        if not len(files):
            raise InputError("The ZIP holds no files. Choose another one.")
        for entry in files.entries():
            inner = Arrival(arrival.batch_id, f"{arrival.name}/{clean(entry.name)}")
            yield _unpack_one(opened, asking, inner, entry)
    _forget(opened, asking, arrival)


def _unpack_one(opened: Services, asking: Actor, inner: Arrival, entry: archive.Entry) -> Received | Refused:
    store = Store(opened.folder)
    try:
        quota.check_disk(opened, entry.size)
        with entry.opened() as stream:
            arrived = store.take(stream, lambda head: _picture_limit(opened, head), entry.size)
        try:
            return _keep(opened, asking, inner, arrived)
        finally:
            store.drop(arrived)
    except InputError as error:
        return refuse(opened, asking, inner, error)


def _picture_limit(opened: Services, head: bytes) -> int:
    sniff(head)
    return opened.settings.upload_file_bytes


def _keep(opened: Services, asking: Actor, arrival: Arrival, arrived: Incoming) -> Received:
    """Give a file its place, and its row and job in one transaction."""
    kind = sniff(arrived.head)
    identity = default_pool().identify(arrived.path, ReadOptions()) if kind == "dicom" else None
    with opened.database.reading() as session:
        known = batches.image_with(session, asking, arrived.sha256) is not None
    store = Store(opened.folder)
    with quota.reserved(opened, asking.user_id, 0 if known else arrived.size), store.adding():
        store.keep(arrived)
        with opened.database.session() as session:
            return _write(session, opened, asking, arrival, arrived, (kind, identity))


def _write(
    session: Session,
    opened: Services,
    asking: Actor,
    arrival: Arrival,
    arrived: Incoming,
    found: tuple[Format, Identity | None],
) -> Received:
    kind, identity = found
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
    file = _file(session, asking, arrival)
    image = batches.image_with(session, asking, arrived.sha256)
    duplicate = image is not None
    if image is None:
        study = identity.study_uid if identity else None
        group = examination(opened.folder, asking.user_id, study, arrival.batch_id, folder_of(file.name))
        image = _image(arrived, kind, identity, file.name)
        image.case = _case(session, asking, group)
        session.add(image)
        session.flush()
        queue.enqueue(session, image.id)
        summary.refresh(session, image.case_id)
        audit.record(session, asking.name, "picture-uploaded", f"case A-{image.case.number}", {"image": image.id})
    else:
        batches.try_again(session, image)
    file.image_id, file.duplicate = image.id, duplicate
    file.error_code = file.error_message = None
    case = image.case
    return Received(file.id, file.name, image.id, case.id, case.number, image.state, duplicate)


def _image(arrived: Incoming, kind: Format, identity: Identity | None, name: str) -> Image:
    image = Image(sha256=arrived.sha256, bytes=arrived.size, kind=kind)
    image.identifier = Identifier(file_name=name)
    if identity is not None:
        image.laterality, image.view = identity.laterality, identity.view
        image.view_modifiers = list(identity.view_modifiers)
        image.rows, image.columns = identity.rows, identity.columns
        for text_name in _IDENTIFIERS:
            setattr(image.identifier, text_name, getattr(identity, text_name))
    return image


def _case(session: Session, asking: Actor, group: str) -> Case:
    case = session.scalar(select(Case).where(Case.owner_id == asking.user_id, Case.examination == group))
    if case is None:
        highest = session.scalar(select(func.max(Case.number)))
        number = FIRST_NUMBER if highest is None else highest + 1
        case = Case(number=number, owner_id=asking.user_id, group_id=asking.group_id, examination=group)
        session.add(case)
        session.flush()
    return case


def _file(session: Session, asking: Actor, arrival: Arrival) -> BatchFile:
    """Row of the file in its batch, made where it was not announced; raises NotFound for another's."""
    if arrival.file_id is not None:
        return batches.file_of(session, asking, arrival.file_id)
    batch = batches.batch_of(session, asking, arrival.batch_id)
    name = clean(arrival.name)
    # The same ZIP sent again goes on where it was: its files keep their rows.
    file = session.scalar(select(BatchFile).where(BatchFile.batch_id == batch.id, BatchFile.name == name).limit(1))
    if file is None:
        file = BatchFile(batch_id=batch.id, name=name)
        session.add(file)
        session.flush()
    return file


def _forget(opened: Services, asking: Actor, arrival: Arrival) -> None:
    """Remove the row that announced a ZIP: its files have rows of their own now."""
    if arrival.file_id is not None:
        with opened.database.session() as session:
            session.delete(batches.file_of(session, asking, arrival.file_id))
