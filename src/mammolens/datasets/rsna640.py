"""RSNA 2022 screening mammography, the 640 × 640 export with folds by woman.

Labels are per breast (``cancer``, confirmed by pathology); 0 means screening
negative or benign. Terms: the competition's, non-commercial research and
education only.
"""

from __future__ import annotations

from pathlib import Path

from mammolens.datasets.rows import Row, read
from mammolens.datasets.table import Case, CaseTable

TERMS = "RSNA 2022/23 Breast Cancer Detection data; non-commercial research and education only."

_STRATA = ("machine_id", "site_id", "density", "age")
_COLUMNS = ("file", "patient_id", "laterality", "view", "cancer", "fold", *_STRATA)
_LABELS = {"0": False, "1": True}
_SIDES = {"L": "L", "R": "R"}
_DENSITIES = {"": "", "A": "a", "B": "b", "C": "c", "D": "d"}
_MOST_FOLDS = 1000


def load(folder: Path) -> CaseTable:
    """Read the export's table.

    Parameters
    ----------
    folder : Path
        Holds ``labels.csv`` and ``images/``.

    Returns
    -------
    CaseTable
        In the order of the table; strata ``machine_id``, ``site_id``, ``density`` and
        ``age``.

    Raises
    ------
    TrainingDataError
        If the table is missing, lacks a column or holds a wrong value.
    """
    return CaseTable("rsna-640", [_case(folder, row) for row in read(folder / "labels.csv", _COLUMNS)])


def _case(folder: Path, row: Row) -> Case:
    return Case(
        path=folder / row.filled("file"),
        woman=row.filled("patient_id"),
        laterality=row.choice("laterality", _SIDES),
        view=row["view"],
        malignant=row.choice("cancer", _LABELS),
        fold=row.whole("fold", 0, _MOST_FOLDS),
        strata={name: row[name] for name in _STRATA},
        study=row["patient_id"],
        density=row.choice("density", _DENSITIES),
        provenance=row.place,
    )
