"""Reading a ZIP that somebody uploaded, without believing it.

Nothing is unpacked to a place that the archive names. Its directory is read only if it is small; encrypted, absurdly
growing and oversized entries are refused by their headers, and what a header says is held against what comes out.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from mammolens.errors import InputError, MalformedFile, TooLarge, UnsupportedEncoding
from mammolens.imaging.limits import Limits
from mammolens.web.intake.names import is_litter

_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
_DIRECTORY_BYTES_PER_FILE = 1024
_LEAST_DIRECTORY_BYTES = 1 << 20
_TAKEN = frozenset((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
_DAMAGED = "The ZIP is damaged. Make it again, or upload its files without it."
_FOREIGN = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError, OSError)


def is_zip(head: bytes) -> bool:
    """Whether a file that starts so is a ZIP; one that says it is DICOM is not."""
    return head.startswith(_MARKS) and head[128:132] != b"DICM"


@dataclass(frozen=True, slots=True)
class Limit:
    """What a ZIP may hold.

    Attributes
    ----------
    files : int
    bytes : int
        Unpacked, all files together.
    """

    files: int
    bytes: int


class Archive:
    """An opened ZIP; a context manager.

    Parameters
    ----------
    path : Path
    limit : Limit

    Raises
    ------
    MalformedFile
        If it can't be read.
    TooLarge
        If it holds more files, or more bytes, than the limit.
    """

    def __init__(self, path: Path, limit: Limit) -> None:
        self._limit = limit
        room = max(_LEAST_DIRECTORY_BYTES, _DIRECTORY_BYTES_PER_FILE * limit.files)
        self._file = _Guarded(path, room)
        try:
            with _damaged():
                self._zip = zipfile.ZipFile(self._file)
            self._file.room = None
            self._files = [one for one in self._zip.infolist() if not one.is_dir() and not is_litter(one.filename)]
            self._check()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Archive:
        """Return the archive."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()

    def __len__(self) -> int:
        """How many files there are, without what is left out."""
        return len(self._files)

    def entries(self) -> Iterator[Entry]:
        """Files in the order of the directory, without folders and without litter."""
        for one in self._files:
            yield Entry(self._zip, one)

    def _check(self) -> None:
        if len(self._files) > self._limit.files:
            raise TooLarge(
                f"The ZIP holds {len(self._files)} files; {self._limit.files} may be in one. Split it, or upload the "
                "files without it."
            )
        if sum(one.file_size for one in self._files) > self._limit.bytes:
            raise TooLarge(
                f"The ZIP unpacks to more than {self._limit.bytes >> 20} MiB. Split it, or upload the files without it."
            )


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a ZIP."""

    archive: zipfile.ZipFile
    information: zipfile.ZipInfo

    @property
    def name(self) -> str:
        """Path as the archive has it: text to show, after `mammolens.web.intake.names.clean`."""
        return self.information.filename

    @property
    def size(self) -> int:
        """Bytes unpacked, as the directory says."""
        return self.information.file_size

    @contextmanager
    def opened(self) -> Iterator[Unpacking]:
        """Open for reading; gives no more than `size` bytes.

        Raises
        ------
        UnsupportedEncoding
            If it is encrypted, or compressed in another way than deflate.
        TooLarge
            If it grows like no picture does.
        MalformedFile
            If it can't be read.
        """
        if self.information.flag_bits & 0x41:
            raise UnsupportedEncoding("This file of the ZIP is encrypted. Upload it without a password.")
        if self.information.compress_type not in _TAKEN:
            raise UnsupportedEncoding(
                "This file of the ZIP is compressed in a way that is not read here. Make the ZIP with deflate."
            )
        Limits().check_expansion(self.information.compress_size, self.information.file_size)
        with _damaged():
            stream = self.archive.open(self.information)
        with stream:
            yield Unpacking(stream)


class Unpacking:
    """Bytes of one file as they are unpacked.

    Parameters
    ----------
    stream : file object
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        """Give at most ``size`` bytes.

        Raises
        ------
        MalformedFile
            If they don't unpack, or their checksum differs.
        """
        with _damaged():
            return self._stream.read(size)


class _Guarded(io.BufferedReader):
    """A file that refuses a single large read: what `zipfile` asks for when a directory is huge.

    Parameters
    ----------
    path : Path
    room : int
        Most bytes of one read, until the attribute is set to None.
    """

    def __init__(self, path: Path, room: int) -> None:
        super().__init__(io.FileIO(path, "rb"))
        self.room: int | None = room

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as a file does, within the room."""
        if self.room is not None and (size is None or size > self.room):
            raise TooLarge("The ZIP names more files than may be in one. Split it, or upload the files without it.")
        return super().read(size if size is not None and size >= 0 else self.room)


@contextmanager
def _damaged() -> Iterator[None]:
    """Turn what `zipfile` and `zlib` throw at bytes that are none of theirs into one typed error."""
    try:
        yield
    except InputError:
        raise
    except _FOREIGN as error:
        raise MalformedFile(_DAMAGED) from error
