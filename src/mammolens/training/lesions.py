"""Made lesions in real pictures: what a network can learn of lesions before it is told where cancers are.

Screening data say which breast has a cancer and not where. A picture of a breast
without one, into which a lesion is drawn, says both. The network that has learned to
find such lesions learns real cancers from fewer pictures (``docs/experiments.md`` has
the figures), as published systems do that start from outlined patches.

Lesions are masses with lobed or spiculated edges, tissue drawn in towards a point
(architectural distortion), and clusters of fine specks. All pictures, those without a
lesion too, may get what is no sign of cancer: round smooth masses, bands, single coarse
specks, fuzzy islands, and tissue pasted from another picture, so that being drawn is no
sign either.

The lengths are those of breasts of 15 to 20 cm on a picture `HEIGHT` pixels high.

References
----------
L. Shen et al., "Deep Learning to Improve Breast Cancer Detection on Screening
Mammography", Scientific Reports 9:12495, 2019 (outlined patches first); the ACR BI-RADS
Atlas, 5th edition, 2013 (what masses, distortions and calcifications look like).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
"""A picture or a density of float32, shape (H, W)."""

HEIGHT = 384
"""Height of a picture on which the lengths of this module are pixels."""

_AIR = 6
"""Grey value up to which a pixel of a model input is no breast."""


@dataclass(frozen=True, slots=True)
class Made:
    """A picture with what was drawn in it.

    Attributes
    ----------
    picture : ndarray of float32, shape (H, W)
        0 to 1.
    lesion : ndarray of float32, shape (H, W)
        1 on the lesions, 0 elsewhere.
    """

    picture: Plane
    lesion: Plane


def make(image: NDArray[np.uint8], other: NDArray[np.uint8], random: np.random.Generator, *, lesion: bool) -> Made:
    """Draw a lesion, or none, and things that are none into a picture.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W)
        Model input of a breast without a cancer.
    other : ndarray of uint8, shape (H, W)
        Another one, whose tissue is pasted.
    random : numpy.random.Generator
    lesion : bool

    Returns
    -------
    Made
    """
    canvas = _Canvas(image, random)
    for _ in range(random.integers(0, 3)):
        _draw_harmless(canvas, other)
    if lesion:
        for _ in range(1 if random.random() < 0.85 else 2):
            _draw_lesion(canvas)
    return Made(canvas.finished(), canvas.lesion)


class _Canvas:
    """A picture that is being drawn on, window by window."""

    def __init__(self, image: NDArray[np.uint8], random: np.random.Generator) -> None:
        self.random = random
        self.unit = image.shape[0] / HEIGHT
        self.picture: Plane = image.astype(np.float32) / np.float32(255.0)
        self.lesion: Plane = np.zeros(image.shape, np.float32)
        self._image = image
        self._breast = image > _AIR
        # At half size: a centre needs no better.
        inside = cv2.morphologyEx(self._breast[::2, ::2].astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        # The chest wall, on the left, is no edge of the breast.
        inside = cv2.copyMakeBorder(np.asarray(inside), 1, 1, 0, 1, cv2.BORDER_CONSTANT, value=[0.0])
        self._depth = 2.0 * np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, 3))[1:-1, :-1]

    def centre(self, depth: float) -> tuple[float, float]:
        """Draw a place at least ``depth`` pixels from the skin; dense tissue three times as often as fat."""
        rows, columns = np.nonzero(self._depth > depth)
        if len(rows) < 20:
            rows, columns = np.nonzero(self._depth > depth / 4)
        if len(rows) < 20:
            return self.picture.shape[1] * 0.4, self.picture.shape[0] * 0.5
        first, second = self.random.integers(len(rows), size=2)
        grey = [self._image[2 * rows[i], 2 * columns[i]] for i in (first, second)]
        chosen = first if (grey[0] >= grey[1]) == (self.random.random() < 0.75) else second
        return float(2 * columns[chosen]), float(2 * rows[chosen])

    def window(self, x: float, y: float, reach: float) -> tuple[slice, slice, float, float]:
        """Rows, columns and the centre within them of what lies within ``reach`` of a place."""
        height, width = self.picture.shape
        x0, x1 = max(0, int(x - reach)), min(width, int(x + reach) + 1)
        y0, y1 = max(0, int(y - reach)), min(height, int(y + reach) + 1)
        return slice(y0, y1), slice(x0, x1), x - x0, y - y0

    def add(self, density: Callable[[tuple[int, int], float, float], Plane], x: float, y: float, reach: float) -> None:
        """Add a density around a place, on the breast alone."""
        rows, columns, u, v = self.window(x, y, reach)
        part = self.picture[rows, columns]
        part += density(part.shape, u, v) * self._breast[rows, columns]

    def change(self, change: Callable[[Plane, float, float], Plane], x: float, y: float, reach: float) -> None:
        """Replace what lies around a place by what is made of it."""
        rows, columns, u, v = self.window(x, y, reach)
        self.picture[rows, columns] = change(np.ascontiguousarray(self.picture[rows, columns]), u, v)

    def mark(self, x: float, y: float, radius: float) -> None:
        """Mark a lesion."""
        cv2.circle(self.lesion, (int(x), int(y)), int(max(radius, 5 * self.unit)), (1.0,), -1)

    def finished(self) -> Plane:
        """Picture of today, air as it was."""
        drawn = np.clip(self.picture, 0.0, 1.0)
        return np.where(self._breast, drawn, self._image.astype(np.float32) / np.float32(255.0)).astype(np.float32)


def _draw_lesion(canvas: _Canvas) -> None:
    random, unit, kind = canvas.random, canvas.unit, canvas.random.random()
    x, y = canvas.centre(10 * unit)
    if kind < 0.68:
        radius = float(np.exp(random.uniform(np.log(7), np.log(24)))) * unit
        if random.random() < 0.5:
            _draw_in(canvas, x, y, radius, random.uniform(0.15, 0.5))
        _add_mass(canvas, x, y, radius, random.uniform(0.09, 0.34), random.uniform(0.15, 1.0))
        reach = 1.3 * radius
    elif kind < 0.84:
        radius = random.uniform(7, 16) * unit
        _draw_in(canvas, x, y, radius, random.uniform(0.3, 0.7))
        _add_mass(canvas, x, y, radius * 0.5, random.uniform(0.03, 0.10), 1.0)
        reach = 1.6 * radius
    else:
        radius = random.uniform(5, 16) * unit
        _add_specks(canvas, x, y, radius, random.uniform(0.12, 0.5), int(random.integers(6, 28)))
        if random.random() < 0.3:
            _add_mass(canvas, x, y, radius, random.uniform(0.04, 0.12), 0.3)
        reach = 1.2 * radius
    canvas.mark(x, y, reach)


def _draw_harmless(canvas: _Canvas, other: NDArray[np.uint8]) -> None:
    random, unit, kind = canvas.random, canvas.unit, canvas.random.random()
    radius = random.uniform(5, 20) * unit
    x, y = canvas.centre(8 * unit)
    if kind < 0.35:
        _paste(canvas, other, x, y, radius)
    elif kind < 0.6:
        _add_mass(canvas, x, y, radius * 0.8, random.uniform(0.04, 0.2), 0.0)
    elif kind < 0.75:
        _add_band(canvas, x, y)
    elif kind < 0.88:
        _add_specks(canvas, x, y, radius, random.uniform(0.2, 0.7), int(random.integers(1, 3)))
    else:
        _add_island(canvas, x, y, radius)


def _polar(
    shape: tuple[int, int], x: float, y: float, axes: tuple[float, float], angle: float
) -> tuple[Plane, NDArray[np.float32]]:
    """Distance from a place in units of an ellipse's half axes, and the direction there."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    dx, dy = columns - np.float32(x), rows - np.float32(y)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = (dx * cosine + dy * sine) / np.float32(axes[0]), (dy * cosine - dx * sine) / np.float32(axes[1])
    return np.hypot(u, v), np.arctan2(v, u)


