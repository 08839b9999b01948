"""A served application to measure: started on a home of its own, and a client that keeps its connection."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mammolens.settings import Settings
from mammolens.web.access import Permission
from mammolens.web.app import Services, open_services
from mammolens.web.database.tables import Role
from mammolens.web.security import tokens, users

SCOPES = {Permission.VIEW, Permission.UPLOAD}
_START_SECONDS = 180.0


@dataclass
class Client:
    """One user's program: a token and one connection.

    Attributes
    ----------
    address : str
    token : str
    taken : list of (str, float)
        Kind of each request and its milliseconds.
    """

    address: str
    token: str
    taken: list[tuple[str, float]] = field(default_factory=list)
    _connection: http.client.HTTPConnection | None = None

    def ask(self, kind: str, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Send a request and note how long its answer took; a connection that was closed is opened anew."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/octet-stream"}
        if self._connection is None:
            parts = urlsplit(self.address)
            self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=300)
        began = time.perf_counter()
        self._connection.request(method, path, body=body, headers=headers)
        answer = self._connection.getresponse()
        content = answer.read()
        self.taken.append((kind, 1e3 * (time.perf_counter() - began)))
        if answer.will_close:
            self._connection.close()
            self._connection = None
        return answer.status, content

    def get(self, kind: str, path: str) -> bytes:
        """Get what must be there."""
        status, content = self.ask(kind, "GET", path)
        if status != 200:
            raise RuntimeError(f"{kind}: status {status}")
        return content

    def document(self, kind: str, path: str) -> dict[str, Any]:
        """Get a JSON object."""
        found: dict[str, Any] = json.loads(self.get(kind, path))
        return found


def make_clients(home: Path, count: int) -> tuple[Services, list[str]]:
    """Make users, readers of one group, and a token for each; open the home before it is served.

    Parameters
    ----------
    home : Path
    count : int

    Returns
    -------
    Services
    list of str
        Tokens.
    """
    services = open_services(Settings(home=home))
    made = []
    for number in range(count):
        with services.database.session() as session:
            user, _ = users.add(session, "system", f"reader{number}", Role.READER, None, "benchmark")
            user.must_change_password = False
            session.flush()
            made.append(tokens.make(session, user, "benchmark", SCOPES)[1])
    return services, made


@dataclass(frozen=True, slots=True)
class Running:
    """An application that is served.

    Attributes
    ----------
    address : str
    pid : int
        Of the server; its workers and their decoding processes are its descendants.
    """

    address: str
    pid: int

    def processor_ms(self) -> float:
        """Processor time of the server and all that it started, those that have ended among them; milliseconds."""
        parents: dict[int, int] = {}
        ticks: dict[int, int] = {}
        for place in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = place.read_text().rpartition(")")[2].split()
            except OSError:  # it has ended since
                continue
            pid = int(place.parent.name)
            parents[pid], ticks[pid] = int(fields[1]), sum(map(int, fields[11:15]))
        own = {self.pid}
        while more := {pid for pid, parent in parents.items() if parent in own} - own:
            own |= more
        return 1e3 * sum(ticks.get(pid, 0) for pid in own) / os.sysconf("SC_CLK_TCK")


@contextmanager
def served(home: Path, *options: str) -> Iterator[Running]:
    """Serve a home; gives what runs when it listens, and stops it at the end."""
    log = home / "serve.log"
    environment = {**os.environ, "MAMMOLENS_HOME": str(home)}
    command = [sys.executable, "-m", "mammolens", "serve", "--port", "0", *options]
    with open(log, "wb") as file:
        server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        end = time.monotonic() + _START_SECONDS
        while "Mammolens is at" not in log.read_text("utf-8"):
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the application did not start:\n{log.read_text('utf-8')}")
            time.sleep(0.1)
        yield Running(log.read_text("utf-8").split("Mammolens is at ")[1].split(",")[0], server.pid)
    finally:
        server.terminate()
        server.wait(120)
