"""Preprocessed images of a case table for training, from the cache that `mammolens data prepare` fills too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from mammolens.datasets import CaseTable, prepared
from mammolens.datasets.table import place
from mammolens.errors import TrainingDataError


@dataclass(frozen=True, slots=True)
class Inputs:
    """Model inputs of the images that could be used.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, H, W)
    rows : ndarray of int64, shape (N,)
        Row of each image in the case table.
    refused : dict of int to str
        Rows that have no input, and the error's code.
    """

    images: NDArray[np.uint8]
    rows: NDArray[np.int64]
    refused: dict[int, str]


def prepare(table: CaseTable, size: tuple[int, int], folder: Path, *, jobs: int = 2) -> Inputs:
    """Preprocess every image of a table as serving does, or take it from the cache.

    Parameters
    ----------
    table : CaseTable
    size : tuple of int
        ``(height, width)`` of the model input.
    folder : Path
        Where the cache lies.
    jobs : int
        Threads.

    Returns
    -------
    Inputs

    Raises
    ------
    TrainingDataError
        If more than one image in twenty is refused.
    """
    with Progress(transient=True, console=Console(stderr=True)) as progress:
        task = progress.add_task("preprocessing", total=len(table))
        found = prepared.prepare(table, size, folder, jobs=jobs, advance=lambda rows: progress.advance(task, rows))
    if len(found.refused) * 20 > len(table):
        row, code = next(iter(found.refused.items()))
        raise TrainingDataError(
            f"{len(found.refused)} of {len(table)} images were refused; is this the right folder? The first is "
            f"{place(table[row], row + 1)} ({code})."
        )
    return Inputs(images=found.images, rows=found.rows, refused=found.refused)
