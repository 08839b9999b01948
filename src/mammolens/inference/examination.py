"""From the answers for pictures to those for breasts and for an examination.

The one place that puts scores together: the command line, the report, the Python door and the web application all
ask `assemble`, which takes logits and gives logits. No picture is looked at again.

::

    pictures ─▶ views: doubled ones averaged ─▶ breast: the bundle's rule, calibrated ─▶ examination: likewise
         └─────▶ one CC and one MLO: the bundle's network of two views ─▶─┘

Where the bundle has a network of two views, it scores each breast of which both were given, and the rule the others.
It was measured on one picture of each view, so it takes the first: the order is that of the answer, not of the inputs.

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

from mammolens.inference.method import (
    DEFAULT_RULE,
    PAIR,
    PER_BREAST,
    UNCALIBRATED,
    Combination,
    Method,
    PairMethod,
    combine,
)
from mammolens.types import Notice, Score

__all__ = [
    "DEFAULT_RULE",
    "PAIR",
    "PER_BREAST",
    "SIDES",
    "STANDARD",
    "UNCALIBRATED",
    "WHOLE",
    "AssembledBreast",
    "Assembly",
    "Combination",
    "Method",
    "PairMethod",
    "Picture",
    "assemble",
    "combine",
    "is_standard",
    "name",
    "view_logits",
]

STANDARD = ("CC", "MLO")
"""Views that are expected of each breast."""

SIDES = ("R", "L")

WHOLE = frozenset({"implant displaced", "nipple in profile"})
"""View modifiers with which a picture still shows the whole breast in a standard projection."""

_ORDER = {view: place for place, view in enumerate(STANDARD)}


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
    shares : tuple of float, or None
        What it adds to a breast's logit in the network of two views, as CC and as MLO.
    """

    laterality: str | None
    view: str | None
    view_modifiers: tuple[str, ...]
    logit: float
    sha256: str = ""
    shares: tuple[float, float] | None = None

    @property
    def standard(self) -> bool:
        """Whether it counts beside others."""
        return is_standard(self.view, self.view_modifiers)


@dataclass(frozen=True, slots=True)
class AssembledBreast:
    """A breast: its side, its score, and the places of its pictures: those that count, all, and the pair's two."""

    laterality: str | None
    score: Score
    counted: tuple[int, ...]
    pictures: tuple[int, ...]
    doubled: tuple[str, ...]
    pair: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Assembly:
    """An examination, with places instead of pictures; see `mammolens.types.ExamPrediction`."""

    score: Score
    breasts: tuple[AssembledBreast, ...]
    missing: tuple[tuple[str, str], ...]
    doubled: tuple[tuple[str, str], ...]
    notices: tuple[Notice, ...] = field(default=())


def is_standard(view: str | None, modifiers: Sequence[str]) -> bool:
    """Whether a view counts beside others: a whole breast, in CC or MLO, or in a view that nothing tells."""
    return (view is None or view in STANDARD) and WHOLE.issuperset(modifiers)


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
    breasts = tuple(_breast(places, pictures, method) for places in _by_breast(once, pictures))
    scores = [breast.score for breast in breasts]
    if method.pair is not None and any(breast.pair for breast in breasts):
        score = method.pair.score_examination(scores)
    else:
        score = method.examination.score([breast.logit for breast in scores])
    known = {(b.laterality, pictures[i].view) for b in breasts for i in b.pictures if pictures[i].standard}
    alone = all(breast.laterality is None for breast in breasts)
    expected = () if alone else tuple((side, view) for side in SIDES for view in STANDARD)
    missing = tuple(place for place in expected if place not in known)
    doubled = tuple((breast.laterality, view) for breast in breasts for view in breast.doubled if breast.laterality)
    seen = (
        *_notices_of_views(pictures, breasts, missing, doubled),
        *([_REPEATED] if repeated else []),
        *_notices_of_rules(breasts, method),
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


def _breast(places: list[int], pictures: Sequence[Picture], method: Method) -> AssembledBreast:
    ordered, counted, views = _views(places, pictures)
    side = pictures[ordered[0]].laterality
    doubled = tuple(view for (view, _), logits in views.items() if view and len(logits) > 1)
    if method.pair is not None and (both := _pair(ordered, pictures)) is not None:
        pair, (cc, mlo) = both
        return AssembledBreast(side, method.pair.score(cc, mlo), pair, tuple(ordered), doubled, pair)
    score = method.breast.score(view_logits([pictures[place] for place in places]))
    return AssembledBreast(side, score, tuple(counted), tuple(ordered), doubled)


def _pair(ordered: Sequence[int], pictures: Sequence[Picture]) -> tuple[tuple[int, int], tuple[float, float]] | None:
    """First CC and first MLO picture of a breast, and what each adds as such; None where one is missing."""
    places, shares = [], []
    for index, view in enumerate(STANDARD):
        for place in ordered:
            picture = pictures[place]
            if picture.standard and picture.view == view and picture.shares is not None:
                places.append(place)
                shares.append(picture.shares[index])
                break
    return ((places[0], places[1]), (shares[0], shares[1])) if len(places) == len(STANDARD) else None


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
    paired = {breast.laterality for breast in breasts if breast.pair}
    if averaged := [place for place in doubled if place[0] not in paired]:
        notices.append(Notice("view-doubled", f"Given more than once and averaged: {_listed(averaged)}."))
    if chosen := [place for place in doubled if place[0] in paired]:
        message = f"Given more than once, of which the network of two views took one: {_listed(chosen)}."
        notices.append(Notice("view-doubled", message))
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


def _notices_of_rules(breasts: Sequence[AssembledBreast], method: Method) -> list[Notice]:
    """Say what has to be said of the scores, and which breasts the network of two views could not score."""
    pair = method.pair
    if pair is None:
        return list(method.notices)
    single = [breast for breast in breasts if not breast.pair]
    if len(single) == len(breasts):
        notices = list(method.notices)
    else:
        # That the examination is what its worst breast is, the network of two views says for itself.
        of_rule = [notice for notice in method.notices if single and notice.code != PER_BREAST]
        notices = list(dict.fromkeys((*pair.notices, *of_rule)))
    if single:
        names = ", ".join(dict.fromkeys(breast.laterality or "of unknown side" for breast in single))
        message = (
            "The network of two views needs a CC and an MLO view of a breast; scored by the rule for single pictures: "
            f"breast {names}."
        )
        notices.insert(0, Notice("single-views", message))
    return notices


def _listed(places: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{side} {view}" for side, view in places)


def _name(picture: Picture) -> str:
    return " ".join(part for part in (picture.laterality, picture.view, *picture.view_modifiers) if part)
