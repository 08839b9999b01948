"""Where CBIS-DDSM's pictures lie, in each of the three layouts in the wild.

All three name a picture by one word (``Mass-Training_P_00001_LEFT_CC``, and with
``_1`` behind it the cropped image and the mask of abnormality 1). Study and series may
be UIDs or descriptive names with blanks or underscores, files may be called ``1-1`` or
``000000``: none of that is looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mammolens.datasets.rows import read

_NAME = re.compile(r"(Mass|Calc)-(Training|Test)_P_\d+_(LEFT|RIGHT)_(CC|MLO)(_\d+)?")
_PICTURES = (".dcm", ".png", ".jpg", ".jpeg")
_DEEPEST = 3
_INFO = "dicom_info.csv"


@dataclass(frozen=True, slots=True)
class Files:
    """The files that are there.

    Attributes
    ----------
    root : Path
        Folder that the tables' paths are relative to.
    layout : {"archive", "jpeg", "png", "tables"}
        ``tables``: there are no pictures.
    named : mapping of str to tuple of Path
        Files of each name, sorted.
    """

    root: Path
    layout: str
    named: Mapping[str, tuple[Path, ...]]


def find(folder: Path) -> Files:
    """Find the pictures.

    Parameters
    ----------
    folder : Path
        Of the data set.

    Returns
    -------
    Files

    Raises
    ------
    TrainingDataError
        If ``dicom_info.csv`` of the JPEG re-release lacks a column.
    """
    for info in (folder / "csv" / _INFO, folder / _INFO):
        if info.is_file():
            return Files(folder, "jpeg", _re_released(folder, info))
    root = _root(folder, _DEEPEST)
    if root is None:
        return Files(folder, "tables", {})
    named = {path.name: _within(path) for path in root.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()}
    png = any(files[0].suffix.lower() == ".png" for files in named.values() if files)
    return Files(root, "png" if png else "archive", named)


def _root(folder: Path, deeper: int) -> Path | None:
    """Folder, at most ``deeper`` below, that holds folders with the collection's names."""
    try:
        below = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return None
    if any(_NAME.fullmatch(path.name) for path in below):
        return folder
    found = (_root(path, deeper - 1) for path in below) if deeper else iter(())
    return next((root for root in found if root is not None), None)


def _within(folder: Path) -> tuple[Path, ...]:
    return tuple(
        sorted(
            Path(place) / name
            for place, _, names in os.walk(folder)
            for name in names
            if name.lower().endswith(_PICTURES)
        )
    )


def _re_released(folder: Path, info: Path) -> dict[str, tuple[Path, ...]]:
    """Files by name, from the re-release's table; its folder ``jpeg`` may lie under any other."""
    named: dict[str, list[Path]] = {}
    for row in read(info, ("image_path", "PatientID")):
        tail = row["image_path"].replace("\\", "/").rsplit("jpeg/", 1)[-1]
        named.setdefault(row["PatientID"], []).append(folder / "jpeg" / tail)
    return {name: tuple(sorted(files)) for name, files in named.items()}
