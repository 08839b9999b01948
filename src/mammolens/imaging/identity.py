"""What a DICOM header says of the woman, the study and the picture, for those who keep uploads.

The one place that reads what may name somebody. It runs in a bounded child (`DecodePool.identify`); what it gives
goes to a table of its own and to people who may see the case, never to a log or a message.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from mammolens.errors import MalformedFile, NoPixels
from mammolens.imaging.boundary import translated, unwarned
from mammolens.imaging.dicom_file import MALFORMED, open_dicom
from mammolens.imaging.dicom_header import read_header
from mammolens.imaging.gate import check_header
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.quality import check_size
from mammolens.imaging.source import file_bytes

LENGTHS = {
    "patient_id": 128,
    "patient_name": 255,
    "birth_date": 16,
    "study_date": 16,
    "accession": 64,
    "study_uid": 64,
    "series_uid": 64,
    "instance_uid": 64,
}
"""Most characters of each text."""

_TAGS = {
    "patient_id": 0x00100020,
    "patient_name": 0x00100010,
    "birth_date": 0x00100030,
    "study_date": 0x00080020,
    "accession": 0x00080050,
    "study_uid": 0x0020000D,
    "series_uid": 0x0020000E,
    "instance_uid": 0x00080018,
}
_MANY_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a header says; texts are printable, single-line and no longer than `LENGTHS`, None where absent.

    Attributes
    ----------
    patient_id, patient_name, birth_date, study_date, accession : str or None
        Dates as the header writes them, ``YYYYMMDD``.
    study_uid, series_uid, instance_uid : str or None
    laterality : {"L", "R", "B"} or None
    view : str or None
    view_modifiers : tuple of str
    rows, columns : int
        Of the picture; its pixels may still turn out not to be there.
    """

    patient_id: str | None
    patient_name: str | None
    birth_date: str | None
    study_date: str | None
    accession: str | None
    study_uid: str | None
    series_uid: str | None
    instance_uid: str | None
    laterality: str | None
    view: str | None
    view_modifiers: tuple[str, ...]
    rows: int
    columns: int


def read_identity(source: Path | str | bytes, options: ReadOptions | None = None) -> Identity:
    """Read who and what a DICOM file is of, and refuse what its header calls no mammogram.

    Parameters
    ----------
    source : path or bytes
        A DICOM file, or its content; no pixels are decoded.
    options : ReadOptions, optional

    Returns
    -------
    Identity

    Raises
    ------
    FileMissing, MalformedFile, UnsupportedEncoding, TooLarge, TooSmall, NoPixels, WrongModality, ForProcessing
        As `mammolens.imaging.reading.read_mammogram` would.
    """
    options = ReadOptions() if options is None else options
    file = open_dicom(file_bytes(source, options.limits), options.limits, tuple(_TAGS.values()))
    if file.pixels is None:
        raise NoPixels("This DICOM object holds no pixels. Give an image object.")
    header = read_header(file, options.frame)
    if not options.any_modality:
        check_header(header)
        check_size(header.format.rows, header.format.columns)
    with translated(MalformedFile, MALFORMED), unwarned():
        texts = {name: _text(file.dataset, tag, LENGTHS[name]) for name, tag in _TAGS.items()}
    return Identity(
        **texts,
        laterality=header.laterality,
        view=header.view,
        view_modifiers=header.view_modifiers,
        rows=header.format.rows,
        columns=header.format.columns,
    )


def describe_identity(identity: Identity) -> dict[str, Any]:
    """Put an identity in a JSON object, as `identity_from` expects it."""
    return {
        field.name: list(value) if isinstance(value := getattr(identity, field.name), tuple) else value
        for field in fields(identity)
    }


def plain_text(text: str, most: int) -> str | None:
    """Make text of unknown origin safe to keep and show: one line, nothing invisible, no longer than ``most``.

    Parameters
    ----------
    text : str
    most : int

    Returns
    -------
    str or None
        None where nothing is left.
    """
    shown = "".join(" " if character.isspace() else character for character in text if _visible(character))
    return _MANY_SPACES.sub(" ", unicodedata.normalize("NFC", shown)).strip()[:most] or None


def _visible(character: str) -> bool:
    """Whether a character may be shown: no control, no direction mark, no half of a surrogate pair."""
    return character.isspace() or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn")


def _text(data: Dataset, tag: int, most: int) -> str | None:
    """Value of an element; one that breaks its rules counts as absent, for the picture can be answered without it."""
    try:
        value = data[tag].value if tag in data else None
    except (ValueError, TypeError, AttributeError, KeyError, NotImplementedError, OverflowError, LookupError):
        return None
    if isinstance(value, MultiValue):
        value = next(iter(value), None)
    if value is None or isinstance(value, bytes):
        return None
    return plain_text(str(value), most)
