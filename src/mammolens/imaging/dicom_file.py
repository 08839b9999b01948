"""Open a DICOM file's container: file meta, transfer syntax, bounded inflating, elements before the pixels.

Nothing here touches pixel data. pydicom parses the elements; it sees bytes only
after the transfer syntax is known and a deflated data set has been inflated
within limits (PS3.10 section 7, PS3.5 section 10 and annex A.5).
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from mammolens.errors import MalformedFile, TooLarge, UnsupportedEncoding
from mammolens.imaging.boundary import translated, unwarned
from mammolens.imaging.limits import Limits
from mammolens.imaging.sniff import dicom_start

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
RLE = "1.2.840.10008.1.2.5"
_JPEG = "1.2.840.10008.1.2.4."
JPEG_SYNTAXES = frozenset(_JPEG + number for number in ("50", "51", "52", "53", "54", "55", "56", "57", "70"))
JPEG_LS_SYNTAXES = frozenset(_JPEG + number for number in ("80", "81"))
JPEG_2000_SYNTAXES = frozenset(_JPEG + number for number in ("90", "91", "92", "93"))
HTJ2K_SYNTAXES = frozenset(_JPEG + number for number in ("201", "202", "203"))
NATIVE_SYNTAXES = frozenset((IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED))
SYNTAXES = (
    NATIVE_SYNTAXES
    | JPEG_SYNTAXES
    | JPEG_LS_SYNTAXES
    | JPEG_2000_SYNTAXES
    | HTJ2K_SYNTAXES
    | frozenset((RLE, DEFLATED_FRAMES))
)
"""Transfer syntaxes that are decoded here; every other one is refused."""

MALFORMED = "The DICOM header is damaged. Export or copy the file again."
_PIXEL_TAGS = {0x7FE00008: "float", 0x7FE00009: "double", 0x7FE00010: "integer"}
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_MOST_HEADER_BYTES = 32 << 20
_INFLATE_STEP = 1 << 20
_MOST_TRAILING_BYTES = 16 << 20
_UNDEFINED = 0xFFFFFFFF

# Only these are read: nothing that could name a person is parsed unless a caller asks for it by tag.
_TAGS = [
    *(0x00080005, 0x00080008, 0x00080016, 0x00080060, 0x00080068, 0x00180015, 0x00181114, 0x00181164, 0x00185101),
    *(0x00187022, 0x00200060, 0x00200062, 0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011),
    *(0x00280030, 0x00280A02, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280120, 0x00280121, 0x00280301),
    *(0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00281055, 0x00281056, 0x00281101, 0x00281102, 0x00281103),
    *(0x00281201, 0x00281202, 0x00281203, 0x00281221, 0x00281222, 0x00281223, 0x00282110, 0x00283000, 0x00283010),
    *(0x00540220, 0x20500020, 0x52009229, 0x52009230, 0x7FE00001, 0x7FE00002),
]


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the pixel data lie.

    Attributes
    ----------
    kind : {"integer", "float", "double"}
        PixelData, FloatPixelData or DoubleFloatPixelData.
    offset : int
        First byte of the value.
    length : int or None
        Bytes of the value; ``None`` where undefined (encapsulated).
    words : bool
        Whether the value representation is OW, of 16-bit words even where a pixel has 8 bits.
    """

    kind: Literal["integer", "float", "double"]
    offset: int
    length: int | None
    words: bool = False


@dataclass(frozen=True, slots=True)
class DicomFile:
    """An opened DICOM file.

    Attributes
    ----------
    dataset : Dataset
        Elements before the pixel data, those that this package reads.
    transfer_syntax : str
        UID, one of `SYNTAXES`.
    body : bytes
        The bytes that `pixels` points into: the file's, or the inflated start of
        the data set of a deflated file.
    pixels : PixelElement or None
    deflated : bytes
        The deflated data set; empty for other transfer syntaxes.
    """

    dataset: Dataset
    transfer_syntax: str
    body: bytes
    pixels: PixelElement | None
    deflated: bytes = b""

    @property
    def big_endian(self) -> bool:
        """Whether values are stored most significant byte first."""
        return self.transfer_syntax == EXPLICIT_BIG

    @property
    def encapsulated(self) -> bool:
        """Whether the pixel data come in fragments."""
        return self.transfer_syntax not in NATIVE_SYNTAXES


def open_dicom(data: bytes, limits: Limits, more: tuple[int, ...] = ()) -> DicomFile:
    """Open a DICOM file, with or without preamble and file meta information.

    Parameters
    ----------
    data : bytes
        The whole file.
    limits : Limits
    more : tuple of int
        Tags of further elements to read; those that may name a person are read only where asked for here.

    Returns
    -------
    DicomFile

    Raises
    ------
    MalformedFile, UnsupportedEncoding, TooLarge, DecodeOutOfMemory
    """
    start = dicom_start(data[:256]) or 0
    with translated(MalformedFile, MALFORMED):
        syntax, start = _file_meta(data, start)
        if not syntax:
            syntax = _guessed_syntax(data, start)
    if syntax not in SYNTAXES:
        raise UnsupportedEncoding(
            "The transfer syntax of this DICOM file is not decoded here. Convert the file to Explicit VR Little Endian "
            "or JPEG 2000."
        )
    deflated = b""
    body = data
    if syntax == DEFLATED:
        deflated = data[start:]
        body, start = inflate(deflated, _MOST_HEADER_BYTES), 0
    dataset, stopped = _elements(body, start, syntax, more)
    pixels = _pixel_element(body, stopped, dataset, syntax)
    if deflated and pixels is None and len(body) >= _MOST_HEADER_BYTES:
        raise TooLarge("The deflated header is larger than any real one. Export the file again without compression.")
    return DicomFile(dataset, syntax, body, pixels, deflated)


