"""A model card as parts that a page can lay out: the few marks of Markdown that our cards use, and no HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEADING = re.compile(r"(#{1,6})\s+(.*)")
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_RULE = re.compile(r"\|?[\s:|-]+\|?")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a card.

    Attributes
    ----------
    kind : {"heading", "paragraph", "list", "table"}
    rows : tuple of tuple of str
        A heading and a paragraph: one row of one text. A list: a row of one text for each item. A table: its rows,
        the heading first. Texts are plain and may hold anything.
    """

    kind: str
    rows: tuple[tuple[str, ...], ...]


def parts(text: str) -> list[Part]:
    """Take a card apart.

    Parameters
    ----------
    text : str
        Markdown. What is none of the marks known here stays as it is written.

    Returns
    -------
    list of Part
    """
    return [part for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")) for part in _block(block)]


def pieces(text: str) -> list[tuple[bool, str]]:
    """Split a text into pieces, each with whether it is bold."""
    found = _BOLD.split(text)
    return [(index % 2 == 1, piece) for index, piece in enumerate(found) if piece]


def _block(block: str) -> Iterator[Part]:
    """Take apart what stands between two empty lines."""
    kind, rows = "", list[tuple[str, ...]]()
    for line in filter(None, (line.strip() for line in block.split("\n"))):
        heading = _HEADING.fullmatch(line)
        if heading:
            row: tuple[str, ...] = (heading[2],)
            found = "heading"
        elif line.startswith("|"):
            found, row = "table", tuple(cell.strip() for cell in line.strip("|").split("|"))
        elif line.startswith(("- ", "* ")):
            found, row = "list", (line[2:],)
        else:
            found, row = ("list" if kind == "list" else "paragraph"), (line,)
        if rows and (found != kind or kind == "heading"):
            yield Part(kind, tuple(rows))
            rows = []
        if found == "table" and _RULE.fullmatch(line):
            kind = found
            continue
        goes_on = rows and (found == "paragraph" or (found == "list" and not line.startswith(("- ", "* "))))
        rows = [*rows[:-1], (f"{rows[-1][0]} {row[0]}",)] if goes_on else [*rows, row]
        kind = found
    if rows:
        yield Part(kind, tuple(rows))
