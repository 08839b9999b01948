"""The pictures of a report with their scores, regions and notices."""

from __future__ import annotations

import html
import os
import struct
from pathlib import Path
from urllib.parse import quote

from mammolens.report.entry import ReportEntry, arrange
from mammolens.types import PixelSpacing, Prediction, Region

Answered = list[tuple[ReportEntry, Prediction]]
"""Entries that have an answer, with it."""

_ORIGINS = {
    "imager": "at the detector, so somewhat larger than in the breast",
    "detector": "of the detector's elements, so somewhat larger than in the breast",
    "calibrated": "calibrated in the file",
}


def printable(value: str) -> str:
    """Replace what can't be shown or would disturb the text around it by U+FFFD.

    Parameters
    ----------
    value : str
        File names may hold control characters, unpaired surrogates and marks that
        turn the writing direction.

    Returns
    -------
    str
    """
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in value)


def text(value: str) -> str:
    """Make any text safe inside an element or a quoted attribute."""
    return html.escape(printable(value), quote=True)


def above(prediction: Prediction) -> bool:
    """Whether the probability reaches the threshold."""
    return prediction.probability >= prediction.threshold


def _level(prediction: Prediction) -> str:
    """Step of the suspicion scale: below the threshold, above it, more than half way from it to 1."""
    if not above(prediction):
        return "low"
    return "high" if prediction.probability >= (1.0 + prediction.threshold) / 2 else "raised"


def view_name(prediction: Prediction) -> str:
    """Laterality, view and modifiers, safe for HTML."""
    mammogram = prediction.mammogram
    parts = [mammogram.laterality or "", mammogram.view or "", *mammogram.view_modifiers]
    return text(" ".join(part for part in parts if part) or "view unknown")


def bar(prediction: Prediction) -> str:
    """Ten cells, filled in proportion to the probability."""
    filled = min(10, max(0, round(prediction.probability * 10)))
    cells = '<i class="on"></i>' * filled + "<i></i>" * (10 - filled)
    return f'<span class="bar {_level(prediction)}" aria-hidden="true">{cells}</span>'


def views(folder: Path, answered: Answered) -> str:
    """Pictures of all answered entries, hung as an examination or in a grid.

    Parameters
    ----------
    folder : Path
        Of the report.
    answered : list of (ReportEntry, Prediction)

    Returns
    -------
    str
        A section of HTML.

    Raises
    ------
    ValueError
        If a picture lies outside the folder or is no PNG.
    """
    hung = arrange([entry for entry, _ in answered])
    if hung is None:
        cells = [_view(folder, entry, prediction, "left") for entry, prediction in answered]
        return f'<section aria-label="Pictures"><div class="grid">\n{"".join(cells)}</div></section>'
    cells = []
    for place, entry in hung.items():
        if entry is None or entry.prediction is None:
            cells.append(f'<div class="view"><div class="missing">no {place[0]} {place[1]} given</div></div>\n')
        else:
            cells.append(_view(folder, entry, entry.prediction, "right" if place[0] == "R" else "left"))
    return f'<section aria-label="Pictures"><div class="hung">\n{"".join(cells)}</div></section>'


def _view(folder: Path, entry: ReportEntry, prediction: Prediction, side: str) -> str:
    name = view_name(prediction)
    pictures = "".join(
        _image(folder, path, f"{kind} of {name}")
        for path, kind in ((entry.picture, "mammogram"), (entry.overlay, "heat map and regions"))
        if path is not None
    )
    where = "at or above" if above(prediction) else "below"
    score = (
        f'<p class="score"><b>{prediction.probability:.3f}</b>{bar(prediction)}'
        f"<span>{text(prediction.label)}, {where} the threshold {prediction.threshold:.3f}</span>"
        f'<span class="quiet">confidence {prediction.confidence:.3f}</span></p>'
    )
    return (
        f'<article class="view {side}"><div class="pictures">{pictures}</div><div class="text">'
        f'<h3>{name} <bdi class="quiet small">{text(entry.title)}</bdi></h3>{score}'
        f"{_regions(prediction)}{_notices(prediction)}</div></article>\n"
    )


def _image(folder: Path, path: Path, description: str) -> str:
    inside = os.path.relpath(path, folder)
    if os.path.isabs(inside) or inside.split(os.sep)[0] == os.pardir:
        raise ValueError("a picture must lie in the report's folder")
    width, height = _png_size(path)
    address = text(quote(Path(inside).as_posix(), safe="/"))
    # "./" keeps a name such as "data:x" from being read as an address of another kind.
    return (
        f'<a href="./{address}" style="flex-grow:{width / height:.4f}"><img src="./{address}" width="{width}" '
        f'height="{height}" alt="{description}"></a>'
    )


def _png_size(path: Path) -> tuple[int, int]:
    with path.open("rb") as file:
        head = file.read(24)
    if len(head) < 24 or head[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("a picture must be a PNG file")
    width, height = struct.unpack(">II", head[16:24])
    return int(width), max(1, int(height))


def _regions(prediction: Prediction) -> str:
    if not prediction.regions:
        return '<p class="quiet">No region stands out.</p>'
    spacing = prediction.mammogram.pixel_spacing
    rows = "".join(_region(number, region, spacing) for number, region in enumerate(prediction.regions, 1))
    size = '<th class="number">Size, mm</th>' if spacing else ""
    note = ""
    if spacing:
        note = f'<p class="quiet small">Millimetres {_ORIGINS.get(spacing.origin, "as the file states them")}.</p>'
    return (
        '<div class="wide"><table class="small"><thead><tr><th>Region</th><th class="number">Score</th>'
        '<th class="number">Centre, px</th><th class="number">Size, px</th>'
        f"{size}</tr></thead><tbody>{rows}</tbody></table>{note}</div>"
    )


def _region(number: int, region: Region, spacing: PixelSpacing | None) -> str:
    x0, y0, x1, y1 = region.box
    cells = [f"{region.score:.2f}", f"{region.centre[0]}, {region.centre[1]}", f"{x1 - x0} × {y1 - y0}"]
    if spacing:
        cells.append(f"{(x1 - x0) * spacing.column:.1f} × {(y1 - y0) * spacing.row:.1f}")
    return f"<tr><td>{number}</td>" + "".join(f'<td class="number">{cell}</td>' for cell in cells) + "</tr>"


def _notices(prediction: Prediction) -> str:
    if not prediction.notices:
        return ""
    items = "".join(
        f"<li>{text(notice.message)} <code>{text(notice.code)}</code></li>" for notice in prediction.notices
    )
    return f'<ul class="notices small">{items}</ul>'
