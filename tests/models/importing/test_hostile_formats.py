"""Hostile ONNX files and SavedModel folders, other formats under a model's name, random damage."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from mammolens.errors import FileMissing, ModelFileError, ModelFileMalformed, ModelFileUnsafe
from mammolens.models.importing.container import open_source
from mammolens.settings import Settings

h5py = pytest.importorskip("h5py")
from support.hostile import Refused, table, whole_model  # noqa: E402

HOSTILE, hostile = table()


def _field(number: int, data: bytes | int) -> bytes:
    """One field of a protocol buffer message, up to 127 bytes or 2^63."""

    def varint(value: int) -> bytes:
        pieces = []
        while value > 0x7F:
            pieces.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*pieces, value])

    if isinstance(data, int):
        return varint(number << 3) + varint(data)
    return varint(number << 3 | 2) + varint(len(data)) + data


def onnx(tensor: bytes) -> bytes:
    """An ONNX model of one initializer."""
    return _field(1, 8) + _field(7, _field(5, tensor)) + _field(8, _field(2, 18))


def _onnx_file(folder: Path, tensor: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(onnx(tensor))
    return path


@hostile(ModelFileUnsafe)
def onnx_with_external_data(folder: Path) -> Path:
    place = _field(1, b"location") + _field(2, b"/etc/passwd")
    return _onnx_file(folder, _field(1, 4) + _field(2, 1) + _field(13, place) + _field(14, 1))


@hostile(ModelFileMalformed)
def onnx_with_not_a_number(folder: Path) -> Path:
    return _onnx_file(folder, _field(1, 2) + _field(2, 1) + _field(9, struct.pack("<2f", 1, float("nan"))))


@hostile(ModelFileUnsafe)
def onnx_shape_bomb(folder: Path) -> Path:
    return _onnx_file(folder, _field(1, 1 << 40) + _field(2, 1) + _field(9, bytes(8)))


@hostile(ModelFileMalformed)
def truncated_onnx(folder: Path) -> Path:
    path = _onnx_file(folder, _field(1, 2) + _field(2, 1) + _field(9, bytes(8)))
    path.write_bytes(path.read_bytes()[:-5])
    return path


@hostile(ModelFileMalformed)
def pickle_that_calls(folder: Path) -> Path:
    class Call:
        def __reduce__(self):
            return os.system, (f"touch {folder / 'canary'}",)

    path = folder / "model.h5"
    path.write_bytes(pickle.dumps(Call()))
    return path


@hostile(ModelFileMalformed)
def empty_file(folder: Path) -> Path:
    path = folder / "model.keras"
    path.touch()
    return path


@hostile(ModelFileMalformed)
def folder_of_something_else(folder: Path) -> Path:
    (folder / "model").mkdir()
    return folder / "model"


@hostile(ModelFileUnsafe)
def symbolic_link_in_a_saved_model(folder: Path) -> Path:
    path = folder / "model"
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").touch()
    (path / "variables" / "variables.index").symlink_to("/etc/passwd")
    return path


@hostile(ModelFileMalformed)
def saved_model_with_a_broken_index(folder: Path) -> Path:
    path = folder / "model"
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").touch()
    magic = (0xDB4775248B80FB57).to_bytes(8, "little")
    (path / "variables" / "variables.index").write_bytes(
        bytes([0, 0, 0xFF, 0xFF, 0x7F, 0xFF, 0x7F]).ljust(40, b"\0") + magic
    )
    return path


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_format_is_refused_soon_and_runs_nothing(name: str, tmp_path: Path, refused: Refused) -> None:
    error, build = HOSTILE[name]
    assert refused(build(tmp_path), error)


def test_damaged_files_end_in_typed_errors_only(tmp_path: Path) -> None:
    path = whole_model(tmp_path, {"class_name": "Sequential", "config": {}})
    whole = path.read_bytes()
    generator = np.random.default_rng(20)
    ends = []
    for _ in range(12):
        content = bytearray(whole)
        for place in generator.integers(8, len(content), 6):
            content[place] = generator.integers(256)
        path.write_bytes(content)
        try:
            [tensor.read() for tensor in open_source(path).tensors]
            ends.append("read")
        except ModelFileError as error:
            ends.append(error.code)
    assert len(ends) == 12
    assert set(ends) - {"read"}


@pytest.mark.parametrize("place", ["nothing.h5", "pipe"])
def test_what_is_no_file_is_missing(place: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileMissing):
        open_source(tmp_path / place)


def test_file_over_the_size_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mammolens.models.importing.container.settings", lambda: Settings(max_file_bytes=1000))
    with pytest.raises(ModelFileUnsafe, match="MAMMOLENS_MAX_FILE_BYTES"):
        open_source(whole_model(tmp_path, {"class_name": "Sequential", "config": {}}))
