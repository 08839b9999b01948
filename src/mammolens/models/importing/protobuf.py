"""The wire format of protocol buffers, read without generated classes: fields by number, nothing built.

Enough for the few messages of a SavedModel and an ONNX file that import needs, so
that neither TensorFlow nor onnx has to be there, and no parser of theirs meets a
stranger's bytes.

References
----------
Protocol Buffers, "Encoding" (varints, tags, wire types 0, 1, 2 and 5).
"""

from __future__ import annotations

from collections.abc import Iterator

from mammolens.errors import ModelFileMalformed

Value = int | memoryview
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_MOST_VARINT_BYTES = 10
_BROKEN = "The file's structure is broken: it is damaged or cut off. Copy or save the model again."


def varint(data: memoryview, position: int) -> tuple[int, int]:
    """Read a variable-length integer.

    Returns
    -------
    value, position : int
        The position is that of the next byte.

    Raises
    ------
    ModelFileMalformed
    """
    value = 0
    for index in range(_MOST_VARINT_BYTES):
        if position + index >= len(data):
            break
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position + index + 1
    raise ModelFileMalformed(_BROKEN)


def fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Walk the fields of a message.

    Yields
    ------
    number : int
        Of the field.
    value : int or memoryview
        The bytes of a string, message or packed list; fixed-width values as unsigned
        integers.

    Raises
    ------
    ModelFileMalformed
    """
    position = 0
    while position < len(data):
        tag, position = varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, position = varint(data, position)
            yield number, value
            continue
        if kind == _BYTES:
            size, position = varint(data, position)
        else:
            size = _FIXED.get(kind, len(data) + 1)
        if number == 0 or size > len(data) - position:
            raise ModelFileMalformed(_BROKEN)
        piece = data[position : position + size]
        position += size
        yield number, piece if kind == _BYTES else int.from_bytes(piece, "little")


def messages(data: memoryview, number: int) -> list[memoryview]:
    """Give the bytes of each field of that number, in order."""
    return [value for field, value in fields(data) if field == number and isinstance(value, memoryview)]


def message(data: memoryview, number: int) -> memoryview:
    """Give the bytes of the last field of that number; empty where there is none, as the format wants it."""
    found = messages(data, number)
    return found[-1] if found else memoryview(b"")


def integer(data: memoryview, number: int) -> int:
    """Give the last integer of that number; 0 where there is none, as the format wants it."""
    found = [value for field, value in fields(data) if field == number and isinstance(value, int)]
    return found[-1] if found else 0


def signed(value: int) -> int:
    """Read an unsigned 64-bit integer as a signed one."""
    return value - (1 << 64) if value >= 1 << 63 else value


def string(data: memoryview, number: int) -> str:
    """Give the last text of that number; empty where there is none.

    Raises
    ------
    ModelFileMalformed
        If it is no UTF-8.
    """
    try:
        return str(message(data, number), "utf-8")
    except UnicodeDecodeError:
        raise ModelFileMalformed(_BROKEN) from None
