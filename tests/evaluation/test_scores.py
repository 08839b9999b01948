"""Tables of scores: what is read, what is refused and in which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mammolens.datasets import Abnormality, Case, Outline
from mammolens.errors import EvaluationError
from mammolens.evaluation import scores
from mammolens.evaluation.strata import age_band, contrast, strata_of

HEAD = "file,woman,breast,view,fold,malignant,logit,machine_id\n"
ROWS = ("a.png,w1,w1-L,CC,1,1,0.5,21\n", "b.png,w1,w1-R,MLO,1,0,-1.25,21\n", "c.png,w2,w2-L,CC,2,0,0,49\n")


def written(folder: Path, *lines: str) -> Path:
    path = folder / "scores.csv"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def test_a_table_of_training_is_read_with_every_further_column_as_a_stratum(tmp_path: Path) -> None:
    found = scores.from_csv(written(tmp_path, HEAD, *ROWS))
    assert found.labels.tolist() == [True, False, False]
    assert found.logits.tolist() == [0.5, -1.25, 0.0]
    assert found.probabilities is None
    assert found.folds.tolist() == [1, 1, 2]
    assert found.breasts.tolist() == ["w1-L", "w1-R", "w2-L"]
    assert {name: values.tolist() for name, values in found.strata.items()} == {"machine_id": ["21", "21", "49"]}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((HEAD.replace(",logit", ""), *ROWS), "lacks the columns: logit"),
        ((HEAD, *ROWS, "d.png,w3,w3-L,CC,1,1\n"), "Row 4 of the table of scores has more or fewer values"),
        ((HEAD, *ROWS, "d.png,w3,w3-L,CC,1,1,high,21\n"), "Row 4 of the table of scores: logit is no number"),
        ((HEAD, *ROWS, "d.png,w3,w3-L,CC,1,2,0.1,21\n"), "Row 4 of the table of scores: malignant is neither"),
        ((HEAD, *ROWS, "d.png,w3,w3-L,CC,1,1,nan,21\n"), "Row 4 has a score that is no number"),
        ((HEAD, *ROWS, "d.png,w2,w2-L,CC,1,1,0.1,21\n"), "Woman w2 is in two folds (row 4)"),
        ((HEAD, *ROWS, "d.png,w3,w2-L,CC,2,1,0.1,21\n"), "Breast w2-L is in two women (row 4)"),
        ((HEAD, *ROWS, ROWS[0]), "Row 4 holds a picture that stands in the scores already"),
        ((HEAD,), "No picture is scored"),
    ],
)
def test_a_wrong_table_is_refused_by_the_row_or_the_woman(tmp_path: Path, lines: tuple[str, ...], words: str) -> None:
    with pytest.raises(EvaluationError) as refused:
        scores.from_csv(written(tmp_path, *lines))
    assert words in refused.value.message


def test_one_class_and_an_empty_fold_are_refused(tmp_path: Path) -> None:
    found = scores.from_csv(written(tmp_path, HEAD, *ROWS))
    found.needs_both_classes()
    with pytest.raises(EvaluationError, match="all 2 are benign"):
        found.part(~found.labels).needs_both_classes()
    found.needs_folds((1, 2))
    with pytest.raises(EvaluationError, match="Fold 3 is empty"):
        found.needs_folds((1, 3))


def test_the_hash_is_of_what_figures_are_made_of(tmp_path: Path) -> None:
    found = scores.from_csv(written(tmp_path, HEAD, *ROWS))
    again = scores.from_csv(written(tmp_path, HEAD.replace("machine_id", "other"), *ROWS))
    assert found.sha256 == again.sha256
    changed = scores.from_csv(written(tmp_path, HEAD, ROWS[0].replace("0.5", "0.51"), *ROWS[1:]))
    assert changed.sha256 != found.sha256


@pytest.mark.parametrize(
    ("age", "band"),
    [("49.9", "< 50"), ("50", "50–59"), ("65.0", "60–69"), ("70", "≥ 70"), ("", ""), ("nan", "")],
)
def test_ages_fall_in_bands(age: str, band: str) -> None:
    assert age_band(age) == band


def case(number: int, malignant: bool, *lesions: Abnormality, **more: str) -> Case:
    return Case(Path(f"/data/{number}.png"), f"w{number}", "L", "CC", malignant, abnormalities=lesions, **more)


def test_lesions_that_decide_the_label_divide_the_pictures() -> None:
    small = Abnormality("mass", "malignant", subtlety=3, outline=Outline(circle=(0, 0, 10)))
    large = Abnormality("calcification", "benign", subtlety=5, outline=Outline(box=(0, 0, 90, 30)))
    cases = [
        case(1, True, small, large, density="b"),
        case(2, False, large),
        case(3, False),
        case(4, True, Abnormality("mass", "malignant", outline=Outline(circle=(0, 0, 20)))),
    ]
    found = strata_of(cases)
    assert found["lesion"].tolist() == ["mass", "calcification", "", "mass"]
    assert found["subtlety"].tolist() == ["3", "5", "", ""]
    assert found["density"].tolist() == ["b", "", "", ""]
    assert [name[:1] for name in found["size"]] == ["1", "3", "", "2"]  # diameters 20, 90 and 40
    labels = np.array([True, False, False, True])
    assert contrast("lesion", found["lesion"], "mass", labels).tolist() == [True, True, True, True]
    assert contrast("density", found["density"], "b", labels).tolist() == [True, False, False, False]
