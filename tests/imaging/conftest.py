"""Makers of small pictures and DICOM files, for tests that know every value they put in."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian

MG = "1.2.840.10008.5.1.4.1.1.1.2"


def make_dicom(
    pixels: NDArray[Any] | None = None,
    *,
    syntax: str = ExplicitVRLittleEndian,
    frames: list[bytes] | None = None,
    **elements: Any,
) -> bytes:
    """DICOM file of a grey or RGB picture; ``frames`` are compressed ones; None takes an element out."""
    data = Dataset()
    data.SOPClassUID = MG
    data.SOPInstanceUID = "1.2.3.4"
    data.Modality = "MG"
    if pixels is not None:
        bits = 8 * pixels.dtype.itemsize
        grey = pixels.ndim == 2 or elements.get("NumberOfFrames")
        data.Rows, data.Columns = pixels.shape[-2:] if grey else pixels.shape[:2]
        data.SamplesPerPixel = 1 if grey else 3
        data.PhotometricInterpretation = "MONOCHROME2" if grey else "RGB"
        data.BitsAllocated = data.BitsStored = bits
        data.HighBit = bits - 1
        data.PixelRepresentation = int(pixels.dtype.kind == "i")
        if not grey:
            data.PlanarConfiguration = 0
    for name, value in elements.items():
        if value is None:
            del data[name]
        else:
            setattr(data, name, value)
    if "BitsStored" in elements:
        data.HighBit = elements.get("HighBit", elements["BitsStored"] - 1)
    if frames is not None:
        data.PixelData = encapsulate(frames)
        data["PixelData"].is_undefined_length = True
    elif pixels is not None:
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        data.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    if "PixelData" in data:
        data["PixelData"].VR = "OB" if frames is not None or data.BitsAllocated == 8 else "OW"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = MG
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    data.file_meta = meta
    stream = io.BytesIO()
    dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def make_breast(height: int = 320, width: int = 256, top: int = 4095, mirrored: bool = False) -> NDArray[np.uint16]:
    """Half an ellipse against one side on dark air, brighter towards the middle; values 0 to ``top``."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    radius = np.hypot(x / (0.7 * width), (y - height / 2) / (0.46 * height))
    waves = 0.12 * np.sin(x / 9.0) * np.sin(y / 11.0)
    tissue = np.clip(0.35 + 0.5 * (1.0 - radius) + waves, 0.15, 1.0)
    picture = np.rint(np.where(radius < 1.0, tissue, 0.0) * top).astype(np.uint16)
    return np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture


@pytest.fixture(scope="session")
def dicom() -> Callable[..., bytes]:
    """`make_dicom`."""
    return make_dicom


@pytest.fixture(scope="session")
def breast() -> Callable[..., NDArray[np.uint16]]:
    """`make_breast`."""
    return make_breast
