"""How the views of an examination hang: mirrored, back to back, right breast on the reader's left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mammolens.report.entry import HANGING
from mammolens.web.database.tables import Image, ImageState, Result

Place = tuple[str, str]
"""Laterality and view, such as ``("R", "CC")``."""

_STANDARD = dict.fromkeys(HANGING)


@dataclass(frozen=True, slots=True)
class Hung:
    """A place of the hanging.

    Attributes
    ----------
    place : (str, str) or None
        None in a plain grid, where views are unknown.
    image : Image or None
        None where the view was not given.
    side : {"left", "right"} or None
        Where the chest wall is to lie: towards the other breast. None in a plain grid.
    """

    place: Place | None
    image: Image | None
    side: str | None


@dataclass(frozen=True, slots=True)
class Hanging:
    """What hangs where.

    Attributes
    ----------
    cells : tuple of Hung
        Row by row, ``columns`` a row.
    columns : int
    others : tuple of Image
        Not hung: repeated, spot and further views. They are shown large one by one.
    """

    cells: tuple[Hung, ...]
    columns: int
    others: tuple[Image, ...]


def place_of(image: Image) -> Place | None:
    """Place of a standard view; None for any other, and where side or view is unknown."""
    if image.laterality is None or image.view is None or image.view_modifiers:
        return None
    found = (image.laterality, image.view)
    return found if found in _STANDARD else None


def hang(images: Iterable[Image]) -> Hanging:
    """Hang the views of an examination.

    Parameters
    ----------
    images : iterable of Image

    Returns
    -------
    Hanging
        RCC and LCC above RMLO and LMLO, a row without any view left out; of two pictures of one view an answered one
        hangs before another, the newer before the older. Where fewer than two standard views are known, a plain
        grid of all pictures in the order in which they came.
    """
    ordered = sorted(images, key=lambda image: (image.arrived, image.id))
    best: dict[Place, Image] = {}
    for image in ordered:
        place = place_of(image)
        if place is not None and (place not in best or _answered(image) >= _answered(best[place])):
            best[place] = image
    if len(best) < 2:
        cells = tuple(Hung(None, image, None) for image in ordered)
        return Hanging(cells, 1 if len(cells) < 2 else 2, ())
    rows = {view for _, view in best}
    hung = tuple(
        Hung(place, best.get(place), "right" if place[0] == "R" else "left") for place in HANGING if place[1] in rows
    )
    shown = {image.id for image in best.values()}
    return Hanging(hung, 2, tuple(image for image in ordered if image.id not in shown))


def _answered(image: Image) -> bool:
    return image.state is ImageState.ANSWERED


def chest_wall(result: Result | None) -> str | None:
    """Side of the stored picture that the chest wall lies on; None where nothing is known of it.

    The crop of the model's input has it on the left; where it had to be mirrored for that, it lay on the right.
    """
    if result is None:
        return None
    return "right" if result.geometry["mirrored"] else "left"


def flipped(side: str | None, result: Result | None) -> bool:
    """Whether a picture has to be turned left to right so that its chest wall lies on ``side``."""
    stored = chest_wall(result)
    return side is not None and stored is not None and stored != side


def name_of(image: Image) -> str:
    """Side, view and modifiers in the field's abbreviations, such as ``L MLO spot compression``; may be empty."""
    return " ".join(part for part in (image.laterality, image.view, *image.view_modifiers) if part)
