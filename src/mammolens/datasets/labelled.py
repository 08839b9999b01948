"""A user's own pictures with their labels.

Either a folder with ``labels.csv``, whose columns are ``file`` (relative to the
folder) and ``malignant`` (0 or 1) and, where known, ``woman``, ``laterality`` and
``view``; or a folder with the folders ``benign`` and ``malignant``.
"""

from __future__ import annotations

import csv
from pathlib import Path

from mammolens.datasets.table import Case, CaseTable
from mammolens.errors import TrainingDataError

TERMS = "The user's own pictures; their terms are the user's to know."

_LABELS = {"0": False, "1": True}


def load(folder: Path) -> CaseTable:
    """Read a table, or two folders.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    CaseTable
        Where no woman is named, each picture is taken as a woman of its own.

    Raises
    ------
    TrainingDataError
        If there is neither, the table lacks a column, or a label is neither 0 nor 1.
    """
    table = folder / "labels.csv"
    return CaseTable("labelled", _rows(table) if table.is_file() else _folders(folder))


def _rows(table: Path) -> list[Case]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            return [
                Case(
                    path=table.parent / row["file"],
                    woman=row.get("woman") or row["file"],
                    laterality=row.get("laterality") or "",
                    view=row.get("view") or "",
                    malignant=_LABELS[row["malignant"].strip()],
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingDataError("labels.csv can't be read. Save it as CSV in UTF-8.") from error
    except (KeyError, AttributeError, TypeError) as error:
        raise TrainingDataError("labels.csv needs the columns file and malignant, the latter 0 or 1.") from error


def _folders(folder: Path) -> list[Case]:
    parts = {name: folder / name for name in ("benign", "malignant")}
    if not all(part.is_dir() for part in parts.values()):
        raise TrainingDataError("The folder needs labels.csv, or the folders benign and malignant.")
    return [
        Case(path=path, woman=f"{name}/{path.name}", laterality="", view="", malignant=name == "malignant")
        for name, part in parts.items()
        for path in sorted(part.iterdir())
        if path.is_file()
    ]
