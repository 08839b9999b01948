"""The breast's outline, nipple, pectoral muscle and lesion positions, in millimetres.

Everything is laid out for a left breast: the chest wall is the left border, x runs
towards the nipple and y downwards. A right breast is the mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FIELD_HEIGHT = 229.4
"""Height of the detector field, millimetres."""

FIELD_WIDTH = 191.4
"""Width of the detector field, millimetres."""

VIEWS = ("CC", "MLO")
"""Views that the phantom knows, as DICOM's MG IOD codes them."""


@dataclass(frozen=True, slots=True)
class Woman:
    """What both breasts and all views of one phantom share.

    Attributes
    ----------
    depth : float
        From chest wall to nipple, millimetres.
    half_height : float
        Half the breast's height along the chest wall in the CC view, millimetres.
    density : float
        0 (fatty) to 1 (extremely dense).
    tail : float
        Width of the axillary tail at the top of the MLO view, as a share of ``depth``.
    muscle : tuple of float
        Pectoral muscle in the MLO view: width at the top and length along the chest
        wall, millimetres.
    mass, calcifications : tuple of float
        ``(behind, outward, upward)`` of the lesion's centre from the nipple, millimetres.
    mass_radius : float
        Of the mass without its spicules, millimetres.
    """

    depth: float
    half_height: float
    density: float
    tail: float
    muscle: tuple[float, float]
    mass: tuple[float, float, float]
    calcifications: tuple[float, float, float]
    mass_radius: float


@dataclass(frozen=True, slots=True)
class Projection:
    """One view of the woman's breast.

    Attributes
    ----------
    outline : ndarray of float64, shape (n, 2)
        Closed polygon ``(x, y)`` of the breast; it leaves the field where the breast does.
    nipple : tuple of float
        ``(x, y)`` of the nipple's base.
    muscle : ndarray of float64, shape (n, 2), or None
        Closed polygon of the pectoral muscle.
    """

    outline: NDArray[np.float64]
    nipple: tuple[float, float]
    muscle: NDArray[np.float64] | None


def woman(seed: int) -> Woman:
    """Draw a woman from a seed.

    Parameters
    ----------
    seed : int
        Equal seeds give equal women.

    Returns
    -------
    Woman
    """
    rng = np.random.default_rng([seed, 1])

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    depth = between(94.0, 112.0)
    return Woman(
        depth=depth,
        half_height=between(76.0, 88.0),
        density=between(0.25, 0.75),
        tail=between(0.66, 0.78),
        muscle=(between(48.0, 62.0), between(130.0, 155.0)),
        mass=(depth * between(0.48, 0.56), between(18.0, 26.0), between(14.0, 22.0)),
        calcifications=(depth * between(0.26, 0.34), between(-24.0, -14.0), between(-18.0, -10.0)),
        mass_radius=between(6.0, 8.5),
    )


def project(subject: Woman, view: str, rng: np.random.Generator) -> Projection:
    """Lay out one view.

    Parameters
    ----------
    subject : Woman
    view : {"CC", "MLO"}
    rng : numpy.random.Generator
        Gives the small differences between one compression and the next.

    Returns
    -------
    Projection
    """
    depth = subject.depth * float(rng.uniform(0.98, 1.02))
    if view == "CC":
        middle = FIELD_HEIGHT / 2 + float(rng.uniform(-5.0, 5.0))
        return Projection(_cc_outline(depth, subject.half_height, middle), (depth, middle), None)
    level = 134.0 + float(rng.uniform(-4.0, 4.0))
    return Projection(_mlo_outline(depth, subject.tail, level), (depth, level), _muscle(*subject.muscle))


def position(offset: tuple[float, float, float], projection: Projection, view: str) -> tuple[float, float]:
    """Where a point of the breast falls in a view.

    The distance behind the nipple is the same in both views. The CC view shows the
    outward offset (outer side up), the MLO view, taken at 45°, the mean of outward
    and upward offset.

    Parameters
    ----------
    offset : tuple of float
        ``(behind, outward, upward)`` from the nipple, millimetres.
    projection : Projection
    view : {"CC", "MLO"}

    Returns
    -------
    tuple of float
        ``(x, y)``, millimetres.
    """
    behind, outward, upward = offset
    rise = outward if view == "CC" else (outward + upward) / np.sqrt(2.0)
    return projection.nipple[0] - behind, projection.nipple[1] - float(rise)


def _cc_outline(depth: float, half_height: float, middle: float) -> NDArray[np.float64]:
    # A half ellipse, a little more pointed at the nipple and meeting the chest wall at an angle.
    angle = np.linspace(-np.pi / 2, np.pi / 2, 181)
    height = np.sin(angle)
    x = depth * (1.0 - np.abs(height) ** 2.05) ** 0.62
    y = middle + half_height * height
    arc = np.column_stack([x, y])
    return np.vstack([[-40.0, arc[0, 1]], arc, [-40.0, arc[-1, 1]]])


def _mlo_outline(depth: float, tail: float, level: float) -> NDArray[np.float64]:
    # (share of the depth, millimetres below the nipple's level), from the axilla down to the abdomen.
    knots = np.array(
        [
            (tail + 0.03, -level - 40.0),
            (tail, -level - 4.0),
            (tail - 0.03, -level + 26.0),
            (tail + 0.02, -80.0),
            (0.86, -43.0),
            (0.965, -17.0),
            (1.0, 0.0),
            (0.975, 17.0),
            (0.88, 37.0),
            (0.71, 54.0),
            (0.47, 65.5),
            (0.23, 70.5),
            (0.10, 72.5),
            (0.075, 76.0),
            (0.11, 83.0),
            (0.18, 96.0),
            (0.24, 140.0),
        ]
    )
    curve = _spline(knots * [depth, 1.0] + [0.0, level], 24)
    return np.vstack([[-40.0, curve[0, 1]], curve, [-40.0, curve[-1, 1]]])


def _muscle(width: float, length: float) -> NDArray[np.float64]:
    # The free edge bulges a little towards the breast.
    t = np.linspace(0.0, 1.0, 60)
    bulge = 5.0 * np.sin(np.pi * t)
    edge = np.column_stack([width * (1.06 - 1.06 * t) + bulge, length * (1.06 * t - 0.06) + 0.4 * bulge])
    return np.vstack([[-40.0, edge[0, 1]], edge, [-40.0, edge[-1, 1]]])


def _spline(knots: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Catmull-Rom curve through knots, shape (n, 2), with ``steps`` points from one knot to the next."""
    padded = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    before, start, end, after = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    return np.vstack([curve.reshape(-1, 2), knots[-1]])
