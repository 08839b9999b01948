"""Both views of one breast as one picture of two planes, for the two-view network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets import Case
from mammolens.errors import TrainingDataError

VIEW = "CC+MLO"
"""What a pair's view is called in tables."""


def pairs_of(cases: Sequence[Case]) -> NDArray[np.int64]:
    """Pair the craniocaudal and the mediolateral oblique view of each breast.

    Parameters
    ----------
    cases : sequence of Case

    Returns
    -------
    ndarray of int64, shape (P, 2)
        Indices into ``cases``, the craniocaudal view first; of a breast with several
        pictures of a view, the first. A breast without one of the two is left out.

    Raises
    ------
    TrainingDataError
        If no breast has both views, or the two views of one have different labels.
    """
    first: dict[tuple[str, str], int] = {}
    for index, case in enumerate(cases):
        first.setdefault((case.breast, case.view), index)
    both = [(breast, index) for (breast, view), index in first.items() if view == "CC" and (breast, "MLO") in first]
    found = [(index, first[breast, "MLO"]) for breast, index in both]
    if not found:
        raise TrainingDataError("No breast of this data set has a CC and an MLO view to pair.")
    return np.array(found, np.int64)


class PairedImages:
    """Pairs of images, put together when they are asked for.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W)
    pairs : ndarray of int64, shape (P, 2)
        Indices into ``images``.

    Attributes
    ----------
    shape : tuple of int
        ``(P, 2, H, W)``.
    """

    def __init__(self, images: NDArray[np.uint8], pairs: NDArray[np.int64]) -> None:
        self._images, self._pairs = images, pairs
        self.shape = (len(pairs), 2, *images.shape[1:])

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._pairs)

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        """Pair of one index, shape (2, H, W), or pairs of several, shape (n, 2, H, W)."""
        return np.asarray(self._images[self._pairs[rows]])
