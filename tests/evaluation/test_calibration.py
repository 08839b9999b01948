"""Temperature, Platt and isotonic calibration, and the choice between them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from mammolens.errors import EvaluationError, TrainingError
from mammolens.evaluation import calibration
from mammolens.models.bundle import load_bundle
from mammolens.models.manifest import CalibratedOn, Calibration


def drawn(count: int, chance: object, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, count)
    return (random.random(count) < chance(logits)).astype(float), logits  # type: ignore[operator]


def sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-z)))


def test_temperature_equals_a_regression_without_intercept() -> None:
    labels, logits = drawn(800, lambda z: sigmoid(0.4 * z))
    fitted = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(logits[:, None], labels)
    found = calibration.temperature(labels, logits)
    assert found.slope == pytest.approx(fitted.coef_[0, 0], abs=1e-4)
    assert found.intercept == 0.0


def test_isotonic_knots_are_the_steps_that_scikit_learn_finds() -> None:
    labels, logits = drawn(300, lambda z: sigmoid(z) * 0.8)
    reference = IsotonicRegression().fit(logits, labels).predict(logits)
    found = calibration.isotonic(labels, logits)
    assert found.knots is not None
    steps = np.unique(reference)
    assert len(found.knots) == len(steps)
    for (centre, height), step in zip(found.knots, steps, strict=True):
        members = logits[reference == step]
        assert centre == pytest.approx(members.mean())
        assert height == pytest.approx(min(max(step, 1 / 302), 301 / 302))


def test_pictures_of_one_score_are_one_step() -> None:
    found = calibration.isotonic(np.array([0, 1, 0, 1, 1, 1.0]), np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0]))
    assert found.knots == ((0.0, 0.5), (1.0, pytest.approx(7 / 8)))


def test_isotonic_is_linear_between_knots_and_level_beyond() -> None:
    made = Calibration(
        method="isotonic", slope=1.0, intercept=0.0, prevalence=0.3, knots=((-1.0, 0.1), (1.0, 0.5), (2.0, 0.9))
    )
    found = calibration.apply(made, np.array([-9.0, -1.0, 0.0, 1.5, 7.0]))
    assert found == pytest.approx([0.1, 0.1, 0.3, 0.7, 0.9])


def test_the_manifest_calibrates_by_the_one_function() -> None:
    manifest = load_bundle().manifest
    old = manifest.calibration
    assert old is not None
    assert (old.method, old.knots, old.on) == ("platt", None, None)
    assert manifest.calibrated(0.7) == old.slope * 0.7 + old.intercept
    bent = Calibration(method="isotonic", slope=1.0, intercept=0.0, prevalence=0.3, knots=((0.0, 0.2), (1.0, 0.8)))
    changed = manifest.model_copy(update={"calibration": bent})
    assert sigmoid(np.array(changed.calibrated(0.5))) == pytest.approx(0.5)
    assert type(changed.calibrated(0.5)) is float


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "isotonic"},
        {"method": "platt", "knots": ((0.0, 0.2), (1.0, 0.8))},
        {"method": "temperature", "intercept": 0.5},
        {"method": "isotonic", "knots": ((0.0, 0.2), (1.0, 0.1))},
        {"method": "isotonic", "knots": ((0.0, 0.2), (0.0, 0.3))},
        {"method": "isotonic", "knots": ((0.0, 0.0), (1.0, 0.3))},
        {"method": "isotonic", "knots": ()},
    ],
)
def test_a_calibration_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Calibration.model_validate({"slope": 1.0, "intercept": 0.0, "prevalence": 0.3, **wrong})


def test_a_calibration_says_who_made_it_on_what_and_reads_back() -> None:
    on = CalibratedOn(by="A site", dataset="labelled", images=120, women=60, malignant=40)
    made = Calibration(slope=1.0, intercept=-0.5, prevalence=1 / 3, on=on)
    assert Calibration.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("chance", "method"),
    [
        (lambda z: sigmoid(0.6 * z), "temperature"),
        (lambda z: sigmoid(0.6 * z - 1.5), "platt"),
        (lambda z: np.where(z > 1.0, 0.9, np.where(z > -1.0, 0.3, 0.25)), "isotonic"),
    ],
)
def test_the_way_that_fits_is_chosen(chance: object, method: str) -> None:
    labels, logits = drawn(6000, chance)
    found = calibration.choose(labels, logits, np.arange(6000) % 5)
    assert found.method == method
    assert found.losses[method] == min(found.losses.values())


def test_choice_is_judged_on_folds_it_has_not_seen() -> None:
    labels, logits = drawn(900, lambda z: sigmoid(0.5 * z - 1))
    folds = np.arange(900) % 3
    before = calibration.cross_fitted(labels, logits, folds, None)
    changed = np.where((folds == 0) & (np.arange(900) < 60), 1 - labels, labels)
    after = calibration.cross_fitted(changed, logits, folds, None)
    np.testing.assert_array_equal(before[folds == 0], after[folds == 0])
    assert not np.allclose(before[folds == 1], after[folds == 1])
    with pytest.raises(EvaluationError, match="needs more"):
        calibration.cross_fitted(labels, logits, folds % 2, None)


def test_scores_that_fall_with_the_label_are_chosen_nothing_for() -> None:
    labels, logits = drawn(400, lambda z: sigmoid(-2 * z))
    with pytest.raises(TrainingError, match="do not rise"):
        calibration.choose(labels, logits, np.arange(400) % 4)


def test_folds_keep_a_woman_whole_and_cancers_even() -> None:
    women = np.array([f"w{n // 3}" for n in range(300)])
    labels = np.array([n // 3 % 4 == 0 for n in range(300)])
    folds = calibration.grouped_folds(women, labels, 5)
    assert all(len(set(folds[women == name])) == 1 for name in np.unique(women))
    assert [int(labels[folds == k].sum()) for k in range(1, 6)] == [15] * 5
