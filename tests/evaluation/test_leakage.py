"""Metadata that predict the label: found where they do, near chance where they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mammolens.datasets import DATASETS, Case, CaseTable
from mammolens.errors import TrainingDataError
from mammolens.evaluation.leakage import attributes, metadata_leakage


def table(machines: list[str], labels: list[bool], ages: list[str] | None = None) -> CaseTable:
    """Two views of each woman."""
    cases = []
    for n, (machine, malignant) in enumerate(zip(machines, labels, strict=True)):
        strata = {"machine": machine} if ages is None else {"machine": machine, "age": ages[n]}
        cases += [Case(Path(f"{n}{view}"), f"w{n}", "L", view, malignant, strata=strata) for view in ("CC", "MLO")]
    return CaseTable("x", cases)


def test_a_machine_that_sees_most_cancers_is_found_with_the_auc_that_it_alone_has() -> None:
    # 80 of 100 cancers and 20 of 100 others come from machine A: as a score it has 0.8 · 0.8 + 0.5 · 0.32 = 0.8.
    rng = np.random.default_rng(3)
    order = rng.permutation(200)
    machines = np.array(["A"] * 80 + ["B"] * 20 + ["A"] * 20 + ["B"] * 80)[order].tolist()
    labels = np.array([True] * 100 + [False] * 100)[order].tolist()
    found = metadata_leakage(table(machines, labels))
    assert found.alone["machine"] == pytest.approx(0.8, abs=0.02)
    assert found.auc == pytest.approx(0.8, abs=0.02)
    assert found.low < 0.8 < found.high
    assert (found.images, found.women) == (400, 200)


def test_metadata_that_say_nothing_are_at_chance_over_many_tables() -> None:
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        machines = [str(n) for n in rng.integers(0, 4, 200)]
        found.append(metadata_leakage(table(machines, (rng.random(200) < 0.4).tolist())).auc)
    # An AUC of 200 women has a standard error of 0.04; the mean of twelve one of 0.012.
    assert np.mean(found) == pytest.approx(0.5, abs=0.04)


def test_a_number_is_taken_as_one_also_where_it_is_missing_for_some() -> None:
    rng = np.random.default_rng(5)
    ages = rng.integers(40, 80, 300)
    labels = (rng.random(300) < (ages - 35) / 60).tolist()
    shown = ["" if n % 10 == 0 else f"{age}.0" for n, age in enumerate(ages)]
    found = metadata_leakage(table(["A"] * 300, labels, shown))
    assert found.alone["age"] > 0.62
    assert set(found.alone) == {"age", "view"}


def test_sizes_of_the_pictures_count_as_metadata() -> None:
    made = table(["A"] * 60, [n % 2 == 0 for n in range(60)])
    sizes = {row: (4000 if case.malignant else 3000, 2000) for row, case in enumerate(made)}
    found = metadata_leakage(made, sizes)
    assert found.auc > 0.99
    assert "columns" not in attributes(made, sizes)


def test_one_class_and_too_few_women_are_refused() -> None:
    with pytest.raises(TrainingDataError, match="one label"):
        metadata_leakage(table(["A"] * 30, [True] * 30))
    with pytest.raises(TrainingDataError, match="fewer than 10 women with a malignant"):
        metadata_leakage(table(["A"] * 30, [n == 0 for n in range(30)]))


def test_on_the_rsna_export_metadata_tell_what_its_description_says(shared: Path) -> None:
    """Its README: machine and age alone have AUC 0.56 and about 0.65."""
    found = metadata_leakage(DATASETS["rsna-640"](shared / "data" / "rsna-640"))
    assert found.alone["age"] == pytest.approx(0.65, abs=0.03)
    assert found.alone["machine_id"] == pytest.approx(0.56, abs=0.03)
