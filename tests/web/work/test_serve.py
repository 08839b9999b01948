"""``mammolens serve`` as a process: first start, an answer by its own worker, and a clean stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from mammolens.errors import ConfigurationError, RequestInvalid
from mammolens.web.app import Services
from mammolens.web.database.tables import Image, ImageState, Role, User
from mammolens.web.security.passwords import verify_password
from mammolens.web.work import first_start, service
from mammolens.web.work.supervisor import Supervisor

Add = Callable[..., list[str]]
GOOD = "seven quiet otters paddle"


def _until(found: Callable[[], object], seconds: float = 90.0) -> object:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := found():
            return answer
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


def _states(services: Services) -> list[ImageState]:
    with services.database.reading() as session:
        return list(session.scalars(select(Image.state)))


def _children(pid: int) -> set[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = {pid}
    while more := {child for child, parent in pairs if parent in found} - found:
        found |= more
    return found - {pid}


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def test_served_answered_and_stopped_cleanly(
    services: Services, add_images: Add, phantom_files: dict[str, bytes], tmp_path: Path
) -> None:
    home = services.folder.parent
    environment = {**os.environ, "MAMMOLENS_HOME": str(home), "MAMMOLENS_THREADS": "1"}
    command = [sys.executable, "-m", "mammolens", "serve", "--port", "0", "--workers", "1"]
    log = tmp_path / "log"
    with open(log, "wb") as file:
        server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        _until(lambda: server.poll() is not None or "Mammolens is at" in log.read_text())
        said = log.read_text()
        assert server.poll() is None, said
        address = said.split("Mammolens is at ")[1].split(",")[0]
        shown = said.split("Password:")[1].split()[0]
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(address, timeout=30)  # noqa: S310 - our own server
        assert refused.value.code == 401
        assert refused.value.headers["Server"] is None
        with services.database.reading() as session:
            user = session.scalars(select(User)).one()
        assert (user.name, user.role, user.must_change_password) == ("admin", Role.ADMINISTRATOR, True)
        assert verify_password(user.password_hash, shown)
        add_images(services, [phantom_files["LCC.dcm"]])
        _until(lambda: _states(services) == [ImageState.ANSWERED])
        second = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert second.returncode == 2
        assert "[configuration-error]: Another mammolens serve" in second.stderr
        children = _children(server.pid)
        assert len(children) >= 2
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        _until(lambda: not [child for child in children if _alive(child)], 10)
    finally:
        server.kill()
        server.wait()
    assert log.read_text().rstrip().endswith("Stopped.")
    assert "Traceback" not in log.read_text()
    assert log.read_text().count(shown) == 1


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_picture_answered(
    services: Services, add_images: Add, phantom_files: dict[str, bytes]
) -> None:
    supervisor = Supervisor(services, workers=1)
    supervisor.start()
    try:
        before = set(supervisor.process_ids)
        assert len(before) == 2
        add_images(services, list(phantom_files.values()))
        _until(lambda: ImageState.RUNNING in _states(services))
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        _until(lambda: set(_states(services)) == {ImageState.ANSWERED})
        after = set(supervisor.process_ids)
        assert len(after) == 2
        assert not before & after
    finally:
        supervisor.stop()
    assert not [pid for pid in before | after if _alive(pid)]


@pytest.mark.slow
def test_workers_end_when_their_supervisor_was_killed(services: Services) -> None:
    environment = {**os.environ, "MAMMOLENS_HOME": str(services.folder.parent), "MAMMOLENS_THREADS": "1"}
    command = [sys.executable, "-m", "mammolens", "serve", "--port", "0", "--workers", "1"]
    server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # Two workers, the resource tracker of multiprocessing, and their decoding processes.
        children = _until(lambda: (found := _children(server.pid)) and len(found) >= 4 and found)
        assert isinstance(children, set)
    finally:
        server.kill()
        server.wait()
    _until(lambda: not [child for child in children if _alive(child)], 30)


def test_the_first_administrator_comes_from_the_environment(make_services: Callable[..., Services]) -> None:
    services = make_services(admin_user="Chief", admin_password=GOOD)
    made = first_start.ensure_administrator(services)
    assert made == first_start.FirstAdministrator("chief", None)
    with services.database.reading() as session:
        user = session.scalars(select(User)).one()
    assert verify_password(user.password_hash, GOOD)
    assert not user.must_change_password
    assert first_start.ensure_administrator(services) is None


def test_a_weak_password_in_the_environment_is_refused(make_services: Callable[..., Services]) -> None:
    services = make_services(admin_password="password1234")
    with pytest.raises(ConfigurationError, match="MAMMOLENS_ADMIN_PASSWORD"):
        first_start.ensure_administrator(services)
    with services.database.reading() as session:
        assert session.scalars(select(User)).all() == []


def test_the_first_administrator_is_asked_for(services: Services) -> None:
    with pytest.raises(RequestInvalid):
        first_start.ensure_administrator(services, lambda: ("chief", "short"))
    made = first_start.ensure_administrator(services, lambda: ("chief", GOOD))
    assert made == first_start.FirstAdministrator("chief", None)


def test_a_random_password_is_never_drawn_twice(make_services: Callable[..., Services], tmp_path: Path) -> None:
    drawn = {
        made.password
        for name in ("a", "b", "c")
        if (made := first_start.ensure_administrator(make_services(home=tmp_path / name))) is not None
    }
    assert len(drawn) == 3
    assert all(password and len(password) >= 24 for password in drawn)


def test_an_address_that_is_taken_is_said(services: Services) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match="--port"):
            service.serve(services, "127.0.0.1", taken.getsockname()[1])
