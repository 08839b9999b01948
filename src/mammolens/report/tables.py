"""Figures and tables of the evaluation's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mammolens.report.views import text

UNKNOWN = "–"

_MINUS = "\N{MINUS SIGN}"


def number(value: float | None, digits: int = 3) -> str:
    """Write a figure, with a true minus sign; a dash for what is not known."""
    if value is None:
        return UNKNOWN
    written = f"{value:.{digits}f}"
    # What rounds to nought has no sign.
    written = written.lstrip("-") if not float(written) else written
    return written.replace("-", _MINUS)


def figure(estimate: Mapping[str, float | None] | None, digits: int = 3) -> str:
    """Write a figure with its interval, as HTML: ``0.712 <span>0.690 to 0.735</span>``."""
    if estimate is None or estimate["value"] is None:
        return UNKNOWN
    value = number(estimate["value"], digits)
    if estimate["low"] is None or estimate["high"] is None:
        return value
    return f'{value} <span class="interval">{bounds(estimate, digits)}</span>'


def bounds(estimate: Mapping[str, float | None] | None, digits: int = 3) -> str:
    """Write an interval alone: ``0.690 to 0.735``."""
    if estimate is None or estimate["low"] is None or estimate["high"] is None:
        return UNKNOWN
    return f"{number(estimate['low'], digits)} to {number(estimate['high'], digits)}"


def percent(estimate: Mapping[str, float | None], digits: int = 1) -> str:
    """Write a share with its interval in per cent."""
    return figure({name: None if value is None else 100.0 * value for name, value in estimate.items()}, digits)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 1, caption: str = "") -> str:
    """Lay out a table.

    Parameters
    ----------
    head : sequence of str
        Any text.
    rows : sequence of sequence of str
        HTML of each cell.
    numbers : int
        Column from which cells are figures, set to the right.
    caption : str
        Any text.

    Returns
    -------
    str
        An element of HTML.
    """

    def kind(column: int) -> str:
        return ' class="number"' if column >= numbers else ""

    top = "".join(f"<th{kind(column)}>{text(name)}</th>" for column, name in enumerate(head))
    body = "".join(
        "<tr>" + "".join(f"<td{kind(column)}>{cell}</td>" for column, cell in enumerate(row)) + "</tr>\n"
        for row in rows
    )
    named = f"<caption>{text(caption)}</caption>" if caption else ""
    return f'<div class="wide"><table>{named}<thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table></div>'


def sentences(values: Sequence[str]) -> str:
    """Lay out sentences as a list."""
    return "<ul>" + "".join(f"<li>{text(value)}</li>" for value in values) + "</ul>"


def section(title: str, *parts: Any) -> str:
    """Lay out a section with its heading."""
    return f"<section><h2>{text(title)}</h2>\n" + "\n".join(parts) + "\n</section>"
