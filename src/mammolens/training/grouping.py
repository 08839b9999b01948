"""Parts of a data set by woman, with like shares of cancers: folds, and a part that is set aside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import TrainingDataError


def folds_by_woman(women: Sequence[str], malignant: NDArray[np.bool_], folds: int, seed: int) -> NDArray[np.int64]:
    """Draw folds: all images of a woman in one, and in each about as many images of either kind of woman.

    Women with a malignant image and women without are dealt separately, those with
    most images first, each to the fold that has fewest images of her kind so far. The
    draw depends on women, labels and seed, and not on the order of the rows.

    Parameters
    ----------
    women : sequence of str, length N
        The woman of each image.
    malignant : ndarray of bool, shape (N,)
    folds : int
        At least 2.
    seed : int

    Returns
    -------
    ndarray of int64, shape (N,)
        1 to ``folds``.

    Raises
    ------
    TrainingDataError
        If there are fewer women of either kind than folds.
    """
    fold_of: dict[str, int] = {}
    for kind, members in _kinds(women, malignant, seed).items():
        if len(members) < folds:
            raise TrainingDataError(
                f"There are {len(members)} women {_KINDS[kind]}: too few for {folds} folds. Set fewer [data] folds."
            )
        counts = np.zeros(folds, np.int64)
        for woman, images in sorted(members, key=lambda member: -member[1]):
            fold = int(np.argmin(counts))
            fold_of[woman] = fold + 1
            counts[fold] += images
    return np.array([fold_of[woman] for woman in women], np.int64)


def set_aside(women: Sequence[str], malignant: NDArray[np.bool_], share: float, seed: int) -> NDArray[np.bool_]:
    """Draw a part of the women, the same share of those with a malignant image and of those without.

    Parameters
    ----------
    women : sequence of str, length N
        The woman of each image.
    malignant : ndarray of bool, shape (N,)
    share : float
        Of the women of either kind; at least one of each is drawn.
    seed : int

    Returns
    -------
    ndarray of bool, shape (N,)
        True for the images of the part.

    Raises
    ------
    TrainingDataError
        If there are fewer than two women of either kind.
    """
    drawn: set[str] = set()
    for kind, members in _kinds(women, malignant, seed).items():
        if len(members) < 2:
            raise TrainingDataError(
                f"There are {len(members)} women {_KINDS[kind]}: too few to set a part of them aside and fit the rest."
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        drawn.update(woman for woman, _ in members[:count])
    return np.array([woman in drawn for woman in women], bool)


_KINDS = {True: "with a malignant image", False: "without a malignant image"}


def _kinds(women: Sequence[str], malignant: NDArray[np.bool_], seed: int) -> dict[bool, list[tuple[str, int]]]:
    """Women with a malignant image and those without, in a drawn order, each with her number of images."""
    images: dict[str, int] = {}
    cancers: set[str] = set()
    for woman, label in zip(women, malignant, strict=True):
        images[woman] = images.get(woman, 0) + 1
        if label:
            cancers.add(woman)
    kinds: dict[bool, list[tuple[str, int]]] = {True: [], False: []}
    for woman in sorted(images):
        kinds[woman in cancers].append((woman, images[woman]))
    random = np.random.default_rng(seed)
    return {kind: [members[index] for index in random.permutation(len(members))] for kind, members in kinds.items()}