def inflate(deflated: bytes, wanted: int) -> bytes:
    """Inflate the start of a raw deflate stream.

    Parameters
    ----------
    deflated : bytes
    wanted : int
        Bytes wanted; no more are produced.

    Returns
    -------
    bytes
        At most ``wanted``; fewer where the stream ends.

    Raises
    ------
    MalformedFile
    """
    with translated(MalformedFile, "The deflated data are damaged. Export or copy the file again."):
        # Some writers put a zlib header before the stream although PS3.5 A.5 asks for none.
        stream = zlib.decompressobj(-zlib.MAX_WBITS if not _has_zlib_header(deflated) else zlib.MAX_WBITS)
        return stream.decompress(deflated, wanted)


def inflated_pixels(file: DicomFile, start: int, stop: int, end: int, limits: Limits) -> bytes:
    """Part of a deflated data set, without keeping what lies before or after.

    Parameters
    ----------
    file : DicomFile
    start, stop : int
        The bytes wanted, counted in the inflated data set.
    end : int
        Where the pixel data end by the header's own figures.
    limits : Limits

    Returns
    -------
    bytes
        Fewer than asked for where the stream ends early.

    Raises
    ------
    TooLarge
        If the data grow like no picture does, or far more follows than a data set has after its pixels.
    MalformedFile
    """
    limits.check_expansion(len(file.deflated), end)
    kept, position = bytearray(), 0
    with translated(MalformedFile, "The deflated data are damaged. Export or copy the file again."):
        stream = zlib.decompressobj(-zlib.MAX_WBITS if not _has_zlib_header(file.deflated) else zlib.MAX_WBITS)
        rest = file.deflated
        while not stream.eof and rest:
            step = stream.decompress(rest, _INFLATE_STEP)
            rest = stream.unconsumed_tail
            kept += step[max(start - position, 0) : max(stop - position, 0)]
            position += len(step)
            if position > end + _MOST_TRAILING_BYTES:
                raise TooLarge(
                    "The file inflates to far more than its picture needs. Export it again without compression."
                )
            if not step and not rest:
                break
    return bytes(kept)


def _has_zlib_header(deflated: bytes) -> bool:
    return len(deflated) > 1 and deflated[0] == 0x78 and (deflated[0] << 8 | deflated[1]) % 31 == 0


def _file_meta(data: bytes, position: int) -> tuple[str, int]:
    """Transfer syntax UID (empty if absent) and the position after group 0002.

    The group length is not believed: reading goes on while the group is 0002.
    """
    syntax = ""
    while position + 8 <= len(data):
        group, element = struct.unpack_from("<HH", data, position)
        if group != 0x0002:
            break
        vr = data[position + 4 : position + 6]
        if not (vr.isalpha() and vr.isupper()):
            length, header = struct.unpack_from("<L", data, position + 4)[0], 8
        elif vr in _LONG_VRS:
            length, header = struct.unpack_from("<L", data, position + 8)[0], 12
        else:
            length, header = struct.unpack_from("<H", data, position + 6)[0], 8
        end = position + header + int(length)
        if end > len(data):
            raise MalformedFile(MALFORMED)
        if element == 0x0010:
            syntax = data[position + header : end].rstrip(b"\x00 ").decode("ascii").strip()
        position = end
    return syntax, position


def _guessed_syntax(data: bytes, start: int) -> str:
    """Uncompressed transfer syntax that the first element speaks for."""
    head = data[start : start + 8]
    if len(head) < 8:
        raise MalformedFile(MALFORMED)
    group = struct.unpack_from("<H", head)[0]
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    if group >= 0x0100 and not group & 0xFF:
        if not explicit:
            raise UnsupportedEncoding(
                "The data set is big endian with implicit value representation, which DICOM does not know. "
                "Export the file again."
            )
        return EXPLICIT_BIG
    return EXPLICIT_LITTLE if explicit else IMPLICIT_LITTLE


def _elements(body: bytes, start: int, syntax: str, more: tuple[int, ...]) -> tuple[Dataset, int]:
    """Elements before the pixel data, and where reading stopped."""
    stream = io.BytesIO(body)
    stream.seek(start)

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        return tag in _PIXEL_TAGS

    with translated(MalformedFile, MALFORMED), unwarned():
        dataset = read_dataset(
            stream,
            is_implicit_VR=syntax == IMPLICIT_LITTLE,
            is_little_endian=syntax != EXPLICIT_BIG,
            stop_when=at_pixels,
            specific_tags=[*_TAGS, *more],
        )
    return dataset, stream.tell()


def _pixel_element(body: bytes, position: int, dataset: Dataset, syntax: str) -> PixelElement | None:
    """Pixel data element at the position where pydicom stopped; ``None`` at the end of the data."""
    order = ">" if syntax == EXPLICIT_BIG else "<"
    if position + 8 > len(body):
        return None
    group, element = struct.unpack_from(f"{order}HH", body, position)
    kind = _PIXEL_TAGS.get(group << 16 | element)
    if kind is None:
        return None
    vr = body[position + 4 : position + 6]
    if vr in _LONG_VRS and position + 12 <= len(body):
        length, header = struct.unpack_from(f"{order}L", body, position + 8)[0], 12
    else:
        length, header = struct.unpack_from(f"{order}L", body, position + 4)[0], 8
    return PixelElement(
        kind=kind,  # type: ignore[arg-type]
        offset=position + header,
        length=None if length == _UNDEFINED else int(length),
        words=vr == b"OW",
    )
