"""A SavedModel folder: its variables and, where Keras left one, its description. The graph is never loaded.

===========================================  ==================================================
file                                         what is taken from it
===========================================  ==================================================
``variables/variables.index`` and shards     tensors; the object graph names them and tells
                                             their order (the model's ``weights``)
``keras_metadata.pb`` (Keras 2.5 on)         the root node's description and Keras version
``saved_model.pb``                           the same in files of Keras 2.4 and before
===========================================  ==================================================

References
----------
tensorflow/tensorflow: ``core/protobuf/trackable_object_graph.proto``,
``saved_model.proto``, ``saved_object_graph.proto``; keras-team/tf-keras:
``tf_keras/protobuf/saved_metadata.proto``.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import FileMissing, ModelFileMalformed, ModelFileUnsafe
from mammolens.models.importing import limits, tensor_bundle
from mammolens.models.importing.contents import Contents, Entry
from mammolens.models.importing.limits import parse_json, shown
from mammolens.models.importing.protobuf import integer, message, messages, string
from mammolens.models.importing.source import Format
from mammolens.models.importing.tensor_bundle import Placed

GRAPH = "saved_model.pb"
_METADATA = "keras_metadata.pb"
_INDEX = "variables/variables.index"
_SHARD = "variables/variables.data-{:05d}-of-{:05d}"
_MOST_FILES = 1000
_MOST_METADATA_BYTES = 64 << 20
_MOST_SHARDS = 1000
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_NOT_WEIGHTS = ("optimizer/", "keras_api/", "_all_variables/")
_CHUNK = 1 << 20

Read = Callable[[], NDArray[Any]]


def list_files(folder: Path, most_bytes: int) -> dict[str, int]:
    """List a folder's files with their sizes, if it holds nothing else.

    Parameters
    ----------
    folder : Path
    most_bytes : int
        Of all files together.

    Returns
    -------
    dict of str to int
        By path inside the folder, sorted.

    Raises
    ------
    ModelFileUnsafe
        For links, devices, too many files, too many bytes.
    """
    found: dict[str, int] = {}
    for place, folders, files in os.walk(folder, onerror=_give_up):
        for name in (*folders, *files):
            path = Path(place, name)
            state = path.lstat()
            if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
                raise ModelFileUnsafe(f"'{shown(name)}' in the folder is a link or a device. Do not use this folder.")
            if stat.S_ISREG(state.st_mode):
                found[path.relative_to(folder).as_posix()] = state.st_size
        if len(found) > _MOST_FILES or sum(found.values()) > most_bytes:
            raise ModelFileUnsafe("The folder holds more than any SavedModel. Give the SavedModel folder itself.")
    return dict(sorted(found.items()))


def digest(folder: Path, files: dict[str, int]) -> str:
    """SHA-256 over the lines ``<sha256> <path>`` of all files, sorted by path."""
    lines = hashlib.sha256()
    for name in files:
        whole = hashlib.sha256()
        with (folder / name).open("rb") as stream:
            while piece := stream.read(_CHUNK):
                whole.update(piece)
        lines.update(f"{whole.hexdigest()} {name}\n".encode("utf-8", "surrogateescape"))
    return lines.hexdigest()


def examine(folder: Path, files: dict[str, int]) -> tuple[Contents, tuple[Read, ...]]:
    """Tell what a SavedModel holds.

    Parameters
    ----------
    folder : Path
    files : dict of str to int
        As `list_files` gives it.

    Returns
    -------
    contents : Contents
    reads : tuple of callable
        Give the tensors, in the order of the entries.

    Raises
    ------
    ModelFileError
    """
    root = _description(folder, files)
    config = {key: root[key] for key in ("class_name", "config")} if {"class_name", "config"} <= root.keys() else None
    number, tensors = tensor_bundle.read_index(_content(folder, _INDEX, files))
    if not 0 < number <= _MOST_SHARDS:
        raise ModelFileMalformed("The checkpoint's index names no data files. Save the model again.")
    shards = [_SHARD.format(index, number) for index in range(number)]
    missing = [shard for shard in shards if shard not in files]
    if missing:
        raise ModelFileMalformed(f"The folder holds no '{missing[0]}'. Copy the whole folder.")
    sizes = [files[shard] for shard in shards]
    entries, reads, total = [], [], 0
    for key, full_name in _weights(folder, tensors, shards, files):
        placed = tensors[key]
        kind = tensor_bundle.check(key, placed, sizes)
        total = limits.check_tensor("the folder", (total + placed.size,), 1)
        *layers, name = full_name.split("/")
        dtype = "float32" if kind == "bfloat16" else kind
        label = layers[-1] if layers else ""
        entries.append(Entry(key.removesuffix(_VALUE), tuple(layers), name, placed.shape, dtype, label))
        reads.append(partial(_read, folder / shards[placed.shard], placed, kind))
    version, backend = (str(root.get(key) or "") for key in ("keras_version", "backend"))
    compiled = bool(root.get("training_config")) or any(key.startswith("optimizer/") for key in tensors)
    return Contents(Format.SAVED_MODEL, tuple(entries), config, version, backend, compiled), tuple(reads)


def _weights(
    folder: Path, tensors: dict[str, Placed], shards: list[str], files: dict[str, int]
) -> list[tuple[str, str]]:
    """Keys and full names of the model's weights, in its own order where the object graph tells it."""
    nodes = []
    graph = tensors.get(_OBJECT_GRAPH)
    if graph is not None and graph.shard < len(shards):
        nodes = messages(tensor_bundle.scalar_text(graph, _content(folder, shards[graph.shard], files)), 1)
    names = {}
    for node in nodes:
        for attribute in messages(node, 2):  # TrackableObject.attributes: name 1, full_name 2, checkpoint_key 3
            names[string(attribute, 3)] = (string(attribute, 3), limits.check_name(string(attribute, 2)))
    listed = [names[key] for key in _model_variables(nodes) if key in names]
    if listed:
        if any(key not in tensors for key, _ in listed):
            raise ModelFileMalformed("The object graph names a variable that is not there. Copy or save it again.")
        return listed
    keys = (key for key in tensors if key.endswith(_VALUE) and not key.startswith(_NOT_WEIGHTS))
    return [names.get(key, (key, key.removesuffix(_VALUE))) for key in sorted(keys, key=_counted)]


