"""Tell a mask from a picture by its content: a mask has two grey values.

CBIS-DDSM keeps an abnormality's cropped image and its mask in one folder, and in part
of the data their names are exchanged; so neither the name nor the folder is asked.
What was found is kept under ``$MAMMOLENS_HOME``, so that each file is looked into once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from mammolens.errors import InputError
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.reading import read_mammogram
from mammolens.settings import settings

_NEAR, _LEAST = 0.06, 0.995
_WINDOWS, _WINDOW_BYTES = 64, 4096
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")


def two_valued(values: NDArray[Any]) -> bool:
    """Whether grey values are two (or one), but for what lossy compression spreads around an edge.

    Parameters
    ----------
    values : ndarray of a number type, any shape
        Not empty.

    Returns
    -------
    bool
        At least 99.5 % lie within 6 % of the range from the lowest or the highest.
    """
    low, high = float(values.min()), float(values.max())
    near = _NEAR * (high - low)
    return float(np.mean((values <= low + near) | (values >= high - near))) >= _LEAST


def looks_like_a_mask(path: Path) -> bool | None:
    """Look into a file.

    Parameters
    ----------
    path : Path
        DICOM, PNG or JPEG.

    Returns
    -------
    bool or None
        ``None`` where it can't be read. Of an uncompressed DICOM file, 64 places spread
        evenly over the pixels are looked at: enough, as a cut-out picture has hundreds of
        grey values in any of them.
    """
    try:
        sampled = _sampled(path)
        return two_valued(read_mammogram(path, ReadOptions(any_modality=True)).pixels if sampled is None else sampled)
    except (InputError, OSError):
        return None


def _sampled(path: Path) -> NDArray[Any] | None:
    """Grey values from all over an uncompressed DICOM file; ``None`` for any other file."""
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return None
        file.seek(0)
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Rows", "Columns", "BitsAllocated"])
            syntax = str(header.file_meta.TransferSyntaxUID)
            count, bits = int(header.Rows) * int(header.Columns), int(header.BitsAllocated)
        except Exception:  # pydicom raises what it likes; the reader of the house says what is wrong
            return None
        if syntax not in _NATIVE or bits not in (8, 16) or not count:
            return None
        start = file.tell() + (8 if syntax == _NATIVE[0] else 12)
        size = count * bits // 8
        if os.fstat(file.fileno()).st_size < start + size:
            return None
        window = min(_WINDOW_BYTES, size)
        read = bytearray()
        for offset in np.unique(np.linspace(0, size - window, _WINDOWS).astype(np.int64) // 2 * 2):
            file.seek(start + int(offset))
            read += file.read(window // 2 * 2)
    return np.frombuffer(bytes(read), "<u2" if bits == 16 else np.uint8)


def masks_among(paths: Sequence[Path], folder: Path, jobs: int = 4) -> set[Path]:
    """Find the masks among files, looking only into those that were not looked into before.

    Parameters
    ----------
    paths : sequence of Path
        Below ``folder``.
    folder : Path
        Of the data set.
    jobs : int
        Threads.

    Returns
    -------
    set of Path
    """
    memory = settings().home / "datasets" / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}.json"
    known = _recalled(memory)
    stamps = {path: _stamp(path) for path in paths}
    keys = {path: str(path.relative_to(folder)) for path in paths}
    unknown = [path for path in paths if stamps[path] and known.get(keys[path], [None])[0] != stamps[path]]
    if unknown:
        with ThreadPoolExecutor(jobs) as pool:
            for path, is_mask in zip(unknown, pool.map(looks_like_a_mask, unknown), strict=True):
                known[keys[path]] = [stamps[path], is_mask]
        _keep(memory, known)
    return {path for path in paths if stamps[path] and known[keys[path]][1]}


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def _recalled(memory: Path) -> dict[str, list[Any]]:
    try:
        held = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def _keep(memory: Path, known: dict[str, list[Any]]) -> None:
    """Write the memory in one step. Where the home can't be written to, the files are looked into anew next time."""
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        partial = memory.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(known), encoding="utf-8")
        partial.replace(memory)
    except OSError:
        return
