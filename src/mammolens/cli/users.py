"""``mammolens users``: who may sign in to the web application."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from mammolens.cli import terminal

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Add, list, disable and reset users.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="User's name.")]
Ask = Annotated[bool, typer.Option("--ask", help="Ask for the password instead of drawing one.")]


@app.command(cls=terminal.Command)
def add(
    name: Name,
    role: Annotated[str, typer.Option(help="administrator, reader or viewer.")] = "reader",
    group: Annotated[str | None, typer.Option(help="Group whose cases they share; made where it is missing.")] = None,
    ask: Ask = False,
) -> None:
    """Add a user; prints the password that the first sign-in is made with."""
    from mammolens.web.database.tables import Role
    from mammolens.web.security import users

    if role not in {known.value for known in Role}:
        raise typer.BadParameter("is administrator, reader or viewer.", param_hint="--role")
    given = _password() if ask else None
    with _writing() as session:
        user, password = users.add(session, "system", name, Role(role), given, group)
    _show(user.name, None if ask else password)


@app.command("list", cls=terminal.Command)
def list_users() -> None:
    """List the users."""
    from mammolens.web.security import users

    with _writing() as session:
        typer.echo(f"{'name':<24}  {'role':<13}  {'group':<24}  {'second step':<11}  state")
        for user in users.listed(session):
            state = "active" if user.active else "disabled"
            group = terminal.printable(user.group.name) if user.group else "-"
            step = "on" if user.totp_confirmed else "off"
            typer.echo(f"{user.name:<24}  {user.role.value:<13}  {group:<24}  {step:<11}  {state}")


@app.command(cls=terminal.Command)
def disable(
    name: Name,
    undo: Annotated[bool, typer.Option("--undo", help="Let the user sign in again.")] = False,
) -> None:
    """Let a user sign in no more; ends all sessions and tokens at once."""
    from mammolens.web.security import users

    with _writing() as session:
        user = users.named(session, name)
        (users.enable if undo else users.disable)(session, "system", user)
    typer.echo(f"{user.name} can sign in again." if undo else f"{user.name} can sign in no more.")


@app.command(cls=terminal.Command)
def reset(name: Name, ask: Ask = False) -> None:
    """Give a user a new password; ends sessions, tokens and the second step."""
    from mammolens.web.security import users

    given = _password() if ask else None
    with _writing() as session:
        user = users.named(session, name)
        password = users.reset(session, "system", user, given)
    _show(user.name, None if ask else password)


@contextmanager
def _writing() -> Iterator[Session]:
    from mammolens.web.app import open_services

    services = open_services()
    try:
        with services.database.session() as session:
            yield session
    finally:
        services.database.close()


def _password() -> str:
    answer: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return answer


def _show(name: str, password: str | None) -> None:
    typer.echo(f"user      {name}")
    if password is not None:
        typer.echo(f"password  {password}")
    terminal.say("The first sign-in asks for another password.")
