"""Figures of merit at one level, all with intervals by bootstrap over women."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.evaluation.curve import Curve
from mammolens.evaluation.resampling import DRAWS, Estimate, Figures, bootstrap, estimates, share

SPECIFICITIES = (0.889, 0.96)
"""Where the sensitivity is read: the readers' of `mammolens.evaluation.bcsc`, and a strict one."""

SENSITIVITIES = (0.869, 0.80)
"""Where the specificity is read: the readers', and the least of an acceptable reader."""

PARTIAL = 0.9
"""Least specificity of the partial area."""

BINS = 10
"""Equally filled bins of the calibration error and the reliability picture."""

BENEFIT_THRESHOLDS = np.round(np.arange(0.02, 0.801, 0.02), 2)
"""Probabilities from which a woman would be recalled, of the decision curve."""

_STEPS = 25
_SMALL = 1e-9


@dataclass(frozen=True, slots=True)
class Sample:
    """What figures are made of, at one level.

    Attributes
    ----------
    labels : ndarray, shape (N,)
        1: malignant.
    scores : ndarray of float64, shape (N,)
        What the pictures are ranked by.
    probabilities : ndarray of float64, shape (N,), or None
    women : ndarray, shape (N,)
    """

    labels: NDArray[np.bool_]
    scores: NDArray[np.float64]
    probabilities: NDArray[np.float64] | None
    women: NDArray[np.str_]


def discrimination(sample: Sample, *, draws: int = DRAWS, seed: int = 0) -> dict[str, Estimate]:
    """Give what depends on the ranks alone.

    Parameters
    ----------
    sample : Sample
    draws, seed : int

    Returns
    -------
    dict of str to Estimate
        ``auc``, ``pr_auc``, ``partial_auc`` (McClish), ``sensitivity_at_<specificity>`` and
        ``specificity_at_<sensitivity>``.
    """

    def figures(w: NDArray[np.float64]) -> Figures:
        curve = Curve(sample.labels, sample.scores, w)
        return {
            "auc": curve.area(),
            "pr_auc": curve.average_precision(),
            "partial_auc": curve.partial_area(PARTIAL),
            **{f"sensitivity_at_{level:g}": curve.sensitivity_at(level) for level in SPECIFICITIES},
            **{f"specificity_at_{level:g}": curve.specificity_at(level) for level in SENSITIVITIES},
        }

    return estimates(figures, sample.women, draws=draws, seed=seed)


def calibration(sample: Sample, *, draws: int = DRAWS, seed: int = 0) -> dict[str, Estimate]:
    """Give how well probabilities keep their promise; empty where there are none.

    Returns
    -------
    dict of str to Estimate
        ``brier``, ``log_loss``, ``calibration_slope``, ``calibration_intercept`` (in the large: with the slope held at
        1) and ``ece`` (equally filled bins, whose borders are those of all pictures in every sample).

    References
    ----------
    B. Van Calster et al., "Calibration: the Achilles heel of predictive analytics", BMC Medicine 17:230, 2019.
    """
    if sample.probabilities is None:
        return {}
    y = sample.labels.astype(np.float64)
    p = np.asarray(sample.probabilities, np.float64)
    held = np.clip(p, _SMALL, 1.0 - _SMALL)
    x = np.log(held / (1.0 - held))
    losses = np.stack([(p - y) ** 2, -np.log(np.where(sample.labels, held, 1.0 - held))], axis=1)
    members = _members(p)
    # Samples differ little from the whole: begun from its solution, a few steps lead to theirs.
    (start,), (height,) = recalibration(y, x, np.ones((1, len(y))))

    def figures(w: NDArray[np.float64]) -> Figures:
        total = w.sum(axis=1)
        lost = w @ losses / total[:, None]
        slope, _ = recalibration(y, x, w, start=(float(start), float(height)))
        return {
            "brier": lost[:, 0],
            "log_loss": lost[:, 1],
            "calibration_slope": slope,
            "calibration_intercept": recalibration(y, x, w, slope=1.0)[1],
            "ece": np.abs(w @ (members * (y - p)[:, None])).sum(axis=1) / total,
        }

    return estimates(figures, sample.women, draws=draws, seed=seed)


