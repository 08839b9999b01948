"""A healthy breast: fat, gland, strands, vessels, muscle and skin, as a processed mammogram shows them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.phantom.anatomy import Projection, Woman
from mammolens.phantom.textures import Grid, Plane, blur, power_law, radial, smooth_step


def draw_nipple(grid: Grid, projection: Projection) -> Plane:
    """Coverage of the nipple, 0 to 1: a low cap with sloping sides.

    Parameters
    ----------
    grid : Grid
    projection : Projection

    Returns
    -------
    ndarray of float32, shape (rows, columns)
    """
    angle = np.linspace(0.0, 2 * np.pi, 64)
    x, y = projection.nipple
    height = 3.6 * np.abs(np.cos(angle)) ** 0.6 * np.sign(np.cos(angle))
    return grid.polygon(np.column_stack([x + height, y + 5.6 * np.sin(angle)]), softness=0.35)


def draw_tissue(rng: np.random.Generator, grid: Grid, subject: Woman, projection: Projection) -> tuple[Plane, Plane]:
    """Draw a healthy breast.

    Parameters
    ----------
    rng : numpy.random.Generator
    grid : Grid
    subject : Woman
    projection : Projection

    Returns
    -------
    coverage : ndarray of float32, shape (rows, columns)
        0 in the air, 1 on the breast.
    value : ndarray of float32, shape (rows, columns)
        Grey values from 0 to about 1, without noise.
    """
    nipple = draw_nipple(grid, projection)
    body = grid.polygon(projection.outline)
    breast = np.maximum(body, nipple)
    depth = _depth(body, grid)
    muscle = np.zeros_like(body) if projection.muscle is None else grid.polygon(projection.muscle, softness=1.4)
    x, y = grid.coordinates()
    to_nipple = np.hypot(x - np.float32(projection.nipple[0]), y - np.float32(projection.nipple[1]))

    slow = power_law(rng, grid, 3.2, (8.0, 70.0))
    drift = power_law(rng, grid, 3.6, (12.0, 60.0))
    fine = power_law(rng, grid, 2.8, (0.5, 25.0))
    waver = power_law(rng, grid, 3.0, (3.5, 25.0))
    wander = (np.float32(2.6) * slow + waver, np.float32(2.6) * drift + waver)
    fibres = radial(rng, grid, projection.nipple, wander, 3.2)
    web = radial(rng, grid, projection.nipple, (wander[1], -wander[0]), 6.0)

    gland = _gland(subject, depth, to_nipple, muscle, 0.75 * slow + 0.55 * fine + 0.40 * fibres + 0.35 * web)
    strands = _ridges(fibres, 0.20) * smooth_step(drift, -1.6, 1.2)
    strands += np.float32(0.9) * _ridges(web, 0.13) * smooth_step(slow, -1.6, 1.0)
    strands += np.float32(0.7) * _ridges(waver + np.float32(0.6) * web, 0.12) * smooth_step(fibres, -1.0, 1.5)

    thickness = np.sqrt(np.clip(1.0 - np.square(1.0 - np.minimum(depth / 22.0, 1.0)), 0.0, 1.0))
    value = np.float32(0.15) + np.float32(0.13) * thickness + np.float32(0.020) * slow + np.float32(0.022) * fine
    value += gland * (np.float32(0.24) + np.float32(0.045) * fine + np.float32(0.045) * fibres)
    quiet = smooth_step(depth, 1.5, 10.0) * (1 - np.float32(0.8) * muscle) * (1 - np.float32(0.4) * gland)
    value += np.float32(0.085) * strands * quiet
    vessels = blur(grid.strokes(_vessels(rng, projection)), 0.3 / grid.step)
    value += np.float32(0.10) * vessels * smooth_step(depth, 1.0, 6.0) * (1 - np.float32(0.6) * muscle)
    if projection.muscle is not None:
        value += muscle * _muscle_value(rng, grid, projection.muscle, y)
    # Skin, a little thicker around the nipple.
    width = np.float32(1.1) + np.float32(1.3) * np.exp(-np.square(to_nipple / np.float32(14.0)))
    value += np.float32(0.17) * np.exp(-np.square((depth - width) / width)) * body
    value += np.float32(0.09) * np.exp(-np.square(to_nipple / np.float32(8.0)))
    value = np.maximum(value, np.float32(0.34) * nipple)
    return breast, np.asarray(value * breast, dtype=np.float32)


def _ridges(texture: Plane, width: float) -> Plane:
    """Bright lines where a texture passes through 0."""
    return np.asarray(np.exp(-np.square(texture / np.float32(width))), dtype=np.float32)


def _depth(body: Plane, grid: Grid) -> Plane:
    """Distance to the skin, millimetres; the borders of the picture are no skin."""
    margin = int(np.ceil(24.0 / grid.step))
    solid = np.where(body > 0.5, 255, 0).astype(np.uint8)
    padded = cv2.copyMakeBorder(solid, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[margin:-margin, margin:-margin]
    return np.asarray(distance * np.float32(grid.step), dtype=np.float32)


def _gland(subject: Woman, depth: Plane, to_nipple: Plane, muscle: Plane, texture: Plane) -> Plane:
    """Share of glandular tissue, 0 to 1: a cone behind the nipple, under a layer of fat."""
    extent = subject.depth * (0.72 + 0.30 * subject.density)
    envelope = smooth_step(depth, 3.0, 24.0) * (1.0 - smooth_step(to_nipple, 0.35 * extent, extent))
    level = 1.25 - 1.5 * subject.density
    lifted = np.asarray(texture + np.float32(2.2) * (envelope - 1.0), dtype=np.float32)
    lumps = smooth_step(lifted, level - 1.3, level + 2.2)
    haze = np.float32(0.10 + 0.25 * subject.density)
    return np.asarray((lumps + haze * (1 - lumps)) * smooth_step(envelope, 0.0, 0.6) * (1.0 - muscle), dtype=np.float32)


def _vessels(rng: np.random.Generator, projection: Projection) -> list[tuple[NDArray[np.float64], float, float]]:
    """Curved tubes from the chest wall to the subareolar tissue, some with a branch."""
    drawn: list[tuple[NDArray[np.float64], float, float]] = []
    nipple_x, nipple_y = projection.nipple
    for _ in range(int(rng.integers(5, 8))):
        side = rng.choice([-1.0, 1.0])
        start = np.array([rng.uniform(-15.0, 30.0), nipple_y + side * rng.uniform(12.0, 60.0)])
        end = np.array([nipple_x - rng.uniform(8.0, 34.0), nipple_y + side * rng.uniform(3.0, 34.0)])
        t = np.linspace(0.0, 1.0, 61)
        across = np.array([start[1] - end[1], end[0] - start[0]]) / np.hypot(*(end - start))
        sway = side * rng.uniform(2.0, 10.0) * np.sin(np.pi * t)
        for turns, size in ((rng.uniform(3.0, 6.0), 1.8), (rng.uniform(8.0, 13.0), 0.8)):
            sway += size * rng.uniform(0.4, 1.0) * np.sin(turns * t + rng.uniform(0.0, 2 * np.pi))
        line = start + np.outer(t, end - start) + np.outer(sway, across)
        width, strength = rng.uniform(0.8, 1.7), rng.uniform(0.35, 0.9)
        drawn += _tapered(line, width, strength)
        fork = int(rng.integers(15, 40))
        turn = rng.choice([-1.0, 1.0]) * (0.25 + np.linspace(0.0, rng.uniform(-0.2, 0.4), 21))
        direction = np.arctan2(*(line[fork + 3] - line[fork])[::-1])
        steps = np.column_stack([np.cos(direction + turn), np.sin(direction + turn)]) * rng.uniform(1.0, 1.8)
        drawn += _tapered(line[fork] + np.cumsum(steps, axis=0), width * 0.55, strength * 0.7)
    return drawn


def _tapered(
    line: NDArray[np.float64], width: float, strength: float
) -> list[tuple[NDArray[np.float64], float, float]]:
    """Pieces of a line that grows thinner and fades out at its end, and fades in at its start."""
    pieces = []
    for first in range(0, len(line) - 1, 2):
        t = first / (len(line) - 1)
        seen = min(1.0, 6.0 * t + 0.15, 3.0 * (1.0 - t))
        pieces.append((line[first : first + 3], width * (1.0 - 0.5 * t), strength * seen))
    return pieces


def _muscle_value(rng: np.random.Generator, grid: Grid, muscle: NDArray[np.float64], y: Plane) -> Plane:
    """Brightness that the pectoral muscle adds: streaks along its free edge, fading downwards."""
    edge = muscle[1:-1]
    slope = np.arctan2(edge[-1, 1] - edge[0, 1], edge[-1, 0] - edge[0, 0])
    x, rows = grid.coordinates()
    across = -np.sin(slope) * x + np.cos(slope) * rows
    along = np.cos(slope) * x + np.sin(slope) * rows
    tile = power_law(rng, Grid(512, 512, 1.0), 2.4, (6.0, 90.0))
    streaks = cv2.remap(
        tile,
        (across * np.float32(4.5) % 512).astype(np.float32),
        (along * np.float32(0.9) % 512).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    fade = np.float32(0.13) + np.float32(0.13) * (1.0 - np.minimum(y / np.float32(edge[-1, 1]), 1.0))
    return np.asarray(fade + np.float32(0.016) * streaks, dtype=np.float32)
