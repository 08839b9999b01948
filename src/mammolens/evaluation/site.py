"""Calibrate a bundle on a site's own cases, with the uncertainty that their number leaves."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import EvaluationError
from mammolens.evaluation import figures
from mammolens.evaluation.calibration import METHODS, Choice, apply, choose, cross_fitted, grouped_folds
from mammolens.evaluation.curve import Curve
from mammolens.evaluation.examination import section_of
from mammolens.evaluation.figures import Sample, recalibration
from mammolens.evaluation.operating import DEFAULT, corners, operating_points
from mammolens.evaluation.record import record
from mammolens.evaluation.resampling import DRAWS, Estimate, Figures, estimates
from mammolens.evaluation.scores import Scores
from mammolens.models.bundle import CARD, ModelBundle
from mammolens.models.manifest import CalibratedOn, Calibration, Examination, Manifest, Metric, OperatingPoint
from mammolens.models.writing import write_bundle

LEAST_WOMEN = 20
"""Women of either class below whom nothing is fitted: with fewer, the slope alone is known to about a half."""

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibration and how well a site's cases determine it.

    Attributes
    ----------
    calibration : Calibration
    points : tuple of OperatingPoint
        Thresholds on the new probability, with what they gave on the same cases.
    choice : Choice
        Cross-validated loss of each method.
    slope, intercept : Estimate
        Of the network's logit by Platt scaling, with 95 % intervals over women, whatever was chosen.
    thresholds : dict of str to Estimate
        Of each operating point, as probabilities of the new calibration.
    error_before, error_after : Estimate or None
        Calibration error of the bundle as it was (None: it was not calibrated), and of the new calibration, judged
        across folds.
    examination : Examination or None
        What breasts and examinations are judged by, fitted to the same cases; None where they are too few for it.
    """

    calibration: Calibration
    points: tuple[OperatingPoint, ...]
    choice: Choice
    slope: Estimate
    intercept: Estimate
    thresholds: dict[str, Estimate]
    error_before: Estimate | None
    error_after: Estimate
    examination: Examination | None = None


def fit(scores: Scores, dataset: str, by: str, *, draws: int = DRAWS, seed: int = 0) -> Fitted:
    """Fit a calibration to a site's cases.

    Parameters
    ----------
    scores : Scores
        By the bundle; its probabilities are those before.
    dataset, by : str
        What the cases are called, and who calibrates.
    draws, seed : int
        Of the bootstrap over women.

    Returns
    -------
    Fitted

    Raises
    ------
    EvaluationError
        If fewer than `LEAST_WOMEN` women have a cancer, or have none.
    TrainingError
        If the scores do not rise with the label.
    """
    women, first = np.unique(scores.women, return_index=True)
    sick = np.isin(women, scores.women[scores.labels])
    counts = {"with": int(sick.sum()), "without": int((~sick).sum())}
    if few := [name for name, count in counts.items() if count < LEAST_WOMEN]:
        raise EvaluationError(
            f"There are {counts['with']} women with cancer and {counts['without']} without ({len(first)} in all); a "
            f"calibration needs at least {LEAST_WOMEN} of each. Collect more {few[0]} cancer; 100 to 300 cases serve."
        )
    y, x = scores.labels.astype(np.float64), scores.logits
    folds = grouped_folds(scores.women, scores.labels, FOLDS)
    choice = choose(y, x, folds)
    on = CalibratedOn(by=by, dataset=dataset, images=len(scores), women=len(women), malignant=int(scores.labels.sum()))
    calibration = METHODS[choice.method](y, x).model_copy(update={"on": on})
    slope, intercept = _line(y, x, scores.women, draws, seed)
    before = None if scores.probabilities is None else _error(scores, scores.probabilities, draws, seed)
    return Fitted(
        calibration=calibration,
        points=operating_points(scores.labels, apply(calibration, x)),
        choice=choice,
        slope=slope,
        intercept=intercept,
        thresholds=_thresholds(scores, calibration, draws, seed),
        error_before=before,
        error_after=_error(scores, cross_fitted(y, x, folds, choice.method), draws, seed),
        examination=section_of(replace(scores, folds=folds), calibration, dataset=dataset),
    )


def _line(
    y: NDArray[np.float64], x: NDArray[np.float64], women: NDArray[np.str_], draws: int, seed: int
) -> tuple[Estimate, Estimate]:
    def line(w: NDArray[np.float64]) -> Figures:
        slope, intercept = recalibration(y, x, w)
        return {"slope": slope, "intercept": intercept}

    found = estimates(line, women, draws=draws, seed=seed)
    return found["slope"], found["intercept"]


