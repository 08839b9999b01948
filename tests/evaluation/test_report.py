"""A whole report of generated scores: what it holds, that it is the same twice, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mammolens.datasets import Case, CaseTable
from mammolens.errors import EvaluationError
from mammolens.evaluation import card, report
from mammolens.evaluation.protocol import Protocol
from mammolens.evaluation.report import evaluate
from mammolens.evaluation.run import Request, plan, refuse_seen, subject
from mammolens.evaluation.scores import Scores, from_csv, of_cases
from mammolens.evaluation.scores_table import joined, to_csv
from mammolens.models.bundle import ModelBundle, load_bundle
from mammolens.report.evaluation import page

DRAWS = 100


def table_of(name: str = "rsna-640", women: int = 80, **more: Any) -> CaseTable:
    """Two breasts with two views each; every third woman has a cancer in one."""
    return CaseTable(
        name,
        [
            Case(
                Path(f"/data/{woman}{side}{view}.png"),
                f"w{woman}",
                side,
                view,
                woman % 3 == 0 and side == "L",
                fold=woman % 4 + 1,
                strata={"machine_id": str(woman % 2), "age": str(40 + woman % 40)},
                **more,
            )
            for woman in range(women)
            for side in "LR"
            for view in ("CC", "MLO")
        ],
    )


def scored(table: CaseTable, seed: int = 0) -> Scores:
    random = np.random.default_rng(seed)
    return of_cases(list(table), random.normal([1.2 * case.malignant - 0.8 for case in table], 1.0))


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return load_bundle()


@pytest.fixture(scope="module")
def made(bundle: ModelBundle) -> dict[str, Any]:
    table = table_of()
    scores = scored(table)
    other = replace(scores, logits=scores.logits + np.random.default_rng(5).normal(0, 1.5, len(scores)))
    request = Request("default", table, Path("data"), scores=Path("out_of_fold.csv"), compare="other.csv")
    about = subject(bundle, request, Protocol.OUT_OF_FOLD, list(table))
    return evaluate(scores, about, other=("the other", other), draws=DRAWS)


def test_the_levels_are_counted_as_the_table_has_them(made: dict[str, Any]) -> None:
    counts = {level: (found["count"], found["malignant"]) for level, found in made["levels"].items()}
    assert counts == {"image": (320, 54), "breast": (160, 27), "woman": (80, 27)}
    assert made["data"]["women_with_cancer"] == 27


def test_a_report_is_plain_json_and_the_same_twice(made: dict[str, Any], bundle: ModelBundle) -> None:
    text = json.dumps(made, allow_nan=False)
    table = table_of()
    request = Request("default", table, Path("data"), scores=Path("out_of_fold.csv"), compare="other.csv")
    scores = scored(table)
    other = replace(scores, logits=scores.logits + np.random.default_rng(5).normal(0, 1.5, len(scores)))
    about = subject(bundle, request, Protocol.OUT_OF_FOLD, list(table))
    again = evaluate(scores, about, other=("the other", other), draws=DRAWS)
    assert json.dumps(again, allow_nan=False) == text
    assert page(again) == page(made)
    assert card.write(again) == card.write(made)


def test_the_page_needs_nothing_beside_itself_and_says_research_use_once(made: dict[str, Any]) -> None:
    html = page(made)
    assert "http:" not in html
    assert "https:" not in html
    assert "<script" not in html
    assert html.count("Research use only") == 1
    assert html.count("<svg") == 8
    for found in ("Beside readers in screening", "Compared", "mammolens evaluate default rsna-640 data"):
        assert found in html
    assert "Where the model looks" not in html


def test_page_and_card_say_the_figures_of_the_json(made: dict[str, Any]) -> None:
    auc = made["levels"]["breast"]["auc"]
    assert f"{auc['value']:.3f} ({auc['low']:.3f}–{auc['high']:.3f})" in card.write(made)
    assert f'{auc["value"]:.3f} <span class="interval">{auc["low"]:.3f} to {auc["high"]:.3f}</span>' in page(made)
    assert made["reproduce"]["hashes"]["scores"] in card.write(made)


def test_the_worse_model_is_found_worse(made: dict[str, Any]) -> None:
    found = made["comparison"]["levels"]["image"]
    assert found["difference"]["low"] > 0
    assert found["p"] < 0.05
    assert found["auc"]["value"] - found["auc_other"]["value"] == pytest.approx(found["difference"]["value"])


def test_intervals_that_hold_together_are_wider(made: dict[str, Any]) -> None:
    shown = [row for row in made["subgroups"]["groups"] if row["auc"] is not None]
    assert {row["group"] for row in shown} == {"view", "machine_id", "age", "fold"}
    for row in shown:
        assert row["together"]["high"] - row["together"]["low"] > row["auc"]["high"] - row["auc"]["low"]


def test_localisation_goes_into_the_page_with_its_pictures(made: dict[str, Any]) -> None:
    figure = {"value": 0.5, "low": 0.4, "high": 0.6}
    each = {name: figure for name in ("near", "inside", "energy", "overlap")}
    each |= {"silent": 3, "froc": [{"false_regions_per_image": 0.5, **figure}]}
    found = {
        "pictures": 40,
        "with_lesion": 20,
        "women": 18,
        "left_out": 2,
        "refused": {},
        "chance": {"inside": 0.02, "near": 0.05},
        "methods": {"grad-cam": each},
        "baselines": {"centre": each},
        "sanity": {"grad-cam": {"head": figure}},
    }
    html = page({**made, "localisation": found}, [("a peak <inside>", b"\x89PNG")])
    assert 'src="data:image/png;base64,iVBORw=="' in html
    assert "a peak &lt;inside&gt;" in html
    assert "Where the map points" in card.write({**made, "localisation": found})


def test_card_says_of_how_many_networks_the_model_is(made: dict[str, Any]) -> None:
    alone, three = (card.write({**made, "model": {**made["model"], "members": count}}) for count in (1, 3))
    assert "side by side" not in alone
    assert f"3 networks {made['model']['architecture']} side by side" in three


def test_one_class_is_refused_and_so_is_all_cancers_in_one_fold(bundle: ModelBundle) -> None:
    table = table_of()
    scores = scored(table)
    about = subject(bundle, Request("default", table, Path("data")), Protocol.HELD_OUT, list(table))
    with pytest.raises(EvaluationError, match="one class"):
        evaluate(scores.part(~scores.labels), about, draws=10)
    crossed = replace(about, protocol=Protocol.OUT_OF_FOLD)
    with pytest.raises(EvaluationError, match="Without fold 2 all pictures are of one class"):
        evaluate(scores.part(~scores.labels | (scores.folds == 2)), crossed, draws=10)


def test_a_part_held_out_in_training_is_calibrated_across_itself(bundle: ModelBundle) -> None:
    table = table_of()
    about = subject(bundle, Request("default", table, Path("data")), Protocol.HELD_OUT_PART, list(table))
    found = evaluate(scored(table), about, draws=10)
    assert "five parts" in found["protocol"]["words"][0]
    assert abs(found["levels"]["image"]["calibration"]["calibration_intercept"]["value"]) < 0.1


def test_women_of_the_training_are_refused_by_the_first_of_them(bundle: ModelBundle) -> None:
    for name in ("rsna-640", "rsna-2022"):
        request = Request("default", table_of(name), Path("data"))
        with pytest.raises(EvaluationError, match="woman w0"):
            plan(bundle.manifest, request)
        with pytest.raises(EvaluationError, match="woman w0"):
            refuse_seen(bundle.manifest, request.table)
        assert plan(bundle.manifest, replace(request, seen=True))[0] is Protocol.SEEN
    assert plan(bundle.manifest, Request("default", table_of("mini-mias"), Path("data")))[0] is Protocol.HELD_OUT
    unknown = bundle.manifest.model_copy(update={"training": None})
    assert plan(unknown, Request("default", table_of(), Path("data")))[0] is Protocol.UNKNOWN


def test_of_an_official_split_the_test_part_alone_is_measured(bundle: ModelBundle) -> None:
    assert bundle.manifest.training is not None
    training = bundle.manifest.training.model_copy(update={"dataset": "cbis-ddsm"})
    manifest = bundle.manifest.model_copy(update={"training": training})
    train, test = table_of("cbis-ddsm", split="train"), table_of("cbis-ddsm", 20, split="test")
    moved = [replace(case, path=Path(f"/test/{case.path.name}")) for case in test]
    both = CaseTable("cbis-ddsm", [*(case for case in train if int(case.woman[1:]) > 17), *moved], published=True)
    protocol, cases, said = plan(manifest, Request("x", both, Path("data")))
    assert protocol is Protocol.HELD_OUT
    assert cases == moved
    assert any("2 women of the test part" in sentence and "w18" in sentence for sentence in said)


def test_a_marked_page_says_so_at_the_top(made: dict[str, Any]) -> None:
    marked = {**made, "protocol": {**made["protocol"], "kind": "seen-in-training"}}
    assert 'class="mark"' in page(marked)
    assert 'class="mark"' not in page(made)


def test_scores_read_back_as_they_were_written_and_join_their_table(tmp_path: Path) -> None:
    table = table_of()
    scores = scored(table)
    path = tmp_path / "scores.csv"
    path.write_text(to_csv(scores), encoding="utf-8")
    found = joined(from_csv(path), list(table))
    assert found.sha256 == scores.sha256
    assert found.strata["age"].tolist() == scores.strata["age"].tolist()
    inside = replace(scores, files=np.array([f"images/{name}" for name in scores.files]))
    assert joined(inside, list(table)).files.tolist() == scores.files.tolist()
    other = CaseTable("rsna-640", [replace(case, malignant=not case.malignant) for case in table])
    with pytest.raises(EvaluationError, match=r"Row 1 .* woman w0"):
        joined(from_csv(path), list(other))
    with pytest.raises(EvaluationError, match=r"Row 5 .* lacks"):
        joined(from_csv(path), list(table)[:4])


def test_the_command_says_all_that_the_figures_depend_on() -> None:
    request = Request("default", table_of(), Path("my data"), prevalence=0.01, most=20, seen=True)
    assert request.command == "mammolens evaluate default rsna-640 'my data' --prevalence 0.01 --most 20 --seen"


def test_the_hash_of_a_table_is_of_its_rows_not_of_its_place() -> None:
    table = list(table_of())
    moved = [replace(case, path=Path("/elsewhere") / case.path.name) for case in table]
    assert report.table_sha256(table) == report.table_sha256(moved)
    assert report.table_sha256(table) != report.table_sha256(table[:-1])
