"""mini-MIAS: film mammograms of 1994 with a circle around each lesion; an external test, never to train on."""

from __future__ import annotations

from pathlib import Path

from mammolens.datasets.rows import Row, read
from mammolens.datasets.table import Abnormality, Case, CaseTable, Outline

TERMS = "mini-MIAS (Suckling et al., 1994); research only, see its licence. External test: never train or tune on it."

_COLUMNS = ("file", "patient_id", "laterality", "view", "pathology", "abnormality_type", "roi_x", "roi_y", "roi_r")
_PATHOLOGIES = {"MALIGNANT": "malignant", "BENIGN": "benign", "NORMAL": ""}
_KINDS = {
    "CALC": "calcification",
    "CIRC": "mass",
    "SPIC": "mass",
    "MISC": "mass",
    "ARCH": "distortion",
    "ASYM": "asymmetry",
    "NORM": "",
}
_SIDES = {"L": "L", "R": "R"}
_SIDE = 1024


def load(folder: Path) -> CaseTable:
    """Read the table, one row per lesion, one case per image.

    Parameters
    ----------
    folder : Path
        Holds ``labels.csv`` and ``images/``.

    Returns
    -------
    CaseTable
        An image is malignant if any of its lesions is. Circles where the table has them (the
        origin is the upper left corner). Strata ``tissue`` (F fatty, G glandular, D dense)
        where the table has it.

    Raises
    ------
    TrainingDataError
        If the table is missing, lacks a column or holds a wrong value.
    """
    files: dict[str, list[Row]] = {}
    for row in read(folder / "labels.csv", _COLUMNS):
        files.setdefault(row.filled("file"), []).append(row)
    return CaseTable("mini-mias", [_case(folder / name, rows) for name, rows in files.items()])


def _case(path: Path, rows: list[Row]) -> Case:
    first = rows[0]
    lesions = tuple(_lesion(row) for row in rows if row.choice("pathology", _PATHOLOGIES))
    return Case(
        path=path,
        woman=first.filled("patient_id"),
        laterality=first.choice("laterality", _SIDES),
        view=first["view"],
        malignant=any(lesion.pathology == "malignant" for lesion in lesions),
        strata={"tissue": first.fields["tissue"]} if first.fields.get("tissue") else {},
        study=first["patient_id"],
        abnormalities=lesions,
        provenance=first.place,
    )


def _lesion(row: Row) -> Abnormality:
    outline = None
    if row["roi_r"]:
        x, y, radius = (row.number_in(column, 0, _SIDE) for column in ("roi_x", "roi_y", "roi_r"))
        outline = Outline(circle=(x, y, radius))
    kind = row.choice("abnormality_type", _KINDS)
    return Abnormality(kind, row.choice("pathology", _PATHOLOGIES), outline=outline)
