"""The quality gate on pixels: tell a whole mammogram that the model may answer for.

The figures were measured on 2,672 digital and 228 film mammograms and on what
is none; ``docs/quality-gate.md`` has the table. Everything is computed on a
256 × 256 thumbnail and on the breast that preprocessing needs anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BlankImage, NoBreast, NotAMammogram, TooSmall
from mammolens.imaging.breast import THUMBNAIL, find_breast, stretched, thumbnail
from mammolens.types import Breast, Notice

SMALLEST_SIDE = 128
"""Rows and columns that a picture must have."""

MOST_COLOUR = 0.15
"""Share of plainly coloured pixels from which a picture is a photograph."""

_FEWEST_GREYS = 4.0
_SMALLEST_SPREAD = 0.05
_MOST_ROUGHNESS = 0.4
_WALL_STRIP, _WALL_COVER = 0.03, 0.72
_BEYOND_WALL, _COVER_BEYOND_WALL = 0.25, 0.3
_LEAST_PEAK, _LEAST_FALL = 0.72, 0.25
_LEAST_SOLIDITY = 0.6
_MOST_FILL = 0.955
_CORNER, _MOST_CORNER, _IN_MID_AIR = 0.15, 0.7, 0.03
_AIR_FOR_JUDGEMENT, _BRIGHTEST_AIR = 0.12, 0.12
_LEAST_DARK_AIR, _ROUGHEST_AIR = 0.3, 0.015
_CROPPED_AIR, _CROPPED_AREA, _LEAST_CUT_OUT = 0.1, 0.9, 0.5
_BLANK = "The picture holds (almost) one single grey value. Export it again."
_ADVICE = "Give a whole mammogram of one breast; --any-modality reads the picture all the same."


@dataclass(frozen=True, slots=True)
class Shape:
    """Figures of a picture and the breast found in it; see ``docs/quality-gate.md``.

    Attributes
    ----------
    wall : float
        Highest share of the box's height that the breast covers in a column next to the chest wall, or by which the
        cover rises at once a little further in, where film shows something beyond the wall.
    peak, fall : float
        Highest cover in the half near the chest wall, and how far it falls to the far end.
    solidity : float
        Area of the breast over that of its convex hull.
    air : float
        Share of the picture that lies around the breast.
    dark_air : float
        Share of that which is darker than 12 % of the grey range.
    air_roughness : float
        Median deviation of those dark pixels from their median.
    fill : float
        Share of its box that the breast covers.
    far_corners : float
        Cover of the emptier one of the box's two corners away from the chest wall, each 15 % of the sides.
    air_corner : float
        Cover of the fuller one of these, of those around which the picture goes on both ways; 0 without such a one.
    """

    wall: float
    peak: float
    fall: float
    solidity: float
    air: float
    dark_air: float
    air_roughness: float
    fill: float
    far_corners: float
    air_corner: float


def look(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Shrink a picture for the gate's figures.

    Parameters
    ----------
    pixels : ndarray of uint8, uint16 or float32, shape (h, w)

    Returns
    -------
    ndarray of float32, shape (256, 256)
        Scaled so that the 0.1 and 99.9 percentiles are 0 and 1.

    Raises
    ------
    TooSmall
    BlankImage
        If there is (almost) one grey value only.
    """
    check_size(pixels.shape[0], pixels.shape[1])
    thumb = thumbnail(pixels)
    span = float(thumb.max() - thumb.min())
    if not np.isfinite(span) or span <= 0.0 or (pixels.dtype.kind == "u" and span < _FEWEST_GREYS):
        raise BlankImage(_BLANK)
    scaled = stretched(thumb)
    if float(scaled.std()) < _SMALLEST_SPREAD:
        raise BlankImage(_BLANK)
    return scaled


