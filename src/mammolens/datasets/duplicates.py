"""Pictures that stand in a data set more than once, the same or nearly so."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets.fingerprints import detail
from mammolens.datasets.prepared import Prepared

MOST_BITS = 12
"""Bits of the perceptual hash in which candidates differ at most. Of 200 real mammograms that were given another
window, JPEG at quality 60, a crop by two pixels and another size, every one stayed within."""

LEAST_CORRELATION = 0.7
"""Correlation of detail from which a candidate is taken for the same picture. Of the 3.5 million pairs of different
women in rsna-640 the most alike have 0.60; the altered pictures above have 0.72 at least, nine in ten 0.85."""

_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows of a case table that show the same picture.

    Attributes
    ----------
    first, second : int
        Rows, ``first`` < ``second``.
    same_pixels : bool
        Whether every grey value is the same.
    correlation : float
        Of their detail, 1 where the pixels are the same.
    """

    first: int
    second: int
    same_pixels: bool
    correlation: float


def duplicates(prepared: Prepared) -> list[Pair]:
    """Find pictures with the same pixels, and near-duplicates: alike by perceptual hash, then verified by correlation.

    Parameters
    ----------
    prepared : Prepared

    Returns
    -------
    list of Pair
        Ascending by rows.
    """
    by_pixels: defaultdict[str, list[int]] = defaultdict(list)
    for position, digest in enumerate(prepared.pixels):
        by_pixels[str(digest)].append(position)
    same = {pair for positions in by_pixels.values() for pair in combinations(positions, 2)}
    alike = {pair: value for pair, value in _alike(prepared) if pair not in same}
    found = [(*pair, True, 1.0) for pair in same] + [(*pair, False, value) for pair, value in alike.items()]
    rows = prepared.rows
    return [Pair(int(rows[i]), int(rows[j]), exact, value) for i, j, exact, value in sorted(found)]


def _alike(prepared: Prepared) -> list[tuple[tuple[int, int], float]]:
    hashes = prepared.perceptual
    details = np.stack([_unit(detail(small)) for small in prepared.small]) if len(hashes) else np.zeros((0, 1))
    step = max(1, _BLOCK // max(1, len(hashes)))
    found = []
    for start in range(0, len(hashes), step):
        bits = np.bitwise_count(hashes[start : start + step, None] ^ hashes[None, :])
        first, second = np.nonzero(bits <= MOST_BITS)
        first, second = (index[second > first + start] for index in (first + start, second))
        values = np.einsum("nd,nd->n", details[first], details[second])
        kept = values >= LEAST_CORRELATION
        pairs = zip(first[kept].tolist(), second[kept].tolist(), strict=True)
        found += list(zip(pairs, values[kept].tolist(), strict=True))
    return found


def _unit(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(picture))
    return picture.ravel() / np.float32(length if length > 0 else 1.0)
