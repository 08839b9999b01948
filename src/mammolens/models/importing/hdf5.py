"""Walk an HDF5 file before anything of it is read, and refuse what no weights need.

Links are looked at before they are followed, creation properties before the data
space (asking a virtual dataset for its extent opens the files that it names), and
sizes before memory is taken. What comes out is a flat table of plain numeric arrays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ModelFileMalformed, ModelFileUnsafe
from mammolens.models.importing import limits
from mammolens.models.importing.limits import shown

_LZF = 32000
_MOST_LINK_BYTES = 1024
_SMALL_CHUNK_BYTES = 1 << 20
_MOST_ATTRIBUTE_BYTES = 64 << 20
_ADVICE = "Do not use this file."


@dataclass(frozen=True, slots=True)
class Stored:
    """A numeric dataset that was found harmless.

    Attributes
    ----------
    shape : tuple of int
    dtype : str
        NumPy's name of what `read` gives.
    dataset : h5py.Dataset
    """

    shape: tuple[int, ...]
    dtype: str
    dataset: Any = field(repr=False)

    def read(self) -> NDArray[Any]:
        """Give the array: little-endian, in C order."""
        values = np.asarray(self.dataset[()])
        if values.dtype.kind == "V":
            # bfloat16 is the upper half of a float32; Keras stores its bits as opaque bytes.
            return (values.view("<u2").astype("<u4") << 16).view("<f4").reshape(self.shape)
        return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Tree:
    """Everything that an HDF5 file holds.

    Attributes
    ----------
    groups : mapping of tuple of str to h5py.Group
        By path; the root is ``()``.
    datasets : mapping of tuple of str to Stored
        By path, in the file's own order.
    """

    groups: Mapping[tuple[str, ...], Any]
    datasets: Mapping[tuple[str, ...], Stored]


def walk(file: Any, size: int) -> Tree:
    """Look at every object of a file without reading any.

    Parameters
    ----------
    file : h5py.File
    size : int
        Bytes of the file.

    Raises
    ------
    ModelFileUnsafe
        For a link out of the file or inside it, a hard link to what was seen before,
        external or virtual storage, a type that is not numeric, an unusual filter,
        or sizes over a limit.
    ModelFileMalformed
        If the structure does not hold.
    """
    walker = _Walker(size)
    walker.enter(file)
    return Tree(walker.groups, walker.datasets)


class _Walker:
    def __init__(self, size: int) -> None:
        self.groups: dict[tuple[str, ...], Any] = {}
        self.datasets: dict[tuple[str, ...], Stored] = {}
        self._size = size
        self._seen: set[tuple[int, int]] = set()
        self._objects = 0
        self._declared = 0
        self._stored = 0

    def enter(self, file: Any) -> None:
        from h5py import h5o

        root = h5o.get_info(file.id)
        self._seen.add((root.fileno, root.addr))
        self.groups[()] = file
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            path = waiting.pop()
            waiting.extend(reversed(self._members(path)))

    def _members(self, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Note what lies in a group; give the paths of the groups among it."""
        import h5py
        from h5py import h5g, h5o

        group = self.groups[path].id
        self._objects += group.get_num_objs()
        if self._objects > limits.MOST_OBJECTS or len(path) >= limits.MOST_DEPTH:
            raise ModelFileUnsafe(f"The file holds more objects, or deeper ones, than any model. {_ADVICE}")
        inner = []
        for link in group:
            here = (*path, _name(link))
            self._check_link(group, link, here)
            info = h5o.get_info(group, link)
            if (info.fileno, info.addr) in self._seen:
                raise ModelFileUnsafe(f"'{_path(here)}' links to an object that lies elsewhere in the file. {_ADVICE}")
            self._seen.add((info.fileno, info.addr))
            if info.type == h5o.TYPE_GROUP:
                self.groups[here] = h5py.Group(h5g.open(group, link))
                inner.append(here)
            elif info.type == h5o.TYPE_DATASET:
                self.datasets[here] = self._dataset(group, link, here)
            else:
                raise ModelFileUnsafe(f"'{_path(here)}' is neither a group nor a dataset. {_ADVICE}")
        return inner

    @staticmethod
    def _check_link(group: Any, link: bytes, path: tuple[str, ...]) -> None:
        from h5py import h5l

        kind = group.links.get_info(link).type
        if kind == h5l.TYPE_HARD:
            return
        word = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "a link to another file"}.get(kind, "an unknown link")
        raise ModelFileUnsafe(f"'{_path(path)}' is {word}, which no model file needs. {_ADVICE}")

    def _dataset(self, group: Any, link: bytes, path: tuple[str, ...]) -> Stored:
        import h5py
        from h5py import h5d, h5s

        identifier = h5d.open(group, link)
        properties = identifier.get_create_plist()
        if properties.get_layout() == h5d.VIRTUAL:
            raise ModelFileUnsafe(f"'{_path(path)}' is a virtual dataset. {_ADVICE}")
        if properties.get_external_count():
            raise ModelFileUnsafe(f"'{_path(path)}' keeps its values in another file. {_ADVICE}")
        dtype = _dtype(identifier, path)
        space = identifier.get_space()
        if space.get_simple_extent_type() not in (h5s.SCALAR, h5s.SIMPLE):
            raise ModelFileMalformed(f"'{_path(path)}' holds nothing. Save the model again.")
        shape = tuple(int(side) for side in space.get_simple_extent_dims())
        self._check_room(identifier, properties, path, shape)
        return Stored(shape, dtype, h5py.Dataset(identifier))

    def _check_room(self, identifier: Any, properties: Any, path: tuple[str, ...], shape: tuple[int, ...]) -> None:
        """Hold the declared size against what is stored, for the dataset and for the file so far."""
        from h5py import h5d

        item = identifier.get_type().get_size()
        declared = limits.check_tensor("/".join(path), shape, item)
        stored = int(identifier.get_storage_size())
        limits.check_expansion("/".join(path), declared, stored)
        self._declared += declared
        self._stored += stored
        limits.check_expansion("the file", self._declared, self._stored)
        limits.check_tensor("the file", (self._declared,), 1)
        if self._stored > self._size:
            raise ModelFileUnsafe(f"'{_path(path)}' claims more bytes than the file has left for it. {_ADVICE}")
        if properties.get_layout() == h5d.CHUNKED:
            whole = _check_chunks(identifier, properties, path, shape, item)
        else:
            whole = stored == declared
        offset = identifier.get_offset() if properties.get_layout() == h5d.CONTIGUOUS else None
        if not whole or (offset is not None and offset + stored > self._size):
            raise ModelFileMalformed(
                f"'{_path(path)}' was not written whole: the file is damaged. Copy or save the model again."
            )