def _error(scores: Scores, p: NDArray[np.float64], draws: int, seed: int) -> Estimate:
    sample = Sample(scores.labels, scores.logits, p, scores.women)
    return figures.calibration(sample, draws=draws, seed=seed)["ece"]


def _thresholds(scores: Scores, calibration: Calibration, draws: int, seed: int) -> dict[str, Estimate]:
    p = apply(calibration, scores.logits)

    def thresholds(w: NDArray[np.float64]) -> Figures:
        curve = Curve(scores.labels, p, w)
        levels = np.append((curve.thresholds[1] + 1.0) / 2.0, curve.thresholds[1:])
        lacking = np.isnan(curve.true[:, 0])
        return {name: np.where(lacking, np.nan, levels[at]) for name, at in corners(curve).items()}

    return estimates(thresholds, scores.women, draws=draws, seed=seed)


def write(bundle: ModelBundle, scores: Scores, fitted: Fitted, out: Path) -> Path:
    """Write a bundle with the new calibration and the old weights; all of it or nothing.

    Parameters
    ----------
    bundle : ModelBundle
        The original.
    scores : Scores
        What was fitted to.
    fitted : Fitted
    out : Path
        Its folder, whose name the bundle gets where it can be one.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    OutputError
        If it can't be written there.
    """
    base, on = bundle.manifest, fitted.calibration.on
    if on is None:
        raise ValueError("a site's calibration says what it was fitted to")
    name = out.name if re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", out.name) else base.name
    protocol = (
        f"{on.images} pictures of {on.women} women of {on.dataset}, which the calibration was fitted to; by {on.by}"
    )
    evaluation = record(
        scores.labels.astype(np.float64),
        scores.logits,
        grouped_folds(scores.women, scores.labels, FOLDS),
        scores.women,
        calibration=fitted.calibration,
        strata={},
        protocol=f"{protocol}; calibration judged across {FOLDS} folds by woman",
    )
    area = figures.discrimination(Sample(scores.labels, scores.logits, None, scores.women), draws=DRAWS, seed=0)["auc"]
    here = Metric(name="AUC at the site", level="image", protocol=protocol, **_numbers(area))

    def fill(place: Path) -> None:
        for file in base.files:
            if file != CARD:
                (place / file).write_bytes(bundle.read(file))
        card = bundle.read(CARD).decode("utf-8").rstrip()
        (place / CARD).write_text(f"{card}\n\n{section(bundle, fitted)}", encoding="utf-8")

    def describe(hashes: dict[str, str]) -> Manifest:
        changes: dict[str, object] = {
            "name": name,
            "calibration": fitted.calibration,
            "operating_points": fitted.points,
            "default_operating_point": (
                base.default_operating_point if base.default_operating_point in fitted.thresholds else DEFAULT
            ),
            "metrics": (*base.metrics, here),
            "evaluation": evaluation,
            # Where there are too few cases, the original's rules stay, and answers say that they are not calibrated.
            "examination": fitted.examination or base.examination,
            "files": hashes,
        }
        return Manifest.model_validate(base.model_copy(update=changes).model_dump(by_alias=True))

    return write_bundle(out, fill, describe)


def _numbers(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def section(bundle: ModelBundle, fitted: Fitted) -> str:
    """Say in the card who calibrated the model, on what, and how surely."""
    on = fitted.calibration.on
    if on is None:
        raise ValueError("a site's calibration says what it was fitted to")
    before = "not calibrated" if fitted.error_before is None else str(fitted.error_before)
    points = "".join(
        f"| {point.name} | {fitted.thresholds[point.name]} | {point.sensitivity:.3f} | {point.specificity:.3f} |\n"
        for point in fitted.points
    )
    return (
        "## Calibrated at a site\n"
        f"{on.by} calibrated {bundle.identity.name} {bundle.identity.version} (SHA-256 `{bundle.identity.sha256}`) by "
        f"{fitted.calibration.method} on {on.images} pictures of {on.women} women of {on.dataset}, {on.malignant} "
        "pictures malignant. The weights are unchanged; probabilities and thresholds above are the original's.\n\n"
        f"- slope {fitted.slope}, intercept {fitted.intercept}\n"
        f"- calibration error before {before}, after {fitted.error_after} (across folds)\n"
        f"- probabilities hold at {100 * fitted.calibration.prevalence:.1f} % cancers\n\n"
        "| point | threshold | sensitivity | specificity |\n|---|---|---|---|\n"
        f"{points}"
    )
