"""Which pictures make one examination: the one place that decides it, for every road to a score.

A DICOM file names its study. Whatever has no study (photographs, exports as PNG or JPEG, stripped headers) belongs to
the pictures of its folder, and only where side and view are known: two pictures of which nothing is known may be of
two women, and stand alone.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mammolens.errors import InputError
from mammolens.imaging.views import VIEWS, laterality_of

STUDY, FOLDER = "study", "folder"
"""What an examination is known by."""

_ALONE = "alone"

Told = tuple[str, str]
"""Laterality and view of a picture, told by somebody."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of where a picture comes from. It names the study: keep it from answers and logs.

    Attributes
    ----------
    study : str or None
        StudyInstanceUID.
    folder : str
        Of the file, or what stands for it.
    laterality, view : str or None
    """

    study: str | None
    folder: str = ""
    laterality: str | None = None
    view: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What pictures of one examination share: the study where there is one, else the folder."""
        return (STUDY, self.study) if self.study else (FOLDER, self.folder)


@dataclass(frozen=True, slots=True)
class Group:
    """Pictures that make one examination: their places, and whether one stands alone for want of knowledge."""

    places: tuple[int, ...]
    alone: bool


def group(origins: Sequence[Origin]) -> list[Group]:
    """Put pictures together that make one examination.

    Parameters
    ----------
    origins : sequence of Origin

    Returns
    -------
    list of Group
        By their first picture; places are those in ``origins``.
    """
    found: dict[tuple[str, str], list[int]] = {}
    for place, origin in enumerate(origins):
        kind, value = origin.key
        alone = kind == FOLDER and not (origin.laterality and origin.view)
        found.setdefault((_ALONE, str(place)) if alone else (kind, value), []).append(place)
    return [Group(tuple(places), kind == _ALONE) for (kind, _), places in found.items()]


def read_views(table: Path) -> dict[Path, Told]:
    """Read a table that tells side and view of pictures whose files don't.

    Parameters
    ----------
    table : Path
        CSV with the columns ``file`` (relative to the table's folder), ``laterality`` and ``view``; a ``labels.csv``
        is one. Rows without side or view tell nothing.

    Returns
    -------
    dict
        From the absolute path.

    Raises
    ------
    InputError
        If it can't be read, lacks a column, or holds what is no side (L, R) or no view code of DICOM.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError("The table of views can't be read. Save it as CSV in UTF-8.") from error
    told: dict[Path, Told] = {}
    for number, row in enumerate(rows, 2):
        name, side, view = (row.get(column) for column in ("file", "laterality", "view"))
        if name is None or side is None or view is None:
            raise InputError("The table of views needs the columns file, laterality and view.")
        if not side.strip() or not view.strip():
            continue
        if laterality_of(side) is None or view.strip().upper() not in VIEWS:
            raise InputError(f"Line {number} of the table of views has no side L or R, or no view such as CC or MLO.")
        told[Path(os.path.abspath(table.parent / name))] = (side.strip().upper(), view.strip().upper())
    return told
