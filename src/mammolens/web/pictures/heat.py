"""The heat map of an answer as numbers that a page draws itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from mammolens.errors import NotFound
from mammolens.explain.colours import COLOUR_MAPS, table
from mammolens.explain.drawing import tint_shares
from mammolens.explain.regions import REGION_THRESHOLD
from mammolens.types import CropGeometry, Region
from mammolens.web.database.tables import Image, Result
from mammolens.web.pictures import files

if TYPE_CHECKING:
    from mammolens.web.app import Services

NAME = "heat.npy"


def result_of(session: Session, image: Image, model: str) -> Result:
    """Find a model's answer for an image.

    Parameters
    ----------
    session : Session
    image : Image
    model : str
        First 16 digits of the model's hash.

    Returns
    -------
    Result

    Raises
    ------
    NotFound
        If that model has given none.
    """
    results = session.scalars(select(Result).where(Result.image_id == image.id))
    found = next((result for result in results if result.model_sha256[:16] == model), None)
    if found is None:
        raise NotFound("This model has not answered for this picture.")
    return found


def geometry_of(result: Result) -> CropGeometry:
    """Way of an answer's heat map to source pixels."""
    plain = result.geometry
    x0, y0, x1, y1 = plain["box"]
    return CropGeometry((x0, y0, x1, y1), plain["mirrored"], (plain["size"][0], plain["size"][1]))


def regions_of(result: Result) -> tuple[Region, ...]:
    """Regions of an answer, highest first."""
    return tuple(
        Region(box=tuple(plain["box"]), centre=tuple(plain["centre"]), score=plain["score"]) for plain in result.regions
    )


def describe(result: Result) -> dict[str, Any]:
    """Say where the grid that `grid` gives lies.

    Parameters
    ----------
    result : Result

    Returns
    -------
    dict
        ``rows`` and ``columns`` of the grid, ``box`` (``[x0, y0, x1, y1]`` in source pixels; the grid covers it evenly,
        and lies as the picture lies), ``contour`` (where the line is drawn, 0 to 1).
    """
    rows, columns = result.geometry["size"]
    return {"rows": rows, "columns": columns, "box": result.geometry["box"], "contour": REGION_THRESHOLD}


def grid(services: Services, image_id: str, result: Result) -> NDArray[np.uint8]:
    """Heat map of an answer as the picture lies.

    Parameters
    ----------
    services : Services
    image_id : str
    result : Result

    Returns
    -------
    ndarray of uint8, shape (rows, columns)
        255 = 1.0.

    Raises
    ------
    NotFound
        If it was not kept.
    """
    values = stored(services, image_id, result)
    if result.geometry["mirrored"]:
        values = values[:, ::-1]
    return np.ascontiguousarray(np.rint(values * np.float32(255.0)).astype(np.uint8))


def stored(services: Services, image_id: str, result: Result) -> NDArray[np.float32]:
    """Heat map of an answer on the model's input grid, 0 to 1; raises as `grid`."""
    folder = files.folder_of(services.folder / "derived", image_id) / files.model_tag(result.model_sha256)
    try:
        values = np.load(folder / NAME)
    except FileNotFoundError:
        raise NotFound("The heat map of this answer is not there any more. Ask for a new answer.") from None
    return np.asarray(values, np.float32)


def colours() -> dict[str, Any]:
    """Give the colour maps as tables of 256 ``[red, green, blue]``, and ``alpha``, the tint's share at each value."""
    return {
        **{name: table(name).tolist() for name in COLOUR_MAPS},
        "alpha": [round(float(share), 4) for share in tint_shares()],
    }
