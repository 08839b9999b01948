"""Open a stranger's model file: tell its format by its content, refuse what is hostile, list its tensors.

Nothing of the file is run, and no class that it names is looked up. HDF5 goes through
a bounded process of its own (`mammolens.models.importing.bounded`); SavedModel and
ONNX are read with a parser of this package (`mammolens.models.importing.protobuf`).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ConfigurationError, FileMissing, ModelFileMalformed, ModelFileUnsafe
from mammolens.models.importing import bounded, onnx_file, saved_model, worker
from mammolens.models.importing.contents import Contents, Entry
from mammolens.models.importing.limits import shown
from mammolens.models.importing.payloads import hostile_config
from mammolens.models.importing.source import Format, Source, SourceTensor
from mammolens.settings import settings

__all__ = ["hostile_config", "open_source"]

_MAGIC = {b"\x89HDF\r\n\x1a\n": worker.HDF5, b"PK\x03\x04": worker.ZIP}
_CHUNK = 1 << 20
_MISSING = "There is no such file, or it can't be opened. Check the path and its permissions."
_UNKNOWN = (
    "This is no model file: neither .keras, nor HDF5 (.h5), nor ONNX, nor a SavedModel folder. Save the model with "
    "model.save()."
)


def open_source(path: Path | str) -> Source:
    """Open a model file safely, whatever its name says it is.

    Parameters
    ----------
    path : path
        A file, or a SavedModel folder.

    Returns
    -------
    Source
        Its configuration is parsed and free of code; its tensors hold finite numbers,
        or `SourceTensor.read` raises `ModelFileMalformed` and names them.

    Raises
    ------
    FileMissing
        If there is no such file, or it can't be read.
    ModelFileUnsafe
        If it asks for what no weights need: code, links out of itself, absurd sizes.
    ModelFileMalformed
        If it is of no known format, damaged, or cut off.
    ModelIncomplete
        If it lists a tensor that it does not hold.
    ModelUnsupported
        If it keeps its weights in a way that is not read here.
    ConfigurationError
        If h5py is needed and missing, or this system can't bound a process.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # a path with a zero byte is a ValueError
        raise FileMissing(_MISSING) from None
    if stat.S_ISDIR(mode):
        return _open_folder(path)
    if not stat.S_ISREG(mode):
        raise FileMissing("The path leads to neither a file nor a folder. Give the model's file.")
    try:
        file = path.open("rb")
    except OSError:
        raise FileMissing(_MISSING) from None
    with file:
        return _open_file(file, os.fstat(file.fileno()).st_size)


def _open_file(file: BinaryIO, size: int) -> Source:
    most = settings().max_file_bytes
    if size > most:
        raise ModelFileUnsafe(
            f"The file is larger than the limit of {most} bytes. If it is genuine, raise MAMMOLENS_MAX_FILE_BYTES."
        )
    start = file.read(8)
    digest = hashlib.sha256(start)
    while piece := file.read(_CHUNK):
        digest.update(piece)
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            _need_h5py()
            contents, values = bounded.open_bounded(file, kind, size)
            return _source(contents, digest.hexdigest(), size, _slices(contents, values))
    file.seek(0)
    data = memoryview(file.read())
    if not onnx_file.is_onnx(data):
        raise ModelFileMalformed(_UNKNOWN)
    onnx_file.check(data)
    return _source(Contents(Format.ONNX, ()), digest.hexdigest(), size, ())


def _open_folder(folder: Path) -> Source:
    files = saved_model.list_files(folder, settings().max_file_bytes)
    if saved_model.GRAPH not in files:
        raise ModelFileMalformed(
            "The folder holds no 'saved_model.pb', so it is no SavedModel. Give a SavedModel folder or a single file."
        )
    contents, reads = saved_model.examine(folder, files)
    return _source(contents, saved_model.digest(folder, files), sum(files.values()), reads)


def _source(contents: Contents, sha256: str, size: int, reads: tuple[Callable[[], NDArray[Any]], ...]) -> Source:
    if contents.config is not None:
        # Losses and metrics of the training script, lambdas too, are never built; nothing reads this part.
        hostile_config({key: value for key, value in contents.config.items() if key != "compile_config"})
    return Source(
        contents.format,
        sha256,
        size,
        contents.keras_version,
        contents.backend,
        contents.config,
        tuple(_tensor(entry, read) for entry, read in zip(contents.entries, reads, strict=True)),
        contents.compiled,
    )


def _tensor(entry: Entry, read: Callable[[], NDArray[Any]]) -> SourceTensor:
    finite = partial(_finite, shown(entry.path), read)
    return SourceTensor(shown(entry.path), entry.layer, entry.name, entry.shape, entry.dtype, finite, label=entry.label)


def _slices(contents: Contents, values: memoryview) -> tuple[Callable[[], NDArray[Any]], ...]:
    """Give views of the tensors' bytes, which lie one after the other."""
    reads = []
    offset = 0
    for entry in contents.entries:
        reads.append(partial(_view, entry, values[offset : offset + entry.size]))
        offset += entry.size
    return tuple(reads)


def _view(entry: Entry, values: memoryview) -> NDArray[Any]:
    return np.frombuffer(values, np.dtype(entry.dtype).newbyteorder("<")).reshape(entry.shape)


def _finite(path: str, read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """Give a tensor if all of it are numbers.

    Raises
    ------
    ModelFileMalformed
    """
    values = read()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ModelFileMalformed(
            f"The tensor '{path}' holds values that are not numbers (NaN or infinity): training diverged or the file "
            "is damaged. Use an earlier checkpoint."
        )
    return values


def _need_h5py() -> None:
    if find_spec("h5py") is None:
        raise ConfigurationError("h5py is not installed. Run: pip install 'mammolens[import]'.")
