"""Which rule makes a breast's score of its views and a woman's of her breasts, and how well the result is calibrated.

Everything is measured out of fold: the scores given are by models that saw none of the woman, and whatever is fitted
or chosen here (the views' calibration, the rule, the level's calibration) comes from the other folds than the one that
is judged. The figure of a level is therefore that of the whole procedure, the choice included, and no rule is chosen
by the figure that is told for it.

A woman is judged only where both her breasts are among the scores: in data that hold one breast of each woman with
cancer and both of the others (``rsna-640``), a rule such as "max" would be judged by how many breasts a woman has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import EvaluationError
from mammolens.evaluation.calibration import METHODS, expected_calibration_error, platt
from mammolens.evaluation.metrics import auc, bootstrap_auc, bootstrap_difference
from mammolens.evaluation.operating import DEFAULT, operating_points
from mammolens.evaluation.resampling import Estimate
from mammolens.evaluation.scores import Scores
from mammolens.inference.examination import Picture, combine, view_logits
from mammolens.models.manifest import Calibration, Examination, Level, Metric, Rule

RULES: tuple[Rule, ...] = get_args(Rule)

REFERENCE: dict[str, Rule] = {"breast": "mean-logit", "woman": "max"}
"""What other rules are held against, and what is taken of equal ones."""

FEWEST = 50
"""Women with cancer, and without, that a woman's level is fitted on; below, it is measured only."""


_DRAWS_OF_A_CHOICE = 500


@dataclass(frozen=True, slots=True)
class Units:
    """Breasts or women, with the logits that a rule makes one of.

    Attributes
    ----------
    labels : ndarray of bool, shape (U,)
    women : ndarray of str, shape (U,)
    folds : ndarray of int64, shape (U,)
    parts : tuple of tuple of float
        Logits of each one's views, or breasts.
    """

    labels: NDArray[np.bool_]
    women: NDArray[np.str_]
    folds: NDArray[np.int64]
    parts: tuple[tuple[float, ...], ...]

    def combined(self, rule: Rule) -> NDArray[np.float64]:
        """One logit of each, shape (U,)."""
        return np.array([combine(rule, part) for part in self.parts], np.float64)

    def part(self, rows: NDArray[Any]) -> Units:
        """Give some of them; ``rows`` is a mask."""
        chosen = np.flatnonzero(rows)
        return Units(self.labels[chosen], self.women[chosen], self.folds[chosen], tuple(self.parts[i] for i in chosen))


@dataclass(frozen=True, slots=True)
class Compared:
    """One rule at one level: its AUC, and by how much that is higher than the reference's (paired, over women)."""

    rule: Rule
    auc: Estimate
    gain: Estimate


@dataclass(frozen=True, slots=True)
class LevelFigures:
    """What was measured at a level.

    Attributes
    ----------
    level : {"breast", "woman"}
    units, malignant : int
    rules : tuple of Compared
    nested : Estimate or None
        AUC of the whole procedure; None where a part of the data lacks a class.
    calibration_error, brier : float or None
        Of the nested probabilities.
    chosen : dict of int to str
        Rule that the other folds chose, by fold.
    """

    level: str
    units: int
    malignant: int
    rules: tuple[Compared, ...]
    nested: Estimate | None
    calibration_error: float | None
    brier: float | None
    chosen: dict[int, str]

    def as_dict(self) -> dict[str, object]:
        """Give everything for JSON."""
        return {
            "level": self.level,
            "units": self.units,
            "malignant": self.malignant,
            "rules": {found.rule: {"auc": _plain(found.auc), "gain": _plain(found.gain)} for found in self.rules},
            "nested": None if self.nested is None else _plain(self.nested),
            "calibration_error": self.calibration_error,
            "brier": self.brier,
            "chosen": {str(fold): rule for fold, rule in self.chosen.items()},
        }


@dataclass(frozen=True, slots=True)
class Fitted:
    """The part of a manifest, and what it rests on."""

    section: Examination
    breast: LevelFigures
    woman: LevelFigures | None


def breasts(scores: Scores, views: Calibration) -> Units:
    """Make breasts of scored pictures.

    Parameters
    ----------
    scores : Scores
    views : Calibration
        Of the pictures.

    Returns
    -------
    Units
        In the order of their names; malignant where any picture is. Doubled views are averaged and other views than
        CC and MLO left out, as `mammolens.inference.examination` does.
    """
    logits = views.logits(scores.logits)
    names, first, index = np.unique(scores.breasts, return_index=True, return_inverse=True)
    rows: list[list[int]] = [[] for _ in names]
    for row, breast in enumerate(index):
        rows[breast].append(row)
    parts = tuple(
        tuple(view_logits([Picture("L", str(scores.views[row]) or None, (), float(logits[row])) for row in found]))
        for found in rows
    )
    labels = np.array([bool(scores.labels[found].any()) for found in rows])
    return Units(labels, scores.women[first], scores.folds[first], parts)


