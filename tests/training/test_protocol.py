"""Who is fitted and who is held out: folds by woman, official parts, and the refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mammolens.datasets import Case, CaseTable
from mammolens.errors import ConfigurationError, TrainingDataError
from mammolens.training.grouping import folds_by_woman, set_aside
from mammolens.training.protocol import FINAL, Split, check, splits, training_part
from mammolens.training.sections import DataConfig

NONE = np.zeros(0, np.int64)


def case(woman: int, view: str = "CC", malignant: bool | None = None, **more: object) -> Case:
    label = woman % 3 == 0 if malignant is None else malignant
    name = f"{woman}-{view}-{more.get('split', '')}.png"
    return Case(Path(name), f"w{woman}", "L", view, label, **more)  # type: ignore[arg-type]


def data(**values: object) -> DataConfig:
    return DataConfig("t", Path("t"), **values)  # type: ignore[arg-type]


@pytest.fixture
def folded() -> CaseTable:
    """Sixteen women of two images, half of them with cancer, in four folds of the data set's own."""
    cases = [case(i, view, i // 4 % 2 == 0, fold=1 + i % 4) for i in range(16) for view in ("CC", "MLO")]
    return CaseTable("t", cases)


@pytest.fixture
def official() -> CaseTable:
    """Thirty women to train on, twenty to test on; 28 and 29 are in both, 29 with the same view."""
    train = [case(i, view, split="train") for i in range(30) for view in ("CC", "MLO")]
    test = [case(i, "CC", split="test") for i in range(29, 50)] + [case(28, "XCC", split="test")]
    return CaseTable("t", train + test, published=True)


def women(table: CaseTable, rows: np.ndarray) -> set[str]:
    return {table[row].woman for row in rows}


def test_each_fold_holds_out_its_own_women_and_the_final_fit_nobody(folded: CaseTable) -> None:
    table = training_part(folded, data())
    rows = np.delete(np.arange(32), 5)  # one image was refused: indices are into what is left
    *made, final = splits(table, rows)
    assert [split.name for split in made] == ["fold1", "fold2", "fold3", "fold4"]
    for fold, split in enumerate(made, 1):
        assert {table[rows[index]].fold for index in split.watch} == {fold}
        assert fold not in {table[rows[index]].fold for index in split.fit}
        assert sorted([*split.fit, *split.watch]) == list(range(31))
    assert (final.name, final.fit.tolist(), final.watch.tolist()) == (FINAL, list(range(31)), [])
    check(folded, table, rows, [*made, final], clean=False)


def test_made_folds_keep_women_whole_and_cancers_even() -> None:
    random = np.random.default_rng(0)
    names = [f"w{i}" for i in range(103) for _ in range(random.integers(1, 7))]
    cancers = {f"w{i}" for i in range(0, 103, 4)}
    malignant = np.array([name in cancers for name in names])
    folds = folds_by_woman(names, malignant, 5, seed=3)
    assert {folds[[name == woman for name in names]].size for woman in set(names)} != {0}
    assert all(len(set(folds[np.array(names) == woman])) == 1 for woman in set(names))
    images = np.bincount(folds)[1:]
    positive = np.bincount(folds, weights=malignant)[1:]
    assert np.ptp(positive) <= 6  # no woman has more images than that
    assert np.ptp(images - positive) <= 6
    order = random.permutation(len(names))
    again = folds_by_woman([names[i] for i in order], malignant[order], 5, seed=3)
    np.testing.assert_array_equal(again, folds[order])
    assert not np.array_equal(folds_by_woman(names, malignant, 5, seed=4), folds)


def test_a_part_set_aside_has_its_share_of_either_kind_of_woman() -> None:
    names = [f"w{i}" for i in range(100) for _ in "ab"]
    malignant = np.array([int(name[1:]) < 20 for name in names])
    aside = set_aside(names, malignant, 0.25, seed=1)
    assert aside.sum() == 50
    assert (aside & malignant).sum() == 10
    with pytest.raises(TrainingDataError, match="1 women with a malignant image"):
        set_aside(["a", "b", "c"], np.array([True, False, False]), 0.5, seed=1)


def test_a_data_set_without_folds_gets_them_when_asked(folded: CaseTable) -> None:
    bare = CaseTable("t", [replace(case, fold=None) for case in folded])
    with pytest.raises(ConfigurationError, match=r"\[data\] folds"):
        training_part(bare, data())
    assert training_part(bare, data(folds=4)).folds == (1, 2, 3, 4)
    with pytest.raises(TrainingDataError, match="8 women with a malignant image: too few for 9 folds"):
        training_part(bare, data(folds=9))


def test_official_protocol_never_holds_a_picture_of_the_test_part(official: CaseTable) -> None:
    table = training_part(official, data(protocol="official"))
    assert {case.split for case in table} == {"train"}
    # By hand: 60 images less the one view of woman 29 that is in both parts.
    assert len(table) == 59
    rows = np.arange(len(table))
    fold, final = splits(table, rows)
    # A fifth of the 10 women with cancer and of the 20 without.
    assert len(women(table, rows[fold.watch])) == 6
    check(official, table, rows, [fold, final], clean=False)


def test_patient_clean_protocol_takes_out_women_of_both_parts(official: CaseTable) -> None:
    table = training_part(official, data(protocol="patient-clean"))
    assert {case.woman for case in table} == {f"w{i}" for i in range(28)}
    rows = np.arange(len(table))
    check(official, table, rows, splits(table, rows), clean=True)


def test_folds_may_be_made_within_the_official_training_part(official: CaseTable) -> None:
    table = training_part(official, data(protocol="patient-clean", folds=3))
    assert table.folds == (1, 2, 3)
    assert len(splits(table, np.arange(len(table)))) == 4


def test_run_that_would_train_on_the_test_part_is_refused_with_her_name(official: CaseTable) -> None:
    with pytest.raises(ConfigurationError, match="woman w29"):
        training_part(official, data())
    with pytest.raises(ConfigurationError, match="no official"):
        training_part(CaseTable("t", [case(1)]), data(protocol="official"))
    rows, every = np.arange(len(official)), [Split("fold1", np.arange(50), np.arange(50, 60))]
    with pytest.raises(TrainingDataError, match=r"image of woman w29 .*official test part"):
        check(official, official, rows, every, clean=False)
    part = training_part(official, data(protocol="official"))
    with pytest.raises(TrainingDataError, match="Woman w28 is in the fitted part and in the test part"):
        check(official, part, np.arange(len(part)), splits(part, np.arange(len(part))), clean=True)


def test_woman_in_two_parts_is_refused_with_her_name_and_row(folded: CaseTable) -> None:
    table = CaseTable("t", [replace(case, provenance=f"labels.csv line {2 + i}") for i, case in enumerate(folded)])
    rows = np.arange(32)
    torn = Split("fold1", rows[:17], rows[17:])
    with pytest.raises(TrainingDataError, match=r"Woman w8 \(labels.csv line 19\) is in the fitted and .*held-out"):
        check(table, table, rows, [torn], clean=False)
    torn = Split("fold1", rows[:10], rows[20:], rows[9:20])
    with pytest.raises(TrainingDataError, match=r"Woman w4 .*stopping part of fold1"):
        check(table, table, rows, [torn], clean=False)


@pytest.mark.parametrize(
    ("split", "named"),
    [
        (Split("fold1", NONE, np.arange(32)), "fitted part of fold1 holds no image"),
        (Split("fold1", np.arange(32), NONE), "held-out part of fold1 holds no image"),
        (Split("fold1", np.arange(8, 32), np.arange(8)), "held-out .* malignant images alone, .* of woman w0"),
        (Split("fold1", np.arange(8, 16), np.arange(16, 32)), "fitted .* benign images alone, .* of woman w4"),
    ],
)
def test_empty_part_and_part_of_one_class_are_refused(folded: CaseTable, split: Split, named: str) -> None:
    with pytest.raises(TrainingDataError, match=named):
        check(folded, folded, np.arange(32), [split], clean=False)


def test_data_set_of_one_class_is_refused_before_anything_is_read() -> None:
    table = CaseTable("t", [case(i, malignant=False, fold=i) for i in range(4)])
    with pytest.raises(TrainingDataError, match="benign images alone"):
        training_part(table, data())


def test_women_that_stop_a_fit_are_neither_fitted_nor_held_out(folded: CaseTable) -> None:
    rows = np.arange(32)
    made = splits(folded, rows, stop_share=0.3, seed=1)
    check(folded, folded, rows, made, clean=False)
    for split in made:
        # By hand: three tenths of the six (final: eight) women of either kind that are not held out.
        assert len(women(folded, split.stop)) == 4
        assert len(women(folded, split.fit)) == (8 if split.name != FINAL else 12)
