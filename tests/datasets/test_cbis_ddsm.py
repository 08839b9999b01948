"""CBIS-DDSM: what comes out of the tables, by the protocol's rules."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from mammolens.datasets import DATASETS
from mammolens.datasets.cbis_tables import TABLES
from mammolens.datasets.counts import count
from mammolens.datasets.splits import by_protocol, patient_clean, shared_women
from mammolens.errors import TrainingDataError

load = DATASETS["cbis-ddsm"]

HEADER = (
    "patient_id",
    "breast density",
    "left or right breast",
    "image view",
    "abnormality id",
    "abnormality type",
    "calc type",
    "calc distribution",
    "assessment",
    "pathology",
    "subtlety",
    "image file path",
    "cropped image file path",
    "ROI mask file path",
)


def row(part: str, woman: str, side: str, view: str, number: int, pathology: str) -> list[str]:
    """One row as the tables have them: a trailing line break at the end of one of the paths."""
    kind = "calcification" if part.startswith("Calc") else "mass"
    folder = f"{part}_{woman}_{side}_{view}"
    crop = f"{folder}_{number}/1.2.{number}/1.3.{number}"
    paths = [f"{folder}/1.2.0/1.3.0/000000.dcm", f"{crop}/000001.dcm\n", f"{crop}/000000.dcm"]
    return [woman, "3", side, view, str(number), kind, "X", "Y", "4", pathology, "5", *paths]


def write(folder: Path, tables: dict[str, Sequence[Sequence[str]]], header: Sequence[str] = HEADER) -> Path:
    for name in TABLES:
        spelt = [
            column.replace(" ", "_", 1) if name.startswith("mass") and "density" in column else column
            for column in header
        ]
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([spelt, *tables.get(name, [])])
    return folder


SMALL = {
    TABLES[0]: [
        row("Mass-Training", "P_00001", "LEFT", "CC", 1, "BENIGN"),
        row("Mass-Training", "P_00002", "RIGHT", "MLO", 1, "BENIGN_WITHOUT_CALLBACK"),
        # A later row of the first picture: what makes it malignant.
        row("Mass-Training", "P_00001", "LEFT", "CC", 2, "MALIGNANT"),
    ],
    TABLES[1]: [row("Mass-Test", "P_00003", "LEFT", "CC", 1, "MALIGNANT")],
    TABLES[2]: [
        row("Calc-Training", "P_00003", "LEFT", "CC", 1, "BENIGN"),
        row("Calc-Training", "P_00001", "LEFT", "CC", 1, "BENIGN"),
    ],
}


def test_real_tables_give_the_official_counts(shared: Path) -> None:
    table = load(shared / "data" / "cbis-ddsm")
    found = count(table)
    assert (found.images, found.parts) == (3103, {"test": 645, "train": 2458})
    assert (found.twice, found.views) == (42, 3061)
    assert found.abnormalities == 3568
    assert found.pathologies == {"benign": 1429, "benign_without_callback": 682, "malignant": 1457}
    assert (found.women, found.shared) == (1566, 31)
    assert found.shared_within == {"calcification": 0, "mass": 0}


def test_real_tables_without_the_31_women_train_on_nobody_of_the_test_part(shared: Path) -> None:
    table = load(shared / "data" / "cbis-ddsm")
    clean = patient_clean(table)
    assert sum(case.split == "test" for case in clean) == 645
    # The shared women stay, in the test part alone.
    assert len({case.woman for case in clean}) == 1566
    trained = {case.woman for case in clean if case.split == "train"}
    assert not trained & set(shared_women(table))


def test_a_picture_is_malignant_if_any_of_its_rows_is(tmp_path: Path) -> None:
    table = load(write(tmp_path, SMALL))
    assert [(case.woman, case.split, case.malignant, len(case.abnormalities)) for case in table] == [
        ("P_00001", "train", True, 2),
        ("P_00002", "train", False, 1),
        ("P_00003", "test", True, 1),
        ("P_00003", "train", False, 1),
        ("P_00001", "train", False, 1),
    ]
    assert table[1].abnormalities[0].pathology == "benign_without_callback"
    assert table[0].provenance == "mass_case_description_train_set.csv, row 2"
    assert (table[0].density, table[0].laterality, table[0].strata["lesion"]) == ("c", "L", "mass")


def test_counts_tell_shared_women_and_views_that_stand_twice(tmp_path: Path) -> None:
    found = count(load(write(tmp_path, SMALL)))
    assert (found.images, found.women, found.shared, found.twice, found.views) == (5, 3, 1, 1, 4)
    assert found.shared_within == {"calcification": 0, "mass": 0}


def test_the_clean_protocol_trains_on_no_woman_of_the_test_part(tmp_path: Path) -> None:
    table = load(write(tmp_path, SMALL))
    assert by_protocol(table, "official") is table
    clean = by_protocol(table, "patient-clean")
    assert [(case.woman, case.split) for case in clean] == [
        ("P_00001", "train"),
        ("P_00002", "train"),
        ("P_00003", "test"),
        ("P_00001", "train"),
    ]
    with pytest.raises(TrainingDataError, match="official, patient-clean"):
        by_protocol(table, "mine")


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    write(tmp_path, SMALL)
    (tmp_path / TABLES[3]).unlink()
    with pytest.raises(TrainingDataError, match="calc_case_description_test_set"):
        load(tmp_path)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    tables = {name: [line[:9] + line[10:] for line in rows] for name, rows in SMALL.items()}
    write(tmp_path, tables, [column for column in HEADER if column != "pathology"])
    with pytest.raises(TrainingDataError, match=r'mass_.*train_set\.csv, row 1: .* lacks the column "pathology"'):
        load(tmp_path)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (9, "PERHAPS", r'row 4: the column "pathology" must be one of'),
        (3, "XCCL", r'row 4: the column "image view" differs'),
        (8, "seven", r'row 4: the column "assessment" must be a number from 0 to 6'),
        (10, "2.5", r'row 4: the column "subtlety" must be a whole number'),
    ],
)
def test_a_wrong_value_is_told_with_its_row(tmp_path: Path, position: int, value: str, message: str) -> None:
    rows = [list(line) for line in SMALL[TABLES[0]]]
    rows[2][position] = value
    write(tmp_path, {**SMALL, TABLES[0]: rows})
    with pytest.raises(TrainingDataError, match=message) as caught:
        load(tmp_path)
    assert "PERHAPS" not in caught.value.message
