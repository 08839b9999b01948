"""What a DICOM header says about its picture, as plain validated values.

Only coded values and figures leave this module; nothing that names a person, a
place or a device is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mammolens.errors import MalformedFile, UnsupportedEncoding
from mammolens.imaging.boundary import translated, unwarned
from mammolens.imaging.colour import grey_palette
from mammolens.imaging.dicom_file import MALFORMED, DicomFile
from mammolens.imaging.views import MODIFIER_CODES, VIEW_CODES, laterality_of, view_of_position
from mammolens.imaging.voi import LookupTable, Window
from mammolens.types import PixelSpacing

_MOST_FRAMES = 1 << 20
_COLOUR_SPACES = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422")
_CODESTREAM_COLOUR_SPACES = ("YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB")
_MOST_SPACING_MM = 10.0


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How pixels are stored; see PS3.3 C.7.6.3.

    Attributes
    ----------
    rows, columns, frames : int
    samples : int
        1 or 3.
    bits_allocated : int
        1, 8, 16, 32 or 64.
    bits_stored, high_bit : int
    signed : bool
    planar : bool
        Colour planes one after the other (PlanarConfiguration 1).
    photometric : str
    """

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    planar: bool
    photometric: str

    @property
    def frame_bits(self) -> int:
        """Bits that one uncompressed frame takes."""
        samples = 2 if self.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") else self.samples
        return self.rows * self.columns * samples * self.bits_allocated


@dataclass(frozen=True, slots=True)
class DicomHeader:
    """What is known of the picture before its pixels are read.

    Attributes
    ----------
    format : PixelFormat
    modality, sop_class, intent : str
        Empty where absent.
    laterality, view, view_modifiers
        As in `mammolens.types.Mammogram`.
    spacing : PixelSpacing or None
    padding : tuple of int or None
        ``(low, high)``: stored values in this closed range are padding.
    slope, intercept : float
        Of the modality transformation.
    modality_lut : LookupTable or None
    palette : LookupTable or None
        Luma of a colour palette.
    windows : tuple of Window
        VOI windows, the first being the default.
    voi_luts : tuple of LookupTable
    burned_in, lossy : bool
    """

    format: PixelFormat
    modality: str
    sop_class: str
    body_part: str
    intent: str
    laterality: str | None
    view: str | None
    view_modifiers: tuple[str, ...]
    spacing: PixelSpacing | None
    padding: tuple[int, int] | None
    slope: float
    intercept: float
    modality_lut: LookupTable | None
    palette: LookupTable | None
    windows: tuple[Window, ...]
    voi_luts: tuple[LookupTable, ...]
    burned_in: bool
    lossy: bool


def read_header(file: DicomFile, frame: int | None = None) -> DicomHeader:
    """Read a header.

    Parameters
    ----------
    file : DicomFile
    frame : int, optional
        Frame whose functional groups count; the central one by default.

    Returns
    -------
    DicomHeader

    Raises
    ------
    MalformedFile, UnsupportedEncoding
    """
    with translated(MalformedFile, MALFORMED), unwarned():
        data = file.dataset
        form = _pixel_format(data, file)
        index = form.frames // 2 if frame is None else frame
        groups = list(_functional_groups(data, index))
        view, modifiers = _view(data)
        slope, intercept = _rescale(data, groups)
        return DicomHeader(
            format=form,
            modality=_text(data, "Modality"),
            sop_class=_text(data, "SOPClassUID"),
            body_part=_text(data, "BodyPartExamined"),
            intent=_text(data, "PresentationIntentType"),
            laterality=laterality_of(
                _text(data, "ImageLaterality"),
                *(_text(item, "FrameLaterality") for item in _items(groups, "FrameAnatomySequence")),
                _text(data, "Laterality"),
            ),
            view=view,
            view_modifiers=modifiers,
            spacing=_spacing(data, groups),
            padding=_padding(data),
            slope=slope,
            intercept=intercept,
            modality_lut=_first_table(data, "ModalityLUTSequence", form.signed),
            palette=_palette(data, form, file.big_endian) if form.photometric == "PALETTE COLOR" else None,
            windows=_windows([data, *_items(groups, "FrameVOILUTSequence")]),
            voi_luts=_tables(data, "VOILUTSequence", form.signed),
            burned_in=_text(data, "BurnedInAnnotation") == "YES",
            lossy=_text(data, "LossyImageCompression") == "01",
        )


def _value(data: Dataset, keyword: str) -> object:
    """Value of an element, ``None`` where it is absent, empty or can't be parsed.

    A value that breaks its VR's rules is no reason to refuse a picture that can be shown
    without it; what the pixels need is checked by those who ask.
    """
    try:
        value = data.get(keyword)
    except (ValueError, TypeError, AttributeError, KeyError, NotImplementedError, OverflowError, LookupError):
        return None
    return None if value is None or value == "" else value


