"""Preprocessed images of a case table on disk, so that training reads each file once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from mammolens.datasets import CaseTable
from mammolens.errors import InputError, TrainingDataError
from mammolens.imaging import preprocess
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.reading import read_mammogram


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


def _key(table: CaseTable, size: tuple[int, int]) -> str:
    digest = hashlib.sha256(f"{preprocess.VERSION} {size}".encode())
    for case in table:
        digest.update(f"{case.path.name} {case.path.stat().st_size}".encode())
    return digest.hexdigest()[:16]


def prepare(table: CaseTable, size: tuple[int, int], folder: Path) -> Inputs:
    """Preprocess every image of a table as serving does, or take it from the cache.

    Parameters
    ----------
    table : CaseTable
    size : tuple of int
        ``(height, width)`` of the model input.
    folder : Path
        Where the cache lies.

    Returns
    -------
    Inputs

    Raises
    ------
    TrainingDataError
        If more than one image in twenty is refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"inputs-{_key(table, size)}"
    done = stem.with_suffix(".npz")
    if not done.exists():
        _fill(table, size, stem, done)
    state = np.load(done)
    images = np.load(stem.with_suffix(".npy"), mmap_mode="r")
    refused = dict(zip(state["refused_rows"].tolist(), state["refused_codes"].tolist(), strict=True))
    if len(refused) * 20 > len(table):
        raise TrainingDataError(f"{len(refused)} of {len(table)} images were refused; is this the right folder?")
    return Inputs(images=images, rows=state["rows"], refused=refused)


def _fill(table: CaseTable, size: tuple[int, int], stem: Path, done: Path) -> None:
    partial = stem.with_suffix(".partial.npy")
    images = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=(len(table), *size))
    rows: list[int] = []
    refused: dict[int, str] = {}
    options = ReadOptions(min_size=size)
    with Progress(transient=True) as progress:
        for row, case in enumerate(progress.track(table, description="preprocessing")):
            try:
                mammogram = read_mammogram(case.path, options)
                images[len(rows)] = preprocess.prepare(mammogram, size).image
            except InputError as error:
                refused[row] = error.code
                continue
            rows.append(row)
    images.flush()
    partial.replace(stem.with_suffix(".npy"))
    np.savez(
        done,
        rows=np.array(rows, np.int64),
        refused_rows=np.array(list(refused), np.int64),
        refused_codes=np.array(list(refused.values()), np.str_),
    )