def _model_variables(nodes: list[memoryview]) -> list[str]:
    """Give the checkpoint keys of the root's ``variables``, a list in the order of the model's weights."""

    def children(index: int) -> dict[str, int]:  # TrackableObject.children: node_id 1, local_name 2
        if not 0 <= index < len(nodes):
            return {}
        return {string(child, 2): integer(child, 1) for child in messages(nodes[index], 1)}

    members = children(children(0).get("variables", -1))
    keys = []
    for name in sorted(filter(str.isdecimal, members), key=int):
        if members[name] < len(nodes):
            keys += [string(attribute, 3) for attribute in messages(nodes[members[name]], 2)]
    return keys


def _description(folder: Path, files: dict[str, int]) -> dict[str, Any]:
    """Give the root node's metadata as Keras wrote them; empty where it did not (``model.export`` of Keras 3)."""
    text = memoryview(b"")
    if _METADATA in files:
        for node in messages(memoryview(_content(folder, _METADATA, files)), 1):
            if string(node, 3) == "root":  # SavedObject: node_path 3, metadata 5
                text = message(node, 5)
    else:
        # SavedModel.meta_graphs 2, MetaGraphDef.object_graph_def 7, nodes 1, user_object 4, metadata 3
        graphs = messages(memoryview(_content(folder, GRAPH, files)), 2)
        nodes = messages(message(graphs[0], 7), 1) if graphs else []
        text = message(message(nodes[0], 4), 3) if nodes else text
    return parse_json(bytes(text), "The model's configuration") if text else {}


def _content(folder: Path, name: str, files: dict[str, int]) -> bytes:
    if name not in files:
        raise ModelFileMalformed(f"The folder holds no '{name}'. Give a whole SavedModel folder.")
    if name in (_INDEX, _METADATA) and files[name] > _MOST_METADATA_BYTES:
        raise ModelFileUnsafe(f"'{name}' is larger than any model's. Do not use this folder.")
    try:
        return (folder / name).read_bytes()
    except OSError:
        raise FileMissing(f"'{name}' in the folder can't be read. Check its permissions.") from None


def _read(shard: Path, placed: Placed, kind: str) -> NDArray[Any]:
    try:
        with shard.open("rb") as stream:
            stream.seek(placed.offset)
            data = stream.read(placed.size)
    except OSError:
        raise FileMissing("A file of the SavedModel can't be read any more. Copy the folder again.") from None
    if len(data) != placed.size:
        raise ModelFileMalformed("A file of the SavedModel has changed since it was opened. Copy the folder again.")
    if kind == "bfloat16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(placed.shape)
    return np.frombuffer(data, np.dtype(kind).newbyteorder("<")).reshape(placed.shape)


def _counted(key: str) -> list[tuple[str, int]]:
    """Sort key under which ``layer-2`` stands before ``layer-10``."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D+|^)(\d*)", key)]


def _give_up(_error: OSError) -> None:
    raise FileMissing("A folder in it can't be listed. Check its permissions.")
