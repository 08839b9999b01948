"""The resolutions of a picture that tiles are cut from: a cache on the disk, made anew where it is missing.

``levels/<image id>/`` holds ``0.npy`` (every source pixel, uint16, bright = dense), ``1.npy`` (half of it), … until
the longest side is at most `LAST_SIDE`, and ``levels.json``, which says what they are. The folder appears in one step.
A pixel of level k covers exactly 2ᵏ × 2ᵏ source pixels; at the right and lower edge, what is there.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.explain.overlay import stretch
from mammolens.imaging.breast import find_breast
from mammolens.imaging.sandbox import default_pool
from mammolens.imaging.viewable import Viewable, describe_preset
from mammolens.types import Mammogram
from mammolens.web.database.tables import Image
from mammolens.web.pictures import files
from mammolens.web.pictures.cache import make_room, touch
from mammolens.web.pictures.turns import alone, turn
from mammolens.web.store import Store

if TYPE_CHECKING:
    from mammolens.web.app import Services

VERSION = 1
"""Of what is written here; another one is made anew."""

TILE = 256
"""Side of a tile, pixels."""

LAST_SIDE = 512
"""Longest side of the smallest level, pixels."""

_SHOWN_SIDE = 2048
_INDEX = "levels.json"
_HEADER_BYTES = 128


def root(services: Services) -> Path:
    """Folder of all levels."""
    return services.folder / "levels"


def folder(services: Services, image_id: str) -> Path:
    """Folder of one image's levels, whether it is there or not."""
    return files.folder_of(root(services), image_id)


def tag(image: Image) -> str:
    """Give what changes when an image's levels do: its bytes, or how they are made."""
    return f"{VERSION}-{image.sha256[:16]}"


def find(services: Services, image_id: str) -> dict[str, Any] | None:
    """Give what ``levels.json`` says of an image; None where its levels are not there, whole, of this version."""
    place = folder(services, image_id)
    try:
        found: dict[str, Any] = json.loads((place / _INDEX).read_bytes())
        if found.get("version") != VERSION:
            return None
        for number, level in enumerate(found["levels"]):
            wanted = 2 * level["rows"] * level["columns"] + _HEADER_BYTES
            if (place / f"{number}.npy").stat().st_size != wanted:
                return None
    except (OSError, ValueError, KeyError, TypeError):
        # Whatever is wrong with a cache, the remedy is the same: it is made anew.
        return None
    return found


def make(services: Services, image: Image) -> dict[str, Any]:
    """Make the levels of an image, unless they are there.

    The file is decoded in a bounded child process.

    Parameters
    ----------
    services : Services
    image : Image

    Returns
    -------
    dict
        What ``levels.json`` says: ``version``, ``tag``, ``tile``, ``rows``, ``columns``, ``levels``, ``minimum``,
        ``maximum``, ``window`` (``low``, ``high``, ``gamma``), ``modality``, ``presets``, ``breast``, ``negative``.

    Raises
    ------
    InputError
        If the file can't be decoded.
    Overloaded
        If too many others are being decoded.
    StorageFull, OutputError
        If there is no room, or they can't be written.
    """
    found = find(services, image.id)
    if found is None:
        with alone(root(services) / ".locks", image.id), turn():
            found = find(services, image.id) or _made(services, image)
    seen(services, image.id)
    return found


def forget(services: Services, image_id: str) -> None:
    """Remove the levels of an image; call it when its row is gone, so that none come after."""
    place = folder(services, image_id)
    with alone(root(services) / ".locks", image_id), files.writing():
        if place.exists():
            shutil.rmtree(place)


def pixels(services: Services, image_id: str, level: int) -> NDArray[np.uint16]:
    """Open one level of an image that `find` has found, mapped into memory.

    Raises
    ------
    FileNotFoundError
        If it has left the cache since.
    """
    opened: NDArray[np.uint16] = np.load(folder(services, image_id) / f"{level}.npy", mmap_mode="r")
    return opened


def seen(services: Services, image_id: str) -> None:
    """Note that an image is being looked at, so that others leave the cache before it."""
    touch(folder(services, image_id) / _INDEX)


