"""What the answers for a case's pictures say together: by `mammolens.inference.examination`, as on every other road.

A case holds what was uploaded together. Mostly that is one examination; pictures without study, side and view stand
alone in it, each as an examination of its own. The case's score is the highest of theirs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from mammolens.inference.examination import UNCALIBRATED, Assembly, Method, Picture, assemble
from mammolens.inference.gathering import STANDS_ALONE
from mammolens.inference.grouping import Origin, group
from mammolens.models.manifest import Decision, Manifest
from mammolens.types import Notice, Score
from mammolens.web import models_in_use
from mammolens.web.database.tables import Identifier, Image, Result

UNKNOWN = "-"
"""Stands for a breast whose side nothing tells."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One model's answer for one picture, as far as its case's score needs it.

    Attributes
    ----------
    image_id : str
    picture : Picture
    study : str or None
        StudyInstanceUID.
    threshold : float
        Of the picture.
    model_sha256 : str
    created : datetime
    """

    image_id: str
    picture: Picture
    study: str | None
    threshold: float
    model_sha256: str
    created: dt.datetime


@dataclass(frozen=True, slots=True)
class CaseScore:
    """What one model says of a case.

    Attributes
    ----------
    score : Score
    breasts : mapping of str to Score
        By side, ``R``, ``L`` and `UNKNOWN`; of several breasts of unknown side the most suspicious one's.
    notices : tuple of Notice
    method : Method
        That of the model.
    model_sha256 : str
    known : bool
        Whether the model is still installed; where not, its pictures' scores are put together as those of a model that
        brings no rule.
    decision : Decision or None
        What of the model's manifest ``score`` was calibrated and its threshold measured by; None: nothing.
    per_breast : bool
        Whether ``decision`` is that of a breast.
    """

    score: Score
    breasts: Mapping[str, Score]
    notices: tuple[Notice, ...]
    method: Method
    model_sha256: str
    known: bool
    decision: Decision | None = None
    per_breast: bool = False

    @property
    def calibrated(self) -> bool:
        """Whether the score is a probability."""
        return all(notice.code != UNCALIBRATED for notice in self.notices)


def answered(session: Session, case_ids: Sequence[str], model_sha256: str | None = None) -> dict[str, list[Answered]]:
    """Find all answers for the pictures of some cases.

    Parameters
    ----------
    session : Session
    case_ids : sequence of str
    model_sha256 : str, optional
        Only those of this model.

    Returns
    -------
    dict
        From a case's identifier; without those that have none.
    """
    columns = (Result.logit, Result.share_cc, Result.share_mlo, Result.threshold, Result.model_sha256, Result.created)
    query = (
        select(Image, *columns, Identifier.study_uid)
        .join(Result, Result.image_id == Image.id)
        .outerjoin(Identifier, Identifier.image_id == Image.id)
        .where(Image.case_id.in_(case_ids))
    )
    if model_sha256 is not None:
        query = query.where(Result.model_sha256 == model_sha256)
    found: dict[str, list[Answered]] = {}
    for image, logit, cc, mlo, threshold, model, created, study in session.execute(query):
        shares = None if cc is None or mlo is None else (cc, mlo)
        picture = Picture(image.laterality, image.view, tuple(image.view_modifiers), logit, image.sha256, shares)
        found.setdefault(image.case_id, []).append(Answered(image.id, picture, study, threshold, model, created))
    return found


def score(answers: Sequence[Answered], in_use: str, manifests: Mapping[str, Manifest]) -> CaseScore | None:
    """Score a case.

    Parameters
    ----------
    answers : sequence of Answered
        All there are for it.
    in_use : str
        Hash of the model in use.
    manifests : mapping of str to Manifest
        Of the installed models, as `mammolens.web.models_in_use.installed_manifests` gives them.

    Returns
    -------
    CaseScore or None
        By the model that has answered for most of its pictures; of equal ones by the one in use, then by the newest:
        scores of several models are not put together. None where there is no answer.
    """
    if not answers:
        return None
    counted = _of_one_model(answers, in_use)
    model = counted[0].model_sha256
    manifest = manifests.get(model)
    method = Method.unmeasured(counted[0].threshold) if manifest is None else Method.of(manifest)
    examinations = list(_examinations(counted, method))
    breasts: dict[str, Score] = {}
    for assembly, _ in examinations:
        for breast in assembly.breasts:
            for side in ("R", "L") if breast.laterality == "B" else (breast.laterality or UNKNOWN,):
                best = breasts.get(side)
                breasts[side] = breast.score if best is None or breast.score.logit > best.logit else best
    highest = max((assembly for assembly, _ in examinations), key=lambda one: one.score.logit)
    notices = tuple(dict.fromkeys(notice for _, found in examinations for notice in found))
    decision, per_breast = _decision(highest, manifest)
    return CaseScore(highest.score, breasts, notices, method, model, manifest is not None, decision, per_breast)


def _decision(assembly: Assembly, manifest: Manifest | None) -> tuple[Decision | None, bool]:
    """Find what an examination's score was calibrated by, and whether that is a breast's."""
    if manifest is None:
        return None, False
    rule, pair = manifest.examination, manifest.pair
    if rule is not None and rule.views != manifest.calibration:
        rule = None
    if pair is not None and any(breast.pair for breast in assembly.breasts):
        if pair.woman is not None:
            return pair.woman, False
        worst = max(assembly.breasts, key=lambda breast: breast.score.logit)
        if worst.pair:
            return pair.breast, True
        return (None if rule is None else rule.breast), rule is not None
    if rule is None:
        return None, False
    return rule.woman or rule.breast, rule.woman is None


def of_case(session: Session, case_id: str, model_sha256: str | None = None) -> CaseScore | None:
    """Score a case by its answers, or by those of one model; see `score`."""
    answers = answered(session, [case_id], model_sha256).get(case_id, ())
    return score(answers, models_in_use.current(session).sha256, models_in_use.installed_manifests())


def _of_one_model(answers: Sequence[Answered], in_use: str) -> list[Answered]:
    models: dict[str, list[Answered]] = {}
    for answer in answers:
        models.setdefault(answer.model_sha256, []).append(answer)
    return max(
        models.values(),
        key=lambda of: (len(of), of[0].model_sha256 == in_use, max(one.created for one in of)),
    )


def _examinations(answers: Sequence[Answered], method: Method) -> Iterable[tuple[Assembly, tuple[Notice, ...]]]:
    """Give the examinations of a case, with what is to be said of each."""
    origins = [Origin(answer.study, "", answer.picture.laterality, answer.picture.view) for answer in answers]
    for found in group(origins):
        assembly = assemble([answers[place].picture for place in found.places], method)
        yield assembly, (*((STANDS_ALONE,) if found.alone else ()), *assembly.notices)
