"""Previews: windows worked by hand, polarity, padding, depth, crop, size; nothing of the header gets out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000TransferSyntaxes, generate_uid

from mammolens import errors
from mammolens.imaging import dicom_file
from mammolens.imaging.display import RenderOptions, render
from mammolens.imaging.png import encode_png, write_png

NAME = "VERYRARE^NAME"
NEEDS_SHAPE = pytest.mark.skipif(
    0x20500020 not in dicom_file._TAGS, reason="the header reader leaves PresentationLUTShape out"
)


def dicom(pixels: np.ndarray, **elements: Any) -> bytes:
    """A DICOM file around pixels of 8 or 16 bits; keywords set or replace elements."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.PatientName, data.PatientID, data.Modality = NAME, "RAREID77", "MG"
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8 * pixels.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def window(centre: Any, width: Any, function: str | None = None) -> dict[str, Any]:
    found = {"WindowCenter": centre, "WindowWidth": width}
    return found if function is None else {**found, "VOILUTFunction": function}


def lookup_table(first: int, bits: int, values: list[int]) -> list[Dataset]:
    item = Dataset()
    item.add_new(0x00283002, "US", [len(values), first, bits])
    item.add_new(0x00283006, "US", values)
    return [item]


def row(*values: int, dtype: str = "<u2") -> np.ndarray:
    return np.array([values], dtype)


def shown(data: bytes, **options: Any) -> list[int]:
    return render(data, RenderOptions(**options))[0].tolist()


# PS3.3 C.11.2.1.2.1: y = ((x - (c - 0.5)) / (w - 1) + 0.5) * 255. With c = 100, w = 51: black up to 74.5, white
# from 124.5; x = 100 gives (0.5 / 50 + 0.5) * 255 = 130.05, x = 90 gives (-9.5 / 50 + 0.5) * 255 = 79.05.
LINEAR = ((0, 74, 90, 100, 125, 4000), [0, 0, 79, 130, 255, 255])


def test_a_linear_window_gives_the_values_worked_by_hand() -> None:
    stored, grey = LINEAR
    assert shown(dicom(row(*stored), **window(100, 51))) == grey


def test_the_standards_own_example_uses_the_whole_range() -> None:
    # C.11.2.1.2.1, note: c = 2048, w = 4096 is the identity from 0 .. 4095 to 0 .. 4095.
    assert shown(dicom(row(0, 2048, 4095), **window(2048, 4096)), bits=16) == [0, round(2048 / 4095 * 65535), 65535]


def test_linear_exact_gives_the_values_worked_by_hand() -> None:
    # C.11.2.1.3.2: y = ((x - c) / w + 0.5) * 255; 95 gives 0.4 * 255 = 102, 105 gives 0.6 * 255 = 153.
    assert shown(dicom(row(74, 75, 95, 105, 125), **window(100, 50, "LINEAR_EXACT"))) == [0, 0, 102, 153, 255]


def test_sigmoid_gives_the_values_worked_by_hand() -> None:
    # C.11.2.1.3.1: y = 255 / (1 + exp(-4 (x - c) / w)); 110 gives 255 / (1 + 1 / e) = 186.42, 90 gives 68.58.
    assert shown(dicom(row(90, 110, 500, 0), **window(100, 40, "SIGMOID"))) == [69, 186, 255, 0]


def test_the_first_of_several_windows_counts() -> None:
    stored, grey = LINEAR
    assert shown(dicom(row(*stored), **window([100, 5000], [51, 9000]))) == grey


def test_windows_apply_after_the_rescale() -> None:
    stored, grey = LINEAR
    doubled = row(*(2 * value + 2000 for value in stored))
    data = dicom(doubled, RescaleSlope="0.5", RescaleIntercept="-1000", **window(100, 51))
    assert shown(data) == grey


def test_signed_values_are_windowed_as_signed() -> None:
    stored, grey = LINEAR
    assert shown(dicom(row(*(value - 100 for value in stored), dtype="<i2"), **window(0, 51))) == grey


def test_an_explicit_window_overrides_the_files() -> None:
    stored, grey = LINEAR
    data = dicom(row(*stored), VOILUTSequence=lookup_table(0, 8, [7] * 16), **window(2000, 4000))
    assert shown(data, window=(100.0, 51.0)) == grey


def test_a_voi_table_counts_before_a_window() -> None:
    data = dicom(row(9, 10, 11, 12, 60000), VOILUTSequence=lookup_table(10, 8, [1, 50, 200]), **window(100, 51))
    assert shown(data) == [1, 1, 50, 200, 200]


