"""Real DICOM files of every kind: the reference's pixels, or a refusal that is listed here."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.pixels import pixel_array

from mammolens.errors import InputError
from mammolens.imaging.dicom_file import open_dicom
from mammolens.imaging.dicom_header import read_header
from mammolens.imaging.dicom_pixels import StoredFrame, decode_frame
from mammolens.imaging.limits import Limits
from mammolens.imaging.reading import ReadOptions, read_mammogram

REFUSED = {
    "fo-dicom__GH1146.dcm": "malformed-file",  # no pixel bytes
    "fo-dicom__GH1376.dcm": "malformed-file",  # cut off
    "fo-dicom__genFile.dcm": "malformed-file",  # no JPEG in its JPEG frame
    "dcm4che__3gb-bulk-data-truncated": "malformed-file",  # two values for rows and columns
    "fo-dicom__GH177_D_CLUNIE_CT1_IVRLE_BigEndian_undefined_length.dcm": "malformed-file",  # mixed byte order
    "fo-dicom__GH340.dcm": "unsupported-encoding",  # ACR-NEMA, 12 bits packed
}
# The same pictures in several encodings (NEMA's WG04 set): lossless ones hold the same values.
GROUPS = {
    "NM1": ("RLE__NM1_RLE", "J2KR__NM1_J2KR", "JLSL__NM1_JLSL"),
    "XA1": ("RLE__XA1_RLE", "J2KR__XA1_J2KR", "JLSL__XA1_JLSL", "JPLL__XA1_JPLL"),
}


def stored(path: Path) -> tuple[StoredFrame, int]:
    file = open_dicom(path.read_bytes(), Limits())
    header = read_header(file)
    frame = header.format.frames // 2
    return decode_frame(file, header, frame, Limits()), frame


def rows(shared: Path, folder: str) -> list[dict[str, str]]:
    with (shared / "data" / "dicom" / "inventory.csv").open() as table:
        return [row for row in csv.DictReader(table) if row["file"].startswith(folder + "/")]


def reference(path: Path, frame: int) -> NDArray[Any] | None:
    """pydicom's own pixels by its default plugins; None where these can't."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pixel_array(path, index=frame, decoding_plugin="")
        except (RuntimeError, NotImplementedError, AttributeError, ValueError):
            return None


def test_every_file_gives_the_reference_pixels_or_the_refusal_listed(shared: Path) -> None:
    compared = 0
    for row in rows(shared, "corpus"):
        path = shared / "data" / "dicom" / row["file"]
        if path.name in REFUSED:
            with pytest.raises(InputError) as refusal:
                read_mammogram(path, ReadOptions(any_modality=True))
            assert refusal.value.code == REFUSED[path.name]
            continue
        found, frame = stored(path)
        expected = reference(path, frame)
        if row["reference_decode"] != "ok" or expected is None or path.name.endswith("RG2_JPLY.dcm"):
            continue
        values = found.values.astype(np.float64) - found.offset
        if expected.ndim == 2:
            assert np.array_equal(values, expected.astype(np.float64), equal_nan=True), path.name
        else:
            # Colour is read as its luma; a JPEG's is stored, where pydicom goes by way of clipped RGB.
            luma = expected.astype(np.float64) @ [0.299, 0.587, 0.114]
            assert np.median(np.abs(values - luma)) <= 1.0 + 1e-6 * luma.max(), path.name
        compared += 1
    assert compared >= 40


@pytest.mark.parametrize("group", GROUPS)
def test_lossless_encodings_of_one_picture_agree(shared: Path, group: str) -> None:
    folder = shared / "data" / "dicom" / "corpus"
    first, *others = (stored(folder / f"dicom-test-files__WG04__{name}")[0] for name in GROUPS[group])
    assert all(np.array_equal(first.values, other.values) for other in others)
    assert first.values.std() > 0


def test_registered_plugin_gives_pydicom_what_reading_gives(shared: Path) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    from mammolens.imaging.pydicom_plugin import LABEL, register

    uids = register()
    try:
        assert register() == uids
        names = ["JLSL__XA1_JLSL", "JPLL__XA1_JPLL", "J2KR__XA1_J2KR"]
        for path in (shared / "data" / "dicom" / "corpus" / f"dicom-test-files__WG04__{name}" for name in names):
            assert np.array_equal(pixel_array(path), stored(path)[0].values)
    finally:
        for uid in uids:
            get_decoder(uid).remove_plugin(LABEL)


def test_real_mammograms_are_read_and_the_chart_is_refused(shared: Path) -> None:
    folder = shared / "data" / "dicom" / "mg"
    options = ReadOptions(min_size=(512, 384))
    found = {path.name: read_mammogram(path, options) for path in folder.glob("*.dcm") if "chart" not in path.name}
    assert {name: (m.laterality, m.view, m.reduction) for name, m in found.items()} == {
        "fodicom_GH133.dcm": ("R", "MLO", 2),
        "rsna_10006_462822612.dcm": ("L", "CC", 4),
        "rsna_10006_1864590858.dcm": ("R", "MLO", 4),
    }
    sides = {name: (m.breast.chest_wall if m.breast else None) for name, m in found.items()}
    assert set(sides.values()) == {"left", "right"}
    with pytest.raises(InputError) as refusal:
        read_mammogram(folder / "calibration_chart_not_a_breast.dcm")
    assert refusal.value.code == "no-breast"
