"""A model with a network of two views in the web application: worker, case and assessment say what Python says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

pytest.importorskip("keras")

from mammolens.inference import Predictor
from mammolens.models.network import Network
from mammolens.web import models_in_use
from mammolens.web.access import ROLES, Actor
from mammolens.web.app import Services
from mammolens.web.cases import assessments, disagreements
from mammolens.web.cases.assessments import Finding
from mammolens.web.database.tables import Case, JobKind, Result, User
from mammolens.web.work.worker import Worker
from support.pairs import POINT, joined
from support.small import shrink


def test_case_has_the_score_of_the_network_and_keeps_its_threshold(
    home: Path,
    make_services: Callable[..., Services],
    add_images: Callable[..., list[str]],
    phantom_files: dict[str, bytes],
    random_network: Callable[..., Network],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        shrink(patch)
        joined(random_network, home / "models" / "two-views", (96, 64))
    # With the rule for breasts that the built-in bundle brings: tests of the web leave it out elsewhere.
    monkeypatch.setattr(
        models_in_use,
        "installed_manifests",
        lambda: {one.sha256: one.manifest for one in models_in_use.available() if one.manifest is not None},
    )
    services = make_services(home=home)
    with services.database.session() as session:
        use = models_in_use.switch(session, "two-views", "admin")
    contents = [phantom_files[f"{name}.dcm"] for name in ("RCC", "RMLO", "LCC")]
    add_images(services, contents)
    worker = Worker(services, "test/1", kinds=(JobKind.ANSWER,), threads=1)
    while worker.step():
        pass
    exam = Predictor.from_bundle("two-views", threads=1, pictures=3).predict_exam(contents)
    right, left = exam.breasts
    assert (right.score.rule, left.score.rule) == ("pair", "mean-logit")

    with services.database.session() as session:
        case, owner = session.scalars(select(Case)).one(), session.scalars(select(User)).one()
        shares = {(row.share_cc, row.share_mlo) for row in session.scalars(select(Result))}
        assert {view.pair.logits for breast in exam.breasts for view in breast.views if view.pair} == shares
        assert case.score == pytest.approx(exam.score.probability, abs=1e-6)
        acting = Actor(owner.id, owner.name, owner.role, owner.group_id, ROLES[owner.role])
        for side in ("R", "L"):
            assessments.write(session, acting, case, Finding(side, 1, None), use.sha256)
        compared = {row.assessment.laterality: row for row in disagreements.compared(session, acting, everything=True)}
        for breast in exam.breasts:
            found = compared[breast.laterality or ""]
            assert found.assessment.probability == pytest.approx(breast.score.probability, abs=1e-6)
            assert found.threshold == breast.score.threshold
        assert compared["R"].threshold == POINT.threshold != compared["L"].threshold
        assert compared["L"].assessment.threshold is None
