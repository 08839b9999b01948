"""A PostgreSQL server of Debian's package, of its own for a test run."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, text

from mammolens.web.database.columns import new_id


@dataclass(frozen=True)
class Postgres:
    """A running server of its own, reached by a socket in its folder."""

    programs: Path
    folder: Path
    user: str | None

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://mammolens@/{name}?host={self.folder}"

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off"
        self._run("pg_ctl", "-D", self.folder / "data", "-o", options, "-w", "-l", self.folder / "log", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-w", "stop")

    def make(self) -> None:
        self._run("initdb", "-D", self.folder / "data", "-U", "mammolens", "-A", "trust", "--encoding=UTF8", "-N")
        self.start()

    def new_database(self) -> str:
        """Make an empty database; its address."""
        name = f"t{new_id()}"
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self.url(name)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self.programs / program), *map(str, arguments)]
        done = subprocess.run(
            command, user=self.user, capture_output=False, stdout=subprocess.DEVNULL, cwd=self.folder, timeout=120
        )
        assert done.returncode == 0, f"{program} failed with status {done.returncode}"


def programs() -> Path | None:
    """Folder of the newest server's programs; None where none is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    return found[-1].parent if found else None


@contextmanager
def running(folder_of_programs: Path) -> Iterator[Postgres]:
    """Start a server in a folder of its own, and remove both at the end."""
    user = None
    if os.getuid() == 0:
        # The server refuses to run as root.
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = "postgres" if "postgres" in names else "nobody"
    # Below /tmp: pytest's own folders are closed to other users, and a socket's path has to be short.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    if user is not None:
        shutil.chown(folder, user)
    server = Postgres(folder_of_programs, folder, user)
    try:
        server.make()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder)
