"""What a stranger's model file may ask for, and how its names are shown; checked before anything is allocated."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from mammolens.errors import ModelFileMalformed, ModelFileUnsafe

MOST_OBJECTS = 50_000
"""Groups and datasets of an HDF5 file. A compiled EfficientNet-B3 with Adam's state has about 4,000."""

MOST_DEPTH = 32
"""Levels of groups. Nested models with name scopes stay below ten."""

MOST_RANK = 8
MOST_ITEM_BYTES = 8
MOST_TENSOR_BYTES = 1 << 30
"""Bytes of all tensors of a file together. VGG16, the largest of the usual classifiers, has 528 MiB."""

MOST_CONFIG_BYTES = 16 << 20
"""Bytes of a model's description as JSON. That of EfficientNet-B3 has 400 kB."""

MOST_CONFIG_DEPTH = 100
MOST_NAMES = 50_000
"""Elements of a list of names in an attribute."""

EXPANSION_FREE_BYTES = 16 << 20
MOST_EXPANSION = 50
"""Bytes in memory per stored byte above which data are taken for a bomb, once they pass `EXPANSION_FREE_BYTES`.

Trained weights hardly shrink (1.1 with gzip); zeros and ones of fresh normalisation layers are small.
"""

_SHOWN_CHARACTERS = 200


def shown(name: str) -> str:
    """Give a name out of a file as it may stand in a message: printable, at most 200 characters."""
    printable = "".join(character if character.isprintable() else "?" for character in name[: _SHOWN_CHARACTERS + 1])
    return printable if len(printable) <= _SHOWN_CHARACTERS else printable[: _SHOWN_CHARACTERS - 1] + "…"


def check_name(name: str) -> str:
    """Give the name back if it can be printed.

    Raises
    ------
    ModelFileMalformed
    """
    if not name.isprintable():
        raise ModelFileMalformed(f"The name '{shown(name)}' in the file can't be printed. Save the model again.")
    return name


def check_tensor(path: str, shape: Sequence[int], item_bytes: int) -> int:
    """Bytes of a tensor, if no limit forbids them.

    Parameters
    ----------
    path : str
        For the message.
    shape : sequence of int
    item_bytes : int
        Bytes of one element.

    Raises
    ------
    ModelFileUnsafe
    """
    if len(shape) > MOST_RANK or not 0 < item_bytes <= MOST_ITEM_BYTES or any(side < 0 for side in shape):
        raise ModelFileUnsafe(f"'{shown(path)}' is declared as something that no weights are. Do not use this file.")
    declared = math.prod(shape) * item_bytes
    if declared > MOST_TENSOR_BYTES:
        raise ModelFileUnsafe(
            f"'{shown(path)}' declares {declared} bytes, more than {MOST_TENSOR_BYTES}. Do not use this file."
        )
    return declared


def check_expansion(path: str, declared: int, stored: int) -> None:
    """Refuse data that grow beyond what weights do.

    Raises
    ------
    ModelFileUnsafe
    """
    if declared > EXPANSION_FREE_BYTES and declared > MOST_EXPANSION * stored:
        raise ModelFileUnsafe(
            f"'{shown(path)}' would grow from {stored} to {declared} bytes, which no weights do. Do not use this file."
        )


def parse_json(text: bytes | str, what: str) -> dict[str, Any]:
    """Parse a JSON object within limits; builds plain Python values and nothing else.

    Parameters
    ----------
    text : bytes or str
    what : str
        For the message: ``"the model's configuration"``.

    Raises
    ------
    ModelFileUnsafe
        If it is too large or too deep.
    ModelFileMalformed
        If it is no JSON object.
    """
    if len(text) > MOST_CONFIG_BYTES:
        raise ModelFileUnsafe(f"{what} has more than {MOST_CONFIG_BYTES} bytes. Do not use this file.")
    try:
        value = json.loads(text)
    except RecursionError:
        raise _too_deep(what) from None
    except ValueError:  # no JSON, no UTF-8, or a number of thousands of digits
        raise ModelFileMalformed(f"{what} is not valid JSON: the file is damaged. Copy or save it again.") from None
    if not isinstance(value, dict):
        raise ModelFileMalformed(f"{what} is not a JSON object. Save the model again.")
    _check_depth(value, what)
    return value


def _check_depth(value: Any, what: str) -> None:
    level = [value]
    for _ in range(MOST_CONFIG_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise _too_deep(what)


def _children(node: Any) -> list[Any]:
    values = node.values() if isinstance(node, dict) else node
    return [value for value in values if isinstance(value, dict | list)]


def _too_deep(what: str) -> ModelFileUnsafe:
    return ModelFileUnsafe(f"{what} is nested more than {MOST_CONFIG_DEPTH} deep. Do not use this file.")
