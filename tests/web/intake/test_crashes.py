"""Wherever an upload is cut off, what was acknowledged is there, and nothing else stays."""

from __future__ import annotations

import errno
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from mammolens.errors import DatabaseUnavailable, InternalError, StorageFull
from mammolens.web.access import Actor
from mammolens.web.app import Services, open_services
from mammolens.web.database.tables import Batch, BatchFile, Image, Job
from mammolens.web.intake import batches, quota, receive
from mammolens.web.intake.receive import Arrival, Received, Refused
from mammolens.web.intake.sweep import sweep
from mammolens.web.store import Store
from mammolens.web.work.deletion import remove_orphans

Upload = Callable[..., list[Received | Refused]]


class Cut(BaseException):
    """Stands for the end of the process: nothing in the code may handle it."""


def files_of(services: Services) -> set[str]:
    return {path.name for path in (services.folder / "store").rglob("*") if path.is_file()} - {".lock"}


def named(services: Services) -> set[str]:
    with services.database.reading() as session:
        return set(session.scalars(select(Image.sha256)))


@pytest.mark.parametrize("where", ["keep", "audit", "enqueue", "commit"])
def test_a_crash_before_the_commit_leaves_no_row_and_no_file_that_stays(
    services: Services, upload: Upload, grey_png: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    [kept] = upload({"1.png": grey_png(1)})

    def cut(*_arguments: object, **_named: object) -> None:
        raise Cut

    with monkeypatch.context() as patch:
        if where == "keep":
            patch.setattr(Store, "keep", cut)
        elif where == "audit":
            patch.setattr("mammolens.web.intake.receive.audit.record", cut)
        elif where == "enqueue":
            patch.setattr("mammolens.web.intake.receive.queue.enqueue", cut)
        else:
            patch.setattr("sqlalchemy.orm.Session.commit", cut)
            patch.setattr("sqlalchemy.engine.base.Connection._commit_impl", cut)
        # A killed process removes nothing either.
        patch.setattr(Store, "drop", lambda *_: None)
        with pytest.raises(Cut):
            upload({"2.png": grey_png(2)})
    assert isinstance(kept, Received)
    sweep(services, idle_seconds=-1.0)
    remove_orphans(services)
    assert files_of(services) == named(services)
    assert len(named(services)) == 1
    assert list((services.folder / "incoming").iterdir()) == []
    [again] = upload({"2.png": grey_png(2)})
    assert isinstance(again, Received)
    assert files_of(services) == named(services)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_refuses_this_upload_and_loses_no_other(
    services: Services,
    upload: Upload,
    grey_png: Callable[[int], bytes],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    call: str,
) -> None:
    upload({"1.png": grey_png(1)})
    before = {path: path.read_bytes() for path in (services.folder / "store").rglob("*") if path.is_file()}

    def full(*_arguments: object) -> None:
        raise OSError(code, "no room")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full) if call == "fsync" else patch.setattr(Path, "replace", full)
        with pytest.raises(StorageFull):
            upload({"2.png": grey_png(2)})
    assert {path: path.read_bytes() for path in before} == before
    assert files_of(services) == named(services)
    assert list((services.folder / "incoming").iterdir()) == []


def test_another_failure_of_the_disk_is_not_called_full(
    services: Services, monkeypatch: pytest.MonkeyPatch, grey_png: Callable[[int], bytes]
) -> None:
    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, "input/output error at /secret/path")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(InternalError) as caught:
        receive.take(services, io.BytesIO(grey_png(1)))
    assert "secret" not in caught.value.message


def test_a_database_that_is_gone_acknowledges_nothing_and_comes_back(
    services: Services, upload: Upload, grey_png: Callable[[int], bytes], nurse: Actor
) -> None:
    path = services.folder / "mammolens.db"
    with services.database.session() as session:
        batch = batches.announce(session, nurse, ["1.png"])
        arrival = Arrival(batch.id, "1.png", batch.files[0].id)
    services.database.engine.dispose()
    aside = path.with_suffix(".aside")
    path.rename(aside)
    path.mkdir()  # nothing can open a folder as a database
    arrived = receive.take(services, io.BytesIO(grey_png(1)))
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the kind is checked below
        list(receive.deliver(services, nurse, arrival, arrived))
    assert isinstance(caught.value, DatabaseUnavailable) or "unable to open" in str(caught.value)
    path.rmdir()
    aside.rename(path)
    [again] = upload({"1.png": grey_png(1)})
    assert isinstance(again, Received)
    assert not again.duplicate


