"""RSNA 2022 screening mammography, complete: ``train.csv`` and the DICOM originals."""

from __future__ import annotations

from pathlib import Path

from mammolens.datasets import rsna640
from mammolens.datasets.rows import Row, read
from mammolens.datasets.table import Case, CaseTable

TERMS = rsna640.TERMS

_STRATA = ("machine_id", "site_id", "density", "age", "implant")
_COLUMNS = ("patient_id", "image_id", "laterality", "view", "cancer", *_STRATA)
_LABELS = {"0": False, "1": True}
_SIDES = {"L": "L", "R": "R"}
_DENSITIES = {"": "", "A": "a", "B": "b", "C": "c", "D": "d"}


def load(folder: Path) -> CaseTable:
    """Read the table.

    Parameters
    ----------
    folder : Path
        Holds ``train.csv`` and ``train_images/<patient_id>/<image_id>.dcm``.

    Returns
    -------
    CaseTable
        In the order of the table, without folds. ``cancer`` is per breast and confirmed by
        pathology; 0 means screening negative or benign. Strata as in the 640 px export, and
        ``implant``.

    Raises
    ------
    TrainingDataError
        If the table is missing, lacks a column or holds a wrong value.
    """
    return CaseTable("rsna-2022", [_case(folder / "train_images", row) for row in read(folder / "train.csv", _COLUMNS)])


def _case(images: Path, row: Row) -> Case:
    return Case(
        path=images / row.filled("patient_id") / f"{row.filled('image_id')}.dcm",
        woman=row["patient_id"],
        laterality=row.choice("laterality", _SIDES),
        view=row["view"],
        malignant=row.choice("cancer", _LABELS),
        strata={name: row[name] for name in _STRATA},
        study=row["patient_id"],
        density=row.choice("density", _DENSITIES),
        provenance=row.place,
        side_labels=rsna640.side_labels(row),
    )
