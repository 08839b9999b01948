"""The case table: one row per image, as every data set gives it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mammolens.errors import TrainingDataError


@dataclass(frozen=True, slots=True)
class Outline:
    """Where a lesion lies in its image, in one of three forms.

    Attributes
    ----------
    mask : Path or None
        Image of the full picture's aspect (its size may differ), above half its range on the lesion.
    circle : tuple of float or None
        ``(x, y, radius)`` in source pixels, x to the right and y down.
    box : tuple of float or None
        ``(x0, y0, x1, y1)`` in source pixels, half open.
    """

    mask: Path | None = None
    circle: tuple[float, float, float] | None = None
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Abnormality:
    """One lesion that the data set describes.

    Attributes
    ----------
    kind : str
        ``mass``, ``calcification``, ``asymmetry``, ``distortion`` or another of the data set's own.
    pathology : str
        ``malignant``, ``benign``, ``benign_without_callback`` or empty where it is not known.
    birads, subtlety : int or None
        BI-RADS assessment 0 to 6; subtlety 1 (hard to see) to 5.
    outline : Outline or None
    """

    kind: str
    pathology: str = ""
    birads: int | None = None
    subtlety: int | None = None
    outline: Outline | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One image with what is known of it.

    Attributes
    ----------
    path : Path
        The image file.
    woman : str
        Identifier of the woman; everything that is split is split by it.
    laterality : {"L", "R"}
    view : str
        View code.
    malignant : bool
        Label at the level that the data set states.
    fold : int or None
        Cross-validation fold of the woman.
    strata : mapping of str to str
        Attributes that results are reported by (for example ``machine_id``); never
        an input of the image model.
    study : str
        Identifier of the examination; empty where the data set has none.
    split : {"train", "test", ""}
        Official part, where the data set has one.
    density : {"a", "b", "c", "d", ""}
        BI-RADS breast density.
    abnormalities : tuple of Abnormality
    provenance : str
        Where the row stands in the data set's tables, for messages: table and line.
    side_labels : mapping of str to float
        What else the table knows of the picture, as numbers; one that is not known is
        left out. A network may be asked for it while it learns (`fit.side_tasks`); never
        an input.
    """

    path: Path
    woman: str
    laterality: str
    view: str
    malignant: bool
    fold: int | None = None
    strata: Mapping[str, str] = field(default_factory=dict)
    study: str = ""
    split: str = ""
    density: str = ""
    abnormalities: tuple[Abnormality, ...] = ()
    provenance: str = ""
    side_labels: Mapping[str, float] = field(default_factory=dict)

    @property
    def breast(self) -> str:
        """Identifier of the woman's breast."""
        return f"{self.woman}-{self.laterality}"


class CaseTable(Sequence[Case]):
    """Rows of one data set, checked when made.

    Parameters
    ----------
    name : str
        The data set's name.
    cases : sequence of Case
    published : bool
        Whether the official parts are kept as published although women stand in both
        (CBIS-DDSM pools two lesion types, each parted by itself). `mammolens.datasets.splits`
        makes the table without them.

    Raises
    ------
    TrainingDataError
        If the table is empty, a file stands in it twice, or a woman is in two folds or,
        unless ``published``, in both parts. It names the rows, and the woman by her pseudonym.
    """

    def __init__(self, name: str, cases: Sequence[Case], *, published: bool = False) -> None:
        if not cases:
            raise TrainingDataError("The case table is empty. Check the folder that was given.")
        _check_files(cases)
        _check_parts(cases, published)
        self.name = name
        self.published = published
        self._cases = tuple(cases)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._cases)

    def __getitem__(self, index: Any) -> Any:
        """Return one case, or the cases of a slice."""
        return self._cases[index]

    def __iter__(self) -> Iterator[Case]:
        """Iterate over the cases in order."""
        return iter(self._cases)

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that occur, ascending."""
        return tuple(sorted({case.fold for case in self._cases if case.fold is not None}))


def place(case: Case, number: int) -> str:
    """Where a case stands, for messages: its provenance, or its number in the case table, counted from 1."""
    return case.provenance or f"image {number} of the case table"


def _check_files(cases: Sequence[Case]) -> None:
    seen: dict[Path, int] = {}
    for number, case in enumerate(cases, 1):
        first = seen.setdefault(case.path, number)
        if first != number:
            before = place(cases[first - 1], first)
            raise TrainingDataError(f"{place(case, number)}: the same file stands in the table twice; see {before}.")


def _check_parts(cases: Sequence[Case], published: bool) -> None:
    first: dict[str, tuple[int, Case]] = {}
    for number, case in enumerate(cases, 1):
        at, other = first.setdefault(case.woman, (number, case))
        where = f"{place(case, number)}: the woman {case.woman}"
        if other.fold != case.fold:
            raise TrainingDataError(f"{where} is in two folds; see {place(other, at)}. Split by woman, not by image.")
        if other.split != case.split and not published:
            raise TrainingDataError(
                f"{where} is in both parts, training and test; see {place(other, at)}. Split by woman, not by image."
            )
