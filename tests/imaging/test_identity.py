"""What a header says of the woman and the study, and that it says it to nobody else."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from mammolens.errors import DecodeError, ForProcessing, MalformedFile, NoPixels, TooSmall, WrongModality
from mammolens.imaging import wire
from mammolens.imaging.dicom_file import open_dicom
from mammolens.imaging.identity import LENGTHS, describe_identity, plain_text, read_identity
from mammolens.imaging.limits import Limits
from mammolens.imaging.sandbox import DecodePool

ABOUT = {
    "PatientName": "Muster^Erika",
    "PatientID": "P-17",
    "PatientBirthDate": "19610203",
    "StudyDate": "20250607",
    "AccessionNumber": "ACC1",
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.3.4",
    "SOPInstanceUID": "1.2.3.4.5",
    "ImageLaterality": "R",
    "ViewPosition": "MLO",
}
Make = Callable[..., bytes]


@pytest.fixture(scope="module")
def picture(breast: Callable[..., Any]) -> Any:
    return breast()


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(1) as made:
        yield made


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_header_says_who_and_what_in_every_encoding(dicom: Make, picture: Any, syntax: str | None) -> None:
    file = dicom(picture, **({"syntax": syntax} if syntax else {}), **ABOUT)
    found = read_identity(file)
    assert (found.patient_name, found.patient_id, found.birth_date) == ("Muster^Erika", "P-17", "19610203")
    assert (found.study_date, found.accession) == ("20250607", "ACC1")
    assert (found.study_uid, found.series_uid, found.instance_uid) == ("1.2.3", "1.2.3.4", "1.2.3.4.5")
    assert (found.laterality, found.view) == ("R", "MLO")
    assert (found.rows, found.columns) == picture.shape


def test_the_child_gives_the_same(dicom: Make, picture: Any, pool: DecodePool, tmp_path: Any) -> None:
    file = dicom(picture, **ABOUT)
    path = tmp_path / "file"
    path.write_bytes(file)
    assert pool.identify(path) == pool.identify(file) == read_identity(file)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müßig^Änne"),
        ("ISO_IR 192", "山田^花子"),
        ("ISO_IR 144", "Иванова^Анна"),
        ("nonsense", "Plain^Name"),
    ],
)
def test_names_come_in_their_own_letters(dicom: Make, picture: Any, charset: str, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of the nonsense when it writes
        file = dicom(picture, SpecificCharacterSet=charset, PatientName=name)
    assert read_identity(file).patient_name == name


def test_a_file_without_identifiers_is_read(dicom: Make, picture: Any) -> None:
    found = read_identity(dicom(picture, SOPInstanceUID="1.2.3.4"))
    assert {name: getattr(found, name) for name in LENGTHS} == dict.fromkeys(LENGTHS) | {"instance_uid": "1.2.3.4"}


def test_long_and_invisible_text_is_cut_to_what_can_be_kept(dicom: Make, picture: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = dicom(picture, PatientID="9" * 500, AccessionNumber="A\x1b\x00B", PatientName="\u202eevil^name")
    found = read_identity(file)
    assert found.patient_id == "9" * 128
    assert found.accession == "AB"
    assert "\u202e" not in str(found.patient_name)


@pytest.mark.parametrize(
    ("elements", "error"),
    [
        ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, WrongModality),
        ({"PresentationIntentType": "FOR PROCESSING"}, ForProcessing),
        ({"Rows": None}, MalformedFile),
    ],
)
def test_what_is_no_mammogram_is_refused_as_in_reading(
    dicom: Make, picture: Any, elements: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        read_identity(dicom(picture, **elements))


def test_an_object_without_a_picture_is_refused(dicom: Make) -> None:
    with pytest.raises(NoPixels):
        read_identity(dicom(None, **ABOUT))


def test_a_thumbnail_is_refused(dicom: Make) -> None:
    with pytest.raises(TooSmall):
        read_identity(dicom(np.ones((40, 30), np.uint16)))


def test_the_reader_of_pixels_still_sees_no_name(dicom: Make, picture: Any) -> None:
    data = open_dicom(dicom(picture, **ABOUT), Limits()).dataset
    assert "PatientName" not in data
    assert "StudyInstanceUID" not in data
    assert "Muster" not in str(data)


@pytest.mark.parametrize(
    "change",
    [
        {"patient_id": "x" * 129},
        {"patient_name": "two\nlines"},
        {"patient_name": 7},
        {"laterality": "X"},
        {"view": "mlo; drop"},
        {"rows": 0},
        {"rows": True},
        {"columns": None},
        {"view_modifiers": "no list"},
        {"study_uid": ["1.2"]},
    ],
)
def test_the_parent_believes_no_child(dicom: Make, picture: Any, change: dict[str, object]) -> None:
    told = describe_identity(read_identity(dicom(picture, **ABOUT)))
    pixel = np.zeros((1, 1), np.uint8)
    assert wire.identity_from({"identity": told}, pixel, b"").patient_id == "P-17"
    with pytest.raises(ValueError, match=r"no |laterality|view|text"):
        wire.identity_from({"identity": told | change}, pixel, b"")
    with pytest.raises(ValueError, match="no identity"):
        wire.identity_from({}, pixel, b"")


def test_a_header_that_no_parser_understands_is_one_typed_error(dicom: Make, picture: Any, pool: DecodePool) -> None:
    file = bytearray(dicom(picture, **ABOUT))
    file[150:400] = b"\xff" * 250
    with pytest.raises((MalformedFile, DecodeError, NoPixels)):
        pool.identify(bytes(file))


def test_plain_text_keeps_letters_and_drops_tricks() -> None:
    assert plain_text("  Ä\u0308 b\tc\u2028d\u202e\x07 ", 99) == "Ä̈ b c d"
    assert plain_text("\x00\u200b", 99) is None
