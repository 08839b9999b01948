"""TensorFlow's checkpoint files (``variables.index`` and its shards), read without TensorFlow.

The index is a sorted string table: prefix-compressed blocks of keys and values, an
index block over them, a footer. Each value says where in which shard a tensor lies.

References
----------
tensorflow/tensorflow: ``core/protobuf/tensor_bundle.proto``, ``core/util/tensor_bundle``
and ``core/lib/io/table_format.txt`` (LevelDB's table format).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mammolens.errors import ModelFileMalformed, ModelFileUnsafe, ModelUnsupported
from mammolens.models.importing import limits, protobuf
from mammolens.models.importing.protobuf import integer, message, messages, signed, varint

STRING = 7
"""Code of the type of texts, which are not weights."""

DTYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    19: "float16",
    22: "uint32",
    23: "uint64",
}
"""TensorFlow's codes of element types (``types.proto``)."""

_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5
_BROKEN = "The checkpoint's index is broken: it is damaged or cut off. Copy or save the model again."


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a tensor lies.

    Attributes
    ----------
    code : int
        Of the element type; see `DTYPES`.
    shape : tuple of int
    shard : int
    offset, size : int
        Bytes in the shard.
    """

    code: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


def read_index(data: bytes) -> tuple[int, dict[str, Placed]]:
    """Read the index of a checkpoint.

    Parameters
    ----------
    data : bytes
        Content of ``variables.index``.

    Returns
    -------
    shards : int
        Number of data files.
    tensors : dict of str to Placed
        By key.

    Raises
    ------
    ModelFileMalformed, ModelFileUnsafe, ModelUnsupported
    """
    view = memoryview(data)
    if len(view) < _FOOTER_BYTES or view[-8:] != _MAGIC:
        raise ModelFileMalformed(_BROKEN)
    footer = view[-_FOOTER_BYTES:]
    _, _, position = _handle(footer, 0)
    start, size, _ = _handle(footer, position)
    shards, tensors = 0, {}
    for _, handle in _block(view, start, size):
        offset, length, _ = _handle(handle, 0)
        for key, value in _block(view, offset, length):
            if not key:
                shards = _header(value)
                continue
            tensors[limits.check_name(key.decode("utf-8", "surrogateescape"))] = _placed(value)
            if len(tensors) > limits.MOST_OBJECTS:
                raise ModelFileUnsafe("The checkpoint lists more tensors than any model has. Do not use this file.")
    return shards, tensors


def _handle(data: memoryview, position: int) -> tuple[int, int, int]:
    offset, position = varint(data, position)
    size, position = varint(data, position)
    return offset, size, position


def _block(data: memoryview, start: int, size: int) -> Iterator[tuple[bytes, memoryview]]:
    """Entries of a block; each key tells how many bytes it shares with the one before."""
    if start + size + _TRAILER_BYTES > len(data) or size < 4:
        raise ModelFileMalformed(_BROKEN)
    if data[start + size]:
        raise ModelUnsupported("The checkpoint's index is compressed. Save the model again with a newer TensorFlow.")
    restarts = int.from_bytes(data[start + size - 4 : start + size], "little")
    end = start + size - 4 * (restarts + 1)
    position, key = start, b""
    while position < end:
        shared, position = varint(data, position)
        own, position = varint(data, position)
        length, position = varint(data, position)
        if shared > len(key) or position + own + length > end:
            raise ModelFileMalformed(_BROKEN)
        key = key[:shared] + bytes(data[position : position + own])
        position += own
        yield key, data[position : position + length]
        position += length


def _header(value: memoryview) -> int:
    """Give the number of shards (BundleHeaderProto: num_shards 1, endianness 2)."""
    if integer(value, 2):
        raise ModelUnsupported("The checkpoint is big-endian. Save the model on an ordinary computer.")
    return integer(value, 1)


def _placed(value: memoryview) -> Placed:
    """Read a BundleEntryProto: dtype 1, shape 2 (dim 2: size 1), shard 3, offset 4, size 5, slices 7."""
    if messages(value, 7):
        raise ModelUnsupported("The checkpoint holds tensors in slices. Save the model without partitioned variables.")
    shape = tuple(signed(integer(side, 1)) for side in messages(message(value, 2), 2))
    return Placed(integer(value, 1), shape, integer(value, 3), integer(value, 4), integer(value, 5))


def check(key: str, placed: Placed, shards: list[int]) -> str:
    """Hold a tensor against the limits and its shard.

    Parameters
    ----------
    key : str
    placed : Placed
    shards : list of int
        Bytes of each shard.

    Returns
    -------
    str
        NumPy's name of the element type.

    Raises
    ------
    ModelFileUnsafe, ModelFileMalformed
    """
    name = DTYPES.get(placed.code)
    if name is None:
        raise ModelFileUnsafe(f"'{limits.shown(key)}' holds values of a type that no weights have. Do not use it.")
    item = 2 if name == "bfloat16" else np.dtype(name).itemsize
    declared = limits.check_tensor(key, placed.shape, item)
    if declared != placed.size or placed.shard >= len(shards) or placed.offset + placed.size > shards[placed.shard]:
        raise ModelFileMalformed(f"'{limits.shown(key)}' is not there as a whole. Copy or save the model again.")
    return name


def scalar_text(placed: Placed, shard: bytes) -> memoryview:
    """Give the bytes of a scalar text: its length as a varint, a checksum of four bytes, then the text."""
    view = memoryview(shard)[placed.offset : placed.offset + placed.size]
    length, position = protobuf.varint(view, 0)
    if placed.code != STRING or placed.shape or position + 4 + length != len(view):
        raise ModelFileMalformed(_BROKEN)
    return view[position + 4 :]
