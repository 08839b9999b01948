"""What the command line says to people, and how a command ends.

======  ========================================================================
status  meaning
======  ========================================================================
0       everything was answered, done, or found in order
1       a check failed (``models verify``, ``doctor``)
2       wrong usage, or something that the command needs is missing
3       a file was refused
70      an error of Mammolens itself
130     interrupted
141     whoever read standard output has left
======  ========================================================================
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand

from mammolens.errors import ContractUnknown, FileMissing, InputError, MammolensError

CHECK_FAILED, WRONG_USAGE, REFUSED, INTERNAL, INTERRUPTED, HUNG_UP = 1, 2, 3, 70, 130, 141

NOTE = "For research and teaching only: no medical device."

_log = logging.getLogger(__name__)


class Command(TyperCommand):
    """A command whose failures become one line on standard error and an exit status."""

    refusals: ClassVar[tuple[type[MammolensError], ...]] = (InputError,)
    """Errors that mean a refused file; all others mean wrong usage, as do those for what the user left out."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except MammolensError as error:
            _log.debug("%s", error.code, exc_info=True)
            complain(error.code, error.message)
            left_out = isinstance(error, FileMissing | ContractUnknown)
            wrong_usage = left_out or not isinstance(error, self.refusals)
            raise typer.Exit(WRONG_USAGE if wrong_usage else REFUSED) from error
        except KeyboardInterrupt as error:
            say("Interrupted.")
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:
            # What is still buffered must not fail again when the interpreter flushes it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(HUNG_UP) from error
        except Exception as error:
            # The last fence: another library's text may quote a header, so only --debug shows it.
            _log.debug("internal error", exc_info=True)
            complain("internal-error", "Mammolens failed. Run `mammolens --debug …` and report what it prints.")
            raise typer.Exit(INTERNAL) from error


def prepare_streams(debug: bool) -> None:
    """Let no character that the terminal can't show end a command; with ``debug``, log to standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if debug:
        logging.basicConfig(stream=sys.stderr, format="%(name)s: %(message)s")
        logging.getLogger("mammolens").setLevel(logging.DEBUG)


def say(message: str) -> None:
    """Print a line on standard error."""
    typer.echo(message, err=True)


def complain(code: str, message: str) -> None:
    """Print an error on standard error."""
    say(f"{typer.style('error', fg='red', bold=True)} [{code}]: {message}")


def printable(text: str | Path) -> str:
    r"""Text that can be shown: control characters, marks that turn the writing direction and stray bytes escaped.

    Examples
    --------
    >>> printable("a\x1b[31m.dcm")
    'a\\x1b[31m.dcm'
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in unicode_text(text)
    )


def unicode_text(text: str | Path) -> str:
    r"""Text that every encoding of Unicode can hold: bytes of a file name that are no UTF-8 become ``\xNN``."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar on standard error where that is a terminal and there is more than one thing to do.

    Yields
    ------
    callable
        To be called after each thing done.
    """
    if total < 2 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Lines that go to the same terminal have to appear above the bar; lines that go to a file must get there.
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty())
    with bar:
        task = bar.add_task(description, total=total)
        yield lambda: bar.advance(task)
