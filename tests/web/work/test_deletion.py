"""Deleting for good: no row, no file, no byte of a name; the audit tells that it was done, and of whom nothing."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable

import pytest
from sqlalchemy import func, select, update

from mammolens.errors import NotFound, RequestInvalid
from mammolens.web import audit
from mammolens.web.app import Services
from mammolens.web.database.columns import Base, now
from mammolens.web.database.tables import (
    Assessment,
    AuditEvent,
    Batch,
    BatchFile,
    Case,
    Choice,
    Identifier,
    Image,
    Result,
    User,
)
from mammolens.web.store import Store
from mammolens.web.work import deletion, retention

Add = Callable[..., list[str]]
NAME = "QVARNSTRØM^MARIA-LEONTINE"
FILE = "qvarnstrom-rcc-april.dcm"
KEPT = {"users", "audit_events", "choices", "batches"}
"""Tables that a case's deletion leaves rows in."""


def _case(services: Services, image_id: str) -> str:
    with services.database.reading() as session:
        return session.get_one(Image, image_id).case_id


def _fill(services: Services, image_id: str) -> str:
    """Give an image all that hangs on it; the case's identifier."""
    with services.database.session() as session:
        image = session.get_one(Image, image_id)
        owner = session.scalars(select(User)).one()
        batch = Batch(owner_id=owner.id)
        session.add(batch)
        session.flush()
        session.add(BatchFile(batch_id=batch.id, name=FILE, image_id=image_id))
        session.add(Identifier(image_id=image_id, patient_name=NAME, file_name=FILE))
        session.add(Assessment(case_id=image.case_id, laterality="R", reader_id=owner.id, birads=2, comment=NAME))
        session.add(
            Result(
                image_id=image_id, model_name="m", model_version="1", model_sha256="a" * 64, label="benign",
                probability=0.2, logit=-1.4, threshold=0.5, confidence=0.8,
                regions=[], notices=[], geometry={}, timing_ms={},
            )
        )  # fmt: skip
    for name in deletion.MADE:
        folder = services.folder / name / image_id
        folder.mkdir(parents=True)
        (folder / "picture").write_text("x")
    return _case(services, image_id)


def test_nothing_of_a_deleted_case_is_left(any_services: Services, add_images: Add) -> None:
    first, second = add_images(any_services, [b"first", b"second"])
    case_id = _fill(any_services, first)
    deleted = deletion.delete_case(any_services, case_id, "nurse")
    assert (deleted.images, deleted.results, deleted.assessments, deleted.identifiers, deleted.files) == (2, 1, 1, 1, 2)
    with any_services.database.reading() as session:
        for table in Base.metadata.sorted_tables:
            rows = session.scalar(select(func.count()).select_from(table))
            assert rows == 0 or table.name in KEPT, table.name
        entry = session.scalars(select(AuditEvent).where(AuditEvent.action == "case-deleted")).one()
        assert audit.verify(session).broken is None
    assert (entry.actor, entry.subject) == ("nurse", f"case A-{deleted.number}")
    assert entry.detail == {"images": 2, "results": 1, "assessments": 1, "identifiers": 1, "reason": "asked-for"}
    assert "QVARN" not in json.dumps(entry.detail)
    assert list(Store(any_services.folder).hashes()) == [[] for _ in Store(any_services.folder).hashes()]
    for name in deletion.MADE:
        assert list((any_services.folder / name).iterdir()) == []
    with pytest.raises(NotFound):
        deletion.delete_case(any_services, case_id, "nurse")
    assert first != second


def test_no_byte_of_a_name_stays_in_the_database_file(services: Services, add_images: Add) -> None:
    (image_id,) = add_images(services, [b"first"])
    case_id = _fill(services, image_id)

    def written() -> bytes:
        return b"".join(path.read_bytes() for path in services.folder.glob("mammolens.db*"))

    assert NAME.encode() in written()
    assert FILE.encode() in written()
    deletion.delete_case(services, case_id, "nurse")
    assert NAME.encode() not in written()
    assert FILE.encode() not in written()


def test_a_file_that_another_case_shares_stays(services: Services, add_images: Add) -> None:
    (mine,) = add_images(services, [b"shared"])
    (theirs,) = add_images(services, [b"shared"])
    assert deletion.delete_case(services, _case(services, mine), "nurse").files == 0
    with services.database.reading() as session:
        sha256 = session.get_one(Image, theirs).sha256
    assert Store(services.folder).path(sha256).read_bytes() == b"shared"


def test_what_an_interrupted_deletion_left_is_removed_and_noted(services: Services, add_images: Add) -> None:
    gone, kept = add_images(services, [b"gone", b"kept"])
    for image_id in (gone, kept):
        (services.folder / "derived" / image_id).mkdir(parents=True)
    with services.database.session() as session:
        session.delete(session.get_one(Image, gone))
    assert deletion.remove_orphans(services) == 2
    assert [path.name for path in (services.folder / "derived").iterdir()] == [kept]
    assert sum(len(hashes) for hashes in Store(services.folder).hashes()) == 1
    with services.database.reading() as session:
        entry = session.scalars(select(AuditEvent)).one()
    assert (entry.action, entry.detail) == ("orphans-removed", {"count": 2})
    assert deletion.remove_orphans(services) == 0


def test_cases_go_after_their_days_and_not_before(any_services: Services, add_images: Add) -> None:
    moment = now()
    ages = {name: add_images(any_services, [name.encode()])[0] for name in ("old", "young", "added")}
    (newer,) = add_images(any_services, [b"newer view of an old case"])
    with any_services.database.session() as session:
        for name, days in (("old", 31), ("young", 29), ("added", 31)):
            arrived = moment - dt.timedelta(days=days)
            image = session.get_one(Image, ages[name])
            image.arrived = arrived
            session.get_one(Case, image.case_id).arrived = arrived
        # The old case "added" got a view yesterday.
        session.get_one(Image, newer).case_id = session.get_one(Image, ages["added"]).case_id
        session.flush()
        session.execute(update(Image).where(Image.id == newer).values(arrived=moment - dt.timedelta(days=1)))
    assert retention.run(any_services, moment) == 0, "kept for ever unless chosen otherwise"
    with any_services.database.session() as session:
        retention.set_days(session, 30, "root")
    assert retention.run(any_services, moment) == 1
    with any_services.database.reading() as session:
        left = set(session.scalars(select(Image.id)))
        entry = session.scalars(select(AuditEvent).where(AuditEvent.action == "case-deleted")).one()
    assert left == {ages["young"], ages["added"], newer}
    assert (entry.actor, entry.detail["reason"]) == ("system", "retention")
    assert retention.run(any_services, moment) == 0


def test_the_days_are_checked_kept_and_noted(services: Services) -> None:
    with services.database.session() as session:
        assert retention.days(session) is None
        retention.set_days(session, 30, "root")
        assert retention.days(session) == 30
        retention.set_days(session, None, "root")
        assert retention.days(session) is None
        for wrong in (0, -1, retention.LONGEST_DAYS + 1):
            with pytest.raises(RequestInvalid):
                retention.set_days(session, wrong, "root")
    with services.database.reading() as session:
        noted = session.scalars(select(AuditEvent).order_by(AuditEvent.number)).all()
        assert session.get_one(Choice, retention.CHOICE).value == {"days": None}
    assert [(entry.actor, entry.detail) for entry in noted] == [
        ("root", {"before": None, "days": 30}),
        ("root", {"before": 30, "days": None}),
    ]
