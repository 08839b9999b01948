"""RSNA 2022 screening mammography, the 640 × 640 export with folds by woman.

Labels are per breast (``cancer``, confirmed by pathology); 0 means screening
negative or benign. Terms: the competition's, non-commercial research and
education only.
"""

from __future__ import annotations

import csv
from pathlib import Path

from mammolens.datasets.table import Case, CaseTable
from mammolens.errors import TrainingDataError

TERMS = "RSNA 2022/23 Breast Cancer Detection data; non-commercial research and education only."


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
        If the table is missing or lacks a column.
    """
    try:
        with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise TrainingDataError("labels.csv is missing in the data folder of rsna-640.") from error
    try:
        cases = [
            Case(
                path=folder / row["file"],
                woman=row["patient_id"],
                laterality=row["laterality"],
                view=row["view"],
                malignant=row["cancer"] == "1",
                fold=int(row["fold"]),
                strata={name: row[name] for name in ("machine_id", "site_id", "density", "age")},
            )
            for row in rows
        ]
    except (KeyError, ValueError) as error:
        raise TrainingDataError("labels.csv of rsna-640 lacks a column or holds a wrong value.") from error
    return CaseTable("rsna-640", cases)
