"""The application: its commands and its global options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mammolens import __version__
from mammolens.cli import (
    audit,
    calibrate,
    data,
    doctor,
    evaluate,
    models,
    predict,
    preview,
    serve,
    terminal,
    train,
    users,
)

app = typer.Typer(
    name="mammolens",
    no_args_is_help=True,
    add_completion=False,
    # Plain help: it comes at once, and looks the same everywhere. Errors are told by `terminal.Command`.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mammolens {__version__}")
        raise typer.Exit


@app.callback()
def mammolens(
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of every failure.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Mammograms in; a probability, a heat map and the suspicious region out.

    For research and teaching only: no medical device.
    """
    terminal.prepare_streams(debug)


def demo(
    source: Annotated[Path | None, typer.Argument(metavar="INPUT", help="File or folder instead.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the report.")] = Path("demo-output"),
) -> None:
    """Write a report on a generated examination or on your own files.

    The generated examination has four views; none of it comes from a patient.
    """
    if source is not None and not os.path.exists(source):  # unlike Path.exists, False where it can't be looked up
        raise typer.BadParameter("is no file or folder, or can't be opened.", param_hint="INPUT")
    from mammolens.cli.demo import run_demo

    if run_demo(source, out):
        raise typer.Exit(terminal.REFUSED)


app.command(cls=terminal.Command)(predict.predict)
app.command(cls=terminal.Command)(preview.preview)
app.command(cls=terminal.Command)(train.train)
app.add_typer(data.app, name="data")
app.command(cls=terminal.Command)(evaluate.evaluate)
app.command(cls=terminal.Command)(calibrate.calibrate)
app.add_typer(models.app, name="models")
app.add_typer(users.app, name="users")
app.add_typer(audit.app, name="audit")
app.command(cls=terminal.Command)(demo)
app.command(cls=terminal.Command)(doctor.doctor)
app.command(cls=terminal.Command)(serve.serve)


def app_entry() -> None:
    """Run the command line; the console script."""
    app(prog_name="mammolens")
