"""CBIS-DDSM's four case description tables: one row per abnormality, put together per image.

The tables are those of the collection (Lee et al., Scientific Data 4, 170177, 2017,
doi:10.1038/sdata.2017.177). Fields may carry a trailing line break; a path's first
part names the picture (``Mass-Training_P_00001_LEFT_CC``) and is the one thing that
all layouts in the wild share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mammolens.datasets.rows import Row, read
from mammolens.errors import TrainingDataError

TABLES = tuple(f"{kind}_case_description_{part}_set.csv" for kind in ("mass", "calc") for part in ("train", "test"))
"""Names of the four tables."""

_COLUMNS = (
    "patient_id",
    "breast density",
    "left or right breast",
    "image view",
    "abnormality id",
    "abnormality type",
    "assessment",
    "pathology",
    "subtlety",
    "image file path",
    "cropped image file path",
    "ROI mask file path",
)
_ALIASES = {"breast_density": "breast density"}
_SIDES = {"LEFT": "L", "RIGHT": "R"}
_VIEWS = {"CC": "CC", "MLO": "MLO"}
_DENSITIES = {"0": "", "1": "a", "2": "b", "3": "c", "4": "d"}
_PATHOLOGIES = {
    "MALIGNANT": "malignant",
    "BENIGN": "benign",
    "BENIGN_WITHOUT_CALLBACK": "benign_without_callback",
}
_KINDS = {"mass": "mass", "calcification": "calcification"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: an abnormality in one view.

    Attributes
    ----------
    folder : str
        First part of its cropped image's path: ``<folder of the picture>_<number>``.
    kind, pathology : str
        As in `mammolens.datasets.table.Abnormality`.
    birads, subtlety : int
        0 to 6 and 0 to 5, as published.
    crop, mask : str
        The paths that the table gives for cropped image and mask, in this order; in part
        of the data the files are the other way round.
    place : str
        Table and row.
    """

    folder: str
    kind: str
    pathology: str
    birads: int
    subtlety: int
    crop: str
    mask: str
    place: str


@dataclass(frozen=True, slots=True)
class Picture:
    """One full mammogram with all its rows.

    Attributes
    ----------
    folder : str
        First part of its path, which all layouts share.
    path : str
        Its path in the tables.
    woman, laterality, view, density, split : str
        As in `mammolens.datasets.table.Case`.
    findings : tuple of Finding
        In the order of the table.
    """

    folder: str
    path: str
    woman: str
    laterality: str
    view: str
    density: str
    split: str
    findings: tuple[Finding, ...]

    @property
    def malignant(self) -> bool:
        """Whether any of its abnormalities is malignant; a benign one without callback is benign."""
        return any(finding.pathology == "malignant" for finding in self.findings)


def find_tables(folder: Path) -> dict[str, Path]:
    """Find the four tables in a folder, in its ``csv`` folder, or one folder deeper.

    Returns
    -------
    dict of str to Path
        By name, in the order of `TABLES`.

    Raises
    ------
    TrainingDataError
        If one is missing.
    """
    places = [folder, folder / "csv", *sorted(path for path in folder.glob("*") if path.is_dir())]
    found = {name: next((p / name for p in places if (p / name).is_file()), None) for name in TABLES}
    if missing := [name for name, path in found.items() if path is None]:
        raise TrainingDataError(f"The folder of cbis-ddsm lacks {', '.join(missing)}. Put all four tables in its csv/.")
    return {name: path for name, path in found.items() if path is not None}


def pictures(folder: Path) -> list[Picture]:
    """Read the four tables.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of Picture
        Masses before calcifications, training before test, in the tables' order.

    Raises
    ------
    TrainingDataError
        If a table is missing, lacks a column or holds a wrong value, or the rows of one
        picture disagree about the woman, side, view or density.
    """
    rows: dict[str, list[tuple[Row, str]]] = {}
    for name, path in find_tables(folder).items():
        split = "train" if "_train_" in name else "test"
        for row in read(path, _COLUMNS, aliases=_ALIASES):
            rows.setdefault(_first(row, "image file path"), []).append((row, split))
    return [_picture(name, both) for name, both in rows.items()]


def _first(row: Row, column: str) -> str:
    return row.filled(column).replace("\\", "/").split("/", 1)[0]


def _picture(folder: str, rows: Sequence[tuple[Row, str]]) -> Picture:
    first, split = rows[0]
    for row, other in rows[1:]:
        for column in ("patient_id", "left or right breast", "image view", "breast density"):
            if row[column] != first[column]:
                raise row.wrong(column, f"differs from that of the same picture in {first.place}")
        if other != split:
            raise TrainingDataError(f"{row.place}: the same picture stands in the other part, in {first.place}.")
    return Picture(
        folder=folder,
        path=first["image file path"],
        woman=first.filled("patient_id"),
        laterality=first.choice("left or right breast", _SIDES),
        view=first.choice("image view", _VIEWS),
        density=first.choice("breast density", _DENSITIES),
        split=split,
        findings=tuple(_finding(row) for row, _ in rows),
    )


def _finding(row: Row) -> Finding:
    return Finding(
        folder=_first(row, "cropped image file path"),
        kind=row.choice("abnormality type", _KINDS),
        pathology=row.choice("pathology", _PATHOLOGIES),
        birads=row.whole("assessment", 0, 6),
        subtlety=row.whole("subtlety", 0, 5),
        crop=row["cropped image file path"],
        mask=row["ROI mask file path"],
        place=row.place,
    )
