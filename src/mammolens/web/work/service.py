"""The web server and its workers, from start to stop."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammolens.errors import ConfigurationError
from mammolens.imaging.sandbox import default_pool
from mammolens.web.app import Services, create_app
from mammolens.web.work import belonging
from mammolens.web.work.supervisor import Supervisor

if TYPE_CHECKING:
    from types import FrameType

THREADS = 24
"""Requests handled at a time; those that follow the queue's progress hold one each."""

RECEIVED_BYTES = 1 << 18
"""Read from a connection at a time; with waitress's 8 KiB an upload of 30 MB would go round its loop 3,800 times."""

CONNECTIONS = 1000
"""Most connections at a time; more wait in the system's queue."""

_LOCK = "serve.lock"
_BACKLOG = 1024
_BODY_EXTRA = 1 << 20


def serve(
    services: Services, host: str, port: int, workers: int = 0, ready: Callable[[str, int], None] | None = None
) -> None:
    """Serve until ``SIGTERM`` or ``SIGINT``; then requests and jobs in work are ended first. Runs in the main thread.

    Parameters
    ----------
    services : Services
    host : str
    port : int
        0 takes a free one.
    workers : int
        As `Supervisor`.
    ready : callable, optional
        Called with the address and the number of workers that answer when the server listens.

    Raises
    ------
    ConfigurationError
        If another one works on this folder, the folder and the database do not belong together, or the address can't
        be listened on.
    DatabaseUnavailable
        If the database can't be reached at start.
    """
    with _alone(services.folder), spool_into(services.folder), bound(host, port) as listening:
        belonging.ensure(services)
        server = server_of(services, listening)
        supervisor = Supervisor(services, workers)
        # SIGTERM ends the server's loop as SIGINT does.
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            supervisor.start()
            # Uploads are looked at in a decoding process, which takes a second to start.
            default_pool().start(1)
            if ready is not None:
                ready(_address(host, listening.getsockname()[1]), supervisor.answering)
            server.run()
        except KeyboardInterrupt:
            pass  # came before the loop began
        finally:
            signal.signal(signal.SIGTERM, before)
            server.close()
            supervisor.stop()


def bound(host: str, port: int) -> socket.socket:
    """Listen on an address; waitress would leave its own socket open where that fails.

    Raises
    ------
    ConfigurationError
        If it can't be listened on.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), int(address[1])), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            "This address can't be listened on: it is taken, or not this machine's. Give another --host or --port."
        ) from error


def server_of(services: Services, listening: socket.socket) -> Any:
    """Make the WSGI server of an application on a socket that listens; its ``run`` serves until it is closed."""
    from waitress.server import create_server  # type: ignore[import-untyped]

    table = services.settings
    return create_server(
        create_app(services),
        sockets=[listening],
        threads=THREADS,
        recv_bytes=RECEIVED_BYTES,
        connection_limit=CONNECTIONS,
        asyncore_use_poll=True,
        max_request_body_size=max(table.upload_file_bytes, table.upload_zip_bytes) + _BODY_EXTRA,
        # Behind proxies, Werkzeug's ProxyFix believes as many as the settings name; else the headers are dropped.
        clear_untrusted_proxy_headers=table.proxies == 0,
        ident=None,
    )


def _address(host: str, port: int) -> str:
    """Where to look: of all interfaces, the one that a browser on this machine reaches."""
    shown = "localhost" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: two servers on it would take each other's workers for dead."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                "Another mammolens serve works on this folder. Stop it first, or set another MAMMOLENS_HOME."
            ) from None
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def spool_into(folder: Path) -> Iterator[None]:
    """Let request bodies wait on the disk that they are for, whose free space is watched."""
    spool = folder / "incoming"
    spool.mkdir(exist_ok=True, mode=0o700)
    before, tempfile.tempdir = tempfile.tempdir, str(spool)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
