"""``mammolens audit``: the audit log of the web application."""

from __future__ import annotations

from typing import Annotated

import typer

from mammolens.cli import terminal

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Verify the audit log.")


@app.callback()
def audit() -> None:
    """Verify the audit log."""


@app.command(cls=terminal.Command)
def verify(
    head: Annotated[
        str | None, typer.Option(metavar="NUMBER:HASH", help="An entry that was noted before; it has to be there.")
    ] = None,
) -> None:
    """Check that no entry of the audit log was changed, left out or put in; prints the newest entry's hash."""
    from mammolens.web import audit as log
    from mammolens.web.app import open_services

    noted = None if head is None else _noted(head)
    services = open_services()
    try:
        with services.database.reading() as session:
            found = log.verify(session)
            missing = noted is not None and not log.holds(session, *noted)
    finally:
        services.database.close()
    if found.broken is not None:
        terminal.say(f"The audit log is broken at entry {found.broken}; the {found.broken - 1} before it are whole.")
        raise typer.Exit(terminal.CHECK_FAILED)
    if missing:
        terminal.say("The noted entry is not in the audit log: it was cut off or written anew.")
        raise typer.Exit(terminal.CHECK_FAILED)
    typer.echo(f"{found.entries} entries, all whole")
    typer.echo(f"newest    {found.entries}:{found.head}")


def _noted(head: str) -> tuple[int, str]:
    number, _, digest = head.partition(":")
    if not (number.isascii() and number.isdigit()) or len(digest) != 64:
        raise typer.BadParameter("is what an earlier `mammolens audit verify` printed as newest.", param_hint="--head")
    return int(number), digest