def _made(services: Services, image: Image) -> dict[str, Any]:
    viewable = default_pool().view(Store(services.folder).path(image.sha256))
    sizes = viewable.pixels.nbytes * 4 // 3 + (1 << 20)
    make_room(root(services), sizes, services.settings.tile_cache_bytes, services.settings.upload_free_bytes)
    pyramid = list(halvings(viewable.pixels))
    description = _description(image, viewable, pyramid)
    with files.writing(), _appearing(folder(services, image.id)) as place:
        for number, level in enumerate(pyramid):
            with open(place / f"{number}.npy", "xb", opener=files.private) as file:
                np.lib.format.write_array(file, level, version=(1, 0), allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
        files.write(place, _INDEX, json.dumps(description, separators=(",", ":")).encode())
    with services.database.reading() as session:
        gone = session.get(Image, image.id) is None
    if gone:
        # Deleted in the meantime: nothing of it may stay.
        shutil.rmtree(folder(services, image.id))
    return description


def halvings(whole: NDArray[np.uint16]) -> Iterator[NDArray[np.uint16]]:
    """Give a picture, then each time the means of its 2 × 2 blocks, until the longest side is at most `LAST_SIDE`.

    Parameters
    ----------
    whole : ndarray of uint16, shape (h, w)

    Yields
    ------
    ndarray of uint16, shape (ceil(h / 2ᵏ), ceil(w / 2ᵏ))
        A block that the edge cuts is the mean of what is there.
    """
    level = np.ascontiguousarray(whole, "<u2")
    yield level
    while max(level.shape) > LAST_SIDE:
        height, width = level.shape
        if height % 2 or width % 2:
            level = np.asarray(cv2.copyMakeBorder(level, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE))
        half = ((width + 1) // 2, (height + 1) // 2)
        level = np.asarray(cv2.resize(level, half, interpolation=cv2.INTER_AREA), "<u2")
        yield level


def _description(image: Image, viewable: Viewable, pyramid: list[NDArray[np.uint16]]) -> dict[str, Any]:
    rows, columns = viewable.pixels.shape
    lowest, highest, _, _ = cv2.minMaxLoc(viewable.pixels)
    number = next((n for n, level in enumerate(pyramid) if max(level.shape) <= _SHOWN_SIDE), len(pyramid) - 1)
    small = Mammogram(pyramid[number], rows, columns, reduction=1 << number)
    breast = find_breast(small.pixels)
    box = None if breast is None else _source_box(breast.box, 1 << number, rows, columns)
    low, high, gamma = stretch(small, box)
    line = viewable.modality
    return {
        "version": VERSION,
        "tag": tag(image),
        "tile": TILE,
        "rows": rows,
        "columns": columns,
        "levels": [{"rows": level.shape[0], "columns": level.shape[1]} for level in pyramid],
        "minimum": int(lowest),
        "maximum": int(highest),
        "window": {"low": low, "high": high, "gamma": gamma},
        "modality": None if line is None else {"slope": line[0], "intercept": line[1]},
        "presets": [_preset(describe_preset(preset), int(lowest), int(highest)) for preset in viewable.presets],
        "breast": None if breast is None else {"box": list(box or ()), "chest_wall": breast.chest_wall},
        "negative": viewable.negative,
    }


def _source_box(
    box: tuple[float, float, float, float], factor: int, rows: int, columns: int
) -> tuple[float, float, float, float]:
    """Box in source pixels of one on a level, held to the picture."""
    x0, y0, x1, y1 = (float(edge) * factor for edge in box)
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(columns)), min(y1, float(rows))


def _preset(plain: dict[str, Any], lowest: int, highest: int) -> dict[str, Any]:
    """Preset as the viewer wants it: a table with its ends, a window with what the header says."""
    shown = plain["shown"] and {"centre": plain["shown"][0], "width": plain["shown"][1]}
    common = {"name": plain["name"], "function": plain["function"], "shown": shown}
    if plain["function"] == "TABLE":
        return {**common, "first": lowest, "last": highest, "values": plain["values"]}
    return {**common, "centre": plain["centre"], "width": plain["width"]}


@contextmanager
def _appearing(place: Path) -> Iterator[Path]:
    """Give a folder to fill, which then takes its place in one step; whatever stood there is removed."""
    part = place.with_name(f".{secrets.token_hex(8)}.part")
    part.mkdir(mode=0o700)
    try:
        yield part
        if place.exists():
            shutil.rmtree(place)
        part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
