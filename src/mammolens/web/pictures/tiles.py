"""Tiles: squares of one level as raw values, for a viewer that windows them itself."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from mammolens.errors import NotFound
from mammolens.web.database.tables import Image
from mammolens.web.pictures import levels

if TYPE_CHECKING:
    from mammolens.web.app import Services

_GZIP_WINDOW = 31
_NO_TILE = "There is no such tile of this picture."


def cut(services: Services, image: Image, level: int, x: int, y: int) -> bytes:
    """Cut one tile.

    Parameters
    ----------
    services : Services
    image : Image
    level : int
        0 is the full resolution.
    x, y : int
        Column and row of the tile, from 0.

    Returns
    -------
    bytes
        Little-endian uint16, row by row; `levels.TILE` × `levels.TILE` values, at the right and lower edge what is
        there.

    Raises
    ------
    NotFound
        If there is no such tile.
    InputError, Overloaded, StorageFull, OutputError
        As `levels.make`, where the levels have to be made anew.
    """
    found = levels.find(services, image.id) or levels.make(services, image)
    left, top, right, bottom = _window(found, level, x, y)
    try:
        opened = levels.pixels(services, image.id, level)
    except FileNotFoundError:
        # Put out of the cache since it was found.
        levels.make(services, image)
        opened = levels.pixels(services, image.id, level)
    levels.seen(services, image.id)
    return np.ascontiguousarray(opened[top:bottom, left:right], "<u2").tobytes()


def packed(tile: bytes) -> bytes:
    """Tile as gzip; equal tiles give equal bytes."""
    return zlib.compress(tile, 1, _GZIP_WINDOW)


def _window(found: dict[str, Any], level: int, x: int, y: int) -> tuple[int, int, int, int]:
    """Columns and rows of a tile: ``(left, top, right, bottom)``, half open."""
    if not 0 <= level < len(found["levels"]):
        raise NotFound(_NO_TILE)
    rows, columns = found["levels"][level]["rows"], found["levels"][level]["columns"]
    left, top = x * levels.TILE, y * levels.TILE
    if not (0 <= left < columns and 0 <= top < rows):
        raise NotFound(_NO_TILE)
    return left, top, min(left + levels.TILE, columns), min(top + levels.TILE, rows)