def women(units: Units, logits: NDArray[np.float64]) -> Units:
    """Make women of breasts: those with both.

    Parameters
    ----------
    units : Units
        Breasts.
    logits : ndarray of float64, shape (U,)
        Calibrated, of each breast.

    Returns
    -------
    Units
    """
    rows: dict[str, list[int]] = {}
    for row, woman in enumerate(units.women):
        rows.setdefault(str(woman), []).append(row)
    both = [found for found in rows.values() if len(found) == 2]
    first = [found[0] for found in both]
    labels = np.array([bool(units.labels[found].any()) for found in both], np.bool_)
    parts = tuple(tuple(float(logits[row]) for row in found) for found in both)
    return Units(labels, units.women[first], units.folds[first], parts)


def choose(units: Units, reference: Rule) -> Rule:
    """Choose the rule of the highest AUC where it is surely better than the reference, else the reference.

    Surely: the paired 95 % interval of the gain, over women, lies above 0. Rules differ little, and the reference means
    the same for one view as for two; noisy-or's calibration holds for the number of views that it was fitted to.
    """
    best = max(RULES, key=lambda rule: (auc(units.labels, units.combined(rule)), rule == reference))
    if best == reference:
        return reference
    logits, against = units.combined(best), units.combined(reference)
    gain = bootstrap_difference(units.labels, logits, against, units.women, draws=_DRAWS_OF_A_CHOICE)
    return best if gain.low > 0.0 else reference


def fit(scores: Scores, views: Calibration, *, dataset: str = "", draws: int = 2000) -> Fitted:
    """Choose the rules, calibrate the levels, and measure the procedure out of fold.

    Parameters
    ----------
    scores : Scores
        Out of fold, of two folds or more.
    views : Calibration
        That the bundle has for pictures; its method is fitted anew within each part.
    dataset : str
        Named in the protocol.
    draws : int
        Bootstrap samples.

    Returns
    -------
    Fitted

    Raises
    ------
    EvaluationError
        If there are fewer than two folds, or one leaves a class out.
    TrainingError
        If the scores don't rise with the label.
    """
    scores.needs_both_classes()
    folds = [int(fold) for fold in np.unique(scores.folds)]
    if len(folds) < 2:
        raise EvaluationError("The scores are of one fold; a rule is chosen on other folds than it is judged on.")
    all_breasts = breasts(scores, views)
    rule = choose(all_breasts, REFERENCE["breast"])
    combined = all_breasts.combined(rule)
    calibration = platt(all_breasts.labels, combined)
    pairs = women(all_breasts, calibration.logits(combined))
    nested = _nested(scores, views.method, folds)
    breast = _figures("breast", all_breasts, nested["breast"], draws)
    woman = _figures("woman", pairs, nested["woman"], draws) if _both_classes(pairs) else None
    protocol = _protocol(dataset, len(folds))
    enough = min(int(pairs.labels.sum()), int((~pairs.labels).sum())) >= FEWEST
    section = Examination(
        views=views,
        breast=_level(all_breasts, rule, calibration, breast, protocol),
        woman=_woman_level(pairs, woman, protocol) if enough and woman is not None else None,
        protocol=protocol,
    )
    return Fitted(section, breast, woman)


def section_of(scores: Scores, views: Calibration, *, dataset: str = "") -> Examination | None:
    """Fit the part of a manifest, where there is enough to fit it on; takes what `fit` takes.

    Returns
    -------
    Examination or None
        None with a single fold, or with fewer than `FEWEST` women with cancer, or without.
    """
    sick = np.unique(scores.women[scores.labels])
    healthy = np.setdiff1d(scores.women, sick)
    if len(np.unique(scores.folds)) < 2 or min(len(sick), len(healthy)) < FEWEST:
        return None
    return fit(scores, views, dataset=dataset).section


def woman_of(scores: Scores, calibration: Calibration, *, dataset: str = "", draws: int = 2000) -> Level | None:
    """Fit the woman's level on breasts that a network of two views scored.

    Parameters
    ----------
    scores : Scores
        Out of fold, one of each breast, by the network.
    calibration : Calibration
        Of a breast's logit; its method is fitted anew within each part.
    dataset : str
        Named in the protocol.
    draws : int
        Bootstrap samples.

    Returns
    -------
    Level or None
        None with a single fold, or with fewer than `FEWEST` women of either kind with both breasts.
    """
    folds = [int(fold) for fold in np.unique(scores.folds)]
    units = Units(scores.labels, scores.women, scores.folds, tuple((float(logit),) for logit in scores.logits))
    pairs = women(units, calibration.logits(scores.logits))
    if len(folds) < 2 or min(int(pairs.labels.sum()), int((~pairs.labels).sum())) < FEWEST:
        return None
    nested = _Nested([], [], [], {})
    for fold in folds:
        rest = scores.part(scores.folds != fold)
        rest.needs_both_classes(f"Without fold {fold} the breasts")
        refitted = METHODS[calibration.method](rest.labels, rest.logits)
        _judge(nested, women(units, refitted.logits(scores.logits)), fold)
    return _woman_level(pairs, _figures("woman", pairs, nested, draws), _protocol(dataset, len(folds)))


