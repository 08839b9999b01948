"""Calibration at a site: what is fitted, how surely, what is refused, and the bundle that comes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mammolens.errors import EvaluationError
from mammolens.evaluation import site
from mammolens.evaluation.calibration import apply
from mammolens.evaluation.operating import rates
from mammolens.evaluation.scores import Scores
from mammolens.models.bundle import CARD, GRAPH, ModelBundle, load_bundle


def cases(women: int, seed: int = 0, every: int = 3) -> Scores:
    """Two pictures a woman whose labels follow logit = 0.5 x − 1; every third woman may have a cancer."""
    random = np.random.default_rng(seed)
    logits = np.repeat(random.normal(0, 2, women), 2) + random.normal(0, 0.3, 2 * women)
    labels = np.repeat(random.random(women) < 1 / (1 + np.exp(-(0.5 * logits[::2] - 1))), 2)
    if every > 3:
        labels &= np.repeat(np.arange(women) % every == 0, 2)
    names = np.repeat([f"w{n}" for n in range(women)], 2)
    return Scores(
        labels=labels,
        logits=logits,
        women=names,
        breasts=names,
        views=np.tile(["CC", "MLO"], women),
        folds=np.zeros(2 * women, np.int64),
        files=np.array([f"{n}.png" for n in range(2 * women)]),
        probabilities=1 / (1 + np.exp(-logits)),
    )


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return load_bundle()


def test_a_known_distortion_lies_within_the_intervals_and_more_cases_narrow_them() -> None:
    few, many = (site.fit(cases(women), "labelled", "a site", draws=300) for women in (150, 1500))
    assert few.slope.low < 0.5 < few.slope.high
    assert few.intercept.low < -1.0 < few.intercept.high
    ratio = (few.slope.high - few.slope.low) / (many.slope.high - many.slope.low)
    assert ratio == pytest.approx(np.sqrt(10), rel=0.3)
    assert few.error_before is not None
    assert few.error_after.value < few.error_before.value
    for point in few.points:
        assert few.thresholds[point.name].low <= point.threshold <= few.thresholds[point.name].high


def test_steps_are_tried_with_many_cancers_alone() -> None:
    assert "isotonic" not in site.fit(cases(120), "labelled", "a site", draws=20).choice.losses
    assert "isotonic" in site.fit(cases(600), "labelled", "a site", draws=20).choice.losses


def test_too_few_women_of_a_class_are_refused_with_their_number() -> None:
    with pytest.raises(EvaluationError, match=r"There are \d+ women with cancer and \d+ without \(150 in all\)"):
        site.fit(cases(150, every=9), "labelled", "a site", draws=10)


def test_the_new_bundle_has_the_old_weights_and_says_who_calibrated_it(bundle: ModelBundle, tmp_path: Path) -> None:
    scores = cases(150)
    fitted = site.fit(scores, "labelled", "Radiology of B.", draws=50)
    made = load_bundle(site.write(bundle, scores, fitted, tmp_path / "my-site"))
    old, new = bundle.manifest, made.manifest
    assert new.name == "my-site"
    assert made.graph == bundle.graph
    assert {name: digest for name, digest in new.files.items() if name != CARD} == {
        name: digest for name, digest in old.files.items() if name != CARD
    }
    assert new.files[GRAPH] == old.files[GRAPH]
    assert new.golden == old.golden
    assert new.calibration is not None
    on = new.calibration.on
    assert on is not None
    assert (on.by, on.dataset, on.images, on.women) == ("Radiology of B.", "labelled", 300, 150)
    assert on.malignant == int(scores.labels.sum())
    p = apply(new.calibration, scores.logits)
    for point in new.operating_points:
        assert rates(scores.labels, p, point.threshold) == (point.sensitivity, point.specificity)
    assert new.evaluation is not None
    assert sum(new.evaluation.scores_malignant) == on.malignant
    assert "Radiology of B. calibrated mammolens-b0" in made.read(CARD).decode()


def test_breasts_are_judged_by_the_sites_own_calibration_where_its_cases_suffice(
    bundle: ModelBundle, tmp_path: Path
) -> None:
    few, many = cases(150), cases(400)
    assert site.fit(few, "labelled", "a site", draws=20).examination is None
    fitted = site.fit(many, "labelled", "a site", draws=20)
    assert fitted.examination is not None
    assert fitted.examination.views == fitted.calibration
    made = load_bundle(site.write(bundle, many, fitted, tmp_path / "many"))
    assert made.manifest.examination == fitted.examination
