"""A spiculated mass and a cluster of microcalcifications."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mammolens.phantom.textures import Grid, Plane, blur, smooth_step

CLUSTER = 10.0
"""Length of the area that holds the calcifications, millimetres."""


def spiculated_mass(
    rng: np.random.Generator, grid: Grid, centre: tuple[float, float], radius: float
) -> tuple[Plane, float]:
    """Draw an irregular dense core from which tapering spicules run out.

    Parameters
    ----------
    rng : numpy.random.Generator
    grid : Grid
    centre : tuple of float
        ``(x, y)``, millimetres.
    radius : float
        Of the core, millimetres.

    Returns
    -------
    opacity : ndarray of float32, shape (rows, columns)
        0 to 1.
    reach : float
        Distance from the centre within which the mass and most of its spicules lie, millimetres.
    """
    x, y = grid.coordinates()
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    distance, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    lobes = np.zeros_like(distance)
    for count in range(2, 9):
        lobes += np.cos(count * angle + np.float32(rng.uniform(0, 2 * np.pi))) * np.float32(
            rng.uniform(0.02, 0.18) / count**0.5
        )
    edge = np.float32(radius) * (np.float32(1.08) + lobes)
    core = smooth_step(edge - distance, -0.14 * radius, 0.36 * radius)

    spicules: list[tuple[NDArray[np.float64], float, float]] = []
    count = int(rng.integers(20, 28))
    for index in range(count):
        heading = 2 * np.pi * (index + rng.uniform(-0.35, 0.35)) / count
        length = radius * rng.uniform(0.7, 1.9)
        bend = rng.uniform(-0.25, 0.25)
        t = np.linspace(0.0, 1.0, 10)
        along = radius * 0.5 + (radius * 0.5 + length) * t
        turn = heading + bend * t**2
        points = np.column_stack([centre[0] + along * np.cos(turn), centre[1] + along * np.sin(turn)])
        strength = rng.uniform(0.30, 0.62)
        # Tapering: each piece is thinner and fainter than the one before.
        spicules += [
            (points[i : i + 2], (0.9 - 0.6 * t[i]), strength * (1.0 - 0.85 * t[i])) for i in range(len(points) - 1)
        ]
    rays = blur(grid.strokes(spicules), 0.22 / grid.step)
    halo = np.float32(0.12) * smooth_step(-distance, -2.2 * radius, -0.5 * radius)
    return np.asarray(np.maximum(core, rays) + halo * (1 - core), dtype=np.float32), 2.1 * radius


def microcalcifications(
    rng: np.random.Generator, centre: tuple[float, float], towards: tuple[float, float]
) -> NDArray[np.float64]:
    """Place a cluster of pleomorphic specks, drawn out along the ray to the nipple.

    Parameters
    ----------
    rng : numpy.random.Generator
    centre : tuple of float
        ``(x, y)`` of the cluster, millimetres.
    towards : tuple of float
        ``(x, y)`` of the nipple, millimetres.

    Returns
    -------
    ndarray of float64, shape (n, 6)
        ``x, y, long half axis, short half axis (millimetres), angle (radians), strength (0 to 1)`` of
        each speck; all lie within `CLUSTER` along the ray and three fifths of it across.
    """
    heading = np.arctan2(towards[1] - centre[1], towards[0] - centre[0])
    count = int(rng.integers(18, 27))
    along = np.clip(rng.normal(0.0, 0.24, count), -0.43, 0.43) * CLUSTER
    across = np.clip(rng.normal(0.0, 0.13, count), -0.25, 0.25) * CLUSTER
    half = rng.uniform(0.10, 0.30, count)
    return np.column_stack(
        [
            centre[0] + along * np.cos(heading) - across * np.sin(heading),
            centre[1] + along * np.sin(heading) + across * np.cos(heading),
            half * rng.uniform(1.0, 2.0, count),
            half,
            rng.uniform(0.0, np.pi, count),
            rng.uniform(0.55, 1.0, count),
        ]
    )


def stamp(plane: Plane, specks: NDArray[np.float64], step: float, height: float) -> None:
    """Add specks to a plane in place.

    Parameters
    ----------
    plane : ndarray of float32, shape (rows, columns)
    specks : ndarray, shape (n, 6)
        As `microcalcifications` gives them.
    step : float
        Millimetres per sample.
    height : float
        Grey value that a speck of strength 1 adds at its middle.
    """
    rows, columns = plane.shape
    for x, y, long, short, angle, strength in specks:
        # Never narrower than the sampling; a speck spread over a larger area is fainter by as much.
        wide, slim = max(long / step, 0.6), max(short / step, 0.6)
        kept = (long / step) * (short / step) / (wide * slim)
        cx, cy = x / step - 0.5, y / step - 0.5
        reach = int(np.ceil(3 * wide))
        x0, x1 = max(0, int(cx) - reach), min(columns, int(cx) + reach + 2)
        y0, y1 = max(0, int(cy) - reach), min(rows, int(cy) + reach + 2)
        u, v = np.meshgrid(np.arange(x0, x1) - cx, np.arange(y0, y1) - cy)
        p, q = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
        bump = np.exp(-np.square((p / wide) ** 2 + (q / slim) ** 2))
        plane[y0:y1, x0:x1] += (height * strength * kept * bump).astype(np.float32)
