"""The phantom's DICOM objects: pixels by other decoders, header by the standard's own list."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_voi_lut
from pydicom.uid import UID

from mammolens import phantom

EXPLICIT, IMPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
RLE, JPEG_LOSSLESS, JPEG_LS, JPEG_2000, HTJ2K = (
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.201",
)
ALL = [EXPLICIT, IMPLICIT, BIG, DEFLATED, RLE, JPEG_LOSSLESS, JPEG_LS, JPEG_2000, HTJ2K]

# PS3.3 A.26 and A.27: attributes of type 1 of the mandatory modules.
TYPE_1 = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "PresentationIntentType",
    "Manufacturer",
    "PatientOrientation",
    "ImageType",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
    "ImageLaterality",
    "AnatomicRegionSequence",
    "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "PresentationLUTShape",
    "LossyImageCompression",
    "BurnedInAnnotation",
    "DetectorType",
    "ImagerPixelSpacing",
    "PositionerType",
    "BreastImplantPresent",
    "OrganExposed",
    "ViewCodeSequence",
    "PartialView",
]
# Type 2: present, possibly empty.
TYPE_2 = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "SeriesNumber",
    "InstanceNumber",
    "AcquisitionContextSequence",
]


@pytest.fixture(scope="module")
def made() -> phantom.Phantom:
    return phantom.make("MLO", "L", "both", rows=460, columns=385, seed=3)


def read(content: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(content))


def decoded(ds: pydicom.FileDataset) -> NDArray[np.uint16]:
    """Pixels by a decoder other than the one that belongs to the encoder, where there is one."""
    syntax = ds.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax in (RLE, DEFLATED):
        return ds.pixel_array
    frame = next(generate_frames(ds.PixelData, number_of_frames=1))
    decode: dict[str, Any] = {
        JPEG_LOSSLESS: imagecodecs.ljpeg_decode,
        JPEG_LS: imagecodecs.jpegls_decode,
        JPEG_2000: imagecodecs.jpeg2k_decode,
        HTJ2K: imagecodecs.jpeg2k_decode,
    }
    return np.asarray(decode[syntax](frame))


def test_the_list_of_transfer_syntaxes_is_complete() -> None:
    assert sorted(phantom.TRANSFER_SYNTAXES) == sorted(ALL)


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("syntax", ALL)
def test_every_encoding_holds_the_same_pixels(made: phantom.Phantom, syntax: str, photometric: str) -> None:
    ds = read(phantom.dicom(made, transfer_syntax=syntax, photometric=photometric))
    assert ds.file_meta.TransferSyntaxUID == syntax
    assert ds.PhotometricInterpretation == photometric
    stored = decoded(ds)
    assert (stored.dtype.kind, stored.dtype.itemsize) == ("u", 2)
    highest = (1 << ds.BitsStored) - 1
    np.testing.assert_array_equal(stored if photometric == "MONOCHROME2" else highest - stored, made.pixels)


@pytest.mark.parametrize("syntax", [JPEG_LOSSLESS, JPEG_LS, JPEG_2000, HTJ2K])
def test_header_and_codestream_agree_on_the_precision(made: phantom.Phantom, syntax: str) -> None:
    ds = read(phantom.dicom(made, transfer_syntax=syntax))
    frame = next(generate_frames(ds.PixelData, number_of_frames=1))
    if syntax in (JPEG_2000, HTJ2K):
        # ISO 15444-1 A.5.1: Ssiz is 36 bytes behind the length of SIZ, the first segment.
        assert frame[:4] == b"\xff\x4f\xff\x51"
        precision = frame[42] + 1
    else:
        marker = {JPEG_LOSSLESS: b"\xff\xc3", JPEG_LS: b"\xff\xf7"}[syntax]
        precision = frame[frame.index(marker) + 4]
    assert ds.BitsAllocated == 16
    assert precision == ds.BitsStored == ds.HighBit + 1
    assert ds.BitsStored == (16 if syntax in (JPEG_LS, HTJ2K) else 12)


def test_jpeg_lossless_uses_the_first_order_predictor(made: phantom.Phantom) -> None:
    frame = next(
        generate_frames(read(phantom.dicom(made, transfer_syntax=JPEG_LOSSLESS)).PixelData, number_of_frames=1)
    )
    scan = frame.index(b"\xff\xda")
    assert frame[scan + 7] == 1  # ISO 10918-1 B.2.3: Ss is the predictor


@pytest.mark.parametrize("laterality", ["L", "R"])
@pytest.mark.parametrize("view", ["CC", "MLO"])
def test_the_header_is_that_of_a_mammogram_for_presentation(view: str, laterality: str) -> None:
    ds = read(phantom.dicom(phantom.make(view, laterality, rows=230, columns=192)))
    assert [name for name in TYPE_1 if not ds.get(name) and ds.get(name) != 0] == []
    assert [name for name in TYPE_2 if name not in ds] == []
    assert ds.SOPClassUID == ds.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.1.2"
    assert ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID
    assert (ds.Modality, ds.PresentationIntentType, ds.BurnedInAnnotation) == ("MG", "FOR PRESENTATION", "NO")
    assert (ds.ViewPosition, ds.ImageLaterality) == (view, laterality)
    # PS3.16 CID 4014.
    code = ds.ViewCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == ({"CC": "399162004", "MLO": "399368009"}[view], "SCT")
    assert ds.PatientOrientation[0] == {"L": "A", "R": "P"}[laterality]
    assert [float(value) for value in ds.ImagerPixelSpacing] == pytest.approx([229.4 / 230] * 2, rel=1e-3)


def test_nothing_in_the_header_is_a_persons_or_a_registered_root(made: phantom.Phantom) -> None:
    ds = read(phantom.dicom(made))
    assert ds.PatientName == "Phantom^Synthetic"
    assert ds.PatientID == "PHANTOM-3"
    assert "ynthetic" in ds.SeriesDescription
    uids = [ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.file_meta.ImplementationClassUID]
    assert all(UID(value).is_valid and value.startswith("2.25.") for value in uids)
    assert len(set(uids)) == 4


def test_equal_arguments_give_equal_bytes_and_identifiers(made: phantom.Phantom) -> None:
    again = phantom.make("MLO", "L", "both", rows=460, columns=385, seed=3)
    assert phantom.dicom(made) == phantom.dicom(again)
    views = [read(phantom.dicom(view)) for view in phantom.examination(3, rows=230, columns=192).values()]
    assert len({ds.SOPInstanceUID for ds in views}) == 4
    assert {ds.StudyInstanceUID for ds in views} == {read(phantom.dicom(made)).StudyInstanceUID}
    other = read(phantom.dicom(made, photometric="MONOCHROME1"))
    assert other.SOPInstanceUID != read(phantom.dicom(made)).SOPInstanceUID


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG, HTJ2K])
@pytest.mark.parametrize("voi", ["linear", "linear-exact", "sigmoid", "lut"])
def test_both_polarities_look_the_same_through_the_window(made: phantom.Phantom, voi: str, syntax: str) -> None:
    shown = []
    for photometric in ("MONOCHROME2", "MONOCHROME1"):
        ds = read(phantom.dicom(made, transfer_syntax=syntax, photometric=photometric, voi=voi))
        highest = float((1 << ds.BitsStored) - 1) if voi != "lut" else 4095.0
        seen = np.asarray(apply_voi_lut(decoded(ds).astype(np.uint16), ds), np.float64) / highest
        shown.append(seen if photometric == "MONOCHROME2" else 1.0 - seen)
    np.testing.assert_allclose(shown[0], shown[1], atol=2e-3)
    assert 0.2 < shown[0][made.mask].mean() < 0.8
    assert shown[0][~made.mask].mean() < 0.13


def test_an_object_can_go_without_window_and_be_changed(made: phantom.Phantom) -> None:
    def change(ds: pydicom.Dataset) -> None:
        ds.PresentationIntentType = "FOR PROCESSING"

    ds = read(phantom.dicom(made, voi=None, change=change))
    assert "WindowCenter" not in ds
    assert "VOILUTSequence" not in ds
    assert ds.PresentationIntentType == "FOR PROCESSING"
    assert read(phantom.dicom(made)).WindowCenter[0] == 1350
    assert read(phantom.dicom(made, voi="sigmoid")).VOILUTFunction == "SIGMOID"


@pytest.mark.parametrize(
    ("name", "value"),
    [("transfer_syntax", "1.2.840.10008.1.2.4.50"), ("photometric", "RGB"), ("voi", "cubic")],
)
def test_what_the_writer_does_not_know_is_refused(made: phantom.Phantom, name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        phantom.dicom(made, **{name: value})
