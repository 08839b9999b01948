"""The quality gate on headers: what a DICOM file says that it is.

``docs/quality-gate.md`` has the table of everything that is refused or warned of.
"""

from __future__ import annotations

from mammolens.errors import ForProcessing, WrongModality
from mammolens.imaging.dicom_header import DicomHeader
from mammolens.types import Notice

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_MAMMOGRAPHY = frozenset(_STORAGE + n for n in ("1.2", "1.2.1", "13.1.3", "13.1.4", "13.1.5"))
_RAW = frozenset(_STORAGE + n for n in ("1.2.1", "13.1.5"))
_TOMOSYNTHESIS = _STORAGE + "13.1.3"
_PROJECTION_MODALITIES = frozenset(("CR", "DX", "DR", "RG", "OT", "SC", "XC", "MA"))
_ADVICE = "Give a mammogram; --any-modality reads the picture all the same."

_MODIFIER_NOTICES = {
    "spot compression": Notice(
        "spot-compression", "This is a spot compression view: a part of the breast, which the model was not trained on."
    ),
    "magnification": Notice(
        "magnification", "This is a magnified view: lesions look larger than in the views the model was trained on."
    ),
    "implant displaced": Notice(
        "implant-displaced", "This is an implant-displaced view; few of the training images were."
    ),
}


def check_header(header: DicomHeader) -> None:
    """Refuse what its header calls something else than a mammogram for people to look at.

    Modality MG is taken whatever the storage class (film scans come as secondary
    captures); a mammography storage class is taken whatever the modality; radiographs
    of body part BREAST count too. With no modality and another storage class, the
    picture decides.

    Parameters
    ----------
    header : DicomHeader

    Raises
    ------
    WrongModality, ForProcessing
    """
    known = header.modality == "MG" or header.sop_class in _MAMMOGRAPHY
    if not known and header.modality and not _is_breast_radiograph(header):
        raise WrongModality(f"The header says that this is no mammogram. {_ADVICE}")
    if not known and not header.modality and header.sop_class.startswith(_STORAGE) and not _is_plain(header):
        raise WrongModality(f"The header says that this is no mammogram. {_ADVICE}")
    if header.intent == "FOR PROCESSING" or header.sop_class in _RAW:
        raise ForProcessing(
            "This is a raw detector image (For Processing), on which a score means nothing. Give the image that is For "
            "Presentation."
        )


def header_notices(header: DicomHeader, frame: int) -> list[Notice]:
    """Notices that a header gives reason for.

    Parameters
    ----------
    header : DicomHeader
    frame : int
        Frame that is read, from 0.

    Returns
    -------
    list of Notice
    """
    notices: list[Notice] = []
    mammography_class = header.sop_class in _MAMMOGRAPHY
    if header.modality != "MG" and not mammography_class:
        message = "The header does not name mammography as its modality; the picture alone was judged."
        notices.append(Notice("modality-unknown", message))
    elif header.sop_class and not mammography_class:
        message = "The file is not stored as a mammography image; grey values may have been changed on the way."
        notices.append(Notice("not-stored-as-mammogram", message))
    if header.sop_class == _TOMOSYNTHESIS or header.format.frames > 1:
        message = (
            f"The file has {header.format.frames} frames; frame {frame + 1} was read. The model was trained on whole "
            "two-dimensional mammograms, not on tomosynthesis slices."
        )
        notices.append(Notice("multi-frame", message))
    notices += [_MODIFIER_NOTICES[name] for name in header.view_modifiers if name in _MODIFIER_NOTICES]
    if header.view == "SPECIMEN":
        notices.append(Notice("specimen", "This is a radiograph of a specimen, which the model was not made for."))
    if header.burned_in:
        message = "The header says that text is burned into the picture; it may show who the woman is."
        notices.append(Notice("burned-in-annotation", message))
    return notices


def _is_breast_radiograph(header: DicomHeader) -> bool:
    return header.modality in _PROJECTION_MODALITIES and (header.body_part == "BREAST" or header.view is not None)


def _is_plain(header: DicomHeader) -> bool:
    """Secondary captures and plain radiographs: classes that a mammogram may be wrapped in."""
    tail = header.sop_class.removeprefix(_STORAGE)
    return tail in ("1", "1.1") or tail == "7" or tail.startswith("7.")
