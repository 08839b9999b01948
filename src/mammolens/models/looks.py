"""How a network looks at a picture: once, upside down as well, and at a second, smaller size as well.

What it says is the mean of its looks. A smaller picture shows the same breast to the
same convolutions at another scale, so the mean is steadier than either, as that over
the picture upside down is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
"""``(height, width)``, pixels."""


@dataclass(frozen=True, slots=True)
class Looks:
    """Looks at one picture.

    Attributes
    ----------
    size : tuple of int
        ``(height, width)`` of the picture.
    upside_down : bool
        Whether it is looked at upside down as well, at each size.
    second_size : tuple of int or None
        ``(height, width)`` at which it is looked at as well.
    """

    size: Size
    upside_down: bool = False
    second_size: Size | None = None

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Sizes at which the picture is looked at, its own first."""
        return (self.size,) if self.second_size is None else (self.size, self.second_size)

    @property
    def turned(self) -> tuple[bool, ...]:
        """Whether a look is upside down, in the order of `at`."""
        return ((False, True) if self.upside_down else (False,)) * len(self.sizes)

    def at(self, images: NDArray[np.generic]) -> Iterator[tuple[Size, NDArray[np.float32]]]:
        """Give what is looked at.

        Parameters
        ----------
        images : ndarray, shape (..., H, W)
            Pictures of ``size``.

        Yields
        ------
        size : tuple of int
            A member of ``sizes``.
        images : ndarray of float32, shape (..., height, width)
        """
        for size in self.sizes:
            seen = images.astype(np.float32) if size == self.size else resampled(images, size)
            yield size, seen
            if self.upside_down:
                yield size, np.ascontiguousarray(seen[..., ::-1, :])


def shares(to: int, of: int) -> NDArray[np.float32]:
    """Give the matrix that resamples a line by areas.

    Parameters
    ----------
    to, of : int
        Cells of the line afterwards and before; both fill the same length.

    Returns
    -------
    ndarray of float32, shape (to, of)
        Share of each new cell that each old one covers: a row sums to 1, a column to
        ``to / of``, so the mean over the line stays what it was.
    """
    new, old = np.arange(to + 1) / to, np.arange(of + 1) / of
    shared = np.minimum(new[1:, None], old[1:]) - np.maximum(new[:-1, None], old[:-1])
    return np.asarray(np.clip(shared, 0.0, None) * to, np.float32)


def resampled(planes: NDArray[np.generic], size: Size) -> NDArray[np.float32]:
    """Resample planes by areas, as the graph does; their means stay what they were.

    Parameters
    ----------
    planes : ndarray, shape (..., H, W)
    size : tuple of int
        ``(height, width)``.

    Returns
    -------
    ndarray of float32, shape (..., height, width)
    """
    height, width = planes.shape[-2:]
    narrowed = planes.astype(np.float32) @ shares(size[1], width).T
    return np.asarray(shares(size[0], height) @ narrowed, np.float32)
