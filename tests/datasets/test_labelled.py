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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\na.png\n", 'row 1: the header lacks the column "malignant"'),
        ("file,malignant\na.png,1\nb.png,yes\n", 'row 3: the column "malignant" must be one of: 0, 1'),
        ("file,malignant\na.png\n", "row 2: it has fewer fields than the header"),
        ("file,malignant\n,1\n", 'row 2: the column "file" must not be empty'),
        ("file,malignant,fold\na.png,1,first\n", 'row 2: the column "fold" must be a number'),
        ("file,malignant,laterality\na.png,1,X\n", 'row 2: the column "laterality" must be one of'),
    ],
)
def test_what_is_wrong_in_a_table_is_told_with_its_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(TrainingDataError, match=message):
        load(tmp_path)


def test_parts_folds_and_columns_of_ones_own_are_kept(tmp_path: Path) -> None:
    text = "file,malignant,woman,laterality,view,split,fold,density,vendor\na.png,1,w1,RIGHT,CC,train,2,c,X\n"
    (tmp_path / "labels.csv").write_text(text)
    (case,) = load(tmp_path)
    assert (case.laterality, case.split, case.fold, case.density) == ("R", "train", 2, "c")
    assert case.strata == {"view": "CC", "density": "c", "vendor": "X"}
    assert case.provenance == "labels.csv, row 2"


@pytest.mark.parametrize(
    ("column", "values", "message"), [("split", "train test", "both parts"), ("fold", "1 2", "two folds")]
)
def test_a_woman_in_two_parts_is_named_with_both_rows(tmp_path: Path, column: str, values: str, message: str) -> None:
    first, second = values.split()
    text = f"file,malignant,woman,{column}\na.png,1,w7,{first}\nb.png,0,w8,{first}\nc.png,0,w7,{second}\n"
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(TrainingDataError, match=f"row 4: the woman w7 is in .*{message}.*row 2"):
        load(tmp_path)


def test_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"file,malignant\n\xff\xfe,1\n")
    with pytest.raises(TrainingDataError, match="UTF-8"):
        load(tmp_path)


def test_folder_with_neither_is_refused(tmp_path: Path) -> None:
    (tmp_path / "benign").mkdir()
    with pytest.raises(TrainingDataError, match="benign and malignant"):
        load(tmp_path)
