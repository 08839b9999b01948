"""A phantom as a DICOM file, in any of the encodings that mammograms come in."""

from __future__ import annotations

import io
from collections.abc import Callable

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from mammolens.phantom.attributes import VOI_KINDS, describe, uid
from mammolens.phantom.render import Phantom

Pixels = NDArray[np.uint16]


def encode_rle(pixels: Pixels) -> bytes:
    """Encode one 12-bit frame as RLE Lossless (PS3.5 annex G).

    Parameters
    ----------
    pixels : ndarray of uint16, shape (rows, columns)

    Returns
    -------
    bytes
        The frame, ready to be encapsulated.
    """
    rows, columns = pixels.shape
    return next(
        RLELosslessEncoder.iter_encode(
            pixels,
            encoding_plugin="pydicom",
            rows=rows,
            columns=columns,
            samples_per_pixel=1,
            bits_allocated=16,
            bits_stored=12,
            pixel_representation=0,
            photometric_interpretation="MONOCHROME2",
            number_of_frames=1,
        )
    )


def _jpeg_lossless(pixels: Pixels) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=12))


def _jpeg_ls(pixels: Pixels) -> bytes:
    return bytes(imagecodecs.jpegls_encode(pixels))


def _jpeg_2000(pixels: Pixels) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True, bitspersample=12, mct=False)
    )


def _htj2k(pixels: Pixels) -> bytes:
    return bytes(imagecodecs.htj2k_encode(pixels, reversible=True))


# Bits stored (the precision that the codestream declares) and the encoder. These JPEG-LS and HTJ2K encoders know
# no precision between 8 and 16, and the header has to agree with the codestream (PS3.5 8.2).
_ENCAPSULATED: dict[UID, tuple[int, Callable[[Pixels], bytes]]] = {
    RLELossless: (12, encode_rle),
    JPEGLosslessSV1: (12, _jpeg_lossless),
    JPEGLSLossless: (16, _jpeg_ls),
    JPEG2000Lossless: (12, _jpeg_2000),
    HTJ2KLossless: (16, _htj2k),
}
_NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)

TRANSFER_SYNTAXES: tuple[UID, ...] = (*_NATIVE, *_ENCAPSULATED)
"""Transfer syntaxes that `dicom` can write; all are lossless."""


def dicom(
    phantom: Phantom,
    *,
    transfer_syntax: str = ExplicitVRLittleEndian,
    photometric: str = "MONOCHROME2",
    voi: str | None = "linear",
    change: Callable[[Dataset], None] | None = None,
) -> bytes:
    """Write a phantom as a Digital Mammography X-Ray Image for presentation.

    Parameters
    ----------
    phantom : Phantom
    transfer_syntax : str
        UID, one of `TRANSFER_SYNTAXES`.
    photometric : {"MONOCHROME2", "MONOCHROME1"}
        MONOCHROME1 stores the highest value minus the grey value; it shows the same.
    voi : {"linear", "linear-exact", "sigmoid", "lut", None}
        Window with two values and this function, a VOI LUT, or nothing.
    change : callable, optional
        Gets the finished data set (pixel data encoded) and may alter it before it is written.

    Returns
    -------
    bytes
        A DICOM file; equal arguments give equal bytes. All identifiers are made from
        the seed, the patient is called ``Phantom^Synthetic``.

    Raises
    ------
    ValueError
        If a parameter is none of these.
    """
    syntax = UID(transfer_syntax)
    if syntax not in TRANSFER_SYNTAXES:
        raise ValueError("transfer_syntax must be one of TRANSFER_SYNTAXES")
    if photometric not in ("MONOCHROME2", "MONOCHROME1"):
        raise ValueError("photometric must be 'MONOCHROME2' or 'MONOCHROME1'")
    if voi not in VOI_KINDS:
        raise ValueError(f"voi must be one of {VOI_KINDS}")

    bits_stored, encode = _ENCAPSULATED.get(syntax, (12, None))
    ds = describe(phantom, photometric, voi, bits_stored)
    stored = phantom.pixels
    if photometric == "MONOCHROME1":
        stored = np.uint16((1 << bits_stored) - 1) - stored
    if encode is not None:
        ds.PixelData = encapsulate([encode(stored)], has_bot=True)
    else:
        ds.PixelData = stored.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes()
    ds["PixelData"].VR = "OB" if encode is not None else "OW"
    ds.file_meta = _file_meta(ds, syntax)
    if change is not None:
        change(ds)
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _file_meta(ds: Dataset, syntax: UID) -> FileMetaDataset:
    """File Meta Information, PS3.10 section 7.1."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = uid("implementation")
    meta.ImplementationVersionName = "MAMMOLENS_PHANT"
    return meta
