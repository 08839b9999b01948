"""What headers say: laterality, view, spacing, windows; and what the gate makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mammolens.errors import ForProcessing, WrongModality
from mammolens.imaging.dicom_file import open_dicom
from mammolens.imaging.dicom_header import DicomHeader, read_header
from mammolens.imaging.limits import Limits
from mammolens.imaging.reading import ReadOptions, read_mammogram
from mammolens.imaging.views import MODIFIER_CODES, VIEW_CODES, view_of_position
from mammolens.imaging.voi import Window
from mammolens.types import PixelSpacing

Maker = Callable[..., bytes]
DOT = np.zeros((2, 2), np.uint8)


def header(dicom: Maker, **elements: Any) -> DicomHeader:
    return read_header(open_dicom(dicom(DOT, **elements), Limits()))


def coded(value: str, *modifiers: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", "x"
    if modifiers:
        item.ViewModifierCodeSequence = Sequence([coded(name)[0] for name in modifiers])
    return Sequence([item])


def test_image_laterality_outranks_the_series(dicom: Maker) -> None:
    assert header(dicom, ImageLaterality="R", Laterality="L").laterality == "R"
    assert header(dicom, Laterality="L").laterality == "L"
    assert header(dicom).laterality is None


def test_frame_laterality_of_an_enhanced_object(dicom: Maker) -> None:
    anatomy, group = Dataset(), Dataset()
    anatomy.FrameLaterality = "L"
    group.FrameAnatomySequence = Sequence([anatomy])
    assert header(dicom, SharedFunctionalGroupsSequence=Sequence([group])).laterality == "L"


def test_free_text_never_leaves_the_header(dicom: Maker, caplog: pytest.LogCaptureFixture) -> None:
    data = dicom(DOT, ImageLaterality="LEFT", ViewPosition="DOE JANE", ViewCodeSequence=coded("DOE"))
    # A character that the value representation forbids makes pydicom warn, and quote the value.
    found = read_header(open_dicom(data.replace(b"DOE JANE", b"doe^jane"), Limits()))
    assert (found.laterality, found.view, found.view_modifiers) == (None, None, ())
    assert caplog.records == []


@pytest.mark.parametrize(
    ("position", "view", "modifiers"),
    [
        ("mlo", "MLO", ()),
        ("XCCL", "XCCL", ()),
        ("MCC", "CC", ("magnification",)),
        ("SMLO", "MLO", ("spot compression",)),
        ("CCID", "CC", ("implant displaced",)),
        ("CCRL", "CC", ("rolled lateral",)),
        ("AT", "MLO", ("axillary tail",)),
        ("CV", "CC", ("cleavage",)),
        ("AP", None, ()),
    ],
)
def test_view_positions_with_the_acrs_prefixes(position: str, view: str | None, modifiers: tuple[str, ...]) -> None:
    assert view_of_position(position) == (view, modifiers)


def test_view_codes_of_both_snomed_forms(dicom: Maker) -> None:
    for code, view in (("399368009", "MLO"), ("R-10226", "MLO"), ("R-10242", "CC"), ("399192008", "XCCL")):
        assert header(dicom, ViewCodeSequence=coded(code)).view == view
    found = header(dicom, ViewCodeSequence=coded("399162004", "399055006", "R-102D6", "R-102D5"))
    assert found.view_modifiers == ("spot compression", "magnification", "implant displaced")


def test_view_tables_agree_with_pydicoms_context_groups() -> None:
    from pydicom.sr import _cid_dict, _concepts_dict, _snomed_dict

    for group, table in ((4014, VIEW_CODES), (4015, MODIFIER_CODES)):
        concepts = _concepts_dict.concepts["SCT"]
        codes = {code for name in _cid_dict.cid_concepts[group]["SCT"] for code in concepts[name]}
        old = _snomed_dict.mapping["SRT"]
        assert codes <= set(table)
        assert all(table[code] == table[old[code]] for code in table if code in old and old[code] in table)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"ImagerPixelSpacing": [0.1, 0.2]}, PixelSpacing(0.1, 0.2, "imager")),
        ({"ImagerPixelSpacing": [0.1, 0.1], "PixelSpacing": [0.1, 0.1]}, PixelSpacing(0.1, 0.1, "imager")),
        ({"ImagerPixelSpacing": [0.1, 0.1], "PixelSpacing": [0.05, 0.06]}, PixelSpacing(0.05, 0.06, "calibrated")),
        (
            {"ImagerPixelSpacing": [0.1, 0.1], "PixelSpacing": [0.1, 0.1], "PixelSpacingCalibrationType": "GEOMETRY"},
            PixelSpacing(0.1, 0.1, "calibrated"),
        ),
        ({"DetectorElementSpacing": [0.07, 0.07]}, PixelSpacing(0.07, 0.07, "detector")),
        ({"ImagerPixelSpacing": [0.0, 0.1]}, None),
        ({"ImagerPixelSpacing": [-0.1, 0.1]}, None),
        ({}, None),
    ],
)
def test_spacing_names_its_origin(dicom: Maker, elements: dict[str, Any], expected: PixelSpacing | None) -> None:
    assert header(dicom, **elements).spacing == expected


def test_several_windows_keep_their_order(dicom: Maker) -> None:
    found = header(dicom, WindowCenter=[10, 20.5], WindowWidth=[5, 7], VOILUTFunction="SIGMOID").windows
    assert found == (Window(10, 5, "SIGMOID"), Window(20.5, 7, "SIGMOID"))
    assert header(dicom, WindowCenter=10, WindowWidth=0).windows == ()


def test_a_broken_element_beside_the_pixels_does_not_cost_the_picture(dicom: Maker) -> None:
    data = dicom(DOT, WindowCenter="12345678", WindowWidth="34")
    assert read_header(open_dicom(data, Limits())).windows == (Window(12345678, 34),)
    assert read_header(open_dicom(data.replace(b"12345678", b"12x45678"), Limits())).windows == ()


def codes(data: bytes) -> list[str]:
    return [notice.code for notice in read_mammogram(data).notices]


def test_gate_on_modality(dicom: Maker, breast: Callable[..., NDArray[np.uint16]]) -> None:
    picture = breast()
    assert codes(dicom(picture, BitsStored=12)) == []
    assert codes(dicom(picture, Modality=None)) == []
    secondary = "1.2.840.10008.5.1.4.1.1.7"
    assert codes(dicom(picture, SOPClassUID=secondary)) == ["not-stored-as-mammogram"]
    assert codes(dicom(picture, SOPClassUID=secondary, Modality=None)) == ["modality-unknown"]
    assert codes(dicom(picture, SOPClassUID=None, Modality=None)) == ["modality-unknown"]
    assert codes(dicom(picture, SOPClassUID=secondary, Modality="CR", BodyPartExamined="BREAST")) == [
        "modality-unknown"
    ]
    ct = "1.2.840.10008.5.1.4.1.1.2"
    for elements in ({"Modality": "CT"}, {"Modality": None}, {"Modality": "CR"}):
        data = dicom(picture, SOPClassUID=ct, **elements)
        with pytest.raises(WrongModality):
            read_mammogram(data)
        assert np.array_equal(read_mammogram(data, ReadOptions(any_modality=True)).pixels, picture)


def test_raw_detector_images_are_refused(dicom: Maker, breast: Callable[..., NDArray[np.uint16]]) -> None:
    with pytest.raises(ForProcessing):
        read_mammogram(dicom(breast(), PresentationIntentType="FOR PROCESSING"))
    with pytest.raises(ForProcessing):
        read_mammogram(dicom(breast(), SOPClassUID="1.2.840.10008.5.1.4.1.1.1.2.1"))


def test_special_views_are_warned_of(dicom: Maker, breast: Callable[..., NDArray[np.uint16]]) -> None:
    sequence = coded("399162004", "399055006", "399163009", "399209000")
    assert codes(dicom(breast(), ViewCodeSequence=sequence, BurnedInAnnotation="YES")) == [
        "spot-compression",
        "magnification",
        "implant-displaced",
        "burned-in-annotation",
    ]
