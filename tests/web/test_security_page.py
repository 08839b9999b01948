"""docs/security.md: no item of OWASP ASVS 5.0.0, level 1 or 2, is left out, and every test that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")

SECTIONS = """
1.1:2 1.2:9 1.3:11 1.4:3 1.5:2 2.1:3 2.2:3 2.3:4 2.4:1 3.2:2 3.3:4 3.4:6 3.5:5 3.7:2 4.1:3 4.2:1 4.3:2 4.4:4
5.1:1 5.2:3 5.3:2 5.4:3 6.1:3 6.2:12 6.3:4 6.4:4 6.5:5 6.6:3 6.8:4 7.1:3 7.2:4 7.3:2 7.4:5 7.5:2 7.6:2
8.1:2 8.2:3 8.3:1 8.4:1 9.1:3 9.2:4 10.1:2 10.2:2 10.3:4 10.4:11 10.5:5 10.6:2 10.7:3
11.1:2 11.2:3 11.3:3 11.4:4 11.5:1 11.6:1 12.1:3 12.2:2 12.3:4 13.1:1 13.2:5 13.3:2 13.4:5
14.1:2 14.2:4 14.3:3 15.1:3 15.2:3 15.3:7 16.1:1 16.2:5 16.3:4 16.4:3 16.5:3 17.1:1 17.2:4 17.3:2
"""
"""Section and the number of its items of levels 1 and 2, which come before those of level 3."""

Item = tuple[int, ...]


def items() -> set[Item]:
    found: set[Item] = set()
    for section in SECTIONS.split():
        name, _, last = section.partition(":")
        chapter, part = map(int, name.split("."))
        found |= {(chapter, part, number) for number in range(1, int(last) + 1)}
    return found


def rows() -> list[tuple[Item, Item, str, str]]:
    """First and last item of each row, its verdict and what shows it."""
    found = []
    for first, last, verdict, text in re.findall(r"^\| ([\d.]+)(?:–([\d.]+))? \| ([\w/]+) \| (.+) \|$", PAGE, re.M):
        begin = tuple(map(int, first.split(".")))
        found.append((begin, tuple(map(int, last.split("."))) if last else begin, verdict, text))
    return found


def test_standard_has_253_items_of_levels_1_and_2() -> None:
    assert len(items()) == 253


def test_every_item_has_one_row_and_no_row_is_of_no_item() -> None:
    told = [[item for item in items() if first <= item <= last] for first, last, _verdict, _text in rows()]
    assert all(told)
    flat = [item for part in told for item in part]
    assert sorted(flat) == sorted(items())


def test_every_row_has_a_verdict_and_says_why() -> None:
    for first, _last, verdict, text in rows():
        assert verdict in ("met", "n/a", "operator", "deviates"), first
        assert len(text) >= 5, first


def test_every_item_that_is_met_names_a_test_or_asks_for_a_text() -> None:
    """A chapter's first section asks for documentation, which the page is; 16.2.3 for a word on where logs go."""
    untested = {first for first, _last, verdict, text in rows() if verdict == "met" and "`tests/" not in text}
    assert {item for item in untested if item[1] != 1} == {(16, 2, 3)}


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 80
    for path, name in named:
        assert (REPOSITORY / path).is_file(), path
        assert not name or f"def {name}(" in (REPOSITORY / path).read_text(encoding="utf-8"), (path, name)
