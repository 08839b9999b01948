"""VinDr-Mammo: 5,000 four-view examinations with BI-RADS of each breast and boxes around findings."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from mammolens.datasets.rows import Row, read
from mammolens.datasets.table import Abnormality, Case, CaseTable, Outline
from mammolens.errors import TrainingDataError

TERMS = (
    "VinDr-Mammo 1.0.0 (doi:10.13026/br2v-7517), PhysioNet Restricted Health Data License; "
    "cite doi:10.1038/s41597-023-02100-7."
)

SUSPICIOUS = 4
"""BI-RADS assessment from which a breast counts as malignant: the data set has no pathology."""

_COLUMNS = ("study_id", "image_id", "laterality", "view_position", "breast_birads", "breast_density", "split")
_BOX = ("xmin", "ymin", "xmax", "ymax")
_FINDINGS = ("image_id", "finding_categories", "finding_birads", *_BOX)
_SIDES = {"L": "L", "R": "R"}
_SPLITS = {"training": "train", "test": "test"}
_BIRADS = {f"BI-RADS {n}": n for n in range(7)}
_DENSITIES = {f"DENSITY {letter.upper()}": letter for letter in "abcd"}
_KINDS = {
    "Mass": "mass",
    "Suspicious Calcification": "calcification",
    "Architectural Distortion": "distortion",
    "Asymmetry": "asymmetry",
    "Focal Asymmetry": "asymmetry",
    "Global Asymmetry": "asymmetry",
}
_FARTHEST = 100_000


def load(folder: Path) -> CaseTable:
    """Read both tables.

    Parameters
    ----------
    folder : Path
        Holds ``breast-level_annotations.csv``, ``finding_annotations.csv`` and
        ``images/<study_id>/<image_id>.dicom``.

    Returns
    -------
    CaseTable
        Malignant stands for BI-RADS 4 or more of the breast: a reader's suspicion, not
        pathology; abnormalities have no pathology. Each examination is taken for a woman of
        her own, as the data set has no other identifier. Strata ``birads``, ``density``, ``view``.

    Raises
    ------
    TrainingDataError
        If a table is missing, lacks a column or holds a wrong value, or a finding belongs to
        no image.
    """
    rows = read(folder / "breast-level_annotations.csv", _COLUMNS)
    findings: defaultdict[str, list[Abnormality]] = defaultdict(list)
    known = {row["image_id"] for row in rows}
    for row in read(folder / "finding_annotations.csv", _FINDINGS):
        if row["image_id"] not in known:
            raise row.wrong("image_id", "names no image of breast-level_annotations.csv")
        if row["xmin"]:
            findings[row["image_id"]].append(_finding(row))
    return CaseTable("vindr-mammo", [_case(folder / "images", row, tuple(findings[row["image_id"]])) for row in rows])


def _case(images: Path, row: Row, findings: tuple[Abnormality, ...]) -> Case:
    birads = row.choice("breast_birads", _BIRADS)
    density = row.choice("breast_density", _DENSITIES)
    return Case(
        path=images / row.filled("study_id") / f"{row.filled('image_id')}.dicom",
        woman=row["study_id"],
        laterality=row.choice("laterality", _SIDES),
        view=row["view_position"],
        malignant=birads >= SUSPICIOUS,
        strata={"birads": str(birads), "density": density, "view": row["view_position"]},
        study=row["study_id"],
        split=row.choice("split", _SPLITS),
        density=density,
        abnormalities=findings,
        provenance=row.place,
    )


def _finding(row: Row) -> Abnormality:
    x0, y0, x1, y1 = (row.number_in(column, -_FARTHEST, _FARTHEST) for column in _BOX)
    if x1 <= x0 or y1 <= y0:
        raise TrainingDataError(f"{row.place}: the finding's box is empty.")
    # A list as Python writes it, of one category or several: ['Mass'].
    first = row["finding_categories"].strip("[] ").split(",")[0].strip("'\" ")
    birads = row.choice("finding_birads", _BIRADS) if row["finding_birads"] else None
    return Abnormality(_KINDS.get(first, first.lower()), birads=birads, outline=Outline(box=(x0, y0, x1, y1)))
