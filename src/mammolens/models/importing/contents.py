"""What is found in a model file, and how it passes from the bounded process to its parent, who believes nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mammolens.models.importing import limits
from mammolens.models.importing.hdf5 import DTYPES
from mammolens.models.importing.source import Format

_MOST_VERSION_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor without its values; the fields are those of `mammolens.models.importing.source.SourceTensor`."""

    path: str
    layer: tuple[str, ...]
    name: str
    shape: tuple[int, ...]
    dtype: str
    label: str = ""

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Contents:
    """A model file without its tensors' values.

    Attributes
    ----------
    format : Format
    entries : tuple of Entry
        In the file's own order.
    config : dict, optional
        The model's description.
    keras_version, backend : str
        Empty where the file does not say.
    compiled : bool
        Whether a training configuration or an optimiser's state is there.
    """

    format: Format
    entries: tuple[Entry, ...]
    config: dict[str, Any] | None = None
    keras_version: str = ""
    backend: str = ""
    compiled: bool = False


def pack(contents: Contents) -> bytes:
    """Put contents in JSON."""
    return json.dumps(asdict(contents)).encode()


def unpack(header: Mapping[str, Any]) -> Contents:
    """Make contents of what `pack` wrote, and doubt each field.

    Raises
    ------
    ValueError, KeyError, TypeError
        If a field does not hold.
    ModelFileError
        If a tensor is over a limit.
    """
    entries = tuple(_entry(fields) for fields in header["entries"])
    config = header["config"]
    if config is not None and not isinstance(config, dict):
        raise TypeError("configuration")
    return Contents(
        Format(header["format"]),
        entries,
        config,
        _text(header["keras_version"])[:_MOST_VERSION_CHARACTERS],
        _text(header["backend"])[:_MOST_VERSION_CHARACTERS],
        header["compiled"] is True,
    )


def _entry(fields: Mapping[str, Any]) -> Entry:
    if fields["dtype"] not in DTYPES or not all(type(side) is int for side in fields["shape"]):
        raise ValueError("type or shape")
    entry = Entry(
        _text(fields["path"]),
        tuple(_text(part) for part in fields["layer"]),
        _text(fields["name"]),
        tuple(fields["shape"]),
        fields["dtype"],
        _text(fields["label"]),
    )
    limits.check_tensor(entry.path, entry.shape, np.dtype(entry.dtype).itemsize)
    return entry


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError("text")
    return value
