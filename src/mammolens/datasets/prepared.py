"""Preprocessed images of a case table on disk: made once, in shards, and gone on with after any interruption.

A folder ``inputs-<key>`` holds ``images.u8`` (the images one after another, eight bits) and
``shards/00000.npz``, … : what each run of 64 rows of the table gave, with the SHA-256 of
its images. A shard's record is written in one step after its images are on disk, so
whatever was there when the process was killed is taken up, and nothing else is.
``files.json`` lists the files: a cache of a part of them, in the same folder, takes its images
from there instead of reading the files again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets.fingerprints import SMALL, Fingerprint, fingerprint
from mammolens.datasets.table import Case, CaseTable
from mammolens.errors import InputError, OutputError
from mammolens.imaging import preprocess
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.reading import read_mammogram

SHARD = 64
"""Rows of the table in one shard."""

_FORMAT = 1
_NAMED = 4


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Model inputs of the images that could be used, with their fingerprints.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, H, W)
        Mapped from disk, read-only.
    rows : ndarray of int64, shape (N,)
        Row of each image in the case table, ascending.
    refused : dict of int to str
        Rows that have no input, and the error's code.
    pixels : ndarray of str, shape (N,)
        `Fingerprint.pixels` of each image.
    perceptual : ndarray of uint64, shape (N,)
    small : ndarray of uint8, shape (N, 64, 48)
    sizes : ndarray of int64, shape (N, 2)
        Rows and columns of the source pictures.
    """

    images: NDArray[np.uint8]
    rows: NDArray[np.int64]
    refused: dict[int, str]
    pixels: NDArray[np.str_]
    perceptual: NDArray[np.uint64]
    small: NDArray[np.uint8]
    sizes: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Shard:
    rows: NDArray[np.int64]
    refused_rows: NDArray[np.int64]
    refused_codes: NDArray[np.str_]
    pixels: NDArray[np.str_]
    perceptual: NDArray[np.uint64]
    small: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    sha256: str


def key(table: CaseTable, size: tuple[int, int]) -> str:
    """Name what a cache holds: preprocessing, size, and the files by their names and sizes.

    Parameters
    ----------
    table : CaseTable
    size : tuple of int
        ``(height, width)`` of the model input.

    Returns
    -------
    str
        16 hexadecimal digits; moving the data set's folder does not change it.
    """
    return _key(_made_as(size), [_identity(case) for case in table])