def assess(
    pixels: NDArray[Any], colour: float = 0.0, scaled: NDArray[np.float32] | None = None
) -> tuple[Breast, tuple[Notice, ...]]:
    """Look at a positive picture and say whether it is a mammogram.

    Parameters
    ----------
    pixels : ndarray of uint8, uint16 or float32, shape (h, w)
        Bright = dense.
    colour : float
        Share of plainly coloured pixels, 0 to 1.
    scaled : ndarray of float32, shape (256, 256), optional
        The picture as `look` shrinks it, where that has been done.

    Returns
    -------
    breast : Breast
        As `find_breast` gives it.
    notices : tuple of Notice

    Raises
    ------
    TooSmall, BlankImage, NoBreast, NotAMammogram
    """
    if colour > MOST_COLOUR:
        raise NotAMammogram(f"The picture is in colour; a mammogram is grey. {_ADVICE}")
    scaled = look(pixels) if scaled is None else scaled
    if roughness(scaled) > _MOST_ROUGHNESS:
        raise NoBreast(f"The picture is noise or a pattern, not a breast. {_ADVICE}")
    breast = find_breast(pixels)
    if breast is None:
        raise NoBreast(f"No breast was found in the picture. {_ADVICE}")
    shape = describe(breast, scaled, (pixels.shape[0], pixels.shape[1]))
    return breast, _judged(breast, shape)


def check_size(rows: int, columns: int) -> None:
    """Refuse a picture in which nothing could be seen.

    Raises
    ------
    TooSmall
    """
    if min(rows, columns) < SMALLEST_SIDE:
        raise TooSmall(
            f"The picture has {columns} x {rows} pixels; at least {SMALLEST_SIDE} on each side are needed. "
            "Give the original, not a thumbnail."
        )


def roughness(scaled: NDArray[np.float32]) -> float:
    """Mean step between neighbours over the standard deviation: about 1.1 for noise, at most 0.3 for a mammogram."""
    return float(np.abs(np.diff(scaled, axis=1)).mean()) / max(float(scaled.std()), 1e-6)


