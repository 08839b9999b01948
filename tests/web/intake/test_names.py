"""Whatever a file is called, its name is text to show."""

from __future__ import annotations

import random
import unicodedata

import pytest

from mammolens.web.intake.grouping import examination
from mammolens.web.intake.names import LONGEST, clean, folder_of, is_litter
from mammolens.web.store import Store


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("LCC.dcm", "LCC.dcm"),
        ("乳腺.dcm", "乳腺.dcm"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("../../etc/passwd", "etc/passwd"),
        ("C:\\Users\\nurse\\RCC.dcm", "Users/nurse/RCC.dcm"),
        ("a//./b/../c.dcm", "a/b/c.dcm"),
        ("a\x00b\x1b[31m.dcm", "ab[31m.dcm"),
        ("harmless\u202egpj.exe", "harmlessgpj.exe"),
        ("Mu\u0308ller.dcm", "Müller.dcm"),
        ("two\nlines\t.dcm", "two lines .dcm"),
        ("lone\ud800half.dcm", "lonehalf.dcm"),
        ("x" * 300 + ".dcm", "x" * (LONGEST - 4) + ".dcm"),
    ],
)
def test_a_name_is_cleaned_and_not_lost(given: str, expected: str) -> None:
    assert clean(given) == expected
    assert clean(expected) == expected


def test_ten_thousand_hostile_names_are_short_visible_and_climb_nowhere(tmp_path: object) -> None:
    draw = random.Random(1)
    pieces = [
        "NUL",
        "a" * 400,
        "é",
        "'; --",
        "..",
        ".",
        "/",
        "\\",
        "\x00",
        "%2e%2e",
        "~",
        "C:",
        "\u202e",
        "\ud800",
        "\u200b",
    ]
    for _ in range(10_000):
        name = "".join(
            draw.choice(pieces) if draw.random() < 0.5 else chr(draw.randrange(0x110000))
            for _ in range(draw.randint(0, 12))
        )
        shown = clean(name)
        assert 1 <= len(shown) <= LONGEST
        assert not {"", ".", ".."}.intersection(shown.split("/"))
        assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in shown)
        shown.encode()  # what can't be encoded can't be written to a database


def test_ten_thousand_hostile_uids_give_a_name_of_64_digits_and_no_two_the_same(services: object) -> None:
    draw, seen = random.Random(2), set()
    folder = services.folder  # type: ignore[attr-defined]
    from mammolens.web.security.keys import application_key

    application_key(folder)
    before = sorted(path.name for path in folder.rglob("*"))
    uids = {"../" * draw.randint(0, 9) + str(draw.random()) + "\x00" * draw.randint(0, 2) for _ in range(10_000)}
    for uid in uids:
        name = examination(folder, "o" * 32, uid, "b" * 32, "")
        assert len(name) == 64
        assert set(name) <= set("0123456789abcdef")
        seen.add(name)
    assert len(seen) == len(uids)
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_a_study_is_named_apart_for_each_owner_and_each_installation(make_services: object, tmp_path: object) -> None:
    one, other = (
        make_services(home=tmp_path / name).folder  # type: ignore[operator]
        for name in ("one", "other")
    )
    names = {
        examination(home, owner, "1.2.3", batch, folder)
        for home in (one, other)
        for owner in ("a" * 32, "b" * 32)
        for batch, folder in (("c" * 32, "x"), ("d" * 32, "y"))
    }
    assert len(names) == 4  # the batch and the folder don't count where there is a study
    assert examination(one, "a" * 32, None, "c" * 32, "x") != examination(one, "a" * 32, None, "c" * 32, "y")
    assert Store(one).root != Store(other).root


@pytest.mark.parametrize(
    ("name", "litter"),
    [
        ("STUDY/.DS_Store", True),
        ("__MACOSX/STUDY/LCC.dcm", True),
        ("Thumbs.db", True),
        ("DICOMDIR", True),
        ("DICOM/IM000001", False),
        ("DICOMDIR/IM000001", False),
    ],
)
def test_what_systems_leave_behind_is_told_from_pictures(name: str, litter: bool) -> None:
    assert is_litter(name) is litter


def test_the_folder_of_a_name() -> None:
    assert folder_of("a/b/c.dcm") == "a/b"
    assert folder_of("c.dcm") == ""
