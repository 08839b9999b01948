"""CMMD, the Chinese Mammography Database: mammograms of breasts whose lesion was biopsied; CC BY 4.0."""

from __future__ import annotations

from pathlib import Path

import pydicom

from mammolens.datasets.rows import Row, read
from mammolens.datasets.table import Abnormality, Case, CaseTable
from mammolens.errors import TrainingDataError
from mammolens.imaging.views import VIEW_CODES

TERMS = "CMMD (doi:10.7937/tcia.eqde-4b16), CC BY 4.0."

TABLE = "CMMD_clinicaldata_revision.csv"

_COLUMNS = ("ID1", "LeftRight", "Age", "abnormality", "classification", "subtype")
_SIDES = {"L": "L", "R": "R"}
_LABELS = {"Malignant": True, "Benign": False}
_TAGS = ["ImageLaterality", "Laterality", "ViewPosition", "ViewCodeSequence"]


def load(folder: Path) -> CaseTable:
    """Read the table, and the side and view of each image from its header.

    Parameters
    ----------
    folder : Path
        Holds ``CMMD_clinicaldata_revision.csv`` (the collection's spreadsheet saved as CSV) and,
        at any depth, a folder for each woman (``D1-0001``) with her DICOM files at any depth.

    Returns
    -------
    CaseTable
        One case per image whose breast stands in the table; images of the other breast have
        no label and are left out. Malignant if biopsy said so of any lesion of the breast.
        Strata ``lesion``, ``subtype``, ``age``, ``view``.

    Raises
    ------
    TrainingDataError
        If the table is missing, lacks a column or holds a wrong value, or a woman of the
        table has no folder, or an image's header does not tell its side.
    """
    breasts: dict[str, dict[str, list[Row]]] = {}
    for row in read(folder / TABLE, _COLUMNS):
        side = row.choice("LeftRight", _SIDES)
        breasts.setdefault(row.filled("ID1"), {}).setdefault(side, []).append(row)
    folders = {path.name: path for path in sorted(folder.rglob("D[12]-*")) if path.is_dir()}
    return CaseTable("cmmd", [case for woman, sides in breasts.items() for case in _cases(folders, woman, sides)])


def _cases(folders: dict[str, Path], woman: str, sides: dict[str, list[Row]]) -> list[Case]:
    place = next(iter(sides.values()))[0].place
    if woman not in folders:
        raise TrainingDataError(f"{place}: there is no folder of the woman {woman}.")
    cases = []
    for path in sorted(folders[woman].rglob("*.dcm")):
        side, view = _side_and_view(path, place)
        if side in sides:
            cases.append(_case(path, woman, side, view, sides[side]))
    return cases


def _case(path: Path, woman: str, side: str, view: str, rows: list[Row]) -> Case:
    lesions = tuple(
        Abnormality(
            "calcification" if row["abnormality"] == "calcification" else row["abnormality"],
            "malignant" if row.choice("classification", _LABELS) else "benign",
        )
        for row in rows
    )
    first = rows[0]
    return Case(
        path=path,
        woman=woman,
        laterality=side,
        view=view,
        malignant=any(lesion.pathology == "malignant" for lesion in lesions),
        strata={"lesion": first["abnormality"], "subtype": first["subtype"], "age": first["Age"], "view": view},
        study=woman,
        abnormalities=lesions,
        provenance=first.place,
    )


def _side_and_view(path: Path, place: str) -> tuple[str, str]:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
        side = str(header.get("ImageLaterality") or header.get("Laterality") or "")
        codes = header.get("ViewCodeSequence") or ()
        view = VIEW_CODES.get(str(codes[0].get("CodeValue", "")), "") if codes else ""
        view = view or str(header.get("ViewPosition") or "")
    except Exception as error:  # pydicom raises what it likes on a broken file
        raise TrainingDataError(f"{place}: an image of this woman can't be read.") from error
    if side not in _SIDES:
        raise TrainingDataError(f"{place}: the header of an image of this woman does not tell its side.")
    return side, view if view in VIEW_CODES.values() else ""
