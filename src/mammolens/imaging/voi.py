"""Values of interest: from modality values to grey for the eye.

The model never sees these transformations (its training pictures carry none);
they serve previews and viewers. Formulas: PS3.3 C.11.2.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Window:
    """A window on modality values.

    Attributes
    ----------
    centre, width : float
        In modality values.
    function : {"LINEAR", "LINEAR_EXACT", "SIGMOID"}
        VOI LUT Function.
    """

    centre: float
    width: float
    function: str = "LINEAR"

    def __post_init__(self) -> None:
        """Refuse a window that no formula is defined for."""
        if self.function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
            raise ConfigurationError("A window's function is LINEAR, LINEAR_EXACT or SIGMOID.")
        if not self.width > 0.0 or (self.function == "LINEAR" and self.width < 1.0):
            raise ConfigurationError("A window's width is positive, and at least 1 for the LINEAR function.")


@dataclass(frozen=True, slots=True, eq=False)
class LookupTable:
    """A modality or VOI lookup table.

    Attributes
    ----------
    first : int
        Input value that the first entry is for; smaller ones get it too.
    bits : int
        Bits of an entry, so that the brightest is ``2**bits - 1``.
    values : ndarray of uint16, shape (n,)
    """

    first: int
    bits: int
    values: NDArray[np.uint16]

    def apply(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """Look values up; those outside get the first or the last entry.

        Parameters
        ----------
        values : ndarray of any integer or float type
            Floats are rounded.

        Returns
        -------
        ndarray of uint16, same shape
        """
        whole = np.rint(values).astype(np.int64) if values.dtype.kind == "f" else values.astype(np.int64)
        index = np.clip(whole - self.first, 0, len(self.values) - 1)
        found: NDArray[np.uint16] = self.values[index]
        return found


def apply_window(values: NDArray[Any], window: Window) -> NDArray[np.float32]:
    """Apply a window.

    Parameters
    ----------
    values : ndarray, shape (H, W)
        Modality values.
    window : Window

    Returns
    -------
    ndarray of float32, shape (H, W)
        In [0, 1].
    """
    x: NDArray[np.float32] = values.astype(np.float32)
    centre, width = window.centre, window.width
    shown: NDArray[Any]
    if window.function == "SIGMOID":
        shown = 1.0 / (1.0 + np.exp(np.clip(-4.0 * (x - centre) / width, -80.0, 80.0)))
    elif window.function == "LINEAR_EXACT":
        shown = np.clip((x - centre) / width + 0.5, 0.0, 1.0)
    elif width == 1.0:
        shown = x > centre - 0.5
    else:
        shown = np.clip((x - (centre - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)
    return shown.astype(np.float32)


def apply_table(values: NDArray[Any], table: LookupTable) -> NDArray[np.float32]:
    """Apply a VOI lookup table; the result is in [0, 1]."""
    share = table.apply(values).astype(np.float32) / np.float32((1 << table.bits) - 1)
    shown: NDArray[np.float32] = np.minimum(share, 1.0).astype(np.float32)
    return shown