def _list(value: object) -> list[object]:
    if value is None:
        return []
    return list(value) if hasattr(value, "__iter__") and not isinstance(value, str | bytes) else [value]


def _text(data: Dataset, keyword: str) -> str:
    values = _list(_value(data, keyword))
    return str(values[0]).strip("\x00 ").upper() if values else ""


def _floats(data: Dataset, keyword: str) -> list[float]:
    numbers: list[float] = []
    for value in _list(_value(data, keyword)):
        try:
            number = float(str(value))
        except ValueError:
            return []
        if not math.isfinite(number):
            return []
        numbers.append(number)
    return numbers


def _integer(data: Dataset, keyword: str, default: int | None = None) -> int:
    values = _integers(data, keyword)
    if not values:
        if default is None:
            raise MalformedFile("The DICOM header does not say how its pixels are stored. Export the file again.")
        return default
    if len(values) > 1:
        raise MalformedFile(MALFORMED)
    return values[0]


def _integers(data: Dataset, keyword: str) -> list[int]:
    """Values of an integer element, also where pydicom could not tell US from SS and left bytes."""
    value = _value(data, keyword)
    if isinstance(value, bytes):
        return [int.from_bytes(value[i : i + 2], "little") for i in range(0, len(value) - 1, 2)]
    return [int(str(v)) for v in _list(value)]


def _sequence(data: Dataset, keyword: str) -> list[Dataset]:
    return [item for item in _list(_value(data, keyword)) if isinstance(item, Dataset)]


def _items(groups: list[Dataset], keyword: str) -> list[Dataset]:
    return [item for group in groups for item in _sequence(group, keyword)]


def _functional_groups(data: Dataset, index: int) -> Iterator[Dataset]:
    """Functional groups of one frame, its own before the shared ones."""
    own = _sequence(data, "PerFrameFunctionalGroupsSequence")
    if 0 <= index < len(own):
        yield own[index]
    yield from _sequence(data, "SharedFunctionalGroupsSequence")[:1]


def _pixel_format(data: Dataset, file: DicomFile) -> PixelFormat:
    kind = file.pixels.kind if file.pixels else "integer"
    samples = _integer(data, "SamplesPerPixel", 1)
    photometric = _text(data, "PhotometricInterpretation") or ("MONOCHROME2" if samples == 1 else "RGB")
    if kind == "integer":
        allocated = _integer(data, "BitsAllocated")
        stored = _integer(data, "BitsStored", allocated)
    else:
        allocated = stored = 32 if kind == "float" else 64
    form = PixelFormat(
        rows=_integer(data, "Rows"),
        columns=_integer(data, "Columns"),
        frames=max(_integer(data, "NumberOfFrames", 1), 1),
        samples=samples,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=_high_bit(data, allocated, stored),
        signed=_integer(data, "PixelRepresentation", 0) == 1,
        planar=_integer(data, "PlanarConfiguration", 0) == 1,
        photometric=photometric,
    )
    _check_format(form, file)
    return form


def _high_bit(data: Dataset, allocated: int, stored: int) -> int:
    """HighBit where it is possible, else what today's standard demands (PS3.5 section 8.1.1)."""
    high_bit = _integer(data, "HighBit", stored - 1)
    return high_bit if stored - 1 <= high_bit < allocated else stored - 1


def _check_format(form: PixelFormat, file: DicomFile) -> None:
    known = _COLOUR_SPACES + (_CODESTREAM_COLOUR_SPACES if file.encapsulated else ())
    if form.photometric not in known or form.samples not in (1, 3):
        raise UnsupportedEncoding(
            "The photometric interpretation of this DICOM file is not decoded here. Give a MONOCHROME2 image."
        )
    integer = file.pixels is None or file.pixels.kind == "integer"
    if integer and form.bits_allocated not in (1, 8, 16, 32):
        raise UnsupportedEncoding(
            "The pixels are stored with a number of bits that is not decoded here. Give an image with 8 or 16 bits."
        )
    colour = form.photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    if (
        form.frames > _MOST_FRAMES
        or not 1 <= form.bits_stored <= form.bits_allocated
        or colour != (form.samples == 3)
        or (not integer and form.samples != 1)
    ):
        raise MalformedFile("The header contradicts itself about how its pixels are stored. Export the file again.")


def _view(data: Dataset) -> tuple[str | None, tuple[str, ...]]:
    view, modifiers = view_of_position(_text(data, "ViewPosition"))
    for item in _sequence(data, "ViewCodeSequence")[:1]:
        view = VIEW_CODES.get(_text(item, "CodeValue"), view)
        found = [MODIFIER_CODES.get(_text(m, "CodeValue")) for m in _sequence(item, "ViewModifierCodeSequence")]
        modifiers = (*modifiers, *(name for name in found if name and name not in modifiers))
    return view, tuple(dict.fromkeys(modifiers))


def _pair(data: Dataset, keyword: str) -> tuple[float, float] | None:
    numbers = _floats(data, keyword)
    if len(numbers) != 2 or not all(0.0 < number < _MOST_SPACING_MM for number in numbers):
        return None
    return numbers[0], numbers[1]


