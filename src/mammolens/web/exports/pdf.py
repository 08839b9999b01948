"""The report of a case as PDF: what the document says, with the pictures and their overlays."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from flask_babel import get_locale
from flask_babel import gettext as _
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, KeepTogether, PageTemplate, Spacer, Table, TableStyle
from reportlab.platypus import Image as Picture

from mammolens.web.exports.letters import BOLD, PLAIN, Letters
from mammolens.web.wording import notice_words, words

_MARGIN = 15 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_GUTTER = 4 * mm
_MOST_HEIGHT = 100 * mm
_LONGEST, _QUALITY = 1200, 88
_LINE, _QUIET = colors.HexColor("#b8bcc4"), colors.HexColor("#5a606b")


def pdf(document: dict[str, Any], derived: Path) -> bytes:
    """Make the PDF of a case, in the language of the request.

    Parameters
    ----------
    document : dict
        As `mammolens.web.exports.document.document` makes it.
    derived : Path
        Folder of what is made from the pictures, ``derived/<image id>/…``. A picture that is missing there is
        said to be missing.

    Returns
    -------
    bytes
        A4, fonts embedded. Its title is the number of the case; nothing in its description names the woman.
    """
    letters = Letters()
    number = document["case"]["number"]
    story = [
        *_head(document, letters),
        *_identifiers(document, letters),
        *_breasts(document, letters),
        *_views(document, letters),
        *_warnings(document, letters),
        *_assessments(document, letters),
        *_pictures(document, letters, derived),
        *_model(document, letters),
    ]
    if letters.missing:
        story.append(letters.small(_("□ stands for a letter that this report's font does not have.")))
    file = io.BytesIO()

    def foot(canvas: Canvas, page: Any) -> None:
        canvas.setFont(PLAIN, 8)
        canvas.setFillColor(_QUIET)
        canvas.drawString(_MARGIN, 9 * mm, f"Mammolens · {number} · {document['created']}")
        canvas.drawRightString(A4[0] - _MARGIN, 9 * mm, _("page %(number)s", number=page.page))

    frame = Frame(_MARGIN, _MARGIN, _WIDTH, A4[1] - 2 * _MARGIN, 0, 0, 0, 0)
    made = BaseDocTemplate(
        file,
        pagesize=A4,
        title=number,
        author="Mammolens",
        creator=f"Mammolens {document['software']['version']}",
        subject=_("Report of a case"),
        lang=str(get_locale() or "en"),
    )
    made.addPageTemplates(PageTemplate(frames=[frame], onPage=foot))
    made.build(story)
    return file.getvalue()


def _head(document: dict[str, Any], letters: Letters) -> list[Flowable]:
    case, model = document["case"], document["model"]
    found = _("No picture of this case has an answer.")
    if case["probability"] is not None:
        found = _(
            "Probability of malignancy %(probability)s: %(label)s.",
            probability=f"{case['probability']:.2f}",
            label=_label(case["label"]),
        )
    return [
        letters.title(_("Case %(number)s", number=case["number"])),
        letters.small(_("Research use only. Not a medical device.")),
        Spacer(0, 3 * mm),
        letters.text(found),
        letters.small(
            _(
                "Arrived %(arrived)s, report of %(created)s, model %(name)s, version %(version)s.",
                arrived=_moment(case["arrived"]),
                created=_moment(document["created"]),
                name=model["name"],
                version=model["version"],
            )
        ),
    ]


def _identifiers(document: dict[str, Any], letters: Letters) -> list[Flowable]:
    known = document["identifiers"]
    if known is None:
        return []
    titles = {
        "patient_id": _("Patient ID"),
        "patient_name": _("Name"),
        "birth_date": _("Born"),
        "study_date": _("Examined"),
        "accession": _("Accession number"),
    }
    rows = [[title, ", ".join(known[name]) or "–"] for name, title in titles.items()]
    return [letters.heading(_("Identifiers")), _table(letters, [], rows, (40 * mm, _WIDTH - 40 * mm))]


def _breasts(document: dict[str, Any], letters: Letters) -> list[Flowable]:
    if not document["breasts"]:
        return []
    rows = [
        [_side(breast["laterality"]), f"{breast['probability']:.2f}", _label(breast["label"])]
        for breast in document["breasts"]
    ]
    columns = [_("Breast"), _("Probability"), _("Answer")]
    return [letters.heading(_("Breasts")), _table(letters, columns, rows, (60 * mm, 60 * mm, _WIDTH - 120 * mm))]


def _views(document: dict[str, Any], letters: Letters) -> list[Flowable]:
    rows = []
    for image in document["images"]:
        answer, error = image["answer"], image["error"]
        size = f"{image['columns']} × {image['rows']}" if image["columns"] else "–"
        if answer is None:
            said = words(error["code"]) if error else _state(image["state"])
            rows.append([_view(image), size, "–", "–", said])
            continue
        model = answer["model"]
        other = "" if model["sha256"] == document["model"]["sha256"] else f" ({model['name']} {model['version']})"
        rows.append(
            [
                _view(image),
                size,
                f"{answer['probability']:.2f}",
                f"{answer['threshold']:.2f}",
                _label(answer["label"]) + other,
            ]
        )
    columns = [_("View"), _("Columns × rows"), _("Probability"), _("Threshold"), _("Answer")]
    widths = (30 * mm, 35 * mm, 26 * mm, 26 * mm, _WIDTH - 117 * mm)
    return [letters.heading(_("Views")), _table(letters, columns, rows, widths)]


def _warnings(document: dict[str, Any], letters: Letters) -> list[Flowable]:
    rows = [["–", notice_words(notice["code"], notice["message"])] for notice in document["case"]["notices"]]
    rows += [
        [_view(image), notice_words(notice["code"], notice["message"])]
        for image in document["images"]
        if image["answer"] is not None
        for notice in image["answer"]["notices"]
    ]
    if not rows:
        return []
    columns = [_("View"), _("Warning")]
    return [letters.heading(_("Warnings")), _table(letters, columns, rows, (30 * mm, _WIDTH - 30 * mm))]


def _assessments(document: dict[str, Any], letters: Letters) -> list[Flowable]:
    heading = letters.heading(_("Assessments"))
    if not document["assessments"]:
        return [heading, letters.text(_("No reader has assessed this case."))]
    said = {True: _("agrees"), False: _("does not agree"), None: "–"}
    rows = [
        [
            _moment(entry["created"]),
            entry["reader"],
            _side(entry["laterality"]),
            str(entry["birads"]) + ("" if entry["in_force"] else " " + _("(replaced)")),
            said[entry["agrees"]],
            entry["comment"] or "–",
        ]
        for entry in document["assessments"]
    ]
    columns = [_("Written"), _("Reader"), _("Breast"), _("BI-RADS"), _("With the marks"), _("Comment")]
    widths = (32 * mm, 28 * mm, 20 * mm, 24 * mm, 26 * mm, _WIDTH - 130 * mm)
    return [heading, _table(letters, columns, rows, widths)]


def _pictures(document: dict[str, Any], letters: Letters, derived: Path) -> list[Flowable]:
    story: list[Flowable] = []
    for image in document["images"]:
        answer = image["answer"]
        if answer is None:
            continue
        folder = derived / image["id"]
        files = (folder / "preview.png", folder / answer["model"]["sha256"][:16] / "overlay.png")
        title = f"{_view(image)} · {answer['probability']:.2f}"
        block: list[Flowable] = [letters.heading(title), _side_by_side(files, letters), *_regions(image, letters)]
        story.append(KeepTogether(block))
    return story


def _side_by_side(files: tuple[Path, Path], letters: Letters) -> Flowable:
    """Place the picture and its overlay in one row, equally high, as wide as the page allows."""
    read = [_jpeg(file) for file in files]
    ratios = [width / height for _content, width, height in filter(None, read)]
    height = min(_MOST_HEIGHT, (_WIDTH - _GUTTER) / sum(ratios)) if ratios else 0.0
    cells: list[Flowable] = []
    widths: list[float] = []
    for found in read:
        if found is None:
            cells.append(letters.small(_("The picture is not at hand.")))
            widths.append(40 * mm)
            continue
        content, wide, high = found
        cells.append(Picture(content, height * wide / high, height))
        widths.append(height * wide / high + _GUTTER / 2)
    style = [("LEFTPADDING", (0, 0), (-1, -1), 0), ("RIGHTPADDING", (0, 0), (-1, -1), 0)]
    return Table([cells], colWidths=widths, style=TableStyle(style), hAlign="LEFT")


def _jpeg(file: Path) -> tuple[io.BytesIO, int, int] | None:
    """Read a picture made smaller for print: JPEG, width, height; None where it is missing."""
    from PIL import Image

    try:
        opened = Image.open(file)
    except FileNotFoundError:
        return None
    with opened:
        made = opened.convert("L" if opened.mode in ("L", "1") else "RGB")
    made.thumbnail((_LONGEST, _LONGEST))
    content = io.BytesIO()
    made.save(content, "JPEG", quality=_QUALITY)
    content.seek(0)
    return content, made.width, made.height


def _regions(image: dict[str, Any], letters: Letters) -> list[Flowable]:
    regions = image["answer"]["regions"]
    if not regions:
        return [letters.small(_("No region stands out."))]
    rows = []
    for number, region in enumerate(regions, 1):
        x0, y0, x1, y1 = region["box"]
        size = "–"
        if image["pixel_spacing"] is not None:
            spacing = image["pixel_spacing"]
            size = f"{(x1 - x0) * spacing['column_mm']:.0f} × {(y1 - y0) * spacing['row_mm']:.0f} mm"
        corners = f"{x0:.0f}, {y0:.0f} – {x1:.0f}, {y1:.0f}"
        rows.append([str(number), f"{region['score']:.2f}", corners, size])
    columns = [_("Region"), _("Evidence"), _("Corners in pixels (x, y)"), _("Width × height")]
    return [_table(letters, columns, rows, (20 * mm, 24 * mm, 66 * mm, _WIDTH - 110 * mm))]


def _model(document: dict[str, Any], letters: Letters) -> list[Flowable]:
    rows = [
        [_("Model"), f"{document['model']['name']}, {document['model']['version']}"],
        [_("SHA-256 of its manifest"), document["model"]["sha256"]],
        [_("Software"), f"Mammolens {document['software']['version']}"],
        [_("Case"), document["case"]["id"]],
        *([_view(image), image["sha256"]] for image in document["images"]),
    ]
    heading = letters.heading(_("What this report was made from"))
    return [KeepTogether([heading, _table(letters, [], rows, (45 * mm, _WIDTH - 45 * mm))])]


def _table(letters: Letters, columns: list[str], rows: list[list[str]], widths: tuple[float, ...]) -> Table:
    """Make a plain table; texts are cut into lines, the head is repeated on each page."""
    cells = [[letters.cell(text) for text in row] for row in rows]
    if columns:
        cells.insert(0, [letters.cell(text, strong=True) for text in columns])
    style = TableStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE),
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("RIGHTPADDING", (0, 0), (-1, -1), 2 * mm),
            ("TOPPADDING", (0, 0), (-1, -1), 1 * mm),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 1 * mm),
            ("FONTNAME", (0, 0), (-1, 0), BOLD),
        ]
    )
    return Table(cells, colWidths=widths, style=style, repeatRows=bool(columns), hAlign="LEFT")


def _view(image: dict[str, Any]) -> str:
    named = " ".join(part for part in (image["laterality"], image["view"], *image["view_modifiers"]) if part)
    return named or _("unnamed view")


def _side(laterality: str) -> str:
    return str({"R": _("right"), "L": _("left")}.get(laterality, _("not known")))


def _label(label: str) -> str:
    return str({"malignant": _("above the threshold (malignant)"), "benign": _("below the threshold (benign)")}[label])


def _state(state: str) -> str:
    named = {
        "queued": _("waiting for its answer"),
        "running": _("being answered"),
        "refused": _("refused"),
        "failed": _("could not be answered"),
        "cancelled": _("cancelled"),
    }
    return str(named.get(state, state))


def _moment(text: str) -> str:
    return text.replace("T", " ").replace("Z", " UTC")
