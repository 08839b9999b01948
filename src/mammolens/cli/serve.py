"""``mammolens serve``: the web application on this machine."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from mammolens.cli import terminal


def serve(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on; 0.0.0.0 is all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 5000,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that answer; 0 takes MAMMOLENS_WORKERS, else one per two cores.")
    ] = 0,
) -> None:
    """Serve the web application until Ctrl-C.

    All is kept under $MAMMOLENS_HOME/web. The first start asks for the first administrator.
    """
    from mammolens.errors import CaseConflict, ConfigurationError, RequestInvalid

    try:
        from mammolens.web.app import open_services
        from mammolens.web.work import first_start, service
    except ModuleNotFoundError as error:
        raise ConfigurationError("The web application is not installed. Run `pip install 'mammolens[web]'`.") from error
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    services = open_services()
    ask = _ask if sys.stdin.isatty() and sys.stderr.isatty() else None
    while True:
        try:
            made = first_start.ensure_administrator(services, ask)
            break
        except (RequestInvalid, CaseConflict) as error:
            terminal.complain(error.code, error.message)
    if made is not None:
        terminal.say(f"Administrator: {made.name}")
        if made.password is not None:
            terminal.say(
                f"Password:      {made.password}   (shown this once; it is to be changed at the first sign-in)"
            )

    def ready(address: str, answering: int) -> None:
        terminal.say(
            f"Mammolens is at {address}, with {answering} worker{'s' if answering > 1 else ''}. Ctrl-C stops it."
        )
        terminal.say(terminal.NOTE)

    service.serve(services, host, port, workers, ready)
    terminal.say("Stopped.")


def _ask() -> tuple[str, str]:
    """Ask for the first administrator at the terminal."""
    terminal.say("Nobody can sign in yet. Choose the first administrator.")
    name = typer.prompt("Name", default="admin", err=True)
    password = typer.prompt("Password (12 characters or more)", hide_input=True, confirmation_prompt=True, err=True)
    return str(name), str(password)
