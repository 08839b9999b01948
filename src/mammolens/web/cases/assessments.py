"""What readers found: written once, followed by newer ones, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from mammolens.errors import RequestInvalid
from mammolens.inference.examination import PAIR
from mammolens.types import Score
from mammolens.web.access import Actor
from mammolens.web.cases import scoring, summary
from mammolens.web.database.tables import Assessment, Case, Image

SIDES = ("R", "L", "-")
"""Breasts that an assessment may be of; ``-`` where the side is unknown."""

LONGEST_COMMENT = 4000
"""Characters."""

POSITIVE = frozenset({0, 4, 5, 6})
"""BI-RADS categories that ask for more than screening: further imaging, biopsy, known cancer.

ACR BI-RADS Atlas, 5th edition, follow-up and outcome monitoring: 0, 4 and 5 are a positive screening examination, 1
and 2 a negative one. 3 is counted as negative here, as it asks for no work-up at once; 6 is proven cancer.
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a reader says of one breast.

    Attributes
    ----------
    laterality : {"R", "L", "-"}
    birads : int
        0 to 6.
    agrees : bool or None
        With the marks; None: not said.
    comment : str
    """

    laterality: str
    birads: int
    agrees: bool | None = None
    comment: str = ""


def sides_of(images: Sequence[Image]) -> tuple[str, ...]:
    """Breasts that a case shows, right first; ``-`` where pictures of unknown side are among them."""
    found = {image.laterality if image.laterality in ("R", "L") else "-" for image in images}
    if any(image.laterality == "B" for image in images):
        found |= {"R", "L"}
        if all(image.laterality in ("R", "L", "B") for image in images):
            found.discard("-")
    return tuple(side for side in SIDES if side in found)


def write(session: Session, asking: Actor, case: Case, finding: Finding, model_sha256: str) -> Assessment:
    """Write an assessment.

    Parameters
    ----------
    session : Session
        A transaction.
    asking : Actor
        The reader.
    case : Case
        One that they see.
    finding : Finding
    model_sha256 : str
        Of the model in use; what it says of the breast is kept with the assessment.

    Returns
    -------
    Assessment

    Raises
    ------
    RequestInvalid
        If a value does not fit, or the case shows no such breast.
    """
    images = session.scalars(select(Image).where(Image.case_id == case.id)).all()
    _check(finding, sides_of(images))
    score = breast_score(session, case.id, finding.laterality, model_sha256)
    row = Assessment(
        case_id=case.id,
        laterality=finding.laterality,
        reader_id=asking.user_id,
        birads=finding.birads,
        agrees=finding.agrees,
        comment=finding.comment.strip(),
        probability=None if score is None else score.probability,
        threshold=score.threshold if score is not None and score.rule == PAIR else None,
        model_sha256=None if score is None else model_sha256,
    )
    session.add(row)
    session.flush()
    summary.refresh(session, case.id)
    return row


def _check(finding: Finding, sides: tuple[str, ...]) -> None:
    if finding.laterality not in sides:
        raise RequestInvalid(f"This case shows no such breast. Choose one of: {', '.join(sides) or 'none'}.")
    if not 0 <= finding.birads <= 6:
        raise RequestInvalid("A BI-RADS category is a whole number from 0 to 6.")
    if len(finding.comment) > LONGEST_COMMENT:
        raise RequestInvalid(f"The comment is too long. Keep it under {LONGEST_COMMENT} characters.")


def breast_score(session: Session, case_id: str, laterality: str, model_sha256: str) -> Score | None:
    """Score that a model gives to one breast; None where it answered for none of its pictures."""
    found = scoring.of_case(session, case_id, model_sha256)
    return None if found is None else found.breasts.get(laterality)


def history(session: Session, case_id: str) -> list[Assessment]:
    """All assessments of a case with their readers, newest first."""
    return list(
        session.scalars(
            select(Assessment)
            .where(Assessment.case_id == case_id)
            .options(joinedload(Assessment.reader))
            .order_by(Assessment.created.desc(), Assessment.id.desc())
        )
    )


def in_force(assessments: Sequence[Assessment]) -> dict[str, Assessment]:
    """Newest assessment of each breast, out of a history with the newest first."""
    newest: dict[str, Assessment] = {}
    for assessment in assessments:
        newest.setdefault(assessment.laterality, assessment)
    return newest


def positive(birads: int) -> bool:
    """Tell whether a category asks for more than screening; see `POSITIVE`."""
    return birads in POSITIVE
