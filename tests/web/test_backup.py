"""Backup and restore, exactly as docs/web-install.md has the commands."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mammolens.web import audit
from mammolens.web.access import ROLES, Actor
from mammolens.web.app import Services
from mammolens.web.database.tables import Identifier, Image, User
from mammolens.web.intake.receive import Received, receive
from mammolens.web.security.passwords import verify_password
from mammolens.web.store import Store
from mammolens.web.work import belonging

PAGE = Path(__file__).parents[2] / "docs" / "web-install.md"


def commands() -> list[str]:
    """The two blocks that the page says are rehearsed: backup and restore."""
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(r"<!-- rehearsed by tests/web/test_backup\.py -->\n```sh\n(.*?)```", text, re.DOTALL)


def run(script: str, home: Path, backup: Path) -> subprocess.CompletedProcess[str]:
    folder = Path(sys.executable).parent
    environment = {
        **os.environ,
        "MAMMOLENS_HOME": str(home),
        "BACKUP": str(backup),
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(["bash", "-euc", script], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")
def test_what_was_backed_up_is_there_after_the_restore(
    services: Services,
    make_services: Callable[..., Services],
    people: Callable[..., Any],
    phantom_files: dict[str, bytes],
    tmp_path: Path,
) -> None:
    save, restore = commands()
    home, backup = services.folder.parent, tmp_path / "backup"
    backup.mkdir()
    nurse = people("nurse")
    asking = Actor(nurse.id, nurse.name, nurse.role, None, ROLES[nurse.role])
    belonging.ensure(services)
    with open(tmp_path / "LCC.png", "wb+") as file:
        file.write(phantom_files["LCC.png"])
        file.seek(0)
        [kept] = receive(services, asking, "LCC.png", file)
    assert isinstance(kept, Received)
    with services.database.reading() as session:
        entries = audit.verify(session).entries
    assert entries >= 1

    saved = run(save, home, backup)
    assert saved.returncode == 0, saved.stderr
    assert {path.name for path in backup.iterdir()} == {"mammolens.db", "files.tar"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in backup.iterdir())
    # What comes after the backup is not in it.
    with services.database.session() as session:
        session.get_one(User, nurse.id).name = "renamed"
    services.database.close()
    shutil.rmtree(services.folder)

    put_back = run(restore, home, backup)
    assert put_back.returncode == 0, put_back.stderr
    assert f"{entries} entries, all whole" in put_back.stdout
    again = make_services(home)
    belonging.ensure(again)
    with again.database.reading() as session:
        user = session.scalars(select(User)).one()
        image = session.scalars(select(Image)).one()
        name = session.scalars(select(Identifier.file_name)).one()
    assert user.name == "nurse"
    assert verify_password(user.password_hash, nurse.password)
    assert (image.id, name) == (kept.image_id, "LCC.png")
    stored = Store(again.folder).path(image.sha256).read_bytes()
    assert hashlib.sha256(stored).hexdigest() == image.sha256
    assert stored == phantom_files["LCC.png"]


def test_the_page_has_both_blocks() -> None:
    assert len(commands()) == 2
