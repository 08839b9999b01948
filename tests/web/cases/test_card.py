"""Model cards are taken apart into plain texts; nothing of them becomes HTML."""

from __future__ import annotations

from mammolens.models.bundle import CARD, load_bundle
from mammolens.web.cases.card import Part, parts, pieces

TEXT = """# name, version 1

**What it does.** One line
that goes on.

## Measured
Words at once below.

| level | AUC |
|---|---|
| image | 0.678 |

- one
  and more of it
- two
<script>alert(1)</script>
"""


def test_headings_paragraphs_tables_and_lists_are_told_apart() -> None:
    assert parts(TEXT) == [
        Part("heading", (("name, version 1",),)),
        Part("paragraph", (("**What it does.** One line that goes on.",),)),
        Part("heading", (("Measured",),)),
        Part("paragraph", (("Words at once below.",),)),
        Part("table", (("level", "AUC"), ("image", "0.678"))),
        Part("list", (("one and more of it",), ("two <script>alert(1)</script>",))),
    ]


def test_bold_pieces_are_marked_and_lone_stars_stay() -> None:
    assert pieces("a **b** c ** d") == [(False, "a "), (True, "b"), (False, " c ** d")]
    assert pieces("") == []


def test_nothing_of_the_card_that_comes_with_the_package_is_lost() -> None:
    text = load_bundle().read(CARD).decode()
    found = " ".join(cell for part in parts(text) for row in part.rows for cell in row)
    marks = str.maketrans("", "", "#|-*")
    assert sorted(found.translate(marks).split()) == sorted(text.translate(marks).split())
    assert {part.kind for part in parts(text)} == {"heading", "paragraph", "table", "list"}
    assert parts("") == []