def _members(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Which bin each picture falls in, shape (N, bins), as `mammolens.evaluation.calibration` parts them."""
    parts = [part for part in np.array_split(np.argsort(p, kind="stable"), BINS) if len(part)]
    found = np.zeros((len(p), len(parts)))
    for number, part in enumerate(parts):
        found[part, number] = 1.0
    return found


def recalibration(
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    w: NDArray[np.float64],
    *,
    slope: float | None = None,
    start: tuple[float, float] = (0.0, 0.0),
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit logit P(y) = intercept + slope · x in many samples at once, by Newton's method.

    Parameters
    ----------
    y, x : ndarray of float64, shape (N,)
        Label and logit.
    w : ndarray of float64, shape (B, N)
        How often each picture counts.
    slope : float, optional
        Held at this; None: fitted.
    start : (float, float)
        Slope and intercept to begin from; taken as (0, 0) where they are no numbers.

    Returns
    -------
    slope, intercept : ndarray of float64, shape (B,)
        NaN where a sample has no solution (one class, or classes that do not overlap).
    """
    first, height = start if np.isfinite(start).all() else (0.0, 0.0)
    intercepts, slopes = np.full(len(w), height), np.full(len(w), first if slope is None else slope)
    steps = np.full(len(w), np.inf)
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(intercepts[:, None] + slopes[:, None] * x, -40.0, 40.0)))
        residue, curvature = w * (y - p), w * p * (1.0 - p)
        g0, h00 = residue.sum(axis=1), curvature.sum(axis=1) + 1e-12
        if slope is not None:
            change = np.clip(g0 / h00, -2.0, 2.0)
            intercepts, steps = intercepts + change, np.abs(change)
        else:
            g1, h01, h11 = residue @ x, curvature @ x, curvature @ (x * x)
            determinant = h00 * h11 - h01 * h01 + 1e-12
            change = np.clip((h11 * g0 - h01 * g1) / determinant, -2.0, 2.0)
            turn = np.clip((h00 * g1 - h01 * g0) / determinant, -2.0, 2.0)
            intercepts, slopes = intercepts + change, slopes + turn
            steps = np.maximum(np.abs(change), np.abs(turn))
        if float(steps.max()) < 1e-6:
            break
    bad = steps > 1e-4
    intercepts[bad] = slopes[bad] = np.nan
    return slopes, intercepts


def confusion(
    sample: Sample, thresholds: Mapping[str, float], *, draws: int = DRAWS, seed: int = 0
) -> list[dict[str, Any]]:
    """Give what each operating point calls malignant.

    Parameters
    ----------
    sample : Sample
        With probabilities, or the list is empty.
    thresholds : mapping of str to float
        Name and probability of each point.
    draws, seed : int

    Returns
    -------
    list of dict
        ``name``, ``threshold``, the counts ``true_positive``, ``false_negative``, ``false_positive`` and
        ``true_negative``, and as estimates ``sensitivity``, ``specificity`` and ``balanced_accuracy``.
    """
    if sample.probabilities is None:
        return []
    y, p = sample.labels, sample.probabilities
    called = np.stack([p >= threshold for threshold in thresholds.values()], axis=1)
    right = np.where(y[:, None], called, ~called).astype(np.float64)

    def figures(w: NDArray[np.float64]) -> Figures:
        with np.errstate(invalid="ignore", divide="ignore"):
            sensitivity = (w * y) @ right / (w * y).sum(axis=1, keepdims=True)
            specificity = (w * ~y) @ right / (w * ~y).sum(axis=1, keepdims=True)
        return {
            "sensitivity": sensitivity,
            "specificity": specificity,
            "balanced_accuracy": (sensitivity + specificity) / 2.0,
        }

    found = bootstrap(figures, sample.women, draws=draws, seed=seed)
    women = {"sensitivity": len(np.unique(sample.women[y])), "specificity": len(np.unique(sample.women[~y]))}
    rows = []
    for i, (name, threshold) in enumerate(thresholds.items()):
        shares = {}
        for figure, count in women.items():
            value, least, most = (float(values[i]) for values in found[figure])
            shares[figure] = share(value, least, most, count)
        mean, low, high = (float(values[i]) for values in found["balanced_accuracy"])
        if low == high == mean:
            # No sample differs: the ends of both shares say how little that means.
            low = (shares["sensitivity"].low + shares["specificity"].low) / 2.0
            high = (shares["sensitivity"].high + shares["specificity"].high) / 2.0
        rows.append(
            {
                "name": name,
                "threshold": threshold,
                "true_positive": int((called[:, i] & y).sum()),
                "false_negative": int((~called[:, i] & y).sum()),
                "false_positive": int((called[:, i] & ~y).sum()),
                "true_negative": int((~called[:, i] & ~y).sum()),
                **{figure: estimate.as_dict() for figure, estimate in shares.items()},
                "balanced_accuracy": Estimate(mean, low, high).as_dict(),
            }
        )
    return rows


