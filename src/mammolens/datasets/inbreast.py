"""INbreast: full-field digital mammograms with BI-RADS of each image and contours of the lesions."""

from __future__ import annotations

import plistlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from mammolens.datasets.rows import Row, read
from mammolens.datasets.table import Abnormality, Case, CaseTable, Outline
from mammolens.errors import TrainingDataError

TERMS = "INbreast (Moreira et al., doi:10.1016/j.acra.2011.09.014); the authors' agreement, research only."

SUSPICIOUS = 4
"""BI-RADS assessment from which an image counts as malignant: the table has no pathology."""

_COLUMNS = ("Laterality", "View", "File Name", "ACR", "Bi-Rads")
_SIDES = {"L": "L", "R": "R"}
_DENSITIES = {"": "", "1": "a", "2": "b", "3": "c", "4": "d"}
_BIRADS = {**{str(n): n for n in range(7)}, "4a": 4, "4b": 4, "4c": 4}
_KINDS = (
    ("calc", "calcification"),
    ("cluster", "calcification"),
    ("mass", "mass"),
    ("spiculated", "mass"),
    ("espiculated", "mass"),
    ("distortion", "distortion"),
    ("assymetry", "asymmetry"),
    ("asymmetry", "asymmetry"),
)
_FILE = re.compile(r"(?P<image>\d+)_(?P<woman>[0-9a-f]+)_MG_[LR]_\w+\.dcm", re.IGNORECASE)
_POINT = re.compile(r"\(\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*\)")


def load(folder: Path) -> CaseTable:
    """Read the table, the file names and the contours.

    Parameters
    ----------
    folder : Path
        Holds ``INbreast.csv`` (``INbreast.xls`` saved as CSV will do), ``AllDICOMs/`` and, where
        the outlines are wanted, ``AllXML/``.

    Returns
    -------
    CaseTable
        Malignant stands for BI-RADS 4 or more, as most who use the set take it: a reader's
        suspicion; abnormalities have no pathology. The woman is the pseudonym in the file's
        name. Outlines are the boxes of the contours. Strata ``density``, ``view``, ``birads``.

    Raises
    ------
    TrainingDataError
        If the table is missing, lacks a column or holds a wrong value, a file is missing or
        twice there, or a contour can't be read.
    """
    files: dict[str, tuple[Path, str]] = {}
    for path in sorted((folder / "AllDICOMs").glob("*.dcm")):
        if match := _FILE.fullmatch(path.name):
            files[match["image"]] = path, match["woman"].lower()
    rows = [row for row in read(folder / "INbreast.csv", _COLUMNS) if row["File Name"]]
    return CaseTable("inbreast", [_case(folder, row, files) for row in rows])


def _case(folder: Path, row: Row, files: dict[str, tuple[Path, str]]) -> Case:
    image = str(row.whole("File Name", 1, 10**12))
    if image not in files:
        raise row.wrong("File Name", "names an image that is not in AllDICOMs")
    path, woman = files[image]
    birads = row.choice("Bi-Rads", _BIRADS)
    density = row.choice("ACR", _DENSITIES)
    return Case(
        path=path,
        woman=woman,
        laterality=row.choice("Laterality", _SIDES),
        view=row["View"],
        malignant=birads >= SUSPICIOUS,
        strata={"density": density, "view": row["View"], "birads": str(birads)},
        study=woman,
        density=density,
        abnormalities=tuple(_lesions(folder / "AllXML" / f"{image}.xml", row)),
        provenance=row.place,
    )


def _lesions(path: Path, row: Row) -> Iterator[Abnormality]:
    """Read the contours of OsiriX: a property list whose regions have a name and points in pixels."""
    if not path.is_file():
        return
    try:
        regions: list[dict[str, Any]] = plistlib.loads(path.read_bytes())["Images"][0]["ROIs"]
        named = [(str(region["Name"]), list(region["Point_px"])) for region in regions]
        places = [(name, [_POINT.fullmatch(str(point).strip()) for point in points]) for name, points in named]
    except (OSError, ExpatError, plistlib.InvalidFileException, ValueError, LookupError, TypeError) as error:
        raise TrainingDataError(f"{row.place}: the contours in AllXML of this image can't be read.") from error
    for name, points in places:
        at = [(float(point[1]), float(point[2])) for point in points if point]
        if at:
            xs, ys = zip(*at, strict=True)
            box = (min(xs), min(ys), max(xs) + 1.0, max(ys) + 1.0)
            yield Abnormality(_kind(name), outline=Outline(box=box))


def _kind(name: str) -> str:
    lowered = name.strip().lower()
    return next((kind for start, kind in _KINDS if lowered.startswith(start)), lowered)