def test_the_sweep_leaves_uploads_on_their_way_alone(services: Services, nurse: Actor) -> None:
    store = Store(services.folder)
    fresh, dead = store.incoming / "fresh", store.incoming / "dead"
    fresh.write_bytes(b"x")
    dead.write_bytes(b"x")
    os.utime(dead, (time.time() - 7200,) * 2)
    with services.database.session() as session:
        batches.announce(session, nurse, ["a.dcm"])
    swept = sweep(services)
    assert (swept.incoming, swept.batches) == (1, 0)
    assert [path.name for path in store.incoming.iterdir()] == ["fresh"]


def test_names_of_files_go_with_their_batch(services: Services, nurse: Actor) -> None:
    import datetime as dt

    from mammolens.web.database.tables import now

    with services.database.session() as session:
        old = batches.announce(session, nurse, ["Mrs Miller.dcm"])
        old.created = now() - dt.timedelta(days=31)
        closed = batches.announce(session, nurse, ["Mrs Smith.dcm"])
        closed.closed = now() - dt.timedelta(days=2)
        batches.announce(session, nurse, ["new.dcm"])
    assert sweep(services).batches == 2
    with services.database.reading() as session:
        assert session.scalars(select(BatchFile.name)).all() == ["new.dcm"]
        assert len(session.scalars(select(Batch)).all()) == 1


def test_a_file_that_a_row_names_is_never_removed(
    services: Services, upload: Upload, grey_png: Callable[[int], bytes]
) -> None:
    [kept] = upload({"1.png": grey_png(1)})
    assert isinstance(kept, Received)
    store = Store(services.folder)
    [names] = list(store.hashes())
    assert store.remove_unnamed(services.database, names) == 0
    with services.database.session() as session:
        session.execute(Job.__table__.delete())
        session.execute(BatchFile.__table__.delete())
        session.delete(session.get_one(Image, kept.image_id))
    assert store.remove_unnamed(services.database, names) == 1
    assert files_of(services) == set()


PROGRAM = """
import io, sys
from pathlib import Path
from mammolens.settings import Settings
from mammolens.web.access import ROLES, Actor
from mammolens.web.app import open_services
from mammolens.web.database.tables import Role
from mammolens.web.intake import receive
from mammolens.imaging.png import encode_png
import numpy as np
opened = open_services(Settings(home=Path(sys.argv[1])))
asking = Actor(sys.argv[2], "nurse", Role.READER, None, ROLES[Role.READER])
number = int(sys.argv[3])
print("ready", flush=True)
while True:
    number += 1
    pixels = np.zeros((8, 8), np.uint16)
    pixels[0, :2] = number & 0xFFFF, number >> 16
    data = encode_png(pixels)
    [outcome] = receive.receive(opened, asking, f"{number}.png", io.BytesIO(data), len(data))
    print(outcome.image_id, flush=True)
"""


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_no_acknowledged_upload(services: Services, nurse: Actor, tmp_path: Path) -> None:
    draw, acknowledged = random.Random(3), set()
    home = str(services.settings.home)
    for turn in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, home, nurse.user_id, str(1000 * turn)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for _ in range(draw.randint(0, 5)):
                acknowledged.add(process.stdout.readline().strip())
            time.sleep(draw.random() * 0.05)
            process.send_signal(signal.SIGKILL)
            acknowledged |= {line.strip() for line in process.stdout if len(line) == 33}
    assert len(acknowledged) > 12
    again = open_services(services.settings)
    sweep(again, idle_seconds=-1.0)
    remove_orphans(again)
    with again.database.reading() as session:
        images = {image.id: image for image in session.scalars(select(Image))}
        jobs = set(session.scalars(select(Job.image_id)))
    assert acknowledged <= set(images)
    assert set(images) == jobs
    assert {image.sha256 for image in images.values()} == files_of(again)
    assert all(len((Store(again.folder).path(one.sha256)).read_bytes()) == one.bytes for one in images.values())
    assert list((again.folder / "incoming").iterdir()) == []
    assert quota.used(again, nurse.user_id) == sum(image.bytes for image in images.values())
    again.database.close()
