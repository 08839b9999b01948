"""Pictures, breasts and women: what a figure is said of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mammolens.evaluation.calibration import apply
from mammolens.evaluation.figures import Sample
from mammolens.evaluation.metrics import by_group
from mammolens.evaluation.scores import Scores
from mammolens.models.manifest import Calibration

LEVELS = ("image", "breast", "woman")
"""From the single picture to all of a woman's."""


def sample(scores: Scores, level: str, calibration: Calibration | Mapping[int, Calibration] | None) -> Sample:
    """Gather scores at one level.

    Parameters
    ----------
    scores : Scores
    level : {"image", "breast", "woman"}
        A breast or a woman has the mean of her pictures' logits, and is malignant if one of them is.
    calibration : Calibration, mapping of int to Calibration, or None
        Makes probabilities of these logits; a mapping has one for each fold. None: the sigmoid of the logit.

    Returns
    -------
    Sample
    """
    if level == "image":
        labels, logits, first = scores.labels, scores.logits, np.arange(len(scores), dtype=np.intp)
    else:
        highest, logits, first = by_group(
            scores.labels, scores.logits, scores.breasts if level == "breast" else scores.women
        )
        labels = highest > 0.5
    return Sample(labels, logits, probabilities(logits, scores.folds[first], calibration), scores.women[first])


def probabilities(
    logits: NDArray[np.float64], folds: NDArray[np.int64], calibration: Calibration | Mapping[int, Calibration] | None
) -> NDArray[np.float64]:
    """Make probabilities of logits; see `sample`."""
    if calibration is None:
        return np.asarray(1.0 / (1.0 + np.exp(-logits)))
    if isinstance(calibration, Calibration):
        return apply(calibration, logits)
    out = np.zeros(len(logits))
    for fold, own in calibration.items():
        out[folds == fold] = apply(own, logits[folds == fold])
    return out
