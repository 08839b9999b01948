"""The report of a bundle beside readers' figures, and agreement with readers."""

from __future__ import annotations

import pytest

from mammolens.models.bundle import load_bundle
from mammolens.models.manifest import Manifest
from mammolens.web.evidence import bundle_report
from mammolens.web.evidence.agreement import Agreement


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_bundle().manifest


def test_built_in_bundle_stands_as_its_card_says(manifest: Manifest) -> None:
    report = bundle_report.report(manifest)
    assert {area.level: round(area.value, 3) for area in report.areas} == {
        "image": 0.7,
        "breast": 0.715,
        "woman": 0.717,
    }
    machines = {part.value: part for part in report.subgroups["machine_id"]}
    assert (machines["49"].images, machines["49"].malignant, round(machines["49"].auc or 0, 3)) == (1213, 504, 0.680)
    assert machines["210"].auc is None


def test_sensitivity_at_the_readers_specificity_fits_the_operating_point_measured_there(manifest: Manifest) -> None:
    at = bundle_report.report(manifest).at_readers
    assert at is not None
    # The bundle's point of 88.9 % specificity was measured apart from the curve.
    point = next(point for point in manifest.operating_points if point.name == "specificity-89")
    assert at.sensitivity == pytest.approx(point.sensitivity, abs=0.01)
    assert at.low < at.sensitivity < at.high


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "acceptable"),
    [
        (0.80, 0.85, True),
        (0.869, 0.889, True),
        (0.80, 0.84, False),
        (0.76, 0.88, True),
        (0.76, 0.86, False),
        (0.7, 0.9, False),
    ],
)
def test_a_point_is_acceptable_as_a_reader_would_be(
    manifest: Manifest, sensitivity: float, specificity: float, acceptable: bool
) -> None:
    point = manifest.default_point.model_copy(update={"sensitivity": sensitivity, "specificity": specificity})
    changed = manifest.model_copy(update={"operating_points": (point,)})
    assert bundle_report.report(changed).points[0].acceptable is acceptable


def test_what_was_never_measured_is_told_as_such(manifest: Manifest) -> None:
    point = manifest.default_point.model_copy(update={"sensitivity": None, "specificity": None})
    bare = manifest.model_copy(update={"operating_points": (point,), "metrics": (), "evaluation": None})
    report = bundle_report.report(bare)
    assert report.points[0].acceptable is None
    assert report.at_readers is None
    assert report.areas == ()
    assert report.subgroups == {}


def test_kappa_is_that_of_a_hand_worked_table() -> None:
    # 20 / 5 / 10 / 15 of 50: agreement 0.7, by chance 0.5 × 0.6 + 0.5 × 0.4 = 0.5, kappa 0.4 (a textbook table).
    found = Agreement(20, 5, 10, 15, 0, 0, 0, ())
    assert found.breasts == 50
    assert found.share == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)


def test_agreement_of_nothing_is_not_defined() -> None:
    assert Agreement(0, 0, 0, 0, 3, 0, 0, ()).kappa is None
    assert Agreement(0, 0, 0, 9, 0, 0, 0, ()).kappa is None
