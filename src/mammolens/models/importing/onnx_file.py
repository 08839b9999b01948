"""An ONNX file: recognised and checked, without onnx. Its graph is the second road's business.

References
----------
onnx/onnx: ``onnx/onnx.proto`` (ModelProto, GraphProto, NodeProto, AttributeProto,
TensorProto) and ``docs/ExternalData.md``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ModelFileError, ModelFileMalformed, ModelFileUnsafe
from mammolens.models.importing import limits
from mammolens.models.importing.limits import shown
from mammolens.models.importing.protobuf import Value, fields, integer, message, messages, signed, string, varint

_IR_VERSION, _GRAPH, _OPSETS, _FUNCTIONS = 1, 7, 8, 25
_MODEL_FIELDS = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26))
_MOST_SUBGRAPHS = 16
_EXTERNAL = 1
_ITEM_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
_FLOATS = {1: "<f4", 10: "<f2", 11: "<f8"}
_BFLOAT16 = 16


def is_onnx(data: memoryview) -> bool:
    """Whether bytes are an ONNX model: a ModelProto with an IR version, opsets and a graph, and nothing unknown."""
    try:
        numbers = {number for number, _ in fields(data)}
    except ModelFileError:
        return False
    return {_IR_VERSION, _GRAPH, _OPSETS} <= numbers <= _MODEL_FIELDS


def check(data: memoryview) -> None:
    """Refuse what an ONNX model must not hold.

    Raises
    ------
    ModelFileUnsafe
        For values kept in other files, declared sizes that the file does not hold, and
        graphs nested too deep.
    ModelFileMalformed
        For weights that are not numbers, and a broken structure.
    """
    for tensor in _tensors(message(data, _GRAPH), 0):
        _check_tensor(tensor)
    for function in messages(data, _FUNCTIONS):
        for tensor in _node_tensors(messages(function, 7), 0):
            _check_tensor(tensor)


def _tensors(graph: memoryview, depth: int) -> Iterator[memoryview]:
    """Tensors of a graph and of the graphs inside it (GraphProto: node 1, initializer 5, sparse_initializer 15)."""
    if depth > _MOST_SUBGRAPHS:
        raise ModelFileUnsafe("The ONNX graph holds graphs inside graphs without end. Do not use this file.")
    yield from messages(graph, 5)
    for sparse in messages(graph, 15):
        yield from _sparse(sparse)
    yield from _node_tensors(messages(graph, 1), depth)


def _node_tensors(nodes: list[memoryview], depth: int) -> Iterator[memoryview]:
    """Tensors in attributes (AttributeProto: t 5, g 6, tensors 10, graphs 11, sparse 22 and 23)."""
    for node in nodes:
        for attribute in messages(node, 5):
            yield from (*messages(attribute, 5), *messages(attribute, 10))
            for sparse in (*messages(attribute, 22), *messages(attribute, 23)):
                yield from _sparse(sparse)
            for graph in (*messages(attribute, 6), *messages(attribute, 11)):
                yield from _tensors(graph, depth + 1)


def _sparse(tensor: memoryview) -> list[memoryview]:
    """Values and indices of a SparseTensorProto."""
    return [*messages(tensor, 1), *messages(tensor, 2)]


def _check_tensor(tensor: memoryview) -> None:
    """Check a TensorProto: dims 1, data_type 2, float_data 4, name 8, raw_data 9, double_data 10, external 13, 14."""
    name = shown(string(tensor, 8)) or "a constant"
    if integer(tensor, 14) == _EXTERNAL or messages(tensor, 13):
        raise ModelFileUnsafe(
            f"'{name}' keeps its values in another file. Save the model in one piece (save_as_external_data=False)."
        )
    shape = _integers(tensor, 1)
    kind = integer(tensor, 2)
    declared = limits.check_tensor(name, shape, _ITEM_BYTES.get(kind, 1))
    if declared > limits.EXPANSION_FREE_BYTES and declared > limits.MOST_EXPANSION * len(tensor):
        raise ModelFileUnsafe(f"'{name}' declares {declared} bytes and holds {len(tensor)}. Do not use this file.")
    raw = message(tensor, 9)
    if raw and kind in _ITEM_BYTES and len(raw) != declared:
        raise ModelFileMalformed(f"'{name}' does not hold the values that it declares. Save the model again.")
    for values in _floats(tensor, kind, raw):
        # A lone infinity is a bound (Clip, Max); among weights it is damage, as not-a-number is everywhere.
        if np.isnan(values).any() or (values.size > 1 and not np.isfinite(values).all()):
            raise ModelFileMalformed(f"'{name}' holds values that are not numbers. Train or save the model again.")


def _floats(tensor: memoryview, kind: int, raw: memoryview) -> list[NDArray[np.floating]]:
    if kind == _BFLOAT16:
        return [(np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")]
    if kind not in _FLOATS:
        return []
    packed = [*messages(tensor, 4)] if kind == 1 else [*messages(tensor, 10)] if kind == 11 else []
    if any(len(piece) % _ITEM_BYTES[kind] for piece in packed):
        raise ModelFileMalformed("A tensor of the ONNX file is cut off. Save the model again.")
    return [np.frombuffer(piece, _FLOATS[kind]) for piece in (raw, *packed) if len(piece)]


def _integers(data: memoryview, number: int) -> tuple[int, ...]:
    """Give repeated integers, one by one or packed."""
    found: list[int] = []
    for field, value in fields(data):
        if field == number:
            found += _unpacked(value)
    return tuple(signed(value) for value in found)


def _unpacked(value: Value) -> list[int]:
    if isinstance(value, int):
        return [value]
    values, position = [], 0
    while position < len(value):
        number, position = varint(value, position)
        values.append(number)
    return values
