"""A user's own labels: a table or two folders, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammolens.datasets import DATASETS
from mammolens.errors import TrainingDataError

load = DATASETS["labelled"]


def test_table_gives_labels_and_women(tmp_path: Path) -> None:
    text = "file,malignant,woman,view\na.png,1,w1,CC\nb/c.dcm,0,w1,MLO\nd.png, 0 ,,\n"
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8-sig")
    table = load(tmp_path)
    assert [(case.path.relative_to(tmp_path).as_posix(), case.malignant, case.woman) for case in table] == [
        ("a.png", True, "w1"),
        ("b/c.dcm", False, "w1"),
        ("d.png", False, "d.png"),
    ]
    assert table[1].view == "MLO"


def test_two_folders_give_labels(tmp_path: Path) -> None:
    for name, files in (("benign", ("x.png", "y.png")), ("malignant", ("x.png",))):
        (tmp_path / name / "deeper").mkdir(parents=True)
        for file in files:
            (tmp_path / name / file).touch()
    table = load(tmp_path)
    assert [case.malignant for case in table] == [False, False, True]
    # Files of one name in both folders are two women's.
    assert len({case.woman for case in table}) == 3


@pytest.mark.parametrize("text", ["file\na.png\n", "file,malignant\na.png,yes\n", "file,malignant\na.png\n"])
def test_table_without_its_columns_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(TrainingDataError, match="malignant, the latter 0 or 1"):
        load(tmp_path)


def test_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"file,malignant\n\xff\xfe,1\n")
    with pytest.raises(TrainingDataError, match="UTF-8"):
        load(tmp_path)


def test_folder_with_neither_is_refused(tmp_path: Path) -> None:
    (tmp_path / "benign").mkdir()
    with pytest.raises(TrainingDataError, match="benign and malignant"):
        load(tmp_path)
