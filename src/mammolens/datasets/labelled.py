"""A user's own pictures with their labels.

Either a folder with ``labels.csv``, whose columns are ``file`` (relative to the
folder) and ``malignant`` (0 or 1) and, where known, ``woman``, ``laterality``, ``view``,
``study``, ``split`` (``train`` or ``test``), ``fold`` and ``density``; or a folder with the
folders ``benign`` and ``malignant``. Any other column is kept to report results by.
"""

from __future__ import annotations

from pathlib import Path

from mammolens.datasets.rows import Row, read
from mammolens.datasets.table import Case, CaseTable
from mammolens.errors import TrainingDataError

TERMS = "The user's own pictures; their terms are the user's to know."

_LABELS = {"0": False, "1": True}
_SIDES = {"": "", "L": "L", "R": "R", "LEFT": "L", "RIGHT": "R"}
_SPLITS = {name: name for name in ("", "train", "test")}
_DENSITIES = {name: name for name in ("", "a", "b", "c", "d")}
_OPTIONAL = ("woman", "laterality", "view", "study", "split", "fold", "density")
_MOST_FOLDS = 1000


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
        If there is neither, the table lacks a column, a row holds a wrong value, or a
        woman is in two folds or in both parts.
    """
    table = folder / "labels.csv"
    return CaseTable("labelled", _rows(table) if table.is_file() else _folders(folder))


def _rows(table: Path) -> list[Case]:
    rows = read(table, ("file", "malignant"))
    return [_case(table.parent, row) for row in rows]


def _case(folder: Path, row: Row) -> Case:
    held = {name: row.fields.get(name, "") for name in _OPTIONAL}
    own = {name: value for name, value in row.fields.items() if name not in (*_OPTIONAL, "file", "malignant")}
    return Case(
        path=folder / row.filled("file"),
        woman=held["woman"] or row["file"],
        laterality=row.choice("laterality", _SIDES) if held["laterality"] else "",
        view=held["view"],
        malignant=row.choice("malignant", _LABELS),
        fold=row.whole("fold", 0, _MOST_FOLDS) if held["fold"] else None,
        strata={**own, **{name: held[name] for name in ("view", "density") if held[name]}},
        study=held["study"],
        split=row.choice("split", _SPLITS) if held["split"] else "",
        density=row.choice("density", _DENSITIES) if held["density"] else "",
        provenance=row.place,
    )


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
