"""Tables of a data set, row by row; what is wrong in one is told with its row."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mammolens.errors import TrainingDataError

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, its fields without blanks and line breaks at their ends.

    Attributes
    ----------
    table : str
        Name that the data set gives the table.
    number : int
        As a spreadsheet counts: the header is row 1.
    fields : mapping of str to str
    """

    table: str
    number: int
    fields: Mapping[str, str]

    @property
    def place(self) -> str:
        """Where it stands, for messages and as a case's provenance."""
        return f"{self.table}, row {self.number}"

    def __getitem__(self, column: str) -> str:
        """Return a field."""
        return self.fields[column]

    def filled(self, column: str) -> str:
        """Return a field that must not be empty.

        Raises
        ------
        TrainingDataError
        """
        if not self.fields[column]:
            raise self.wrong(column, "must not be empty")
        return self.fields[column]

    def choice(self, column: str, values: Mapping[str, _T]) -> _T:
        """Return what a field stands for.

        Raises
        ------
        TrainingDataError
            If it is none of ``values``.
        """
        try:
            return values[self.fields[column]]
        except KeyError:
            known = ", ".join(value or "empty" for value in values)
            raise self.wrong(column, f"must be one of: {known}") from None

    def number_in(self, column: str, low: float, high: float) -> float:
        """Return a field as a number.

        Raises
        ------
        TrainingDataError
            If it is none, or not within ``low`` and ``high``.
        """
        try:
            value = float(self.fields[column])
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise self.wrong(column, f"must be a number from {low:g} to {high:g}")
        return value

    def whole(self, column: str, low: int, high: int) -> int:
        """Return a field as a whole number, ``2.0`` taken for 2.

        Raises
        ------
        TrainingDataError
            If it is none, or not within ``low`` and ``high``.
        """
        value = self.number_in(column, low, high)
        if not value.is_integer():
            raise self.wrong(column, f"must be a whole number from {low} to {high}")
        return int(value)

    def wrong(self, column: str, rule: str) -> TrainingDataError:
        """Make the error of a field that breaks a rule."""
        return TrainingDataError(f'{self.place}: the column "{column}" {rule}.')


def read(path: Path, columns: Sequence[str], *, aliases: Mapping[str, str] | None = None) -> list[Row]:
    """Read a table.

    Parameters
    ----------
    path : Path
        CSV in UTF-8, with or without byte order mark, between whose fields stand commas or
        semicolons.
    columns : sequence of str
        Columns that it must have.
    aliases : mapping of str to str, optional
        Other names of columns that occur in the wild, to the name used here.

    Returns
    -------
    list of Row

    Raises
    ------
    TrainingDataError
        If it is missing, is no CSV, lacks a column, or a row has too few fields.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            lines = list(csv.reader(file, delimiter=";" if header.count(";") > header.count(",") else ","))
    except OSError as error:
        raise TrainingDataError(f"{path.name} is missing in the data set's folder, or can't be opened.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainingDataError(f"{path.name} can't be read. Save it as CSV in UTF-8.") from error
    names = [(aliases or {}).get(name.strip(), name.strip()) for name in (lines[0] if lines else [])]
    if missing := [column for column in columns if column not in names]:
        named = ", ".join(f'"{column}"' for column in missing)
        raise TrainingDataError(f"{path.name}, row 1: the header lacks the column {named}.")
    return list(_rows(path.name, names, lines[1:]))


def _rows(table: str, names: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[Row]:
    for number, line in enumerate(lines, 2):
        if not any(field.strip() for field in line):
            continue
        if len(line) < len(names):
            raise TrainingDataError(f"{table}, row {number}: it has fewer fields than the header.")
        yield Row(table, number, {name: field.strip() for name, field in zip(names, line, strict=False)})
