"""200 uploads of 30 MB by 8 users at once against a real server: nothing lost, nothing mixed up."""

from __future__ import annotations

import collections
import hashlib
import http.client
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from mammolens import phantom
from mammolens.web.access import Permission
from mammolens.web.app import Services
from mammolens.web.database.tables import Case, Image, Job, JobState, User
from mammolens.web.security import tokens
from mammolens.web.store import Store

pytestmark = pytest.mark.slow

USERS = 8
FILES = 200
ROWS, COLUMNS = 4096, 3840  # 31 MB of 16-bit pixels

SERVER = """
import sys
from pathlib import Path
from mammolens.settings import Settings
from mammolens.web.app import create_app, open_services
from mammolens.web.work import service
opened = open_services(Settings(home=Path(sys.argv[1])))
with service.spool_into(opened.folder), service.bound("127.0.0.1", 0) as listening:
    server = service.server_of(opened, listening)
    print(listening.getsockname()[1], flush=True)
    server.run()
"""


@pytest.fixture
def port(services: Services) -> Iterator[int]:
    """Start the server that `mammolens serve` runs, without workers."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(services.settings.home)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.terminate()


@pytest.fixture
def template() -> bytearray:
    """Make a mammogram's file with flat pixels: intake looks no further than its header."""
    made = phantom.make("CC", "L", rows=320, columns=256, seed=1)

    def enlarge(data: Any) -> None:
        data.Rows, data.Columns = ROWS, COLUMNS
        data.PixelData = np.zeros((ROWS, COLUMNS), "<u2").tobytes()

    return bytearray(phantom.dicom(made, change=enlarge))


class Program:
    """A program with a user's token, sending files of the template that differ in their last bytes."""

    def __init__(self, port: int, user_id: str, token: str, template: bytearray) -> None:
        self.user_id, self._port, self._token, self._template = user_id, port, token, template
        self.statuses: collections.Counter[int] = collections.Counter()

    def announce(self, names: list[str]) -> list[str]:
        status, told, _ = self._ask("/uploads/batches", json.dumps({"names": names}).encode(), "application/json")
        assert status == 201, told
        return list(told["files"])

    def send(self, file_id: str, end: bytes, draw: random.Random) -> str:
        """Send until it is taken; where the server is busy, wait as long as it says."""
        while True:
            body = (memoryview(self._template)[: -len(end)], end)
            status, told, wait = self._ask(f"/uploads/files/{file_id}", body, "application/octet-stream")
            self.statuses[status] += 1
            if status not in (429, 503):
                assert status == 201, told
                return str(told["image"])
            time.sleep(wait * (0.5 + draw.random()))

    def _ask(self, path: str, body: Any, kind: str) -> tuple[int, Any, float]:
        parts = (body,) if isinstance(body, bytes) else body
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=900)
        try:
            connection.putrequest("POST", path)
            connection.putheader("Authorization", f"Bearer {self._token}")
            connection.putheader("Accept", "application/json")
            connection.putheader("Content-Type", kind)
            connection.putheader("Content-Length", str(sum(len(part) for part in parts)))
            connection.endheaders()
            for part in parts:
                connection.send(part)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read()), float(answer.headers.get("Retry-After", 0))
        finally:
            connection.close()


def test_200_uploads_of_30_mb_by_8_users_at_once(
    services: Services, people: Callable[..., Any], port: int, template: bytearray
) -> None:
    if shutil.disk_usage(services.folder).free < 3 * FILES * len(template):
        pytest.skip("there is not enough room on this disk for 200 uploads of 30 MB, twice, and a third to spare")
    programs, files = [], []
    for number in range(USERS):
        person = people(f"user{number}")
        with services.database.session() as session:
            _, token = tokens.make(session, session.get_one(User, person.id), "test", {Permission.UPLOAD})
        programs.append(Program(port, person.id, token, template))
        files.append(programs[-1].announce([f"{place}.dcm" for place in range(FILES // USERS)]))
    ends = [number.to_bytes(8, "little") for number in range(FILES)]
    start = threading.Barrier(FILES)

    def send(number: int) -> str:
        start.wait()
        file_id = files[number % USERS][number // USERS]
        return programs[number % USERS].send(file_id, ends[number], random.Random(number))

    with ThreadPoolExecutor(FILES) as pool:
        images = list(pool.map(send, range(FILES)))
    base = hashlib.sha256(memoryview(template)[:-8])
    expected = {}
    for number, image in enumerate(images):
        digest = base.copy()
        digest.update(ends[number])
        expected[image] = (digest.hexdigest(), len(template), programs[number % USERS].user_id)
    with services.database.reading() as session:
        rows = session.execute(select(Image.id, Image.sha256, Image.bytes, Case.owner_id).join(Case)).all()
        jobs = session.scalars(select(Job.image_id).where(Job.state == JobState.QUEUED)).all()
    assert {row.id: (row.sha256, row.bytes, row.owner_id) for row in rows} == expected
    assert len(expected) == FILES
    assert sorted(jobs) == sorted(images)
    store = Store(services.folder)
    for sha256, _, _ in expected.values():
        with store.path(sha256).open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == sha256
    assert not [path for path in store.incoming.iterdir() if path.stat().st_size]
    counted = sum((program.statuses for program in programs), collections.Counter[int]())
    assert set(counted) <= {201, 429, 503}
    print(f"answers by status: {dict(counted)}")