@dataclass(slots=True)
class _Nested:
    """What the procedure gave for each fold by the others, collected."""

    labels: list[NDArray[np.bool_]]
    women: list[NDArray[np.str_]]
    logits: list[NDArray[np.float64]]
    chosen: dict[int, str]


def _nested(scores: Scores, method: str, folds: Sequence[int]) -> dict[str, _Nested]:
    """Run the procedure for each fold on the others: views' calibration, rules and levels' calibrations."""
    found = {level: _Nested([], [], [], {}) for level in REFERENCE}
    for fold in folds:
        held = scores.folds == fold
        rest = scores.part(~held)
        rest.needs_both_classes(f"Without fold {fold} the pictures")
        views = METHODS[method](rest.labels, rest.logits)
        units = breasts(scores, views)
        inside = units.folds == fold
        rule, calibration = _learn(units.part(~inside), REFERENCE["breast"])
        logits = calibration.logits(units.combined(rule))
        _collect(found["breast"], fold, units.part(inside), logits[inside], rule)
        _judge(found["woman"], women(units, logits), fold)
    return found


def _judge(found: _Nested, pairs: Units, fold: int) -> None:
    """Judge the women of a fold by the rule that the others choose, where those are of both classes."""
    inside = pairs.folds == fold
    if _both_classes(pairs.part(~inside)):
        rule, calibration = _learn(pairs.part(~inside), REFERENCE["woman"])
        _collect(found, fold, pairs.part(inside), calibration.logits(pairs.combined(rule))[inside], rule)


def _learn(units: Units, reference: Rule) -> tuple[Rule, Calibration]:
    rule = choose(units, reference)
    return rule, platt(units.labels, units.combined(rule))


def _collect(found: _Nested, fold: int, units: Units, logits: NDArray[np.float64], rule: Rule) -> None:
    found.labels.append(units.labels)
    found.women.append(units.women)
    found.logits.append(logits)
    found.chosen[fold] = rule


def _figures(level: str, units: Units, nested: _Nested, draws: int) -> LevelFigures:
    """Compare the rules at a level, and tell what the nested procedure gave."""
    against = units.combined(REFERENCE[level])
    rules = []
    for rule in RULES:
        logits = units.combined(rule)
        gain = bootstrap_difference(units.labels, logits, against, units.women, draws=draws)
        rules.append(Compared(rule, bootstrap_auc(units.labels, logits, units.women, draws=draws), gain))
    estimate, error, brier = None, None, None
    labels = np.concatenate(nested.labels) if nested.labels else np.zeros(0, np.bool_)
    if 0 < labels.sum() < len(labels):
        logits = np.concatenate(nested.logits)
        probabilities = 1.0 / (1.0 + np.exp(-np.clip(logits, -500.0, 500.0)))
        estimate = bootstrap_auc(labels, logits, np.concatenate(nested.women), draws=draws)
        error = expected_calibration_error(labels, probabilities)
        brier = float(np.mean((probabilities - labels) ** 2))
    return LevelFigures(
        level=level,
        units=len(units.labels),
        malignant=int(units.labels.sum()),
        rules=tuple(rules),
        nested=estimate,
        calibration_error=error,
        brier=brier,
        chosen=dict(nested.chosen),
    )


def _woman_level(pairs: Units, figures: LevelFigures, protocol: str) -> Level:
    rule, calibration = _learn(pairs, REFERENCE["woman"])
    return _level(pairs, rule, calibration, figures, protocol)


def _level(units: Units, rule: Rule, calibration: Calibration, figures: LevelFigures, protocol: str) -> Level:
    logits = calibration.logits(units.combined(rule))
    metric = None
    if (found := figures.nested) is not None:
        level: Any = figures.level
        metric = Metric(name="AUC", level=level, value=found.value, low=found.low, high=found.high, protocol=protocol)
    return Level(
        rule=rule,
        calibration=calibration,
        operating_points=operating_points(units.labels, 1.0 / (1.0 + np.exp(-np.clip(logits, -500.0, 500.0)))),
        default_operating_point=DEFAULT,
        auc=metric,
    )


def _protocol(dataset: str, folds: int) -> str:
    return (
        f"out of fold{f' on {dataset}' if dataset else ''}, {folds} folds by woman; rule and calibration of each "
        "fold from the others; 95 % interval by bootstrap over women"
    )


def _both_classes(units: Units) -> bool:
    return 0 < int(units.labels.sum()) < len(units.labels)


def _plain(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
