"""Equal pictures give equal answers, however they are stored: on phantoms, and on real images where present."""

from __future__ import annotations

import csv
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from mammolens import phantom
from mammolens.imaging.display import RenderOptions, render
from mammolens.imaging.png import encode_png
from mammolens.imaging.reading import ReadOptions, read_mammogram
from mammolens.inference import Predictor
from mammolens.phantom import TRANSFER_SYNTAXES, Phantom

VIEWS = [("CC", "L"), ("MLO", "R")]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_bundle("default")


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [
        phantom.make(view, side, lesion="both" if side == "L" else None, rows=1148, columns=958, seed=7)
        for view, side in VIEWS
    ]


@pytest.fixture(scope="module")
def expected(predictor: Predictor, phantoms: list[Phantom]) -> list[float]:
    return [predictor.predict(phantom.dicom(made)).probability for made in phantoms]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES, ids=lambda uid: uid.name)
def test_encodings_of_one_picture_agree(
    predictor: Predictor, phantoms: list[Phantom], expected: list[float], syntax: pydicom.uid.UID, photometric: str
) -> None:
    for made, probability in zip(phantoms, expected, strict=True):
        answer = predictor.predict(phantom.dicom(made, transfer_syntax=syntax, photometric=photometric))
        assert abs(answer.probability - probability) <= 1e-3


@pytest.mark.parametrize("voi", ["linear", "linear-exact", "sigmoid", "lut", None])
def test_the_files_own_window_does_not_reach_the_score(
    predictor: Predictor, phantoms: list[Phantom], expected: list[float], voi: str | None
) -> None:
    for made, probability in zip(phantoms, expected, strict=True):
        assert abs(predictor.predict(phantom.dicom(made, voi=voi)).probability - probability) <= 1e-6


def _negative_slope(ds: Dataset) -> None:
    stored = 4095 - ds.pixel_array
    ds.PixelData = stored.astype(np.uint16).tobytes()
    ds.RescaleSlope, ds.RescaleIntercept = "-1", "4095"


def _signed(ds: Dataset) -> None:
    stored = ds.pixel_array.astype(np.int16) - 2048
    ds.PixelRepresentation, ds.PixelData = 1, stored.tobytes()
    ds.RescaleIntercept = "2048"


@pytest.mark.parametrize("change", [_negative_slope, _signed])
def test_stored_values_are_read_through_the_modality_transform(
    predictor: Predictor, phantoms: list[Phantom], expected: list[float], change: Callable[[Dataset], None]
) -> None:
    for made, probability in zip(phantoms, expected, strict=True):
        assert abs(predictor.predict(phantom.dicom(made, change=change)).probability - probability) <= 1e-3


def test_16_bit_png_agrees_with_dicom_and_its_negative_too(
    predictor: Predictor, phantoms: list[Phantom], expected: list[float]
) -> None:
    for made, probability in zip(phantoms, expected, strict=True):
        wide = made.pixels * np.uint16(16)
        assert abs(predictor.predict(encode_png(wide)).probability - probability) <= 1e-3
        negative = predictor.predict(encode_png(np.uint16(65535) - wide))
        assert abs(negative.probability - probability) <= 1e-3
        assert "negative-turned" in {notice.code for notice in negative.notices}


def _stored(pixels: NDArray[np.uint8]) -> bytes:
    return encode_png(pixels)


def _checks(predictor: Predictor, pixels: NDArray[np.uint8]) -> dict[str, float]:
    """Absolute change of the probability under changes that must not matter."""
    base = predictor.predict(_stored(pixels)).probability
    mirrored = np.ascontiguousarray(pixels[:, ::-1])
    answer = predictor.predict(_stored(pixels))
    # The marker goes to the corner away from the chest wall, where film markers stand.
    marked, side = pixels.copy(), max(12, pixels.shape[0] // 16)
    columns = slice(8, 8 + side) if answer.geometry.mirrored else slice(-8 - side, -8)
    corner = marked[8 : 8 + side, columns]
    free = float(corner.mean()) < 10.0
    corner[:] = 255
    changed = {
        "mirrored": predictor.predict(_stored(mirrored)).probability,
        "padded": predictor.predict(_stored(np.pad(pixels, 200))).probability,
        "inverted": predictor.predict(_stored(np.uint8(255) - pixels)).probability,
    }
    if free:
        changed["marker"] = predictor.predict(_stored(marked)).probability
    return {name: abs(value - base) for name, value in changed.items()}


LIMITS = {"mirrored": 1e-3, "padded": 0.02, "inverted": 1e-3, "marker": 0.02}


def test_mirror_padding_polarity_and_marker_hardly_matter_on_phantoms(
    predictor: Predictor, phantoms: list[Phantom]
) -> None:
    for made in phantoms:
        pixels = np.rint(made.pixels / 4095.0 * 255.0).astype(np.uint8)
        for name, difference in _checks(predictor, pixels).items():
            assert difference <= LIMITS[name], name


def test_mirror_padding_polarity_and_marker_hardly_matter_on_real_images(predictor: Predictor, shared: Path) -> None:
    folder = shared / "data" / "rsna-640"
    with (folder / "labels.csv").open() as file:
        names = [row["file"] for row in csv.DictReader(file) if row["inverted"] == "0"][::160]
    found: dict[str, list[float]] = {name: [] for name in LIMITS}
    for name in names:
        pixels = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
        for kind, difference in _checks(predictor, np.asarray(pixels, np.uint8)).items():
            found[kind].append(difference)
    print({kind: (len(values), round(max(values), 5)) for kind, values in found.items()})
    for kind, values in found.items():
        assert len(values) >= 5
        assert max(values) <= LIMITS[kind], kind


def test_reduced_decoding_of_jpeg_2000_keeps_the_score(predictor: Predictor, shared: Path) -> None:
    for path in sorted((shared / "data" / "dicom" / "mg").glob("rsna_*.dcm")):
        reduced = predictor.predict(path)
        decoded = read_mammogram(path, ReadOptions())
        assert (reduced.mammogram.reduction, decoded.reduction) == (4, 1)
        whole = predictor.predict(decoded.pixels)
        assert whole.mammogram.reduction == 2
        assert abs(reduced.probability - whole.probability) <= 0.01


REAL = ("rsna_10006_1864590858.dcm", "rsna_10006_462822612.dcm", "fodicom_GH133.dcm")


@pytest.mark.parametrize("name", REAL)
def test_real_dicom_scores_the_same_without_its_own_window(predictor: Predictor, shared: Path, name: str) -> None:
    path = shared / "data" / "dicom" / "mg" / name
    ds = pydicom.dcmread(path)
    for keyword in ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"):
        if keyword in ds:
            delattr(ds, keyword)
    bare = BytesIO()
    ds.save_as(bare)
    assert abs(predictor.predict(bare.getvalue()).probability - predictor.predict(path).probability) <= 1e-6


@pytest.mark.parametrize(
    "name",
    [
        *REAL[:2],
        pytest.param(
            REAL[2], marks=pytest.mark.xfail(reason="measured 0.149: its sigmoid hides the skin", strict=True)
        ),
    ],
)
def test_windowed_export_of_a_real_dicom_keeps_the_score(predictor: Predictor, shared: Path, name: str) -> None:
    """The picture as a viewer shows it, through the file's own VOI, given as PNG."""
    path = shared / "data" / "dicom" / "mg" / name
    exported = BytesIO()
    Image.fromarray(render(path, RenderOptions(bits=8))).save(exported, "PNG")
    difference = abs(predictor.predict(exported.getvalue()).probability - predictor.predict(path).probability)
    assert difference <= 0.05
