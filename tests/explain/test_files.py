"""Names from outside stay inside the folder, and a file appears whole or not at all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammolens.errors import OutputError
from mammolens.explain.files import safe_stem, write_file

HOSTILE = [
    "..",
    ".",
    "",
    "/",
    "../../etc/passwd",
    "a/b",
    "a\\b",
    "nul",
    "CON.txt",
    "\x00",
    "a\nb",
    "-rf",
    "C:x",
    "~",
    "\udcff",
    "é" * 400,
]


@pytest.mark.parametrize("stem", ["case_1", "P_00001.LEFT-CC", "乳腺", "1.2.840.113619"])
def test_an_honest_stem_stays_as_it_is(stem: str) -> None:
    assert safe_stem(stem) == stem


@pytest.mark.parametrize("stem", HOSTILE)
def test_a_hostile_stem_names_a_file_inside_the_folder(stem: str, tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    written = write_file(folder, f"{safe_stem(stem)}.overlay.png", b"x")
    assert written.resolve().parent == folder.resolve()
    assert [p.name for p in folder.iterdir()] == [written.name]
    assert [p.name for p in tmp_path.iterdir()] == ["inner"]


def test_hostile_stems_stay_different() -> None:
    assert len({safe_stem(stem) for stem in HOSTILE}) == len(HOSTILE)
    assert safe_stem("a/b") != safe_stem("a_b")


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_gives_a_plain_name(stem: str) -> None:
    safe = safe_stem(stem)
    assert re.fullmatch(r"[\w.-]+", safe)
    assert 1 <= len(safe.encode("utf-8")) <= 120
    assert safe[0] not in ".-"
    assert safe == safe_stem(stem)


def test_a_link_in_the_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("precious")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.png").symlink_to(outside)
    write_file(folder, "a.png", b"picture")
    assert outside.read_text() == "precious"
    assert not (folder / "a.png").is_symlink()
    assert (folder / "a.png").read_bytes() == b"picture"


def test_a_folder_that_is_a_file_is_refused_without_naming_it(tmp_path: Path) -> None:
    (tmp_path / "secret-name").write_text("")
    with pytest.raises(OutputError) as caught:
        write_file(tmp_path / "secret-name", "a.png", b"x")
    assert "secret-name" not in str(caught.value)


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OutputError):
        write_file(tmp_path, "a.png", b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
