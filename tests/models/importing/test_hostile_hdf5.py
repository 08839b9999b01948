"""Hostile HDF5 files, made here one by one: links, storage, types, sizes, damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mammolens.errors import ModelFileMalformed, ModelFileUnsafe

h5py = pytest.importorskip("h5py")
from support.hostile import KERNEL, Refused, table  # noqa: E402

HOSTILE, hostile = table()


def weights_file(folder: Path, change: Callable[[object], object], name: str = "model.weights.h5") -> Path:
    """A valid file in the layout of Keras 3, changed for the worse."""
    path = folder / name
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = KERNEL
        change(file)
    return path


@hostile(ModelFileUnsafe)
def soft_link(folder: Path) -> Path:
    return weights_file(folder, lambda file: file.update({"layers/dense/vars/1": h5py.SoftLink("/layers/dense")}))


@hostile(ModelFileUnsafe)
def external_link(folder: Path) -> Path:
    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["values"] = KERNEL
    link = h5py.ExternalLink(str(folder / "secret.h5"), "/values")
    return weights_file(folder, lambda file: file.update({"layers/dense/vars/1": link}))


@hostile(ModelFileUnsafe)
def external_storage(folder: Path) -> Path:
    (folder / "secret").write_bytes(bytes(48))

    def change(file):
        file.create_dataset("layers/dense/vars/1", (12,), "f4", external=[(str(folder / "secret"), 0, 48)])

    return weights_file(folder, change)


@hostile(ModelFileUnsafe)
def virtual_dataset(folder: Path) -> Path:
    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["values"] = KERNEL
    layout = h5py.VirtualLayout((3, 4), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "values", shape=(3, 4))
    return weights_file(folder, lambda file: file.create_virtual_dataset("layers/dense/vars/1", layout))


@hostile(ModelFileUnsafe)
def cycle_of_hard_links(folder: Path) -> Path:
    def change(file):
        file["layers/dense/again"] = file["layers"]

    return weights_file(folder, change)


@hostile(ModelFileUnsafe)
def one_tensor_under_two_names(folder: Path) -> Path:
    def change(file):
        file["layers/dense/vars/1"] = file["layers/dense/vars/0"]

    return weights_file(folder, change)


@hostile(ModelFileUnsafe)
def too_many_objects(folder: Path) -> Path:
    def change(file):
        group = file.create_group("layers/many").id
        for index in range(50_001):
            group.links.create_soft(str(index).encode(), b"/layers")

    return weights_file(folder, change)


@hostile(ModelFileUnsafe)
def too_deep(folder: Path) -> Path:
    return weights_file(folder, lambda file: file.create_group("/".join(["layers"] * 60)))


@hostile(ModelFileUnsafe)
def compound_type(folder: Path) -> Path:
    kind = np.dtype([("a", "f4"), ("b", "i4")])
    return weights_file(folder, lambda file: file.create_dataset("layers/dense/vars/1", (3,), kind))


@hostile(ModelFileUnsafe)
def variable_length_type(folder: Path) -> Path:
    kind = h5py.vlen_dtype(np.float32)
    return weights_file(folder, lambda file: file.create_dataset("layers/dense/vars/1", (3,), kind))


@hostile(ModelFileUnsafe)
def object_references(folder: Path) -> Path:
    return weights_file(folder, lambda file: file.create_dataset("layers/dense/vars/1", (3,), h5py.ref_dtype))


@hostile(ModelFileUnsafe)
def named_type(folder: Path) -> Path:
    return weights_file(folder, lambda file: file.update({"layers/dense/kind": np.dtype("f4")}))


@hostile(ModelFileUnsafe)
def shape_bomb_without_storage(folder: Path) -> Path:
    return weights_file(folder, lambda file: file.create_dataset("layers/dense/vars/1", (1 << 38,), "f4"))


@hostile(ModelFileUnsafe)
def shape_bomb_of_compressed_zeros(folder: Path) -> Path:
    def change(file):
        file.create_dataset("layers/dense/vars/1", (1 << 38,), "f4", chunks=(1 << 16,), compression="gzip")[:3] = 1

    return weights_file(folder, change)


@hostile(ModelFileUnsafe)
def compressed_bomb_within_the_size_limit(folder: Path) -> Path:
    zeros = np.zeros(16 << 20, np.float32)

    def change(file):
        file.create_dataset("layers/dense/vars/1", data=zeros, chunks=(1 << 20,), compression="gzip")

    return weights_file(folder, change)


@hostile(ModelFileUnsafe)
def giant_chunk(folder: Path) -> Path:
    def change(file):
        file.create_dataset("layers/dense/vars/1", (4,), "f4", chunks=(1 << 28,), maxshape=(None,))

    return weights_file(folder, change)


@hostile(ModelFileUnsafe)
def unusual_filter(folder: Path) -> Path:
    values = np.arange(4096, dtype=np.int32)
    return weights_file(
        folder, lambda file: file.create_dataset("layers/dense/vars/1", data=values, chunks=(64,), scaleoffset=0)
    )


@hostile(ModelFileMalformed)
def never_written(folder: Path) -> Path:
    return weights_file(folder, lambda file: file.create_dataset("layers/dense/vars/1", (64,), "f4"))


@hostile(ModelFileMalformed)
def not_a_number(folder: Path) -> Path:
    return weights_file(folder, lambda file: file.update({"layers/dense/vars/1": np.float32([0, np.nan])}))


@hostile(ModelFileMalformed)
def infinite(folder: Path) -> Path:
    return weights_file(folder, lambda file: file.update({"layers/dense/vars/1": np.float16([0, np.inf])}))


@hostile(ModelFileMalformed)
def truncated_hdf5(folder: Path) -> Path:
    path = weights_file(folder, lambda file: file.update({"layers/dense/vars/1": np.ones(5000, np.float32)}))
    path.write_bytes(path.read_bytes()[:-9000])
    return path


@hostile(ModelFileMalformed)
def signature_of_hdf5_and_noise(folder: Path) -> Path:
    path = folder / "model.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + np.random.default_rng(1).bytes(4000))
    return path


@hostile(ModelFileMalformed)
def damaged_compressed_tensor(folder: Path) -> Path:
    values = np.random.default_rng(2).normal(size=20_000).astype(np.float32)

    def change(file):
        file.create_dataset("layers/dense/vars/1", data=values, chunks=(20_000,), compression="gzip")

    path = weights_file(folder, change)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    path.write_bytes(content)
    return path


@hostile(ModelFileMalformed)
def name_with_an_escape_sequence(folder: Path) -> Path:
    return weights_file(folder, lambda file: file.update({"layers/\x1b[2Jdense/vars/0": KERNEL}))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_hdf5_is_refused_soon_and_runs_nothing(name: str, tmp_path: Path, refused: Refused) -> None:
    error, build = HOSTILE[name]
    assert refused(build(tmp_path), error)


@pytest.mark.parametrize("name", ["not_a_number", "infinite"])
def test_tensor_that_is_no_number_is_named(name: str, tmp_path: Path, refused: Refused) -> None:
    assert "'layers/dense/vars/1'" in refused(HOSTILE[name][1](tmp_path), ModelFileMalformed)
