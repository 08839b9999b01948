"""Write the page of an evaluation: one file that needs neither network nor script."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from mammolens.explain.files import write_file
from mammolens.report import evaluation_sections as sections
from mammolens.report.evaluation_sections import Report
from mammolens.report.localisation import localisation
from mammolens.report.views import text

NAME = "report.html"

_MARK = "Measured on the model’s own training data: no figure here says how it does on other women."

_ON_EVERY_PAGE = """
@page {
  margin-top: 16mm;
  @top-left { content: "%s"; color: oklch(52%% 0.19 30); font: 600 8pt system-ui, sans-serif; }
}
"""


def write_page(folder: Path, report: Report, examples: Sequence[tuple[str, bytes]] = ()) -> Path:
    """Write ``report.html``.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    report : mapping
        As `mammolens.evaluation.report.evaluate` gives it.
    examples : sequence of (str, bytes)
        Caption and PNG of pictures that show where the model looks; they go into the page.

    Returns
    -------
    Path
        The page. Equal reports give equal bytes.

    Raises
    ------
    OutputError
        If it can't be written.
    """
    return write_file(folder, NAME, page(report, examples).encode("utf-8"))


def page(report: Report, examples: Sequence[tuple[str, bytes]] = ()) -> str:
    """Make the page; see `write_page`."""
    model, data = report["model"], report["data"]
    parts = [
        sections.summary(report),
        sections.protocol(report),
        sections.curves(report),
        sections.readers(report),
        sections.points(report),
        sections.calibration(report),
        sections.decision(report),
        sections.parts(report),
    ]
    if report["comparison"] is not None:
        parts.append(sections.comparison(report))
    if report["localisation"] is not None:
        pictures = [(caption, base64.b64encode(png).decode("ascii")) for caption, png in examples]
        parts.append(localisation(report["localisation"], pictures))
    parts.append(sections.reproduce(report))
    resources = files("mammolens.report")
    styles = [resources.joinpath(name).read_text(encoding="utf-8").strip() for name in ("style.css", "evaluation.css")]
    seen = report["protocol"]["kind"] == "seen-in-training"
    return Template(resources.joinpath("evaluation.html").read_text(encoding="utf-8")).substitute(
        style="\n".join(styles) + (_ON_EVERY_PAGE % _MARK if seen else ""),
        title=text(f"Evaluation of {model['name']} {model['version']}"),
        headline=text(
            f"{model['architecture']}, {model['size'][0]} × {model['size'][1]} · {data['dataset']} · "
            f"{data['images']:,} pictures of {data['women']:,} women"
        ),
        mark=f'<p class="mark">{text(_MARK)}</p>' if seen else "",
        body="\n".join(parts),
    )