def test_a_modality_table_comes_before_the_window() -> None:
    data = dicom(row(0, 1, 2), ModalityLUTSequence=lookup_table(0, 16, [74, 90, 125]), **window(100, 51))
    assert shown(data) == [0, 79, 255]


def test_without_a_window_the_smallest_is_black_and_the_largest_white() -> None:
    assert shown(dicom(row(1000, 1500, 2000))) == [0, 128, 255]
    assert shown(dicom(row(1000, 1500, 2000)), bits=16) == [0, 32768, 65535]
    assert shown(dicom(row(7, 7, 7))) == [0, 0, 0]


def test_monochrome1_is_turned_after_the_window() -> None:
    stored, grey = LINEAR
    data = dicom(row(*stored), PhotometricInterpretation="MONOCHROME1", **window(100, 51))
    assert shown(data) == [255, 255, 176, 125, 0, 0]
    assert [255 - value for value in shown(data)] == grey


@pytest.mark.parametrize(
    ("photometric", "shape", "turned"),
    [
        ("MONOCHROME2", "IDENTITY", False),
        pytest.param("MONOCHROME2", "INVERSE", True, marks=NEEDS_SHAPE),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", True),
    ],
)
def test_an_inverse_presentation_is_turned_once(photometric: str, shape: str, turned: bool) -> None:
    data = dicom(row(0, 255), PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    assert shown(data) == ([255, 0] if turned else [0, 255])


@pytest.mark.parametrize(
    ("photometric", "padding", "stored"),
    [("MONOCHROME2", 0, (0, 100, 200)), ("MONOCHROME1", 65535, (65535, 200, 100))],
)
def test_padding_is_black_and_does_not_count_for_the_stretch(
    photometric: str, padding: int, stored: tuple[int, ...]
) -> None:
    data = dicom(row(*stored), PhotometricInterpretation=photometric, PixelPaddingValue=padding)
    assert shown(data) == [0, 0, 255]


def test_sixteen_bits_keep_every_stored_level() -> None:
    stored = np.arange(4096, dtype="<u2").reshape(64, 64)
    picture = render(dicom(stored, **window(2048, 4096)), RenderOptions(bits=16))
    assert picture.dtype == np.uint16
    with Image.open(io.BytesIO(encode_png(picture))) as image:
        read = np.asarray(image)
    np.testing.assert_array_equal(np.rint(read / 65535 * 4095), stored)


def test_the_central_frame_is_shown_unless_another_is_asked_for() -> None:
    frames = np.stack([np.full((2, 3), value, np.uint8) for value in (10, 20, 30)])
    data = dicom(frames, **window(128, 256))
    assert (render(data) == 20).all()
    assert (render(data, RenderOptions(frame=2)) == 30).all()


@pytest.mark.parametrize("kind", ["dicom", "png"])
def test_a_frame_that_is_not_there_is_refused(kind: str) -> None:
    pixels = np.zeros((2, 3), np.uint8)
    with pytest.raises(errors.InputError):
        render(dicom(pixels) if kind == "dicom" else encode_png(pixels), RenderOptions(frame=1))


def test_colour_is_shown_as_its_luma_without_a_window() -> None:
    data = dicom(
        np.array([[255, 0, 0, 10, 10, 10]], np.uint8),
        Columns=2,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        **window(0, 1),
    )
    assert shown(data) == [76, 10]  # 0.299 * 255 = 76.2


def test_float_pixels_are_stretched_over_their_finite_range() -> None:
    pixels = np.array([[0.25, 0.5, np.nan, np.inf]], "<f4")
    data = dicom(pixels.view("<u2").reshape(1, 8), Columns=4, BitsAllocated=32)
    at = data.rindex(b"\xe0\x7f\x10\x00OW")
    data = data[:at] + b"\xe0\x7f\x08\x00OF" + data[at + 6 :]
    assert shown(data) == [0, 255, 0, 255]


def test_a_png_is_stretched_and_a_window_is_in_its_own_values() -> None:
    stored, grey = LINEAR
    data = encode_png(np.array([stored], np.uint16))
    assert shown(data, window=(100, 51)) == grey
    assert shown(data)[0] == 0
    assert shown(data)[-1] == 255


@pytest.mark.parametrize(("size", "shape"), [(50, (50, 25)), (400, (400, 200)), (100, (100, 50)), (1, (1, 1))])
def test_size_is_the_longest_side(size: int, shape: tuple[int, int]) -> None:
    pixels = np.linspace(0, 255, 5000).astype(np.uint8).reshape(100, 50)
    assert render(encode_png(pixels), RenderOptions(size=size)).shape == shape


def test_shrinking_averages() -> None:
    pixels = np.array([[0, 100, 200, 255], [100, 200, 255, 200]], np.uint8)
    assert shown(encode_png(pixels), size=2) == [100, 228]  # (0+100+100+200)/4, (200+255+255+200)/4 = 227.5


def breast(width: int = 300, height: int = 400) -> np.ndarray:
    """A half disc of tissue at the left edge on air, as 16-bit values."""
    rows, columns = np.mgrid[:height, :width]
    inside = ((rows - height / 2) / 120.0) ** 2 + (columns / 150.0) ** 2 < 1.0
    texture = cv2.GaussianBlur(np.random.default_rng(3).normal(0, 900, (height, width)), (0, 0), 3)
    return np.where(inside, 2000 + texture, 50).clip(0, 4095).astype("<u2")


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_the_crop_is_the_box_around_the_breast(photometric: str) -> None:
    stored = breast() if photometric == "MONOCHROME2" else (4095 - breast()).astype("<u2")
    data = dicom(stored, PhotometricInterpretation=photometric, BitsStored=12, HighBit=11)
    whole, cropped = render(data), render(data, RenderOptions(crop=True))
    # The half disc spans rows 80 to 320 and columns 0 to 150; the outline is found on a coarser grid.
    assert abs(cropped.shape[0] - 240) <= 8
    assert abs(cropped.shape[1] - 150) <= 8
    top = next(
        y for y in range(60, 100) if np.array_equal(whole[y : y + cropped.shape[0], : cropped.shape[1]], cropped)
    )
    assert abs(top - 80) <= 5


def test_a_crop_without_a_breast_is_refused_and_the_whole_is_shown() -> None:
    data = dicom(np.zeros((64, 64), np.uint8))
    with pytest.raises(errors.NoBreast):
        render(data, RenderOptions(crop=True))
    assert render(data).shape == (64, 64)


@pytest.mark.parametrize(
    "options",
    [{"bits": 12}, {"size": 0}, {"size": 10**6}, {"frame": -1}, {"window": (10.0, 0.0)}, {"window": (10.0, 0.5)}],
)
def test_options_that_can_not_be_shown_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigurationError):
        RenderOptions(**options)