def _noise(random: np.random.Generator, shape: tuple[int, int], scale: float) -> Plane:
    """Smooth noise of unit variance at its knots, ``scale`` pixels apart."""
    step = max(1, int(scale))
    rows, columns = shape
    knots = random.standard_normal((rows // step + 3, columns // step + 3)).astype(np.float32)
    smooth = cv2.resize(knots, (columns + 2 * step, rows + 2 * step), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth, np.float32)[step : step + rows, step : step + columns]


def _add_mass(canvas: _Canvas, x: float, y: float, radius: float, height: float, spiculation: float) -> None:
    """Add a mass: from 0, round, smooth and well bounded, to 1, lobed with long spicules."""
    random = canvas.random
    stretch = float(np.exp(random.uniform(-0.25, 0.25)))
    angle = random.uniform(0, np.pi)
    lobed = spiculation > 0.2
    lobes = [(k, random.uniform(0, 0.16 if lobed else 0.05) / k**0.5, random.uniform(0, 6.3)) for k in range(2, 9)]
    softness = 0.35 * (random.uniform(0.15, 0.6) if lobed else random.uniform(0.06, 0.35))
    hollow = 0.35 * random.uniform(0, 1)

    def density(shape: tuple[int, int], u: float, v: float) -> Plane:
        distance, direction = _polar(shape, u, v, (radius * stretch, radius / stretch), angle)
        edge = 1.0 + sum(size * np.cos(k * direction + phase) for k, size, phase in lobes)
        core = 1.0 / (1.0 + np.exp(np.clip((distance - edge) / softness, -20, 20)))
        core *= 1.0 - hollow * np.clip(distance, 0, 1) ** 2
        if spiculation > 0:
            core = np.maximum(core, _spicules(random, shape, (u, v), radius, spiculation) * random.uniform(0.5, 1.0))
        core = core * (1.0 + 0.25 * _noise(random, shape, max(2.0, radius / 3)))
        return np.asarray(height * np.clip(core, 0, None), np.float32)

    canvas.add(density, x, y, 3.6 * radius + 3)


def _spicules(
    random: np.random.Generator, shape: tuple[int, int], centre: tuple[float, float], radius: float, strength: float
) -> Plane:
    """Draw thin bent rays that taper away from a mass."""
    plane: Plane = np.zeros(shape, np.float32)
    along = np.linspace(0.4, 1.0, 8)
    for _ in range(int(random.integers(7, 26) * max(strength, 0.4))):
        heading, bend = random.uniform(0, 2 * np.pi), random.uniform(-0.4, 0.4)
        length = radius * (1.0 + random.uniform(0.5, 2.2) * strength)
        opacity, width = random.uniform(0.25, 0.9), random.uniform(0.5, 1.6) * max(0.6, radius / 10)
        turned = heading + bend * along**2
        points = np.column_stack([np.cos(turned), np.sin(turned)]) * (length * along)[:, None] + centre
        for piece in range(len(points) - 1):
            ends = [(int(px * 8), int(py * 8)) for px, py in points[piece : piece + 2]]
            thickness = max(1, round(width * (1 - 0.1 * piece)))
            cv2.line(plane, ends[0], ends[1], (opacity * (1 - 0.11 * piece),), thickness, cv2.LINE_8, 3)
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), max(0.6, 0.09 * radius)), np.float32)


