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
_BESIDE = ("invasive", "difficult_negative_case", "BIRADS", "age", "density")
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
    return CaseTable(
        "rsna-640", [_case(folder, row) for row in read(folder / "labels.csv", _COLUMNS, aliases={"birads": "BIRADS"})]
    )


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
        side_labels=side_labels(row),
    )


def side_labels(row: Row) -> dict[str, float]:
    """Give what a row of the competition's table knows beside the label.

    Parameters
    ----------
    row : Row
        The columns that are read here need not be there.

    Returns
    -------
    dict of str to float
        Of ``invasive`` (0 or 1), ``suspicious`` (1: a cancer, or benign and hard to tell
        from one), ``recalled`` (1: BI-RADS 0), ``age`` (years) and ``density`` (0 to 3)
        those that are known.

    Raises
    ------
    TrainingDataError
        If a field holds a wrong value.
    """
    known = {column: row[column] for column in _BESIDE if row.fields.get(column)}
    found: dict[str, float] = {}
    if "invasive" in known:
        found["invasive"] = float(row.choice("invasive", _LABELS))
    if "difficult_negative_case" in known:
        hard = row.choice("difficult_negative_case", {"False": False, "True": True})
        found["suspicious"] = float(hard or row.choice("cancer", _LABELS))
    if "BIRADS" in known:
        found["recalled"] = float(row.number_in("BIRADS", 0, 6) == 0)
    if "age" in known:
        found["age"] = row.number_in("age", 0, 120)
    if "density" in known:
        found["density"] = float("ABCD".index(known["density"]))
    return found
