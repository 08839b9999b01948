"""The evaluation page: what is known of the model in use, and what it does here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Flask, render_template
from flask_babel import format_date
from flask_babel import gettext as _

from mammolens.evaluation import bcsc
from mammolens.models.manifest import Evaluation, Manifest
from mammolens.report import charts
from mammolens.web import models_in_use
from mammolens.web.access import Actor, Permission, actor, allow
from mammolens.web.app import reading
from mammolens.web.database.columns import now
from mammolens.web.database.tables import ImageState
from mammolens.web.evidence import bundle_report, drift
from mammolens.web.evidence.agreement import agreement
from mammolens.web.wording import words

pages = Blueprint("evaluation", __name__)


@pages.get("/evaluation")
@allow(Permission.VIEW)
def index() -> str:
    """Show what the bundle in use says of itself, and what happens in the cases that who asks may see."""
    use = models_in_use.current(reading())
    manifest = models_in_use.manifest_of(use)
    report = None if manifest is None else bundle_report.report(manifest)
    return render_template(
        "evaluation/index.html",
        use=use,
        manifest=manifest,
        report=report,
        readers=(bcsc.BENCHMARK.sensitivity, bcsc.BENCHMARK.specificity),
        roc=None if manifest is None or report is None else _roc(manifest, report),
        reliability=None if manifest is None or manifest.evaluation is None else _reliability(manifest.evaluation),
        **_live(actor(), use.sha256, manifest),
    )


def register(app: Flask) -> None:
    """Add the page to the application."""
    app.register_blueprint(pages)


def _roc(manifest: Manifest, report: bundle_report.Report) -> charts.Chart:
    curve = () if manifest.evaluation is None else manifest.evaluation.roc
    marks = [
        ("point", 1.0 - found.point.specificity, found.point.sensitivity, found.point.name)
        for found in report.points
        if found.point.sensitivity is not None and found.point.specificity is not None
    ]
    readers = (1.0 - bcsc.BENCHMARK.specificity, bcsc.BENCHMARK.sensitivity)
    marks.append(("readers", *readers, _("readers in screening")))
    return charts.roc([(p.false_positive_rate, p.sensitivity, p.low, p.high) for p in curve], marks)


def _reliability(evaluation: Evaluation) -> charts.Chart:
    return charts.reliability(
        [
            (
                part.predicted,
                part.observed,
                _(
                    "promised %(promised)s, seen %(seen)s, %(images)s pictures",
                    promised=f"{part.predicted:.2f}",
                    seen=f"{part.observed:.2f}",
                    images=part.images,
                ),
            )
            for part in evaluation.calibration
        ]
    )


def _live(asking: Actor, model_sha256: str, manifest: Manifest | None) -> dict[str, Any]:
    """Gather what happens here, with its charts."""
    session, moment = reading(), now()
    days = drift.volume(session, asking, moment)
    evaluation = None if manifest is None else manifest.evaluation
    scores = drift.scores(session, asking, model_sha256, evaluation, moment)
    threshold = 0.5 if manifest is None else manifest.threshold
    against = scores.trained or scores.earlier
    here = _shares(scores.here)
    return {
        "days": days,
        "volume": _volume(days),
        "span": drift.DAYS,
        "fewest": drift.FEWEST,
        "refusals": [
            (words(code), state is ImageState.REFUSED, count)
            for code, state, count in drift.refusals(session, asking, moment)
        ],
        "scores": scores,
        "distribution": charts.distributions(here, _shares(against), threshold, _bin_words(scores.here)),
        "bins": _bins(scores),
        "weeks": charts.quartiles([(_day(week.monday), week.quartiles) for week in scores.weeks], threshold),
        "verdicts": [
            (
                _("the pictures that the model was measured on"),
                scores.against_training,
                _verdict(scores.against_training),
            ),
            (_("the pictures answered here before"), scores.against_earlier, _verdict(scores.against_earlier)),
        ],
        "agreement": agreement(session, asking),
    }


def _volume(days: Sequence[drift.Day]) -> charts.Chart:
    made = []
    for day in days:
        name = _day(day.day)
        parts = (
            ("answered", day.answered, _("answered")),
            ("refused", day.refused, _("refused")),
            ("failed", day.failed, _("failed")),
            ("open", day.open, _("waiting")),
        )
        made.append((name, [(kind, count, f"{name}: {count} {text}") for kind, count, text in parts]))
    return charts.stacks(made)


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [count / total for count in counts] if total else []


def _bin_words(counts: Sequence[int]) -> list[str]:
    if not sum(counts):
        return []
    size = len(counts)
    return [f"{n / size:.2f} – {(n + 1) / size:.2f}: {count}" for n, count in enumerate(counts)]


def _bins(scores: drift.Scores) -> list[tuple[str, int, int, int | None]]:
    """Rows of the table of scores: bin, here, here before, where the model was measured."""
    size = len(scores.here)
    trained: Sequence[int | None] = scores.trained or [None] * size
    return [
        (f"{n / size:.2f} – {(n + 1) / size:.2f}", count, before, was)
        for n, (count, before, was) in enumerate(zip(scores.here, scores.earlier, trained, strict=True))
    ]


def _verdict(index: float | None) -> str:
    if index is None:
        return str(_("too few scores to tell"))
    if index < drift.STABLE:
        return str(_("alike"))
    return str(_("somewhat different") if index < drift.SHIFTED else _("different"))


def _day(day: dt.date) -> str:
    return str(format_date(day, "d MMM"))
