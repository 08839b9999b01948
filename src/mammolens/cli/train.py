"""``mammolens train``: a configuration in, a bundle and its report out."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from mammolens.cli import terminal
from mammolens.errors import ConfigurationError

BACKENDS = ("tensorflow", "torch", "jax")
"""Keras' backends, the one that is taken first where several are installed first."""


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file, such as those in configs/.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Take this value instead of the file's; may be repeated."),
    ] = None,
) -> None:
    """Train a model and make a bundle of it.

    After an interruption, run the same command again: it goes on where it stopped.
    """
    from mammolens.training import config as configuration

    wanted = configuration.load(config, overrides or ())
    choose_backend()
    from mammolens.training import crossval, finish, joining

    # A bundle that can't be opened is better known before the hours than after them.
    joining.single_of(wanted)
    terminal.say(f"Training in {terminal.printable(wanted.output)}")
    try:
        bundle = finish.finish(wanted, crossval.train(wanted))
    except KeyboardInterrupt:
        terminal.say("Run the same command again to go on from the last checkpoint.")
        raise
    typer.echo(terminal.printable(bundle))


def choose_backend() -> None:
    """Set Keras' backend, before Keras is imported, unless the user has.

    Raises
    ------
    ConfigurationError
        If Keras or every backend of it is missing.
    """
    installed = [name for name in BACKENDS if find_spec(name) is not None]
    if find_spec("keras") is None or not installed:
        raise ConfigurationError("Training needs Keras with a backend. Run: pip install 'mammolens[train]'.")
    os.environ.setdefault("KERAS_BACKEND", installed[0])