def _draw_in(canvas: _Canvas, x: float, y: float, radius: float, strength: float) -> None:
    """Draw tissue in towards a place, along some rays more than along others (architectural distortion)."""
    random = canvas.random
    reach, rays, phase = radius * random.uniform(2.5, 4.0), int(random.integers(5, 12)), random.uniform(0, 6.3)

    def drawn(part: Plane, u: float, v: float) -> Plane:
        rows, columns = np.mgrid[: part.shape[0], : part.shape[1]].astype(np.float32)
        dx, dy = columns - np.float32(u), rows - np.float32(v)
        weight = np.clip(1 - np.hypot(dx, dy) / reach, 0, 1) ** 2 * (
            1 + 0.6 * np.cos(rays * np.arctan2(dy, dx) + phase)
        )
        factor = (1 + strength * weight).astype(np.float32)
        maps = (np.float32(u) + dx * factor).astype(np.float32), (np.float32(v) + dy * factor).astype(np.float32)
        moved = cv2.remap(part, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved, np.float32)

    canvas.change(drawn, x, y, 4.2 * radius)


def _add_specks(canvas: _Canvas, x: float, y: float, radius: float, height: float, count: int) -> None:
    """Add fine bright specks, strewn over an ellipse."""
    random = canvas.random
    angle, flatness = random.uniform(0, np.pi), random.uniform(0.35, 1.0)

    def density(shape: tuple[int, int], u: float, v: float) -> Plane:
        plane = np.zeros(shape, np.float32)
        for _ in range(count):
            a, b = random.normal(0, 0.5, 2) * radius * (1.0, flatness)
            px, py = u + a * np.cos(angle) - b * np.sin(angle), v + a * np.sin(angle) + b * np.cos(angle)
            width, top, skew = random.uniform(0.35, 0.9), height * random.uniform(0.4, 1.2), random.uniform(0.6, 1.6)
            x0, y0 = int(px) - 3, int(py) - 3
            if x0 < 0 or y0 < 0 or x0 + 7 > shape[1] or y0 + 7 > shape[0]:
                continue
            rows, columns = np.mgrid[y0 : y0 + 7, x0 : x0 + 7]
            spread = (columns - px) ** 2 + (rows - py) ** 2 * skew
            plane[y0 : y0 + 7, x0 : x0 + 7] += (top * np.exp(-spread / (2 * width**2))).astype(np.float32)
        return np.minimum(plane, np.float32(1.5 * height))

    canvas.add(density, x, y, 2 * radius + 8)