def test_no_name_and_no_text_gets_into_the_preview(tmp_path: Path) -> None:
    data = dicom(breast(), **window(2000, 4000))
    assert NAME.encode() in data
    write_png(tmp_path / "out.png", render(data))
    written = (tmp_path / "out.png").read_bytes()
    assert NAME.encode() not in written
    assert b"RAREID77" not in written
    with Image.open(io.BytesIO(written)) as image:
        assert image.info == {}


@pytest.mark.parametrize("data", [b"", b"hello world", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_a_typed_refusal(data: bytes) -> None:
    with pytest.raises(errors.InputError):
        render(data)


@pytest.mark.parametrize("name", ["fodicom_GH133.dcm", "rsna_10006_462822612.dcm"])
def test_real_files_are_shown_as_pydicom_shows_them(shared: Path, name: str) -> None:
    path = shared / "data/dicom/mg" / name
    data = pydicom.dcmread(path)
    frame = next(generate_frames(data.PixelData, number_of_frames=1))
    decode = imagecodecs.jpeg2k_decode if data.file_meta.TransferSyntaxUID in JPEG2000TransferSyntaxes else None
    stored = (decode or imagecodecs.jpeg8_decode)(frame)
    # Some of the rows will do: pydicom's own arithmetic takes seconds on 26 million pixels.
    stored = stored[::16]
    modality = np.rint(apply_modality_lut(stored, data)).astype(np.int32)
    values = apply_voi_lut(modality, data).astype(np.float64)
    tables = data.get("VOILUTSequence")
    expected = values / ((1 << (tables[0].LUTDescriptor[2] if tables else data.BitsStored)) - 1)
    if data.PhotometricInterpretation == "MONOCHROME1":
        expected = 1.0 - expected
    picture = render(path, RenderOptions(bits=16))[::16] / 65535.0
    shown_by_both = stored != data.get("PixelPaddingValue", -1)
    assert shown_by_both.mean() > 0.1
    assert expected[shown_by_both].std() > 0.05
    assert np.abs(picture - expected)[shown_by_both].max() < 1e-3
