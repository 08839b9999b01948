"""What the header of a phantom's DICOM object says: PS3.3 A.27, Digital Mammography X-Ray Image.

Every identifier is made from the seed. Nothing is copied from a real object.
"""

from __future__ import annotations

import uuid

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, DigitalMammographyXRayImageStorageForPresentation

from mammolens.phantom.render import MAXIMUM, Phantom

WINDOWS = ((1350.0, 2500.0), (1350.0, 1800.0))
"""Window centres and widths offered, in values of a MONOCHROME2 object; the first is the usual one."""

VOI_KINDS = (None, "linear", "linear-exact", "sigmoid", "lut")
"""How a phantom's object may say that it is to be shown."""

_NAMESPACE = uuid.UUID("7d0f5f3c-9f0e-5d0b-8d7b-0b1f4c1e2a55")
_VIEW_CODES = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}
# First along a row, then down a column; PS3.3 C.7.6.1.1.1.
_ORIENTATIONS = {"LCC": ["A", "R"], "RCC": ["P", "L"], "LMLO": ["A", "FR"], "RMLO": ["P", "FL"]}
_DATE, _TIME = "20240101", "120000"


def uid(*key: object) -> UID:
    """UUID-derived UID (PS3.5 B.2) that depends on the key alone.

    Parameters
    ----------
    *key : object
        What the UID stands for; joined as text.

    Returns
    -------
    pydicom.uid.UID
        Begins with ``2.25.``.
    """
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(str(part) for part in key)).int}")


def describe(phantom: Phantom, photometric: str, voi: str | None, bits_stored: int) -> Dataset:
    """Header of a phantom's object, without pixel data.

    Parameters
    ----------
    phantom : Phantom
    photometric : {"MONOCHROME2", "MONOCHROME1"}
    voi : {None, "linear", "linear-exact", "sigmoid", "lut"}
    bits_stored : int
        12 or 16; the values are below 4096 all the same.

    Returns
    -------
    pydicom.dataset.Dataset
    """
    ds = Dataset()
    _identify(ds, phantom, photometric, voi)
    _acquisition(ds, phantom)
    inverse = photometric == "MONOCHROME1"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = photometric
    ds.Rows, ds.Columns = phantom.pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits_stored, bits_stored - 1
    ds.PixelRepresentation = 0
    ds.PixelIntensityRelationship = "LOG"
    ds.PixelIntensityRelationshipSign = 1 if inverse else -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    ds.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    ds.LossyImageCompression = "00"
    ds.BurnedInAnnotation = "NO"
    _show(ds, voi, (1 << bits_stored) - 1 if inverse else None)
    return ds


def _identify(ds: Dataset, phantom: Phantom, photometric: str, voi: str | None) -> None:
    study = ("phantom", phantom.seed)
    affected = "+".join(lesion.kind for lesion in phantom.lesions)
    shape = "x".join(str(side) for side in phantom.pixels.shape)
    ds.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    ds.SOPInstanceUID = uid(*study, phantom.laterality, phantom.view, affected, shape, photometric, voi)
    ds.StudyInstanceUID = uid(*study, "study")
    ds.SeriesInstanceUID = uid(*study, "series")
    ds.PatientName = "Phantom^Synthetic"
    ds.PatientID = f"PHANTOM-{phantom.seed}"
    ds.PatientBirthDate = ""
    ds.PatientSex = "F"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = _DATE
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = _TIME
    ds.StudyID = str(phantom.seed)
    ds.AccessionNumber = ""
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "Synthetic phantom, no patient"
    ds.SeriesDescription = "Synthetic phantom, no patient"
    ds.SeriesNumber = 1
    ds.InstanceNumber = 1 + ["RCC", "LCC", "RMLO", "LMLO"].index(phantom.laterality + phantom.view)
    ds.Modality = "MG"
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.DerivationDescription = "Computed by a phantom generator"
    ds.ImageComments = "Synthetic phantom, no patient"
    ds.Manufacturer = "Mammolens"
    ds.ManufacturerModelName = "Phantom generator"
    ds.DeviceSerialNumber = "0"
    ds.SoftwareVersions = "1"


def _acquisition(ds: Dataset, phantom: Phantom) -> None:
    spacing = f"{phantom.pixel_spacing:.6g}"
    code, meaning = _VIEW_CODES[phantom.view]
    view = _code(code, meaning)
    view.ViewModifierCodeSequence = []
    ds.ViewCodeSequence = [view]
    ds.ViewPosition = phantom.view
    ds.ImageLaterality = phantom.laterality
    ds.PatientOrientation = _ORIENTATIONS[phantom.laterality + phantom.view]
    ds.BodyPartExamined = ds.OrganExposed = "BREAST"
    ds.AnatomicRegionSequence = [_code("76752008", "Breast")]
    ds.BreastImplantPresent = "NO"
    ds.PartialView = "NO"
    ds.PositionerType = "MAMMOGRAPHIC"
    ds.PositionerPrimaryAngle = "0" if phantom.view == "CC" else "45"
    ds.ImagerPixelSpacing = [spacing, spacing]
    ds.DetectorType = "DIRECT"
    ds.DetectorTemperature = "25"
    ds.DetectorActiveShape = "RECTANGLE"
    ds.FieldOfViewOrigin = ["0", "0"]
    ds.FieldOfViewRotation = "0"
    ds.FieldOfViewHorizontalFlip = "NO"
    ds.EstimatedRadiographicMagnificationFactor = "1"
    ds.AcquisitionContextSequence = []


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def _show(ds: Dataset, voi: str | None, mirror: int | None) -> None:
    """Write the window or the VOI LUT; ``mirror`` is what stored values were subtracted from, if they were."""
    if voi is None:
        return
    if voi == "lut":
        ds.VOILUTSequence = [_voi_lut(ds.BitsStored, mirror)]
        return
    # LINEAR puts its centre half a step lower (PS3.3 C.11.2.1.2.1), so its mirror image lies one step higher.
    offset = 1.0 if voi == "linear" else 0.0
    centres = [centre if mirror is None else mirror + offset - centre for centre, _ in WINDOWS]
    ds.WindowCenter = [f"{centre:g}" for centre in centres]
    ds.WindowWidth = [f"{width:g}" for _, width in WINDOWS]
    ds.WindowCenterWidthExplanation = ["NORMAL", "HARDER"]
    ds.VOILUTFunction = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}[voi]


def _voi_lut(bits_stored: int, mirror: int | None) -> Dataset:
    centre, width = WINDOWS[0]
    values = np.arange(MAXIMUM + 1, dtype=np.float64)
    curve: NDArray[np.float64] = MAXIMUM / (1.0 + np.exp(-4.0 * (values - centre) / width))
    table = np.rint(curve).astype(np.uint16)
    first = 0
    if mirror is not None:
        table, first = MAXIMUM - table[::-1], mirror - MAXIMUM
    item = Dataset()
    item.LUTDescriptor = [table.size, first, 12]
    item.LUTExplanation = "NORMAL"
    item.add_new("LUTData", "US", table.tolist())
    return item