def _add_band(canvas: _Canvas, x: float, y: float) -> None:
    """Add a bent band, like a vessel."""
    random, unit = canvas.random, canvas.unit
    heading, bend = random.uniform(0, 6.3), random.uniform(-0.02, 0.02) / unit
    step = random.uniform(20, 90) * unit / 12
    turned = heading + bend * step * 8 * np.arange(1, 13)
    points = np.vstack([[0.0, 0.0], np.cumsum(np.column_stack([np.cos(turned), np.sin(turned)]) * step, axis=0)])
    thickness, height = int(max(1, random.integers(1, 4) * unit)), random.uniform(0.04, 0.22)
    sharpness = random.uniform(0.6, 1.5)

    def density(shape: tuple[int, int], u: float, v: float) -> Plane:
        plane: Plane = np.zeros(shape, np.float32)
        path = np.round((points + np.array([u, v])) * 8).astype(np.int32)
        cv2.polylines(plane, [path], False, (1.0,), thickness, cv2.LINE_8, 3)
        return np.asarray(np.float32(height) * cv2.GaussianBlur(plane, (0, 0), sharpness), np.float32)

    canvas.add(density, x, y, 12 * step + 6)


def _add_island(canvas: _Canvas, x: float, y: float, radius: float) -> None:
    """Add a fuzzy patch of dense tissue."""
    random = canvas.random
    axes = radius * 1.5, radius * 1.5 * random.uniform(0.4, 1.0)
    angle, height = random.uniform(0, 3), random.uniform(0.04, 0.15)

    def density(shape: tuple[int, int], u: float, v: float) -> Plane:
        distance, _ = _polar(shape, u, v, axes, angle)
        uneven = 1.0 + 0.5 * _noise(random, shape, radius / 2)
        return np.asarray(height * np.exp(-distance * distance) * uneven, np.float32)

    canvas.add(density, x, y, 4 * radius)


def _paste(canvas: _Canvas, other: NDArray[np.uint8], x: float, y: float, radius: float) -> None:
    """Blend tissue of another picture in; nothing where a disc of tissue does not fit."""
    random, (height, width) = canvas.random, other.shape
    reach = int(radius * random.uniform(1, 2))
    if 2 * reach >= min(height, width):
        return
    left, top = (int(random.integers(reach, side - reach)) for side in (width, height))
    x, y = (int(np.clip(place, reach, side - reach - 1)) for place, side in ((x, width), (y, height)))
    pasted = other[top - reach : top + reach, left - reach : left + reach].astype(np.float32) / np.float32(255.0)
    if np.mean(pasted < 0.02) > 0.1:
        return
    part = canvas.picture[y - reach : y + reach, x - reach : x + reach]
    rows, columns = np.mgrid[-reach:reach, -reach:reach]
    opacity = np.clip((1 - np.hypot(rows, columns) / reach) * 3, 0, 1).astype(np.float32)
    pasted = np.clip(pasted + (part.mean() - pasted.mean()) * random.uniform(0.3, 1.0), 0, 1)
    part += opacity * (pasted - part)