def _check_chunks(identifier: Any, properties: Any, path: tuple[str, ...], shape: tuple[int, ...], item: int) -> bool:
    """Refuse unusual filters and giant chunks; say whether all chunks are there."""
    from h5py import h5z

    for index in range(properties.get_nfilters()):
        if properties.get_filter(index)[0] not in (h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, _LZF):
            raise ModelFileUnsafe(f"'{_path(path)}' is packed with a filter that Keras does not use. {_ADVICE}")
    chunk = properties.get_chunk()
    if math.prod(chunk) * item > max(math.prod(shape) * item, _SMALL_CHUNK_BYTES):
        raise ModelFileUnsafe(f"'{_path(path)}' is stored in chunks larger than itself. {_ADVICE}")
    expected = math.prod(-(-side // piece) for side, piece in zip(shape, chunk, strict=True))
    return bool(identifier.get_num_chunks() == expected)


def _dtype(identifier: Any, path: tuple[str, ...]) -> str:
    """NumPy's name of the values, if they are numbers."""
    from h5py import h5t

    kind = identifier.get_type()
    group = kind.get_class()
    if group in (h5t.INTEGER, h5t.FLOAT):
        name = str(np.dtype(kind.dtype).name)
        if name in DTYPES:
            return name
    if group == h5t.ENUM and kind.dtype == np.dtype(bool):
        return "bool"
    if group == h5t.OPAQUE and kind.get_size() == 2 and _is_bfloat16(identifier):
        return "float32"
    raise ModelFileUnsafe(f"'{_path(path)}' holds values of a type that no weights have. {_ADVICE}")


DTYPES = frozenset(
    ("bool", "float16", "float32", "float64", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
)
"""NumPy's names of the element types that are read."""


def _is_bfloat16(identifier: Any) -> bool:
    """Whether Keras marked opaque values as bfloat16 (its ``H5IOStore`` sets the attribute ``dtype``)."""
    import h5py

    return text(h5py.Dataset(identifier), "dtype") == "bfloat16"


def text(holder: Any, name: str) -> str | None:
    """Give an attribute that holds one text.

    Parameters
    ----------
    holder : h5py.Group or h5py.Dataset
    name : str

    Returns
    -------
    str or None
        None where there is no such attribute.

    Raises
    ------
    ModelFileMalformed
        If it is no single text.
    """
    values = _texts(holder, name)
    if values is None:
        return None
    if len(values) != 1:
        raise ModelFileMalformed(f"The attribute '{name}' is not a single text. Save the model again.")
    return values[0]


def names(holder: Any, name: str) -> list[str] | None:
    """Give an attribute that lists names, in one piece or cut in several (``weight_names0``, ``weight_names1``, …).

    Keras cuts lists that pass HDF5's 64 kB of an object header
    (``save_attributes_to_hdf5_group``).

    Returns
    -------
    list of str or None
        None where there is no such attribute.

    Raises
    ------
    ModelFileMalformed
        If it holds something else, or a name twice.
    """
    found = _texts(holder, name)
    piece = 0
    while found is None or piece:
        more = _texts(holder, f"{name}{piece}")
        if more is None:
            break
        found = [*(found or ()), *more]
        piece += 1
        if len(found) > limits.MOST_NAMES:
            raise ModelFileUnsafe(f"The attribute '{name}' lists more names than any model has. {_ADVICE}")
    if found is not None and len(set(found)) != len(found):
        raise ModelFileMalformed(f"The attribute '{name}' lists a name twice. Save the model again.")
    return found and [limits.check_name(entry) for entry in found]


def _texts(holder: Any, name: str) -> list[str] | None:
    from h5py import h5a, h5t

    key = name.encode()
    if not h5a.exists(holder.id, key):
        return None
    attribute = h5a.open(holder.id, key)
    count = attribute.get_space().get_simple_extent_npoints()
    if count == 0:  # NumPy has no empty list of texts: Keras stores an empty one as floats
        return []
    kind = attribute.get_type()
    if count > limits.MOST_NAMES or count * kind.get_size() > _MOST_ATTRIBUTE_BYTES:
        raise ModelFileUnsafe(f"The attribute '{name}' is larger than any model's. {_ADVICE}")
    if kind.get_class() != h5t.STRING:
        raise ModelFileMalformed(f"The attribute '{name}' is not text. Save the model again.")
    values = np.asarray(holder.attrs[name], dtype=object).reshape(-1)
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _name(link: bytes) -> str:
    if len(link) > _MOST_LINK_BYTES:
        raise ModelFileUnsafe(f"A name in the file has more than {_MOST_LINK_BYTES} bytes. {_ADVICE}")
    return limits.check_name(link.decode("utf-8", "surrogateescape"))


def _path(parts: tuple[str, ...]) -> str:
    return shown("/".join(parts))
