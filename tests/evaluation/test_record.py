"""What a manifest keeps of an evaluation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from mammolens.evaluation import record
from mammolens.evaluation.metrics import auc
from mammolens.models.bundle import BUILT_IN, DEFAULT, load_bundle
from mammolens.models.manifest import Calibration, Evaluation


def test_area_under_the_recorded_curve_is_the_auc() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat([0.0, 1.0], 300)
    scores = random.normal(labels, 1.0)
    points = record.roc(labels, scores, np.arange(600))
    area = np.trapezoid([p.sensitivity for p in points], [p.false_positive_rate for p in points])
    assert area == pytest.approx(auc(labels, scores), abs=0.01)
    assert all(point.low <= point.sensitivity <= point.high for point in points[1:-1])


def test_scores_are_counted_in_equal_bins_with_both_ends() -> None:
    assert record.counts(np.array([0.0, 0.049, 0.05, 0.999, 1.0]))[::19] == (2, 2)
    assert sum(record.counts(np.array([0.0, 0.05, 1.0]))) == 3


def test_record_of_the_built_in_bundle_is_of_the_pictures_it_was_trained_on() -> None:
    manifest = load_bundle().manifest
    kept = manifest.evaluation
    assert kept is not None
    assert manifest.training is not None
    assert sum(kept.scores_benign) + sum(kept.scores_malignant) == manifest.training.images
    malignant = sum(kept.scores_malignant) / manifest.training.images
    assert manifest.calibration is not None
    assert malignant == pytest.approx(manifest.calibration.prevalence, abs=1e-6)


def test_bins_of_both_classes_must_be_the_same() -> None:
    kept = json.loads((BUILT_IN / DEFAULT / "manifest.json").read_text())["evaluation"]
    kept["scores_benign"] = kept["scores_benign"][1:]
    with pytest.raises(ValidationError, match="same bins"):
        Evaluation.model_validate(kept)


def test_record_gathers_counts_curve_calibration_and_subgroups() -> None:
    random = np.random.default_rng(2)
    labels = np.tile([0.0, 0.0, 1.0], 80)
    logits = random.normal(labels, 1.0)
    calibration = Calibration(slope=1.0, intercept=0.0, prevalence=1 / 3)
    strata = {"view": {"CC": {"auc": 0.7, "low": 0.6, "high": 0.8, "images": 240, "malignant": 80}}}
    made = record.record(
        labels,
        logits,
        np.arange(240) % 4,
        np.arange(240) // 2,
        calibration=calibration,
        strata=strata,
        protocol="out of fold",
    )
    served = 1 / (1 + np.exp(-logits[labels > 0.5]))
    assert made.scores_malignant == tuple(np.histogram(served, record.SCORE_BINS, (0, 1))[0])
    assert (sum(made.scores_benign), sum(made.scores_malignant)) == (160, 80)
    assert sum(part.images for part in made.calibration) == 240
    error = sum(part.images * abs(part.observed - part.predicted) for part in made.calibration) / 240
    assert made.expected_calibration_error == pytest.approx(error)
    [subgroup] = made.subgroups
    assert (subgroup.group, subgroup.value, subgroup.malignant) == ("view", "CC", 80)