def _spacing(data: Dataset, groups: list[Dataset]) -> PixelSpacing | None:
    """Spacing with its origin; see PS3.3 section 10.7.1.3.

    PixelSpacing counts as calibrated where it is alone, says so, or differs from
    ImagerPixelSpacing; where it is equal, nothing was calibrated.
    """
    calibrated, imager = _pair(data, "PixelSpacing"), _pair(data, "ImagerPixelSpacing")
    for item in _items(groups, "PixelMeasuresSequence"):
        calibrated = calibrated or _pair(item, "PixelSpacing")
    if calibrated and (calibrated != imager or _text(data, "PixelSpacingCalibrationType")):
        return PixelSpacing(*calibrated, "calibrated")
    if imager:
        return PixelSpacing(*imager, "imager")
    detector = _pair(data, "DetectorElementSpacing")
    return PixelSpacing(*detector, "detector") if detector else None


def _padding(data: Dataset) -> tuple[int, int] | None:
    if _value(data, "PixelPaddingValue") is None:
        return None
    first = _integer(data, "PixelPaddingValue")
    last = _integer(data, "PixelPaddingRangeLimit", first)
    return min(first, last), max(first, last)


def _rescale(data: Dataset, groups: list[Dataset]) -> tuple[float, float]:
    for source in [*_items(groups, "PixelValueTransformationSequence"), data]:
        slope, intercept = _floats(source, "RescaleSlope"), _floats(source, "RescaleIntercept")
        if slope and slope[0] != 0.0:
            return slope[0], intercept[0] if intercept else 0.0
    return 1.0, 0.0


def _windows(sources: list[Dataset]) -> tuple[Window, ...]:
    for source in sources:
        function = _text(source, "VOILUTFunction") or "LINEAR"
        centres, widths = _floats(source, "WindowCenter"), _floats(source, "WindowWidth")
        if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
            continue
        floor = 1.0 if function == "LINEAR" else 0.0
        pairs = [(c, w) for c, w in zip(centres, widths, strict=False) if w > 0.0 and w >= floor]
        if pairs:
            return tuple(Window(centre, width, function) for centre, width in pairs)
    return ()


def _table(item: Dataset, signed: bool) -> LookupTable | None:
    """Lookup table of PS3.3 C.11.1.1 or C.11.2.1.1; ``None`` where its elements don't fit together."""
    descriptor = _integers(item, "LUTDescriptor")
    data = _value(item, "LUTData")
    if len(descriptor) != 3 or data is None:
        return None
    count, first, bits = descriptor[0] % 65536 or 65536, descriptor[1], descriptor[2]
    if signed and first > 32767:
        first -= 65536
    if not 1 <= bits <= 16:
        return None
    values = _table_values(data, count, item)
    return LookupTable(first, bits, values) if values is not None and len(values) else None


def _table_values(data: object, count: int, item: Dataset) -> NDArray[np.uint16] | None:
    if isinstance(data, bytes):
        wide = len(data) >= 2 * count
        order = "<" if item.original_encoding[1] is not False else ">"
        values = np.frombuffer(data[: len(data) // 2 * 2] if wide else data, f"{order}u2" if wide else "u1")
    else:
        numbers = np.asarray(_list(data))
        if numbers.dtype.kind not in "iu":
            numbers = np.asarray([int(str(v)) & 0xFFFF for v in _list(data)], np.int64)
        values = (numbers & 0xFFFF).astype(np.uint16)
    return values[:count].astype(np.uint16) if len(values) >= count else None


def _tables(data: Dataset, keyword: str, signed: bool) -> tuple[LookupTable, ...]:
    tables = (_table(item, signed) for item in _sequence(data, keyword))
    return tuple(table for table in tables if table is not None)


def _first_table(data: Dataset, keyword: str, signed: bool) -> LookupTable | None:
    return next(iter(_tables(data, keyword, signed)), None)


def _palette(data: Dataset, form: PixelFormat, big_endian: bool) -> LookupTable:
    colours = ("Red", "Green", "Blue")
    descriptor = _integers(data, "RedPaletteColorLookupTableDescriptor")
    segmented = _value(data, "RedPaletteColorLookupTableData") is None
    prefix = "Segmented" if segmented else ""
    values = [_value(data, f"{prefix}{colour}PaletteColorLookupTableData") for colour in colours]
    channels = [value for value in values if isinstance(value, bytes)]
    if len(descriptor) != 3 or len(channels) != 3:
        raise MalformedFile("The colour palette of this DICOM file is damaged or missing. Give a grey image.")
    count, first, bits = descriptor
    table = grey_palette(channels, (count & 0xFFFF, first, bits), segmented=segmented, big_endian=big_endian)
    if form.signed and first > 32767:
        first -= 65536
    return LookupTable(first, 16 if int(table.max()) > 255 else 8, table)
