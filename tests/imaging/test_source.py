"""A file's bytes come whole, and no more of them than the limit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mammolens.errors import FileMissing, TooLarge
from mammolens.imaging.limits import Limits
from mammolens.imaging.source import file_bytes


def test_a_file_comes_whole_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(250)))
    assert file_bytes(path, Limits(max_file_bytes=250)) == bytes(range(250))
    assert file_bytes(str(path), Limits()) == bytes(range(250))
    with pytest.raises(TooLarge):
        file_bytes(path, Limits(max_file_bytes=249))


@pytest.mark.skipif(sys.platform != "linux", reason="a file of Linux that holds more than its size says")
def test_a_file_that_is_longer_than_its_size_says_comes_whole_too() -> None:
    path = Path("/proc/version")
    assert path.stat().st_size == 0
    content = path.read_bytes()
    assert file_bytes(path, Limits(max_file_bytes=len(content))) == content
    with pytest.raises(TooLarge):
        file_bytes(path, Limits(max_file_bytes=len(content) - 1))


def test_what_is_no_file_is_missing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone", "\0"):
        with pytest.raises(FileMissing):
            file_bytes(path, Limits())
