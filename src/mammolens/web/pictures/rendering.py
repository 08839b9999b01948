"""Pictures made of an image and its answers, kept below ``derived/<image id>/``.

====================================  =====================================================================
``thumb.png``, ``preview.png``        grey, 8 bits, bright = dense, stretched by the breast
``<model>/overlay.png``               the preview with map, contour, numbered regions and colour bar
``<model>/heat.npy``                  the map on the model's input grid, float16
``<model>/heat.png``                  the map on the preview's pixels, 8-bit grey, 255 = 1.0
====================================  =====================================================================
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.errors import InputError, NotAMammogram, NotFound
from mammolens.explain.overlay import LONGEST, display_reduction, overlay_on, picture
from mammolens.explain.source import on_source
from mammolens.imaging.limits import Limits
from mammolens.imaging.png import encode_png
from mammolens.imaging.raster import read_png
from mammolens.types import Mammogram, Prediction
from mammolens.web.database.tables import Image, ImageState, Result
from mammolens.web.pictures import files, heat, levels

if TYPE_CHECKING:
    from mammolens.web.app import Services

THUMB_SIDE = 256
PREVIEW, THUMB, OVERLAY, HEAT = "preview.png", "thumb.png", "overlay.png", "heat.png"
_GAP = 16
_NOTHING = "There is no picture of this file to show."


def folder(services: Services, image_id: str) -> Path:
    """Folder of what is made of an image, whether it is there or not."""
    return files.folder_of(services.folder / "derived", image_id)


def answer_folder(services: Services, image_id: str, model_sha256: str) -> Path:
    """Folder of what is made of one model's answer for an image."""
    return folder(services, image_id) / files.model_tag(model_sha256)


def preview_path(services: Services, image_id: str) -> Path:
    """Where an image's preview lies, whether it is there or not."""
    return folder(services, image_id) / PREVIEW


def thumb_path(services: Services, image_id: str) -> Path:
    """Where an image's thumbnail lies, whether it is there or not."""
    return folder(services, image_id) / THUMB


def write_answer(services: Services, image_id: str, prediction: Prediction) -> None:
    """Write everything that is shown of an answer.

    Parameters
    ----------
    services : Services
    image_id : str
    prediction : Prediction

    Raises
    ------
    StorageFull, OutputError
        If a file can't be written. Each appears whole or not at all; written once more, they are the same.
    """
    mammogram, geometry = prediction.mammogram, prediction.geometry
    shape = mammogram.rows, mammogram.columns
    grey = picture(mammogram, box=geometry.box)
    drawn = overlay_on(grey, prediction.heatmap, geometry, prediction.regions, shape)
    array = io.BytesIO()
    np.save(array, prediction.heatmap.astype(np.float16))
    spread = on_source(prediction.heatmap, geometry, *shape, display_reduction(mammogram))
    place = answer_folder(services, image_id, prediction.model.sha256)
    files.write_all(
        [
            *_greys(folder(services, image_id), grey),
            (place, heat.NAME, array.getbuffer()),
            (place, HEAT, encode_png(np.rint(spread * 255.0).astype(np.uint8), level=1)),
            (place, OVERLAY, encode_png(drawn, level=1)),
        ]
    )


def thumb_png(services: Services, image: Image) -> bytes:
    """Thumbnail of an image; takes, gives and raises what `preview_png` does."""
    return _shown(services, image, THUMB)


def preview_png(services: Services, image: Image) -> bytes:
    """Preview of an image.

    That of an answered image was written with the answer. A file that is whole but no mammogram has none yet: it is
    made of its levels, so that one can see what was refused.

    Parameters
    ----------
    services : Services
    image : Image

    Returns
    -------
    bytes
        PNG, grey.

    Raises
    ------
    NotFound
        If there is nothing to show: the image waits, or its file can't be decoded.
    Overloaded, StorageFull, OutputError
        As `levels.make`.
    """
    return _shown(services, image, PREVIEW)


