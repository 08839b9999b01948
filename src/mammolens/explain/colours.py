"""Perceptually ordered colour maps: a higher value is a lighter colour, in print and to colour-blind eyes too.

The tables are the published ones as OpenCV carries them.

References
----------
S. van der Walt and N. Smith, "A Better Default Colormap for Matplotlib", SciPy
2015 (inferno); J. R. Nuñez, C. R. Anderton and R. S. Renslow, "Optimizing
colormaps with consideration for color vision deficiency", PLoS ONE 13(7), 2018
(cividis). sRGB and CIE L*: IEC 61966-2-1 and CIE 15.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ConfigurationError

_OPENCV = {"inferno": cv2.COLORMAP_INFERNO, "cividis": cv2.COLORMAP_CIVIDIS}

COLOUR_MAPS = tuple(_OPENCV)
"""Names that `table` knows; the first is the default."""


@lru_cache(maxsize=len(_OPENCV))
def table(name: str) -> NDArray[np.uint8]:
    """Colour map as a table.

    Parameters
    ----------
    name : {"inferno", "cividis"}

    Returns
    -------
    ndarray of uint8, shape (256, 3)
        sRGB, from the lowest value to the highest; read-only.

    Raises
    ------
    ConfigurationError
        If there is no map of that name.
    """
    if name not in _OPENCV:
        raise ConfigurationError(f"There is no such colour map. Choose one of: {', '.join(COLOUR_MAPS)}.")
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    colours = np.array(cv2.applyColorMap(ramp, _OPENCV[name])[:, 0, ::-1], np.uint8, order="C")
    colours.flags.writeable = False
    return colours


def lightness(colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    """CIE L* of sRGB colours.

    Parameters
    ----------
    colours : ndarray of uint8, shape (..., 3)

    Returns
    -------
    ndarray of float64, shape (...)
        0 (black) to 100 (white), for the white point D65.
    """
    encoded = colours.astype(np.float64) / 255.0
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    cube_root = np.cbrt(luminance)
    return np.asarray(np.where(luminance > (6 / 29) ** 3, 116.0 * cube_root - 16.0, luminance * (29 / 3) ** 3))
