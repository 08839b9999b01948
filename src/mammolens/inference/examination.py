"""From the answers for pictures to those for breasts and for an examination.

The one place that puts scores together: the command line, the report, the Python door and the web application all
ask `assemble`, which takes logits and gives logits. No picture is looked at again.

::

    pictures ─▶ views: doubled ones averaged ─▶ breast: the bundle's rule, calibrated ─▶ examination: likewise

Which pictures count is the same for every model. CC and MLO do, implant-displaced ones too: they show the whole
breast in the projections that the rule was measured on (the data's implant views are among its doubled views,
unmarked). Spot and magnification views don't: they show a part, and are taken because something was seen already, so
that to count them would be to count the reader's suspicion. Other projections (ML, LM, XCCL, …) don't either: no rule
was measured on them. A breast that has neither CC nor MLO is scored by what it has, with a notice.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from mammolens.models.manifest import Calibration, Examination, Manifest, Rule
from mammolens.types import Notice, Score

STANDARD = ("CC", "MLO")
"""Views that are expected of each breast."""

SIDES = ("R", "L")

DEFAULT_RULE: Rule = "mean-logit"
"""From views to a breast where the model brings no rule: what the breast's AUC in every manifest is measured by."""

WHOLE = frozenset({"implant displaced", "nipple in profile"})
"""View modifiers with which a picture still shows the whole breast in a standard projection."""

_LARGEST = 500.0

_ORDER = {view: place for place, view in enumerate(STANDARD)}

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


@dataclass(frozen=True, slots=True)
class Picture:
    """One answered picture, as far as its examination needs it.

    Attributes
    ----------
    laterality : {"L", "R", "B"} or None
    view : str or None
    view_modifiers : tuple of str
    logit : float
        As reported for the picture (`mammolens.types.Prediction.logit`).
    sha256 : str
        Of the file; equal ones are one picture. Empty: not known.
    """

    laterality: str | None
    view: str | None
    view_modifiers: tuple[str, ...]
    logit: float
    sha256: str = ""

    @property
    def standard(self) -> bool:
        """Whether it counts beside others: a whole breast, in CC or MLO, or in a view that nothing tells."""
        return (self.view is None or self.view in STANDARD) and WHOLE.issuperset(self.view_modifiers)


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
        return Score(_sigmoid(logit), logit, self.threshold)


@dataclass(frozen=True, slots=True)
class Method:
    """What a model brings for breasts and examinations.

    Attributes
    ----------
    breast, examination : Combination
    notices : tuple of Notice
        What has to be said of their scores.
    """

    breast: Combination
    examination: Combination
    notices: tuple[Notice, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest) -> Method:
        """Take the method from a manifest."""
        section = manifest.examination
        if section is None or section.views != manifest.calibration:
            return cls.unmeasured(manifest.threshold)
        return cls._measured(section)

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


@dataclass(frozen=True, slots=True)
class AssembledBreast:
    """A breast: its side, its score, and the places of its pictures, those that count and all."""

    laterality: str | None
    score: Score
    counted: tuple[int, ...]
    pictures: tuple[int, ...]
    doubled: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Assembly:
    """An examination, with places instead of pictures; see `mammolens.types.ExamPrediction`."""

    score: Score
    breasts: tuple[AssembledBreast, ...]
    missing: tuple[tuple[str, str], ...]
    doubled: tuple[tuple[str, str], ...]
    notices: tuple[Notice, ...] = field(default=())


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
    mean = math.fsum(_sigmoid(logit) for logit in logits)
    rest = math.fsum(_sigmoid(-logit) for logit in logits)
    return math.log(mean) - math.log(rest)


def assemble(pictures: Sequence[Picture], method: Method) -> Assembly:
    """Score the breasts of an examination, and the examination.

    Parameters
    ----------
    pictures : sequence of Picture
        At least one, of one examination, answered by one model; their order makes no difference to any score.
    method : Method
        Of that model.

    Returns
    -------
    Assembly
        Breasts right, left, then those of unknown side, each of these of one picture.
    """
    once, repeated = _once(pictures)
    breasts = tuple(_breast(places, pictures, method.breast) for places in _by_breast(once, pictures))
    score = method.examination.score([breast.score.logit for breast in breasts])
    known = {(b.laterality, pictures[i].view) for b in breasts for i in b.pictures if pictures[i].standard}
    alone = all(breast.laterality is None for breast in breasts)
    expected = () if alone else tuple((side, view) for side in SIDES for view in STANDARD)
    missing = tuple(place for place in expected if place not in known)
    doubled = tuple((breast.laterality, view) for breast in breasts for view in breast.doubled if breast.laterality)
    seen = (
        *_notices_of_views(pictures, breasts, missing, doubled),
        *([_REPEATED] if repeated else []),
        *method.notices,
    )
    return Assembly(score, breasts, missing, doubled, seen)