def overlay_png(services: Services, image: Image, result: Result, colours: str = "inferno") -> bytes:
    """Overlay of an answer.

    Parameters
    ----------
    services : Services
    image : Image
    result : Result
    colours : {"inferno", "cividis"}

    Returns
    -------
    bytes
        PNG, RGB.

    Raises
    ------
    NotFound
        If the answer's pictures are not there any more.
    ConfigurationError
        If there is no such colour map.
    """
    if colours == "inferno":
        return _bytes(answer_folder(services, image.id, result.model_sha256) / OVERLAY)
    return encode_png(_overlay(services, image, result, colours, _grey(services, image.id)), level=1)


def pair_png(services: Services, image: Image, result: Result, colours: str = "inferno") -> bytes:
    """Original and overlay side by side; takes, gives and raises what `overlay_png` does."""
    grey = _grey(services, image.id)
    right = _overlay(services, image, result, colours, grey)
    left = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    gap = np.zeros((grey.shape[0], _GAP, 3), np.uint8)
    return encode_png(np.concatenate([left, gap, right], axis=1), level=1)


def forget(services: Services, image_id: str) -> None:
    """Remove all that was made of an image."""
    place = folder(services, image_id)
    with files.writing():
        if place.exists():
            shutil.rmtree(place)


def _shown(services: Services, image: Image, name: str) -> bytes:
    path = folder(services, image.id) / name
    if not path.is_file():
        refused = image.state is ImageState.REFUSED and image.error_code in _showable()
        if image.state is not ImageState.ANSWERED and not refused:
            raise NotFound(_NOTHING)
        files.write_all(_greys(folder(services, image.id), _from_levels(services, image)))
    return _bytes(path)


def _from_levels(services: Services, image: Image) -> NDArray[np.uint8]:
    """Preview of an image that has no answer."""
    try:
        found = levels.make(services, image)
    except InputError as error:
        raise NotFound(_NOTHING) from error
    sides = [max(level["rows"], level["columns"]) for level in found["levels"]]
    number = next((n for n, side in enumerate(sides) if side <= LONGEST), len(sides) - 1)
    pixels = np.array(levels.pixels(services, image.id, number))
    mammogram = Mammogram(pixels, found["rows"], found["columns"], reduction=1 << number)
    return picture(mammogram, box=found["breast"] and tuple(found["breast"]["box"]))


def _greys(place: Path, grey: NDArray[np.uint8]) -> list[tuple[Path, str, bytes | memoryview]]:
    """Preview and thumbnail, as `files.write_all` takes them."""
    factor = THUMB_SIDE / max(grey.shape)
    size = tuple(max(1, round(side * factor)) for side in (grey.shape[1], grey.shape[0]))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA) if factor < 1.0 else grey
    return [
        (place, PREVIEW, encode_png(grey, level=1)),
        (place, THUMB, encode_png(np.asarray(small, np.uint8), level=6)),
    ]


def _overlay(
    services: Services, image: Image, result: Result, colours: str, grey: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    shape = _source_shape(image)
    values, geometry = heat.stored(services, image.id, result), heat.geometry_of(result)
    return overlay_on(grey, values, geometry, heat.regions_of(result), shape, colours)


def _source_shape(image: Image) -> tuple[int, int]:
    if image.rows is None or image.columns is None:
        raise NotFound(_NOTHING)
    return image.rows, image.columns


def _grey(services: Services, image_id: str) -> NDArray[np.uint8]:
    """Preview as it was written."""
    values: NDArray[Any] = read_png(_bytes(preview_path(services, image_id)), Limits()).values
    return np.asarray(values, np.uint8)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(_NOTHING) from None


def _showable() -> frozenset[str]:
    """Codes of refusals of files that can be decoded."""
    return frozenset({NotAMammogram.code, *(kind.code for kind in NotAMammogram.__subclasses__())})