def describe(breast: Breast, scaled: NDArray[np.float32], size: tuple[int, int]) -> Shape:
    """Measure a breast.

    Parameters
    ----------
    breast : Breast
    scaled : ndarray of float32, shape (256, 256)
        From `look`.
    size : tuple of int
        ``(h, w)`` of the picture searched.

    Returns
    -------
    Shape
    """
    mask = breast.mask if breast.chest_wall == "left" else breast.mask[:, ::-1]
    cover = cv2.reduce(mask, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel() / 255.0
    width = len(cover)
    strip = max(1, round(_WALL_STRIP * width))
    contours, _ = cv2.findContours(breast.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = max(contours, key=cv2.contourArea)
    hull = float(cv2.contourArea(cv2.convexHull(outline)))
    x0, y0, x1, y1 = breast.box
    whole = np.zeros((THUMBNAIL, THUMBNAIL), np.uint8)
    left, right = round(x0 / size[1] * THUMBNAIL), round(x1 / size[1] * THUMBNAIL)
    top, bottom = round(y0 / size[0] * THUMBNAIL), round(y1 / size[0] * THUMBNAIL)
    if right > left and bottom > top:
        whole[top:bottom, left:right] = _nearest(breast.mask, right - left, bottom - top)
    around = scaled[cv2.dilate(whole, np.ones((9, 9), np.uint8)) == 0]
    dark = around[around < _BRIGHTEST_AIR]
    corners = _far_corners(mask)
    above, below, beyond = _margins(scaled, (left, top, right, bottom), breast.chest_wall)
    in_air = [share for share, gap in zip(corners, (above, below), strict=True) if min(gap, beyond) > _IN_MID_AIR]
    return Shape(
        wall=max(float(cover[:strip].max()), _wall_within(cover, strip)),
        peak=float(cover[: max(1, width // 2)].max()),
        fall=float(cover[: max(1, width // 2)].max() - cover[-1]),
        solidity=float(cv2.contourArea(outline)) / max(hull, 1.0),
        air=around.size / THUMBNAIL**2,
        dark_air=dark.size / max(around.size, 1),
        air_roughness=float(np.median(np.abs(dark - np.median(dark)))) if dark.size else 0.0,
        fill=float(cover.mean()),
        far_corners=min(corners),
        air_corner=max(in_air, default=0.0),
    )


def _far_corners(mask: NDArray[np.uint8]) -> tuple[float, float]:
    """Cover of the upper and the lower corner away from the chest wall, which is to the left."""
    height, width = (max(1, round(_CORNER * side)) for side in mask.shape)
    return float((mask[:height, -width:] > 0).mean()), float((mask[-height:, -width:] > 0).mean())


def _margins(
    scaled: NDArray[np.float32], box: tuple[int, int, int, int], chest_wall: str
) -> tuple[float, float, float]:
    """How far the picture goes on above, below and beyond a box's far end, as shares of its sides.

    Lines of one single value at the picture's border are padding, and no part of it.
    """
    first_row, end_row = _unpadded(np.ptp(scaled, axis=1))
    first_column, end_column = _unpadded(np.ptp(scaled, axis=0))
    height, width = end_row - first_row, end_column - first_column
    left, top, right, bottom = box
    beyond = end_column - right if chest_wall == "left" else left - first_column
    return (top - first_row) / height, (end_row - bottom) / height, beyond / width


def _unpadded(spreads: NDArray[np.float32]) -> tuple[int, int]:
    """First line with more than one value, and the one after the last; all lines where there is none."""
    varied = np.flatnonzero(spreads > 0)
    return (int(varied[0]), int(varied[-1]) + 1) if varied.size else (0, len(spreads))


def _nearest(mask: NDArray[np.uint8], width: int, height: int) -> NDArray[Any]:
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)


def _wall_within(cover: NDArray[Any], step: int) -> float:
    """Cover just behind a steep rise, where only something low lies for a while before it; 0 where there is none."""
    near = cover[step : int(_BEYOND_WALL * len(cover)) + step]
    if len(near) <= step or cover[:step].max() >= _COVER_BEYOND_WALL:
        return 0.0
    behind = near[step:][near[:-step] < _COVER_BEYOND_WALL]
    return float(behind.max()) if behind.size else 0.0


def _judged(breast: Breast, shape: Shape) -> tuple[Notice, ...]:
    """Refuse what can't be a mammogram, warn of what may be only a part of one."""
    air = shape.air >= _AIR_FOR_JUDGEMENT
    cropped = shape.air < _CROPPED_AIR or breast.area > _CROPPED_AREA or shape.fall < _LEAST_FALL
    if shape.wall < _WALL_COVER or shape.peak < _LEAST_PEAK:
        raise NoBreast(f"The largest object in the picture does not lie against one side as a breast does. {_ADVICE}")
    if (shape.fall < _LEAST_FALL and breast.area < _LEAST_CUT_OUT) or shape.fill > _MOST_FILL:
        raise NoBreast(
            f"The largest object in the picture is a bar or fills a box; no outline of a breast can be seen. {_ADVICE}"
        )
    if shape.far_corners > _MOST_CORNER or shape.air_corner > _MOST_CORNER:
        raise NoBreast(
            f"The largest object in the picture ends in square corners, where a breast's outline is round. {_ADVICE}"
        )
    if shape.solidity < _LEAST_SOLIDITY:
        raise NoBreast(f"The largest object in the picture is not of a breast's shape. {_ADVICE}")
    if air and (shape.dark_air < _LEAST_DARK_AIR or shape.air_roughness > _ROUGHEST_AIR):
        raise NotAMammogram(f"There is no dark, even air around the largest object in the picture. {_ADVICE}")
    if cropped:
        return (
            Notice(
                "cropped-region",
                "The tissue fills the picture: it looks like a cut-out of a mammogram. The model was trained on whole "
                "breasts.",
            ),
        )
    return ()
