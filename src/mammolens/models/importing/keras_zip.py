"""A ``.keras`` file: a zip of ``config.json``, ``metadata.json`` and ``model.weights.h5``.

The list of members is judged as a whole before one is opened. Nothing is unpacked to
disk: the three members go to memory, whose size is known by then.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from typing import Any, BinaryIO, NoReturn

from mammolens.errors import ModelFileMalformed, ModelFileUnsafe, ModelUnsupported
from mammolens.models.importing import limits
from mammolens.models.importing.limits import shown

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_OTHER_WEIGHTS = ("model.weights.npz", "model.weights.json")
_MOST_MEMBERS = 1000
_MOST_METADATA_BYTES = 1 << 20
_ENCRYPTED = 0x1
_LOCAL_HEADER_BYTES = 30
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGED = "The zip is damaged or cut off. Copy or save the model again."
_ADVICE = "Do not use this file."


def unpack(stream: BinaryIO, size: int) -> tuple[dict[str, Any], dict[str, Any], io.BytesIO, int]:
    """Take the three members out of a ``.keras`` file.

    Parameters
    ----------
    stream : binary file
    size : int
        Its bytes.

    Returns
    -------
    config, metadata : dict
    weights : BytesIO
        An HDF5 file, unread.
    size : int
        Its bytes.

    Raises
    ------
    ModelFileUnsafe
        For names that lead out of the archive, links, encryption, duplicates,
        overlapping members and bombs.
    ModelFileMalformed
        If it is damaged, or no file of Keras.
    ModelUnsupported
        If its weights are stored in another way than HDF5.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            members = _judge(archive, size)
            config = limits.parse_json(_read(archive, members[_CONFIG]), "The model's configuration")
            metadata = limits.parse_json(_read(archive, members[_METADATA]), "The file's metadata")
            weights = _read(archive, members[_WEIGHTS])
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError, struct.error):
        raise ModelFileMalformed(_DAMAGED) from None
    return config, metadata, io.BytesIO(weights), len(weights)


def _judge(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Give the members by name, if all of them may be there."""
    infos = archive.infolist()
    if len(infos) > _MOST_MEMBERS:
        raise ModelFileUnsafe(f"The zip has more than {_MOST_MEMBERS} members. {_ADVICE}")
    members: dict[str, zipfile.ZipInfo] = {}
    folded: set[str] = set()
    for info in infos:
        _check_member(info)
        if info.filename.casefold() in folded:
            raise ModelFileUnsafe(f"The zip holds '{shown(info.filename)}' twice. {_ADVICE}")
        folded.add(info.filename.casefold())
        members[info.filename] = info
    _check_overlap(infos, size)
    total = sum(info.file_size for info in infos)
    limits.check_tensor("the zip", (total,), 1)
    limits.check_expansion("the zip", total, size)
    most = {_CONFIG: limits.MOST_CONFIG_BYTES, _METADATA: _MOST_METADATA_BYTES}
    for name in (_CONFIG, _METADATA, _WEIGHTS):
        if name not in members:
            _explain_missing(name, members)
        if members[name].file_size > most.get(name, total):
            raise ModelFileUnsafe(f"'{name}' in the zip is larger than any model's. {_ADVICE}")
    return members


def _check_member(info: zipfile.ZipInfo) -> None:
    # ZipInfo ends a name at NUL and turns the system's separator; the name as stored is judged.
    name = info.orig_filename
    parts = name.rstrip("/").split("/")
    if name.startswith("/") or "\\" in name or ":" in name or ".." in parts or not name.isprintable():
        raise ModelFileUnsafe(f"The zip's member '{shown(name)}' leads out of the archive. {_ADVICE}")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ModelFileUnsafe(f"The zip's member '{shown(name)}' is a link or a device. {_ADVICE}")
    if info.flag_bits & _ENCRYPTED:
        raise ModelFileUnsafe(f"The zip's member '{shown(name)}' is encrypted. {_ADVICE}")
    if info.compress_type not in _METHODS:
        raise ModelFileUnsafe(f"The zip's member '{shown(name)}' is packed in a way that Keras never uses. {_ADVICE}")
    limits.check_expansion(name, info.file_size, info.compress_size)


def _check_overlap(infos: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse members that share bytes: a few of them can then unpack to anything."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    ends = [*(info.header_offset for info in ordered[1:]), size]
    for info, end in zip(ordered, ends, strict=True):
        if info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size > end:
            raise ModelFileUnsafe(f"The zip's member '{shown(info.filename)}' overlaps another one. {_ADVICE}")


def _explain_missing(name: str, members: dict[str, zipfile.ZipInfo]) -> NoReturn:
    if name == _WEIGHTS and any(other in members for other in _OTHER_WEIGHTS):
        raise ModelUnsupported(
            "The model's weights are stored as NumPy arrays or in several files. Save it with model.save('x.keras')."
        )
    raise ModelFileMalformed(f"The zip holds no '{name}', so Keras did not write it. Give a file of model.save().")


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Give a member's bytes; zipfile reads no more than declared and compares the checksum."""
    with archive.open(info) as member:
        data = member.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise ModelFileMalformed(_DAMAGED)
    return data
