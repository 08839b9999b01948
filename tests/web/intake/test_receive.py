"""An upload is kept whole or not at all, and what is kept is what was sent."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from mammolens import phantom
from mammolens.errors import (
    NotFound,
    QuotaExceeded,
    RequestInvalid,
    StorageFull,
    TooLarge,
    UnknownFormat,
)
from mammolens.web.access import Actor
from mammolens.web.app import Services
from mammolens.web.database.tables import (
    AuditEvent,
    BatchFile,
    Case,
    CaseState,
    Identifier,
    Image,
    ImageState,
    Job,
    JobKind,
    JobState,
)
from mammolens.web.intake import batches, quota, receive
from mammolens.web.intake.receive import Arrival, Received, Refused
from mammolens.web.store import Store

Upload = Callable[..., list[Received | Refused]]


def stored(services: Services) -> dict[str, bytes]:
    """Every file below the store, by its path in it."""
    root = services.folder / "store"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_four_views_become_one_case_with_their_header_and_a_job_each(
    services: Services, upload: Upload, phantom_files: dict[str, bytes]
) -> None:
    views = {name: data for name, data in phantom_files.items() if name.endswith(".dcm")}
    outcomes = upload(views)
    assert [type(outcome) for outcome in outcomes] == [Received] * 4
    with services.database.reading() as session:
        case = session.scalars(select(Case)).one()
        assert (case.number, case.state, case.images_count) == (1001, CaseState.WAITING, 4)
        rows = session.execute(select(Image.laterality, Image.view, Image.rows, Image.columns, Image.kind)).all()
        assert sorted(rows) == [(side, view, 700, 580, "dicom") for side in "LR" for view in ("CC", "MLO")]
        identifiers = session.scalars(select(Identifier)).all()
        assert {one.patient_name for one in identifiers} == {"Phantom^Synthetic"}
        assert {one.patient_id for one in identifiers} == {"PHANTOM-0"}
        assert {one.file_name for one in identifiers} == set(views)
        assert case.examination not in (one.study_uid for one in identifiers)
        jobs = session.scalars(select(Job)).all()
        assert [(job.kind, job.state) for job in jobs] == [(JobKind.ANSWER, JobState.QUEUED)] * 4


def test_what_is_stored_is_what_was_sent_but_for_the_preamble(
    services: Services, upload: Upload, phantom_files: dict[str, bytes]
) -> None:
    sent = b"MZ" + b"\x90" * 126 + phantom_files["LCC.dcm"][128:]
    upload({"LCC.dcm": sent})
    expected = bytes(128) + sent[128:]
    name = hashlib.sha256(expected).hexdigest()
    assert stored(services) == {".lock": b"", f"{name[:2]}/{name}": expected}
    path = services.folder / "store" / name[:2] / name
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list((services.folder / "incoming").iterdir()) == []


@pytest.mark.parametrize("program", [b"MZ\x90", b"\x7fELF", b"#!/bin/sh\n", b"PK\x03\x04", b"%PDF-1.7", b"GIF89a"])
def test_a_polyglot_is_stored_with_a_zero_preamble(
    services: Services, phantom_files: dict[str, bytes], program: bytes
) -> None:
    whole = phantom_files["RCC.dcm"]
    arrived = receive.take(services, io.BytesIO(program.ljust(128, b"\x01") + whole[128:]))
    assert arrived.path.read_bytes() == bytes(128) + whole[128:]
    assert arrived.sha256 == hashlib.sha256(bytes(128) + whole[128:]).hexdigest()


def test_the_same_file_again_is_recognised_and_makes_no_second_job(
    services: Services, upload: Upload, phantom_files: dict[str, bytes]
) -> None:
    [first] = upload({"LCC.dcm": phantom_files["LCC.dcm"]})
    # Another preamble is the same picture.
    [second] = upload({"copy.dcm": b"x" * 128 + phantom_files["LCC.dcm"][128:]})
    assert isinstance(first, Received)
    assert isinstance(second, Received)
    assert (first.duplicate, second.duplicate) == (False, True)
    assert (second.image_id, second.case_number) == (first.image_id, first.case_number)
    with services.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 1


def test_two_people_with_the_same_study_have_a_case_each_and_one_file(
    services: Services, upload: Upload, actor_of: Callable[..., Actor], phantom_files: dict[str, bytes]
) -> None:
    file = {"LCC.dcm": phantom_files["LCC.dcm"]}
    [one] = upload(file)
    [other] = upload(file, actor_of("doctor"))
    assert isinstance(one, Received)
    assert isinstance(other, Received)
    assert not other.duplicate
    assert one.case_id != other.case_id
    assert (one.case_number, other.case_number) == (1001, 1002)
    assert len(stored(services)) == 2  # the file and the lock
    with services.database.reading() as session:
        assert len(set(session.scalars(select(Case.examination)))) == 2


def test_files_without_a_study_are_grouped_by_batch_and_folder(
    services: Services, upload: Upload, grey_png: Callable[[int], bytes]
) -> None:
    outcomes = upload({name: grey_png(place) for place, name in enumerate(["a/1.png", "a/2.png", "b/1.png", "0.png"])})
    numbers = [outcome.case_number for outcome in outcomes if isinstance(outcome, Received)]
    assert numbers == [1001, 1001, 1002, 1003]
    [later] = upload({"a/3.png": grey_png(9)})
    assert isinstance(later, Received)
    assert later.case_number == 1004


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", UnknownFormat),
        (b"%PDF-1.7 a letter", UnknownFormat),
        (b"GIF89a" + bytes(300), UnknownFormat),
        (b"\x7fELF" + bytes(300), UnknownFormat),
        (b"\x89PNG\r\n\x1a\n" + bytes(9000), TooLarge),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_before_it_is_stored(
    make_services: Callable[..., Services], data: bytes, error: type[Exception]
) -> None:
    small = make_services(upload_file_bytes=8192)
    with pytest.raises(error):
        receive.take(small, io.BytesIO(data), len(data))
    assert stored(small) == {}
    assert list((small.folder / "incoming").iterdir()) == []


def test_a_refusal_is_written_down_with_its_reason(
    services: Services, upload: Upload, phantom_files: dict[str, bytes]
) -> None:
    def raw(data: object) -> None:
        data.PresentationIntentType = "FOR PROCESSING"  # type: ignore[attr-defined]

    views = phantom.examination(rows=700, columns=580)
    outcomes = upload({"cut.dcm": phantom_files["LCC.dcm"][:700], "raw.dcm": phantom.dicom(views["LCC"], change=raw)})
    codes = [outcome.error.code for outcome in outcomes if isinstance(outcome, Refused)]
    assert codes[1] == "for-processing"
    assert codes[0] in ("no-pixels", "malformed-file")
    with services.database.reading() as session:
        rows = session.execute(select(BatchFile.name, BatchFile.error_code, BatchFile.image_id)).all()
        assert {row.name: row.error_code for row in rows} == dict(zip(["cut.dcm", "raw.dcm"], codes, strict=True))
        assert session.scalar(select(func.count()).select_from(Case)) == 0
    assert stored(services) == {}


def test_fewer_bytes_than_announced_are_no_upload(services: Services) -> None:
    with pytest.raises(RequestInvalid):
        receive.take(services, io.BytesIO(b"\x89PNG\r\n\x1a\n" + bytes(100)), 500)
    assert list((services.folder / "incoming").iterdir()) == []


def test_a_user_keeps_no_more_than_the_setting(
    make_services: Callable[..., Services], upload: Upload, grey_png: Callable[[int], bytes]
) -> None:
    files = {f"{number}.png": grey_png(number) for number in range(3)}
    room = sum(len(data) for data in files.values())
    tight = make_services(upload_user_bytes=room)
    upload(files, opened=tight)
    with pytest.raises(QuotaExceeded):
        upload({"3.png": grey_png(3)}, opened=tight)
    with tight.database.reading() as session:
        assert session.scalar(select(func.sum(Image.bytes))) == room


def test_uploads_at_the_same_time_do_not_exceed_the_quota_together(
    make_services: Callable[..., Services], nurse: Actor
) -> None:
    tight = make_services(upload_user_bytes=100)
    with quota.reserved(tight, nurse.user_id, 60):
        with pytest.raises(QuotaExceeded), quota.reserved(tight, nurse.user_id, 60):
            pytest.fail("there was room for 60 bytes twice")
        quota.check_user(tight, nurse.user_id, 40)
    with pytest.raises(QuotaExceeded):
        quota.check_user(tight, nurse.user_id, 41)


def test_low_disk_refuses_before_a_byte_is_read(make_services: Callable[..., Services], nurse: Actor) -> None:
    full = make_services(upload_free_bytes=1 << 60)
    with pytest.raises(StorageFull):
        receive.check_length(full, nurse, 1)


def test_nobody_adds_to_anothers_batch(
    services: Services, upload: Upload, actor_of: Callable[..., Actor], grey_png: Callable[[int], bytes]
) -> None:
    with services.database.session() as session:
        batch = batches.announce(session, actor_of("owner"), ["a.png"])
        file_id = batch.files[0].id
    stranger = actor_of("stranger")
    for arrival in (Arrival(batch.id, "b.png"), Arrival(batch.id, "a.png", file_id)):
        arrived = receive.take(services, io.BytesIO(grey_png(1)))
        with pytest.raises(NotFound):
            list(receive.deliver(services, stranger, arrival, arrived))
    with services.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Image)) == 0
    assert list((services.folder / "incoming").iterdir()) == []


def test_the_log_of_deeds_names_the_case_and_not_the_woman(
    services: Services, upload: Upload, phantom_files: dict[str, bytes]
) -> None:
    upload({"PHANTOM-0 LCC.dcm": phantom_files["LCC.dcm"]})
    with services.database.reading() as session:
        entry = session.scalars(select(AuditEvent).where(AuditEvent.action == "picture-uploaded")).one()
        assert (entry.actor, entry.subject) == ("nurse", "case A-1001")
        assert "PHANTOM" not in str(entry.detail)


def test_a_failed_picture_that_comes_again_is_tried_again(
    services: Services, upload: Upload, grey_png: Callable[[int], bytes]
) -> None:
    [first] = upload({"1.png": grey_png(1)})
    assert isinstance(first, Received)
    with services.database.session() as session:
        image = session.get_one(Image, first.image_id)
        image.state, image.error_code = ImageState.FAILED, "internal-error"
        session.scalars(select(Job)).one().state = JobState.FAILED
    [second] = upload({"1.png": grey_png(1)})
    assert isinstance(second, Received)
    assert (second.duplicate, second.state) == (True, ImageState.QUEUED)


def test_names_that_are_no_hash_never_become_a_path(services: Services) -> None:
    store = Store(services.folder)
    for name in ("../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", ""):
        with pytest.raises(Exception, match="not the name of a stored file"):
            store.path(name)
    assert store.path("ab" * 32) == Path(services.folder / "store" / "ab" / ("ab" * 32))
    assert os.path.commonpath([store.path("ab" * 32), services.folder]) == str(services.folder)
