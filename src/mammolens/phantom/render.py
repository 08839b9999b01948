"""From anatomy and tissue to a 12-bit picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.phantom import lesions
from mammolens.phantom.anatomy import FIELD_HEIGHT, FIELD_WIDTH, VIEWS, Projection, Woman, position, project, woman
from mammolens.phantom.textures import Grid, Plane
from mammolens.phantom.tissue import draw_nipple, draw_tissue

LESIONS = (None, "mass", "calcifications", "both")
"""What a phantom may show."""

MAXIMUM = 4095
"""Highest grey value, 12 bits."""

_COARSE = 0.2
_SMALLEST = 64


@dataclass(frozen=True, slots=True)
class Lesion:
    """Where a lesion was put.

    Attributes
    ----------
    kind : {"mass", "calcifications"}
    box : tuple of int
        ``(x0, y0, x1, y1)`` in pixels, half open.
    centre : tuple of float
        ``(x, y)`` in pixels.
    """

    kind: str
    box: tuple[int, int, int, int]
    centre: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Phantom:
    """A synthetic mammogram.

    Attributes
    ----------
    pixels : ndarray of uint16, shape (rows, columns)
        0 to 4095, bright = dense; 0 or nearly so in the air.
    mask : ndarray of bool, shape (rows, columns)
        True on the breast (nipple, muscle and abdomen's fold included).
    lesions : tuple of Lesion
    view : {"CC", "MLO"}
    laterality : {"L", "R"}
        Chest wall to the left in "L", to the right in "R".
    pixel_spacing : float
        Millimetres per pixel, both ways.
    seed : int
    """

    pixels: NDArray[np.uint16]
    mask: NDArray[np.bool_]
    lesions: tuple[Lesion, ...]
    view: str
    laterality: str
    pixel_spacing: float
    seed: int


def make(
    view: str = "MLO",
    laterality: str = "L",
    lesion: str | None = None,
    rows: int = 2294,
    columns: int = 1914,
    seed: int = 0,
) -> Phantom:
    """Make one synthetic mammogram.

    The same seed is the same woman: both views and both breasts agree in size and
    density, and a lesion lies at positions that fit together. The grey values imitate
    a processed ("for presentation") digital mammogram; nothing in it comes from a
    patient.

    Parameters
    ----------
    view : {"CC", "MLO"}
    laterality : {"L", "R"}
    lesion : {None, "mass", "calcifications", "both"}
    rows, columns : int
        Size of the picture, each at least 64. The default has a pixel of 0.1 mm; a
        smaller picture shows the same field with larger pixels.
    seed : int
        Not negative.

    Returns
    -------
    Phantom

    Raises
    ------
    ValueError
        If a parameter is none of these.
    """
    _check(view, laterality, lesion, rows, columns, seed)
    spacing = max(FIELD_HEIGHT / rows, FIELD_WIDTH / columns)
    subject = woman(seed)
    # Streams of their own, so that the same breast with and without a lesion differs in the lesion alone.
    rng, lesion_rng, noise_rng = (
        np.random.default_rng([seed, stream, VIEWS.index(view), "LR".index(laterality)]) for stream in (2, 3, 4)
    )
    projection = project(subject, view, rng)
    field = Grid(rows, columns, spacing)
    places = _places(lesion, subject, projection, view)
    picture, reaches = _attenuation(rng, lesion_rng, field, subject, projection, places)
    mask = field.polygon(projection.outline) > 0.5
    mask |= draw_nipple(field, projection) > 0.5
    pixels = _expose(noise_rng, picture)
    boxes = tuple(_lesion(kind, places[kind], reach, spacing, (rows, columns)) for kind, reach in reaches.items())
    if laterality == "R":
        pixels, mask = np.ascontiguousarray(pixels[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
        boxes = tuple(_mirrored(box, columns) for box in boxes)
    return Phantom(pixels, mask, boxes, view, laterality, spacing, seed)


def examination(seed: int = 0, rows: int = 2294, columns: int = 1914) -> dict[str, Phantom]:
    """Make a four-view examination with a mass and a calcification cluster in one breast.

    Parameters
    ----------
    seed : int
        An even seed has the lesions in the left breast, an odd one in the right.
    rows, columns : int
        Size of each picture.

    Returns
    -------
    dict of str to Phantom
        ``"RCC"``, ``"LCC"``, ``"RMLO"``, ``"LMLO"``, in the order of hanging.
    """
    affected = "LR"[seed % 2]
    return {
        laterality + view: make(view, laterality, "both" if laterality == affected else None, rows, columns, seed)
        for view in VIEWS
        for laterality in ("R", "L")
    }


def _check(view: str, laterality: str, lesion: str | None, rows: int, columns: int, seed: int) -> None:
    if view not in VIEWS:
        raise ValueError(f"view must be one of {VIEWS}")
    if laterality not in ("L", "R"):
        raise ValueError("laterality must be 'L' or 'R'")
    if lesion not in LESIONS:
        raise ValueError(f"lesion must be one of {LESIONS}")
    if min(rows, columns) < _SMALLEST:
        raise ValueError(f"rows and columns must be at least {_SMALLEST}")
    if seed < 0:
        raise ValueError("seed must not be negative")


def _places(lesion: str | None, subject: Woman, projection: Projection, view: str) -> dict[str, tuple[float, float]]:
    """Where each kind of lesion that is asked for lies in a view, millimetres."""
    offsets = {"mass": subject.mass, "calcifications": subject.calcifications}
    return {kind: position(offset, projection, view) for kind, offset in offsets.items() if lesion in (kind, "both")}


def _attenuation(
    rng: np.random.Generator,
    lesion_rng: np.random.Generator,
    field: Grid,
    subject: Woman,
    projection: Projection,
    places: dict[str, tuple[float, float]],
) -> tuple[Plane, dict[str, float]]:
    """Draw tissue and lesions: grey values from 0 to about 1 on ``field``, and each lesion's reach in millimetres."""
    reduction = max(1, round(_COARSE / field.step))
    # Tissue and masses have no detail that a coarser grid would miss; specks have.
    coarse = Grid(-(-field.rows // reduction), -(-field.columns // reduction), field.step * reduction)
    breast, tissue = draw_tissue(rng, coarse, subject, projection)
    reaches: dict[str, float] = {}
    if "mass" in places:
        opacity, reach = lesions.spiculated_mass(lesion_rng, coarse, places["mass"], subject.mass_radius)
        tissue += np.float32(0.30) * opacity * breast
        reaches["mass"] = reach
    enlarged = cv2.resize(tissue, (coarse.columns * reduction, coarse.rows * reduction), interpolation=cv2.INTER_CUBIC)
    picture = np.array(enlarged[: field.rows, : field.columns], dtype=np.float32)
    if "calcifications" in places:
        specks = lesions.microcalcifications(lesion_rng, places["calcifications"], projection.nipple)
        lesions.stamp(picture, specks, field.step, 0.42)
        reaches["calcifications"] = lesions.CLUSTER / 2
    return picture, reaches


def _expose(rng: np.random.Generator, picture: Plane) -> NDArray[np.uint16]:
    """Twelve bits with the detector's noise, which grows with the attenuation; air is clipped at 0."""
    noise = rng.standard_normal(picture.shape, dtype=np.float32)
    cv2.GaussianBlur(noise, (3, 3), 0.55, dst=noise)
    spread = np.float32(2.0) + np.float32(55.0) * np.sqrt(np.clip(picture, 0.0, 1.0))
    grey = picture * np.float32(3700.0) + noise * spread
    # Half of the air's noise falls below 0, as behind a detector's offset correction.
    return np.asarray(np.clip(np.rint(grey), 0, MAXIMUM), dtype=np.uint16)


def _lesion(kind: str, centre: tuple[float, float], reach: float, spacing: float, shape: tuple[int, int]) -> Lesion:
    x, y = centre[0] / spacing, centre[1] / spacing
    r = reach / spacing
    rows, columns = shape
    box = (
        max(0, int(np.floor(x - r))),
        max(0, int(np.floor(y - r))),
        min(columns, int(np.ceil(x + r))),
        min(rows, int(np.ceil(y + r))),
    )
    return Lesion(kind, box, (x, y))


def _mirrored(lesion: Lesion, columns: int) -> Lesion:
    x0, y0, x1, y1 = lesion.box
    return Lesion(lesion.kind, (columns - x1, y0, columns - x0, y1), (columns - lesion.centre[0], lesion.centre[1]))