def _key(made_as: str, files: list[str]) -> str:
    digest = hashlib.sha256(made_as.encode())
    for file in files:
        digest.update(f"{file}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _made_as(size: tuple[int, int]) -> str:
    return f"{_FORMAT} {preprocess.VERSION} {tuple(size)}"


def _identity(case: Case) -> str:
    try:
        length = case.path.stat().st_size
    except OSError:
        length = -1
    return f"{'/'.join(case.path.parts[-_NAMED:])} {length}"


def prepare(
    table: CaseTable,
    size: tuple[int, int],
    folder: Path,
    *,
    jobs: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> Prepared:
    """Preprocess every image of a table as serving does, or take it from the cache.

    Parameters
    ----------
    table : CaseTable
    size : tuple of int
        ``(height, width)`` of the model input.
    folder : Path
        Where the cache lies; several tables and sizes may share it.
    jobs : int
        Threads.
    advance : callable
        Called with the number of rows that are done, after each shard.

    Returns
    -------
    Prepared

    Raises
    ------
    OutputError
        If the cache can't be written.
    """
    files = [_identity(case) for case in table]
    place = folder / f"inputs-{_key(_made_as(size), files)}"
    try:
        (place / "shards").mkdir(parents=True, exist_ok=True)
        if not (place / "files.json").exists():
            partial_list = place / "files.partial"
            partial_list.write_text(json.dumps({"made_as": _made_as(size), "files": files}), encoding="ascii")
            partial_list.replace(place / "files.json")
        read = partial(_one, size, _others(folder, place, size))
        shards = list(_shards(table, files, size, place, jobs, read, advance))
    except OSError as error:
        raise OutputError("The cache of preprocessed images can't be written. Is the disk full?") from error
    return _joined(shards, size, place / "images.u8")


_Read = tuple[NDArray[np.uint8], Fingerprint] | str
"""An image with its fingerprint, or the code of the error that refuses it."""

_Held = Mapping[str, tuple[NDArray[np.uint8], Fingerprint]]


def _shards(
    table: CaseTable,
    files: list[str],
    size: tuple[int, int],
    place: Path,
    jobs: int,
    read: Callable[[tuple[str, Case]], _Read],
    advance: Callable[[int], None],
) -> Iterator[_Shard]:
    file = place / "images.u8"
    file.touch()
    with file.open("r+b") as images, ThreadPoolExecutor(jobs) as pool:
        for number, first in enumerate(range(0, len(table), SHARD)):
            named = list(zip(files[first : first + SHARD], table[first : first + SHARD], strict=True))
            record = place / "shards" / f"{number:05d}.npz"
            start = images.tell()
            shard = _kept(record, images, size)
            if shard is None:
                images.seek(start)
                shard = _made(first, list(pool.map(read, named)), images)
                _write(record, shard)
            advance(len(named))
            yield shard
        images.truncate()


def _others(folder: Path, place: Path, size: tuple[int, int]) -> _Held:
    """Images of other caches in the same folder, made in the same way, by their files."""
    found: dict[str, tuple[NDArray[np.uint8], Fingerprint]] = {}
    for other in sorted(folder.glob("inputs-*/files.json")):
        try:
            listed = json.loads(other.read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if other.parent != place and listed.get("made_as") == _made_as(size):
            found.update(_held(other.parent, listed["files"], size))
    return found


def _held(
    place: Path, files: list[str], size: tuple[int, int]
) -> Iterator[tuple[str, tuple[NDArray[np.uint8], Fingerprint]]]:
    shards = []
    try:
        with (place / "images.u8").open("rb") as images:
            for record in sorted((place / "shards").glob("*.npz")):
                shard = _kept(record, images, size)
                if shard is None:
                    break
                shards.append(shard)
    except OSError:
        return
    if not shards:
        return
    whole = _joined(shards, size, place / "images.u8")
    for position, row in enumerate(whole.rows):
        rows, columns = (int(side) for side in whole.sizes[position])
        mark = Fingerprint(
            str(whole.pixels[position]), int(whole.perceptual[position]), whole.small[position], rows, columns
        )
        yield files[int(row)], (whole.images[position], mark)


def _kept(record: Path, images: BinaryIO, size: tuple[int, int]) -> _Shard | None:
    """Take up a shard that was done before, if its images are what its record says."""
    try:
        with np.load(record) as held:
            shard = _Shard(
                **{name: held[name] for name in _Shard.__slots__ if name != "sha256"}, sha256=str(held["sha256"])
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    content = images.read(len(shard.rows) * size[0] * size[1])
    return shard if hashlib.sha256(content).hexdigest() == shard.sha256 else None


def _made(first: int, done: list[_Read], images: BinaryIO) -> _Shard:
    usable = [(row, *one) for row, one in enumerate(done, first) if not isinstance(one, str)]
    refused = [(row, one) for row, one in enumerate(done, first) if isinstance(one, str)]
    content = b"".join(image.tobytes() for _, image, _ in usable)
    images.write(content)
    images.flush()
    os.fsync(images.fileno())
    prints = [mark for _, _, mark in usable]
    return _Shard(
        rows=np.array([row for row, _, _ in usable], np.int64),
        refused_rows=np.array([row for row, _ in refused], np.int64),
        refused_codes=np.array([code for _, code in refused], np.str_),
        pixels=np.array([mark.pixels for mark in prints], np.str_),
        perceptual=np.array([mark.perceptual for mark in prints], np.uint64),
        small=np.array([mark.small for mark in prints], np.uint8).reshape(-1, *SMALL),
        sizes=np.array([(mark.rows, mark.columns) for mark in prints], np.int64).reshape(-1, 2),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _one(size: tuple[int, int], held: _Held, named: tuple[str, Case]) -> _Read:
    file, case = named
    if file in held:
        return held[file]
    try:
        mammogram = read_mammogram(case.path, ReadOptions(min_size=size))
        prepared = preprocess.prepare(mammogram, size)
    except InputError as error:
        return error.code
    return prepared.image, fingerprint(mammogram, prepared)


def _write(record: Path, shard: _Shard) -> None:
    partial_record = record.with_suffix(".partial")
    with partial_record.open("wb") as file:
        np.savez(file, **{name: getattr(shard, name) for name in _Shard.__slots__})
        file.flush()
        os.fsync(file.fileno())
    partial_record.replace(record)


def _joined(shards: list[_Shard], size: tuple[int, int], file: Path) -> Prepared:
    rows = np.concatenate([shard.rows for shard in shards])
    shape = (len(rows), *size)
    images: NDArray[np.uint8] = np.memmap(file, np.uint8, "r", shape=shape) if len(rows) else np.zeros(shape, np.uint8)
    return Prepared(
        images=images,
        rows=rows,
        refused={
            int(row): str(code)
            for shard in shards
            for row, code in zip(shard.refused_rows, shard.refused_codes, strict=True)
        },
        pixels=np.concatenate([shard.pixels for shard in shards]).astype(np.str_),
        perceptual=np.concatenate([shard.perceptual for shard in shards]),
        small=np.concatenate([shard.small for shard in shards]),
        sizes=np.concatenate([shard.sizes for shard in shards]),
    )
