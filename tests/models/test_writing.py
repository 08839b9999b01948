"""A bundle is written anew with another manifest, and the files it had."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammolens.errors import BundleInvalid
from mammolens.models.bundle import load_bundle
from mammolens.models.manifest import Calibration, Examination, Level, OperatingPoint
from mammolens.models.writing import rewrite_bundle


def section(default: str = "balanced") -> Examination:
    calibration = load_bundle().manifest.calibration
    assert calibration is not None
    points = (OperatingPoint(name="balanced", threshold=0.3, sensitivity=0.8, specificity=0.7),)
    level = Level.model_construct(
        rule="mean-logit",
        calibration=Calibration(slope=1.3, intercept=0.1, prevalence=0.3),
        operating_points=points,
        default_operating_point=default,
        auc=None,
    )
    return Examination.model_construct(views=calibration, breast=level, woman=None, protocol="by hand")


def test_examination_is_added_and_everything_else_stays(tmp_path: Path) -> None:
    before = load_bundle()
    after = load_bundle(rewrite_bundle(before, tmp_path / "made", {"examination": section()}))
    assert after.manifest.examination is not None
    assert after.manifest.examination.breast.threshold == 0.3
    assert after.manifest.model_copy(update={"examination": before.manifest.examination}) == before.manifest
    assert after.graph == before.graph
    assert after.identity.sha256 != before.identity.sha256
    again = load_bundle(rewrite_bundle(after, tmp_path / "made", {"examination": None}))
    assert again.manifest.examination is None


def test_manifest_that_breaks_a_rule_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="examination"):
        rewrite_bundle(load_bundle(), tmp_path / "made", {"examination": section("other")})
    assert not (tmp_path / "made").exists()
