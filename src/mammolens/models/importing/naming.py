"""Names of imported models."""

from __future__ import annotations

import re

from mammolens.errors import ConfigurationError
from mammolens.models.bundle import BUILT_IN, DEFAULT

_LEGAL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_EXTENSIONS = re.compile(r"([._-]weights)?\.(keras|h5|hdf5|onnx|zip)$")
_RESERVED = {"default", DEFAULT}


def legal(name: str) -> str:
    """Give a name that the user chose, if it is one that a bundle may have.

    Raises
    ------
    ConfigurationError
        If it is not, or belongs to a built-in model.
    """
    if not _LEGAL.fullmatch(name) or name.endswith(".zip"):
        raise ConfigurationError(
            "--name takes small letters of a to z, digits, dots, hyphens and underscores, begins with a letter or "
            "digit, has 64 characters at most and does not end in .zip."
        )
    if name in _RESERVED or (BUILT_IN / name).exists():
        raise ConfigurationError("A built-in model has this name. Give another one with --name.")
    return name


def from_stem(file_name: str) -> str:
    """Make a legal name of a file's.

    Examples
    --------
    >>> from_stem("My Model (final).weights.h5")
    'my-model-final'
    """
    plain = re.sub(r"[^a-z0-9._-]+", "-", _EXTENSIONS.sub("", file_name.lower())).strip("._-")[:64].rstrip("._-")
    while plain.endswith(".zip"):
        plain = plain.removesuffix(".zip").rstrip("._-")
    if not plain:
        return "model"
    return f"{plain[:55]}-imported" if plain in _RESERVED or (BUILT_IN / plain).exists() else plain
