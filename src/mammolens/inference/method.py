"""How scores become one: the rules, what calibrates their result, and the network of two views in a rule's place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mammolens.models.manifest import Calibration, Examination, Manifest, Pair, Rule
from mammolens.types import Notice, Score

DEFAULT_RULE: Rule = "mean-logit"
"""From views to a breast where the model brings no rule: what the breast's AUC in every manifest is measured by."""

PAIR = "pair"
"""What stands for a rule where the network of two views gave a breast's score."""

_LARGEST = 500.0

UNCALIBRATED, PER_BREAST = "uncalibrated-examination", "calibrated-per-breast"
"""Codes of what has to be said of the scores: nobody calibrated them, or only those of breasts."""

_UNCALIBRATED = Notice(
    "uncalibrated-examination",
    "The model was calibrated for single pictures at most: the scores of breast and examination rank, but are no share "
    "of cancers, and the threshold beside them is that of a picture.",
)
_PER_BREAST = Notice(
    "calibrated-per-breast",
    "The examination's score and threshold are those of its most suspicious breast; they were calibrated for a breast.",
)

_PAIR_RESTS = Notice(
    "pair-rests",
    "The model's two-view network was not calibrated together with its network of single pictures, so it gives no "
    "score here; the rule for single pictures does.",
)


def combine(rule: Rule, logits: Sequence[float]) -> float:
    """Make one logit of several.

    Parameters
    ----------
    rule : {"mean-logit", "mean-probability", "max", "noisy-or"}
        Mean of the logits (the geometric mean of the odds); logit of the mean probability; the highest; logit of
        ``1 - ∏ (1 - p)``, the probability that at least one is right if they were independent (J. Pearl,
        "Probabilistic Reasoning in Intelligent Systems", 1988, section 4.3).
    logits : sequence of float
        At least one; their order makes no difference.

    Returns
    -------
    float
    """
    if rule == "max":
        return max(logits)
    if rule == "mean-logit":
        return math.fsum(logits) / len(logits)
    # Beyond these, exp leaves the range of a double; no probability differs from 0 or 1 there.
    logits = [min(max(logit, -_LARGEST), _LARGEST) for logit in logits]
    if rule == "noisy-or":
        none = math.fsum(-_softplus(logit) for logit in logits)
        return math.log(-math.expm1(none)) - none
    mean = math.fsum(sigmoid(logit) for logit in logits)
    rest = math.fsum(sigmoid(-logit) for logit in logits)
    return math.log(mean) - math.log(rest)


@dataclass(frozen=True, slots=True)
class Combination:
    """How scores become one at a level: the rule, and the calibration and threshold of what it gives."""

    rule: Rule
    calibration: Calibration | None
    threshold: float

    def score(self, logits: Sequence[float]) -> Score:
        """Put logits together."""
        logit = combine(self.rule, logits)
        if self.calibration is not None:
            logit = float(self.calibration.logits(logit))
        return Score(sigmoid(logit), logit, self.threshold, self.rule)


@dataclass(frozen=True, slots=True)
class PairMethod:
    """How a network of two views scores a breast, and an examination with such a breast.

    Attributes
    ----------
    bias : float
        What the shares of both views lack of the logit.
    calibration : Calibration
        Of that logit.
    threshold : float
        Of a breast.
    examination : Combination or None
        From the scores of breasts. None: the examination says what its most suspicious breast says.
    notices : tuple of Notice
    """

    bias: float
    calibration: Calibration
    threshold: float
    examination: Combination | None = None
    notices: tuple[Notice, ...] = ()

    @classmethod
    def of(cls, section: Pair) -> PairMethod:
        """Take the method from a manifest's part on two views."""
        breast, woman = section.breast, section.woman
        if woman is None:
            return cls(section.bias, breast.calibration, breast.threshold, None, (_PER_BREAST,))
        examination = Combination(woman.rule, woman.calibration, woman.threshold)
        return cls(section.bias, breast.calibration, breast.threshold, examination)

    def score(self, cc: float, mlo: float) -> Score:
        """Score a breast by what its views add to the logit."""
        logit = float(self.calibration.logits(cc + mlo + self.bias))
        return Score(sigmoid(logit), logit, self.threshold, PAIR)

    def score_examination(self, breasts: Sequence[Score]) -> Score:
        """Score an examination of which this network scored a breast, by the scores of all its breasts."""
        if self.examination is not None:
            return self.examination.score([breast.logit for breast in breasts])
        return replace(max(breasts, key=lambda breast: breast.logit), rule="max")


@dataclass(frozen=True, slots=True)
class Method:
    """What a model brings for breasts and examinations.

    Attributes
    ----------
    breast, examination : Combination
        From the scores of single pictures.
    notices : tuple of Notice
        What has to be said of their scores.
    pair : PairMethod or None
        Of a breast with both views; None: the model has no network of two views.
    """

    breast: Combination
    examination: Combination
    notices: tuple[Notice, ...] = ()
    pair: PairMethod | None = None

    @classmethod
    def of(cls, manifest: Manifest) -> Method:
        """Take the method from a manifest."""
        section = manifest.examination
        if section is None or section.views != manifest.calibration:
            found = cls.unmeasured(manifest.threshold)
        else:
            found = cls._measured(section)
        if (pair := manifest.pair) is None:
            return found
        if pair.views != manifest.calibration:
            return replace(found, notices=(*found.notices, _PAIR_RESTS))
        return replace(found, pair=PairMethod.of(pair))

    @classmethod
    def unmeasured(cls, threshold: float) -> Method:
        """Give the method of a model that brings none; the threshold is that of its pictures."""
        breast = Combination(DEFAULT_RULE, None, threshold)
        return cls(breast, Combination("max", None, threshold), (_UNCALIBRATED,))

    @classmethod
    def _measured(cls, section: Examination) -> Method:
        breast = Combination(section.breast.rule, section.breast.calibration, section.breast.threshold)
        if (woman := section.woman) is None:
            return cls(breast, Combination("max", None, breast.threshold), (_PER_BREAST,))
        return cls(breast, Combination(woman.rule, woman.calibration, woman.threshold))


def sigmoid(logit: float) -> float:
    """Probability of a logit."""
    return 1.0 / (1.0 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1.0 + math.exp(logit))


def _softplus(logit: float) -> float:
    """``log (1 + exp x)``, which is ``-log (1 - p)``."""
    return max(logit, 0.0) + math.log1p(math.exp(-abs(logit)))