def name(hashes: Sequence[str]) -> str:
    """Name an examination by what was in its files.

    Parameters
    ----------
    hashes : sequence of str
        SHA-256 of its pictures' files, in any order.

    Returns
    -------
    str
        16 hexadecimal digits. Nothing of a header goes into them, so nothing of it can be got out of them: not even
        whoever holds a list of study numbers can tell which one this is without the very files.
    """
    return hashlib.sha256("\n".join(sorted(set(hashes))).encode("ascii")).hexdigest()[:16]


_REPEATED = Notice("repeated-picture", "The same file was given more than once; it counts once.")


def _once(pictures: Sequence[Picture]) -> tuple[list[int], bool]:
    """Places of different pictures, and whether one was left out."""
    seen: set[str] = set()
    places = []
    for place, picture in enumerate(pictures):
        if picture.sha256 and picture.sha256 in seen:
            continue
        seen.add(picture.sha256)
        places.append(place)
    return places, len(places) < len(pictures)


def _by_breast(places: Sequence[int], pictures: Sequence[Picture]) -> list[list[int]]:
    """Places by breast; a picture of unknown side, or of both breasts, is taken for a breast of its own."""
    sided = [[place for place in places if pictures[place].laterality == side] for side in SIDES]
    others = [place for place in places if pictures[place].laterality not in SIDES]
    others.sort(key=lambda place: (pictures[place].sha256, pictures[place].logit))
    return [*(found for found in sided if found), *([place] for place in others)]


def view_logits(pictures: Sequence[Picture]) -> list[float]:
    """Give the logits of one breast's views: those of the pictures that count, doubled views averaged.

    Parameters
    ----------
    pictures : sequence of Picture
        At least one, of one breast.

    Returns
    -------
    list of float
        One for each view, so that a view taken twice has no more say than another.
    """
    _, _, views = _views(range(len(pictures)), pictures)
    return [math.fsum(logits) / len(logits) for logits in views.values()]


def _views(
    places: Sequence[int], pictures: Sequence[Picture]
) -> tuple[list[int], list[int], dict[tuple[str, int], list[float]]]:
    """Order a breast's pictures, find those that count, and give their logits by view."""
    ordered = sorted(places, key=lambda place: _rank(pictures[place]))
    counted = [place for place in ordered if pictures[place].standard] or ordered
    views: dict[tuple[str, int], list[float]] = {}
    for place in counted:
        view = pictures[place].view
        # Of two pictures whose view nothing tells, nobody can say that they are the same one.
        views.setdefault((view, 0) if view else ("", place), []).append(pictures[place].logit)
    return ordered, counted, views


def _breast(places: list[int], pictures: Sequence[Picture], combination: Combination) -> AssembledBreast:
    ordered, counted, views = _views(places, pictures)
    score = combination.score(view_logits([pictures[place] for place in places]))
    doubled = tuple(view for (view, _), logits in views.items() if view and len(logits) > 1)
    return AssembledBreast(pictures[ordered[0]].laterality, score, tuple(counted), tuple(ordered), doubled)


def _rank(picture: Picture) -> tuple[object, ...]:
    """Order of a breast's pictures: CC, MLO, others; ties by what does not depend on the order of the inputs."""
    view = picture.view or ""
    return (_ORDER.get(view, 2), not picture.standard, view, picture.view_modifiers, picture.sha256, picture.logit)


def _notices_of_views(
    pictures: Sequence[Picture],
    breasts: Sequence[AssembledBreast],
    missing: Sequence[tuple[str, str]],
    doubled: Sequence[tuple[str, str]],
) -> list[Notice]:
    """Say what of the standard examination is missing, doubled, left out or not known."""
    notices = []
    if missing:
        notices.append(Notice("view-missing", f"Not given: {_listed(missing)}. The score rests on the other views."))
    if doubled:
        notices.append(Notice("view-doubled", f"Given more than once and averaged: {_listed(doubled)}."))
    left_out = [pictures[place] for b in breasts for place in b.pictures if place not in b.counted]
    if left_out:
        names = ", ".join(dict.fromkeys(_name(picture) for picture in left_out))
        notices.append(Notice("view-not-counted", f"Shown, but not part of the score: {names}."))
    bare = [b for b in breasts if not any(pictures[place].standard for place in b.pictures)]
    if bare:
        message = "A breast has neither a CC nor an MLO view; its score rests on views that no rule was measured on."
        notices.append(Notice("no-standard-view", message))
    unknown = [pictures[place] for b in breasts for place in b.pictures]
    if any(picture.laterality not in SIDES for picture in unknown):
        message = "Nothing tells of a picture which one breast it shows; it was taken for a breast of its own."
        notices.append(Notice("side-unknown", message))
    if any(picture.view is None for picture in unknown):
        message = "Nothing tells of a picture which view it is; it was counted as a view of its own."
        notices.append(Notice("view-unknown", message))
    return notices


def _listed(places: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{side} {view}" for side, view in places)


def _name(picture: Picture) -> str:
    return " ".join(part for part in (picture.laterality, picture.view, *picture.view_modifiers) if part)


def _sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1.0 + math.exp(logit))


def _softplus(logit: float) -> float:
    """``log (1 + exp x)``, which is ``-log (1 - p)``."""
    return max(logit, 0.0) + math.log1p(math.exp(-abs(logit)))
