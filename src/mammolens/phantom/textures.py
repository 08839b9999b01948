"""Textures of breast tissue on a millimetre grid."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
"""Grey values on the grid, shape (rows, columns)."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Sampling of the field.

    Attributes
    ----------
    rows, columns : int
    step : float
        Millimetres from one sample to the next.
    """

    rows: int
    columns: int
    step: float

    def coordinates(self) -> tuple[Plane, Plane]:
        """Millimetres of every sample: x, shape (1, columns), and y, shape (rows, 1)."""
        x = (np.arange(self.columns, dtype=np.float32) + 0.5) * np.float32(self.step)
        y = (np.arange(self.rows, dtype=np.float32) + 0.5) * np.float32(self.step)
        return x[None, :], y[:, None]

    def polygon(self, points: NDArray[np.float64], softness: float = 0.0) -> Plane:
        """Coverage of a polygon, 0 to 1.

        Parameters
        ----------
        points : ndarray, shape (n, 2)
            ``(x, y)``, millimetres.
        softness : float
            Standard deviation of the edge, millimetres.

        Returns
        -------
        ndarray of float32, shape (rows, columns)
        """
        plane = np.zeros((self.rows, self.columns), np.uint8)
        fixed = np.rint((points / self.step - 0.5) * 256.0).astype(np.int32)
        cv2.fillPoly(plane, [fixed], 255, lineType=cv2.LINE_AA, shift=8)
        covered = plane.astype(np.float32) / np.float32(255.0)
        return blur(covered, softness / self.step)

    def strokes(self, lines: list[tuple[NDArray[np.float64], float, float]]) -> Plane:
        """Draw soft lines, the brighter one on top where they cross.

        Parameters
        ----------
        lines : list of (points, width, strength)
            ``points`` (n, 2) in millimetres; ``width`` in millimetres; ``strength`` 0 to 1.

        Returns
        -------
        ndarray of float32, shape (rows, columns)
        """
        plane = np.zeros((self.rows, self.columns), np.uint8)
        for points, width, strength in sorted(lines, key=lambda line: line[2]):
            # A line thinner than a sample is drawn one sample wide and fainter.
            samples = width / self.step
            level = round(255.0 * float(strength) * min(1.0, float(samples)))
            fixed = np.rint((points / self.step - 0.5) * 256.0).astype(np.int32)
            cv2.polylines(plane, [fixed], False, level, max(1, round(samples)), cv2.LINE_AA, 8)
        return plane.astype(np.float32) / np.float32(255.0)


def blur(plane: Plane, sigma: float) -> Plane:
    """Gaussian blur with a standard deviation in samples; none below a fifth of a sample."""
    if sigma < 0.2:
        return plane
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)


def power_law(
    rng: np.random.Generator, grid: Grid, beta: float = 3.0, scales: tuple[float, float] = (0.0, 60.0)
) -> Plane:
    """Periodic random texture with a power spectrum falling as ``1 / f**beta``.

    The exponent of mammographic parenchyma is close to 3 (Burgess, Jacobson and Judy
    2001, Med. Phys. 28:419).

    Parameters
    ----------
    rng : numpy.random.Generator
    grid : Grid
    beta : float
        Exponent of the power spectrum.
    scales : tuple of float
        Shortest and longest wavelength, millimetres; what lies outside is damped.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        Mean 0, standard deviation 1.
    """
    rows, columns = cv2.getOptimalDFTSize(grid.rows), cv2.getOptimalDFTSize(grid.columns)
    spectrum = np.fft.rfft2(rng.standard_normal((rows, columns), dtype=np.float32))
    fy = np.fft.fftfreq(rows, grid.step).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(columns, grid.step).astype(np.float32)[None, :]
    square = fx * fx + fy * fy
    shortest, longest = scales
    gain = (square + np.float32(longest**-2)) ** np.float32(-beta / 4.0)
    if shortest > 0.0:
        gain *= np.exp(-square * np.float32(shortest**2))
    gain[0, 0] = 0.0
    texture = np.fft.irfft2(spectrum * gain, (rows, columns)).astype(np.float32)[: grid.rows, : grid.columns]
    return np.asarray((texture - texture.mean()) / texture.std(), dtype=np.float32)


def smooth_step(plane: Plane, low: float, high: float) -> Plane:
    """Rise smoothly from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((plane - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def radial(
    rng: np.random.Generator, grid: Grid, centre: tuple[float, float], wander: tuple[Plane, Plane], width: float
) -> Plane:
    """Texture drawn out along the rays from a point, as ducts and ligaments run to the nipple.

    Parameters
    ----------
    rng : numpy.random.Generator
    grid : Grid
    centre : tuple of float
        ``(x, y)`` that the fibres run to, millimetres.
    wander : tuple of ndarray, shape (rows, columns)
        How far each sample is displaced first (x and y, millimetres), which bends the fibres.
    width : float
        Of a fibre 60 mm away from the centre, millimetres.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        Mean about 0, standard deviation about 1.
    """
    x, y = grid.coordinates()
    dx, dy = x - np.float32(centre[0]) + wander[0], y - np.float32(centre[1]) + wander[1]
    distance, angle = cv2.cartToPolar(dx, dy)
    side = 512
    tile = power_law(rng, Grid(side, side, 1.0), beta=2.0, scales=(5.0, 48.0))
    # About seven tile samples make one fibre across; along the ray it is four times as long.
    across = 7.0 * 60.0 / width
    around = angle * np.float32(across)
    along = np.log(distance + np.float32(12.0)) * np.float32(across / 4.0)
    return np.asarray(cv2.remap(tile, around % side, along % side, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))
