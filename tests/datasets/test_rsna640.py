"""The RSNA export's table, and what a case table refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammolens.datasets import DATASETS, TERMS, Case, CaseTable
from mammolens.errors import TrainingDataError

HEADER = "file,patient_id,laterality,view,cancer,fold,machine_id,site_id,density,age\n"


def test_real_table_holds_the_counts_that_its_description_states(shared: Path) -> None:
    table = DATASETS["rsna-640"](shared / "data" / "rsna-640")
    assert len(table) == 2672
    assert sum(case.malignant for case in table) == 916
    assert len({case.woman for case in table}) == 757
    assert table.folds == (1, 2, 3, 4)
    assert all(case.path.is_file() for case in table)


def test_every_data_set_states_its_terms() -> None:
    assert set(TERMS) == set(DATASETS)


def test_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"labels\.csv"):
        DATASETS["rsna-640"](tmp_path)


def test_missing_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,patient_id\na.jpg,1\n")
    with pytest.raises(TrainingDataError, match=r'labels\.csv, row 1: the header lacks the column "laterality"'):
        DATASETS["rsna-640"](tmp_path)


def test_a_wrong_value_is_told_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(HEADER + "a.jpg,1,L,CC,0,1,2,3,,50\nb.jpg,2,R,CC,0,one,2,3,,50\n")
    with pytest.raises(TrainingDataError, match=r'labels\.csv, row 3: the column "fold"'):
        DATASETS["rsna-640"](tmp_path)


def test_a_woman_in_two_folds_is_refused(tmp_path: Path) -> None:
    rows = "a.jpg,1,L,CC,0,1,2,3,,50\nb.jpg,1,R,CC,0,2,2,3,,50\n"
    (tmp_path / "labels.csv").write_text(HEADER + rows)
    with pytest.raises(TrainingDataError, match="row 3: the woman 1 is in two folds"):
        DATASETS["rsna-640"](tmp_path)


def test_a_file_twice_and_an_empty_table_are_refused() -> None:
    case = Case(Path("a.jpg"), "1", "L", "CC", False)
    with pytest.raises(TrainingDataError, match="twice"):
        CaseTable("x", [case, case])
    with pytest.raises(TrainingDataError, match="empty"):
        CaseTable("x", [])
