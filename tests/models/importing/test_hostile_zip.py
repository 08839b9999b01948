"""Hostile .keras files: what a zip can do, whatever the model in it."""

from __future__ import annotations

import io
import pickle
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mammolens.errors import ModelFileMalformed, ModelFileUnsafe, ModelUnsupported

h5py = pytest.importorskip("h5py")
from support.hostile import KERNEL, Refused, members, table  # noqa: E402

EMPTY = {"class_name": "Sequential", "config": {"layers": []}}
HOSTILE, hostile = table()


def keras_zip(folder: Path, extra: dict[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    path = folder / "model.keras"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as archive:
        warnings.simplefilter("ignore")  # duplicates are what some of these files are about
        for name, data in [*members(EMPTY).items(), *extra.items()]:
            archive.writestr(name, data)
    return path


@hostile(ModelFileUnsafe)
def zip_slip(folder: Path) -> Path:
    return keras_zip(folder, {"assets/../../../canary": b"x"})


@hostile(ModelFileUnsafe)
def absolute_zip_member(folder: Path) -> Path:
    return keras_zip(folder, {"/canary": b"x"})


@hostile(ModelFileUnsafe)
def backslash_zip_member(folder: Path) -> Path:
    return keras_zip(folder, {"..\\canary": b"x"})


@hostile(ModelFileUnsafe)
def symbolic_link_in_zip(folder: Path) -> Path:
    info = zipfile.ZipInfo("assets/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return keras_zip(folder, {info: b"/etc/passwd"})


@hostile(ModelFileUnsafe)
def duplicate_zip_member(folder: Path) -> Path:
    return keras_zip(folder, {zipfile.ZipInfo("config.json"): b"{}"})


@hostile(ModelFileUnsafe)
def zip_bomb(folder: Path) -> Path:
    return keras_zip(folder, {"assets/zeros": bytes(64 << 20)}, zipfile.ZIP_DEFLATED)


@hostile(ModelFileUnsafe)
def unusual_zip_method(folder: Path) -> Path:
    return keras_zip(folder, {}, zipfile.ZIP_LZMA)


@hostile(ModelFileUnsafe)
def encrypted_zip(folder: Path) -> Path:
    return _patched(keras_zip(folder, {}), lambda content, start: _put(content, start + 8, b"\x01\x00"))


@hostile(ModelFileUnsafe)
def overlapping_zip_members(folder: Path) -> Path:
    return _patched(keras_zip(folder, {}), lambda content, start: _put(content, start + 42, bytes(4)))


@hostile(ModelFileMalformed)
def truncated_zip(folder: Path) -> Path:
    path = keras_zip(folder, {})
    path.write_bytes(path.read_bytes()[:-100])
    return path


@hostile(ModelFileMalformed)
def zip_with_a_wrong_checksum(folder: Path) -> Path:
    path = keras_zip(folder, {})
    content = path.read_bytes()
    path.write_bytes(content.replace(KERNEL.tobytes(), (KERNEL + 1).tobytes()))
    return path


@hostile(ModelFileMalformed)
def zip_of_something_else(folder: Path) -> Path:
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    return path


@hostile(ModelUnsupported)
def weights_as_npz(folder: Path) -> Path:
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members(EMPTY).items():
            archive.writestr(name.replace("weights.h5", "weights.npz"), data)
    return path


@hostile(ModelFileUnsafe)
def external_link_inside_zip(folder: Path) -> Path:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/x")
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (members(EMPTY) | {"model.weights.h5": content.getvalue()}).items():
            archive.writestr(name, data)
    return path


def _patched(path: Path, patch: Callable[[bytearray, int], None]) -> Path:
    """Change the central directory's entry of the last member, which starts with PK 1 2."""
    content = bytearray(path.read_bytes())
    patch(content, content.rindex(b"PK\x01\x02"))
    path.write_bytes(content)
    return path


def _put(content: bytearray, place: int, data: bytes) -> None:
    content[place : place + len(data)] = data


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_zip_is_refused_soon_and_runs_nothing(name: str, tmp_path: Path, refused: Refused) -> None:
    error, build = HOSTILE[name]
    assert refused(build(tmp_path), error)
