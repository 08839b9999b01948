"""How far one model's answers lie from another's on the same real pictures."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from mammolens.evaluation.calibration import expected_calibration_error
from mammolens.evaluation.metrics import auc, bootstrap_difference
from mammolens.evaluation.resampling import Estimate


@dataclass(frozen=True, slots=True)
class Answers:
    """What one model gives for a series of pictures.

    Attributes
    ----------
    logits : ndarray of float64, shape (N,)
        As reported: calibrated where the model is.
    evidence : ndarray of float32, shape (N, h, w)
    seconds : float
        Median of a forward pass.
    """

    logits: NDArray[np.float64]
    evidence: NDArray[np.float32]
    seconds: float

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Sigmoid of the logits, shape (N,)."""
        return np.asarray(1.0 / (1.0 + np.exp(-self.logits)))


@dataclass(frozen=True, slots=True)
class Limits:
    """Most that a variant may differ from its original.

    Attributes
    ----------
    auc_loss : float
        Of the area under the ROC curve.
    auc_loss_high : float
        Of the upper end of its 95 % interval (paired, by woman).
    calibration_loss : float
        By which the expected calibration error may be larger.
    labels : float
        Least share of pictures with the same label.
    correlation : float
        Least mean correlation of the heat maps.
    pointing : float
        Least share of pictures whose hottest cell is the same or a neighbour.
    """

    auc_loss: float = 0.005
    auc_loss_high: float = 0.02
    calibration_loss: float = 0.01
    labels: float = 0.97
    correlation: float = 0.95
    pointing: float = 0.90


@dataclass(frozen=True, slots=True)
class Differences:
    """A variant against its original, on the same pictures.

    Attributes
    ----------
    pictures, malignant, women : int
        What was measured on.
    auc, auc_original : float
    auc_loss : Estimate
        Original less variant, with a 95 % interval by paired bootstrap over women.
    calibration_error, calibration_error_original : float
        Expected calibration error, 0 to 1.
    labels : float
        Share of pictures with the same label.
    logit_median, logit_largest : float
        Absolute differences.
    heat_maps : int
        Pictures that both give some heat; the next two are over these.
    correlation, correlation_low : float
        Mean, and 5th percentile, of the correlation of the two heat maps.
    pointing : float
        Share whose hottest cell is the same or a neighbour.
    speed : float
        Median time of a forward pass, as a share of the original's.
    """

    pictures: int
    malignant: int
    women: int
    auc: float
    auc_original: float
    auc_loss: Estimate
    calibration_error: float
    calibration_error_original: float
    labels: float
    logit_median: float
    logit_largest: float
    heat_maps: int
    correlation: float
    correlation_low: float
    pointing: float
    speed: float

    def misses(self, limits: Limits) -> tuple[str, ...]:
        """Limits that are not kept, in words; what could not be measured keeps none."""
        loss = self.calibration_error - self.calibration_error_original
        kept = (
            ("AUC", "loss", self.auc_loss.value, "<=", limits.auc_loss),
            ("AUC", "upper end of the loss", self.auc_loss.high, "<=", limits.auc_loss_high),
            ("calibration", "rise of the error", loss, "<=", limits.calibration_loss),
            ("labels", "share that is the same", self.labels, ">=", limits.labels),
            ("heat maps", "mean correlation", self.correlation, ">=", limits.correlation),
            ("heat maps", "share that points to the same place", self.pointing, ">=", limits.pointing),
        )
        return tuple(
            f"{what}: {name} {value:.4f}, allowed {sign} {limit:g}"
            for what, name, value, sign, limit in kept
            if not (value <= limit if sign == "<=" else value >= limit)
        )

    def record(self) -> dict[str, object]:
        """Everything, for JSON; what could not be measured is None."""
        found = {**asdict(self), "auc_loss": asdict(self.auc_loss)}
        return {name: None if value != value else value for name, value in found.items()}


def compare(
    variant: Answers,
    original: Answers,
    labels: NDArray[np.generic],
    women: NDArray[np.generic],
    threshold: float,
) -> Differences:
    """Hold a variant's answers against its original's.

    Parameters
    ----------
    variant, original : Answers
        For the same pictures, in the same order.
    labels, women : ndarray, shape (N,)
        1 is malignant; the woman of each picture.
    threshold : float
        Of the probability, for the label.

    Returns
    -------
    Differences
    """
    y = np.asarray(labels) > 0.5
    p, q = variant.probabilities, original.probabilities
    distance = np.abs(variant.logits - original.logits)
    correlations, pointing = heat_agreement(variant.evidence, original.evidence)
    return Differences(
        pictures=len(y),
        malignant=int(y.sum()),
        women=len(np.unique(women)),
        auc=auc(y, variant.logits),
        auc_original=auc(y, original.logits),
        auc_loss=bootstrap_difference(y, original.logits, variant.logits, women),
        calibration_error=expected_calibration_error(y, p),
        calibration_error_original=expected_calibration_error(y, q),
        labels=float(np.mean((p >= threshold) == (q >= threshold))),
        logit_median=float(np.median(distance)),
        logit_largest=float(distance.max()),
        heat_maps=len(correlations),
        correlation=float(np.mean(correlations)) if len(correlations) else float("nan"),
        correlation_low=float(np.percentile(correlations, 5)) if len(correlations) else float("nan"),
        pointing=float(np.mean(pointing)) if len(pointing) else float("nan"),
        speed=variant.seconds / original.seconds,
    )


def heat_agreement(
    evidence: NDArray[np.float32], others: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Compare the positive parts of two series of evidence maps.

    Parameters
    ----------
    evidence, others : ndarray of float32, shape (N, h, w)

    Returns
    -------
    correlations : ndarray of float64, shape (M,)
        Pearson's, of the pictures that both maps give some heat, and not the same
        everywhere.
    pointing : ndarray of bool, shape (M,)
        Whether the hottest cells are the same or neighbours (also diagonally).
    """
    correlations, pointing = [], []
    for a, b in zip(np.maximum(evidence, 0.0), np.maximum(others, 0.0), strict=True):
        if not (np.ptp(a) > 0.0 and np.ptp(b) > 0.0):
            continue
        correlations.append(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]))
        (ay, ax), (by, bx) = (np.unravel_index(int(m.argmax()), m.shape) for m in (a, b))
        pointing.append(max(abs(int(ay) - int(by)), abs(int(ax) - int(bx))) <= 1)
    return np.array(correlations, np.float64), np.array(pointing, np.bool_)