def decision_curve(sample: Sample, *, draws: int = DRAWS, seed: int = 0) -> list[dict[str, Any]]:
    """Give the net benefit of recalling from each of `BENEFIT_THRESHOLDS`, beside that of recalling everybody.

    Returns
    -------
    list of dict
        ``threshold``, ``model`` (an estimate) and ``everybody``; recalling nobody has 0. Empty without probabilities.

    References
    ----------
    A. J. Vickers and E. B. Elkin, "Decision curve analysis", Medical Decision Making 26:565–574, 2006.
    """
    if sample.probabilities is None:
        return []
    y = sample.labels.astype(np.float64)
    called = (sample.probabilities[:, None] >= BENEFIT_THRESHOLDS).astype(np.float64)
    odds = BENEFIT_THRESHOLDS / (1.0 - BENEFIT_THRESHOLDS)
    gain = called * (y[:, None] - (1.0 - y[:, None]) * odds)
    found = bootstrap(
        lambda w: {"benefit": w @ gain / w.sum(axis=1, keepdims=True)}, sample.women, draws=draws, seed=seed
    )
    everybody = y.mean() - (1.0 - y.mean()) * odds
    return [
        {"threshold": float(t), "model": Estimate(float(a), float(b), float(c)).as_dict(), "everybody": float(e)}
        for t, a, b, c, e in zip(BENEFIT_THRESHOLDS, *found["benefit"], everybody, strict=True)
    ]


def reliability(sample: Sample, *, draws: int = DRAWS, seed: int = 0) -> list[dict[str, Any]]:
    """Give promised and observed frequency in equally filled bins; empty without probabilities.

    Returns
    -------
    list of dict
        ``count``, ``predicted`` and ``observed`` (an estimate), by rising probability.
    """
    if sample.probabilities is None:
        return []
    p, y = sample.probabilities, sample.labels.astype(np.float64)
    members = _members(p)

    def figures(w: NDArray[np.float64]) -> Figures:
        with np.errstate(invalid="ignore", divide="ignore"):
            return {"observed": w @ (members * y[:, None]) / (w @ members)}

    found = bootstrap(figures, sample.women, draws=draws, seed=seed)["observed"]
    sizes = members.sum(axis=0)
    promised = p @ members / sizes
    women = [len(np.unique(sample.women[column > 0])) for column in members.T]
    return [
        {"count": int(n), "predicted": float(q), "observed": share(float(a), float(b), float(c), of).as_dict()}
        for n, q, of, a, b, c in zip(sizes, promised, women, *found, strict=True)
    ]


def roc_band(sample: Sample, rates: Sequence[float], *, draws: int = DRAWS, seed: int = 0) -> list[dict[str, Any]]:
    """Give the ROC curve at some false positive rates, with the interval of the sensitivity at each."""
    at = np.asarray(rates, np.float64)
    found = bootstrap(
        lambda w: {"roc": Curve(sample.labels, sample.scores, w).sensitivities(at)},
        sample.women,
        draws=draws,
        seed=seed,
    )["roc"]
    return [
        {"false_positive_rate": float(rate), "sensitivity": Estimate(float(a), float(b), float(c)).as_dict()}
        for rate, a, b, c in zip(at, *found, strict=True)
    ]
