"""Whether a data set's parts are what they say: no woman and no picture in two of them, one label for one picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mammolens.datasets.duplicates import Pair, duplicates
from mammolens.datasets.prepared import Prepared
from mammolens.datasets.splits import shared_women
from mammolens.datasets.table import Case, CaseTable, place


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two rows for one picture or one view whose labels differ.

    Attributes
    ----------
    first, second : int
        Rows of the case table.
    why : {"same pixels", "near-duplicate", "same view"}
    """

    first: int
    second: int
    why: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found in a data set.

    Attributes
    ----------
    table : CaseTable
    pictures : bool
        Whether pictures were looked at; without them the tables alone are judged.
    women : tuple of str
        Women in both official parts.
    across : tuple of Pair
        The same picture in two parts or folds, or under two women's names.
    repeats : tuple of Pair
        The same picture twice within a part, of one woman: no leakage, but it counts twice.
    conflicts : tuple of Conflict
    unreadable : mapping of int to str
        Rows that can't be used, and the error's code.
    """

    table: CaseTable
    pictures: bool
    women: tuple[str, ...]
    across: tuple[Pair, ...]
    repeats: tuple[Pair, ...]
    conflicts: tuple[Conflict, ...]
    unreadable: Mapping[int, str]

    @property
    def leaks(self) -> bool:
        """Whether a model trained on one part has seen something of another."""
        return bool(self.women or self.across)

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON has it; rows by their place in the data set's tables."""
        return {
            "data_set": self.table.name,
            "images": len(self.table),
            "women": len({case.woman for case in self.table}),
            "pictures_looked_at": self.pictures,
            "leaks": self.leaks,
            "women_in_both_parts": list(self.women),
            "same_picture_across": [self._pair(pair) for pair in self.across],
            "same_picture_within": [self._pair(pair) for pair in self.repeats],
            "label_conflicts": [
                {"rows": [self._row(conflict.first), self._row(conflict.second)], "why": conflict.why}
                for conflict in self.conflicts
            ],
            "unreadable": [{"row": self._row(row), "code": code} for row, code in self.unreadable.items()],
        }

    def _pair(self, pair: Pair) -> dict[str, Any]:
        return {
            "rows": [self._row(pair.first), self._row(pair.second)],
            "women": [self.table[pair.first].woman, self.table[pair.second].woman],
            "same_pixels": pair.same_pixels,
            "correlation": round(pair.correlation, 4),
        }

    def _row(self, row: int) -> str:
        return place(self.table[row], row + 1)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the pictures of a case table show, by its rows.

    Attributes
    ----------
    pairs : tuple of Pair
    unreadable : mapping of int to str
        Rows that can't be used, and the error's code.
    sizes : mapping of int to tuple of int
        Rows and columns of the pictures.
    """

    pairs: tuple[Pair, ...]
    unreadable: Mapping[int, str]
    sizes: Mapping[int, tuple[int, int]]


def see(table: CaseTable, whole: CaseTable, prepared: Prepared) -> Seen:
    """Compare a table's pictures, by what was prepared of all of the data set.

    Parameters
    ----------
    table : CaseTable
        ``whole``, or a part of it.
    whole : CaseTable
        The table that was prepared.
    prepared : Prepared

    Returns
    -------
    Seen
    """
    here = {case.path: row for row, case in enumerate(table)}
    rows = {row: here[case.path] for row, case in enumerate(whole) if case.path in here}
    sized = zip(prepared.rows.tolist(), prepared.sizes.tolist(), strict=True)
    return Seen(
        pairs=tuple(
            replace(pair, first=rows[pair.first], second=rows[pair.second])
            for pair in duplicates(prepared)
            if pair.first in rows and pair.second in rows
        ),
        unreadable={rows[row]: code for row, code in prepared.refused.items() if row in rows},
        sizes={rows[row]: (size[0], size[1]) for row, size in sized if row in rows},
    )


def audit(table: CaseTable, pairs: Sequence[Pair] | None = None, unreadable: Mapping[int, str] | None = None) -> Audit:
    """Judge a case table.

    Parameters
    ----------
    table : CaseTable
    pairs : sequence of Pair, optional
        From `mammolens.datasets.duplicates.duplicates`; without it no picture was looked at.
    unreadable : mapping of int to str, optional
        Rows that could not be prepared, and the error's code.

    Returns
    -------
    Audit
    """
    found = pairs or ()
    across = tuple(pair for pair in found if _parted(table[pair.first], table[pair.second]))
    conflicts = [
        Conflict(pair.first, pair.second, "same pixels" if pair.same_pixels else "near-duplicate")
        for pair in found
        if table[pair.first].malignant != table[pair.second].malignant
    ]
    told = {(conflict.first, conflict.second) for conflict in conflicts}
    conflicts += [conflict for conflict in _views(table) if (conflict.first, conflict.second) not in told]
    return Audit(
        table=table,
        pictures=pairs is not None,
        women=shared_women(table),
        across=across,
        repeats=tuple(pair for pair in found if pair not in across),
        conflicts=tuple(conflicts),
        unreadable=dict(unreadable or {}),
    )


def _parted(first: Case, second: Case) -> bool:
    return first.woman != second.woman or first.split != second.split or first.fold != second.fold


def _views(table: CaseTable) -> list[Conflict]:
    """Rows of one view of one woman's breast with different labels; without a view there is nothing to compare."""
    views: defaultdict[tuple[str, str, str, str], list[int]] = defaultdict(list)
    for row, case in enumerate(table):
        if case.laterality and case.view:
            views[case.woman, case.study, case.laterality, case.view].append(row)
    return [
        Conflict(rows[0], row, "same view")
        for rows in views.values()
        for row in rows[1:]
        if table[row].malignant != table[rows[0]].malignant
    ]
