"""The type of the PDF report: fonts that are embedded, styles, and text from outside made safe to set."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from xml.sax.saxutils import escape

from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Paragraph

PLAIN, BOLD = "Mammolens-Plain", "Mammolens-Bold"

_FONTS = Path(__file__).with_name("fonts")
_STAND_IN = "□"


@cache
def _registered() -> frozenset[int]:
    """Register the fonts, once a process; the characters that they have."""
    plain = TTFont(PLAIN, _FONTS / "DejaVuSans.ttf")
    bold = TTFont(BOLD, _FONTS / "DejaVuSans-Bold.ttf")
    for font in (plain, bold):
        pdfmetrics.registerFont(font)
    return frozenset(plain.face.charToGlyph) & frozenset(bold.face.charToGlyph)


class Letters:
    """Sets text for one report.

    Text is never read as markup. A character that the font lacks becomes ``□``; `missing` counts them.
    """

    def __init__(self) -> None:
        self._known = _registered()
        self.missing = 0

    def title(self, text: str) -> Paragraph:
        """Set the title of the report."""
        return self._set(text, ParagraphStyle("title", fontName=BOLD, fontSize=18, leading=23, spaceAfter=2))

    def heading(self, text: str) -> Paragraph:
        """Set the heading of a section; it stays with what follows."""
        style = ParagraphStyle(
            "heading", fontName=BOLD, fontSize=11, leading=14, spaceBefore=12, spaceAfter=4, keepWithNext=1
        )
        return self._set(text, style)

    def text(self, text: str) -> Paragraph:
        """Set running text."""
        return self._set(text, ParagraphStyle("text", fontName=PLAIN, fontSize=10, leading=14))

    def small(self, text: str) -> Paragraph:
        """Set quiet text."""
        return self._set(text, ParagraphStyle("small", fontName=PLAIN, fontSize=8, leading=11, textColor="#5a606b"))

    def cell(self, text: str, *, strong: bool = False) -> Paragraph:
        """Set the text of a table's cell; long words are broken."""
        font = BOLD if strong else PLAIN
        return self._set(text, ParagraphStyle("cell", fontName=font, fontSize=8, leading=10.5, splitLongWords=1))

    def _set(self, text: str, style: ParagraphStyle) -> Paragraph:
        return Paragraph(escape(self._printable(text)).replace("\n", "<br/>"), style)

    def _printable(self, text: str) -> str:
        made = []
        for letter in text.replace("\r\n", "\n").replace("\t", " "):
            known = letter == "\n" or ord(letter) in self._known
            self.missing += not known
            made.append(letter if known else _STAND_IN)
        return "".join(made)
