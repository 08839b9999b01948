"""Everything that the page of a case shows, gathered in a few queries."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, selectinload

from mammolens.inference.examination import PER_BREAST, UNCALIBRATED
from mammolens.models.manifest import Decision, Manifest, OperatingPoint
from mammolens.types import Score
from mammolens.web import models_in_use
from mammolens.web.access import Actor, case_of
from mammolens.web.cases import assessments, hanging, scoring, summary
from mammolens.web.cases.scoring import CaseScore
from mammolens.web.database.tables import Assessment, Case, Identifier, Image, Result


@dataclass(frozen=True, slots=True)
class View:
    """One picture of the case.

    Attributes
    ----------
    image : Image
    name : str
        Side and view, such as ``L MLO``; may be empty.
    result : Result or None
        By the model in use, else the newest there is.
    outdated : bool
        Whether the answer is by another model than the one in use.
    """

    image: Image
    name: str
    result: Result | None
    outdated: bool

    @property
    def ended(self) -> bool:
        """Whether no answer came, and none is on its way."""
        return self.result is None and self.image.state not in summary.OPEN


@dataclass(frozen=True, slots=True)
class Mark:
    """A region of one picture, numbered through that picture as in its overlay.

    Attributes
    ----------
    view : View
    number : int
        From 1, highest first.
    score : float
    width_mm, height_mm : float or None
    """

    view: View
    number: int
    score: float
    width_mm: float | None
    height_mm: float | None


@dataclass(frozen=True, slots=True)
class Breast:
    """What model and readers say of one breast.

    Attributes
    ----------
    laterality : {"R", "L", "-"}
    score : Score or None
        Of the breast; None where it has no answer.
    assessment : Assessment or None
        The one in force.
    """

    laterality: str
    score: Score | None
    assessment: Assessment | None

    @property
    def probability(self) -> float | None:
        """Of malignancy; None where the breast has no answer."""
        return None if self.score is None else self.score.probability


@dataclass(frozen=True, slots=True)
class CasePage:
    """The page of a case.

    Attributes
    ----------
    case : Case
    views : tuple of View
        In the order in which they hang, then the others.
    hanging : mammolens.web.cases.hanging.Hanging
    scored : CaseScore or None
        What the case's pictures say together; None where none has an answer.
    top : View or None
        The view of the highest probability among those of the model that gave ``scored``.
    manifest : Manifest or None
        Of that model; None where it is not installed any more.
    marks : tuple of Mark
        Highest first.
    notices : tuple of (str, str, tuple of str)
        Code, message, and the views it was said of; no view: of the examination.
    breasts : tuple of Breast
        Right first.
    history : tuple of Assessment
        Newest first.
    identifiers : tuple of Identifier
        What the files say of whose they are.
    """

    case: Case
    views: tuple[View, ...]
    hanging: hanging.Hanging
    scored: CaseScore | None
    top: View | None
    manifest: Manifest | None
    marks: tuple[Mark, ...]
    notices: tuple[tuple[str, str, tuple[str, ...]], ...]
    breasts: tuple[Breast, ...]
    history: tuple[Assessment, ...]
    identifiers: tuple[Identifier, ...]

    def view(self, image: Image) -> View:
        """View of one of the case's images."""
        return next(view for view in self.views if view.image.id == image.id)

    @property
    def calibrated(self) -> bool:
        """Whether the examination's number is a probability."""
        return self.scored is not None and self.scored.calibrated

    @property
    def prevalence(self) -> float | None:
        """Share of cancers that the examination's number was calibrated at, among breasts or examinations."""
        return self._decision.calibration.prevalence if self._decision else None

    @property
    def per_breast(self) -> bool:
        """Whether that number was calibrated for a breast, and is that of the most suspicious one."""
        return self.scored is not None and self.scored.per_breast

    @property
    def points(self) -> tuple[OperatingPoint, ...]:
        """Operating points of the scale, the one in use among them."""
        if self.manifest is None:
            return ()
        return self._decision.operating_points if self._decision else self.manifest.operating_points

    @property
    def point(self) -> OperatingPoint | None:
        """The one in use."""
        if self.scored is None:
            return None
        return next((point for point in self.points if point.threshold == self.scored.score.threshold), None)

    @property
    def _decision(self) -> Decision | None:
        return self.scored.decision if self.scored is not None and self.calibrated else None


def gather(session: Session, asking: Actor, case_id: str) -> CasePage:
    """Gather what the page of a case shows.

    Parameters
    ----------
    session : Session
    asking : Actor
    case_id : str

    Returns
    -------
    CasePage

    Raises
    ------
    NotFound
        If there is no such case, or it is not theirs.
    """
    case = case_of(session, asking, case_id)
    images = session.scalars(
        select(Image)
        .where(Image.case_id == case.id)
        .options(selectinload(Image.results), joinedload(Image.identifier))
        .order_by(Image.arrived, Image.id)
    ).all()
    use = models_in_use.current(session)
    hung = hanging.hang(images)
    order = [cell.image for cell in hung.cells if cell.image is not None] + list(hung.others)
    views = tuple(_view(image, use.sha256) for image in order)
    scored = scoring.of_case(session, case.id)
    answered = [view for view in views if scored and view.result and view.result.model_sha256 == scored.model_sha256]
    top = max(answered, key=_probability, default=None)
    past = assessments.history(session, case.id)
    return CasePage(
        case=case,
        views=views,
        hanging=hung,
        scored=scored,
        top=top,
        manifest=None if scored is None else models_in_use.installed_manifests().get(scored.model_sha256),
        marks=tuple(sorted((mark for view in views for mark in _marks(view)), key=lambda mark: -mark.score)),
        notices=(*_of_the_examination(scored), *_notices(views)),
        breasts=_breasts(views, past, scored),
        history=tuple(past),
        identifiers=tuple(view.image.identifier for view in views if view.image.identifier is not None),
    )


def _view(image: Image, in_use: str) -> View:
    results = sorted(image.results, key=lambda result: (result.model_sha256 == in_use, result.created), reverse=True)
    result = results[0] if results else None
    return View(image, hanging.name_of(image), result, result is not None and result.model_sha256 != in_use)


def _probability(view: View) -> float:
    return -1.0 if view.result is None else view.result.probability


def _marks(view: View) -> list[Mark]:
    if view.result is None:
        return []
    image = view.image
    marks = []
    for number, region in enumerate(view.result.regions, 1):
        x0, y0, x1, y1 = region["box"]
        width = None if image.spacing_column_mm is None else (x1 - x0) * image.spacing_column_mm
        height = None if image.spacing_row_mm is None else (y1 - y0) * image.spacing_row_mm
        marks.append(Mark(view, number, float(region["score"]), width, height))
    return marks


def _notices(views: tuple[View, ...]) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Put equal notices of several views together."""
    found: dict[tuple[str, str], list[str]] = {}
    for view in views:
        for notice in view.result.notices if view.result else ():
            found.setdefault((notice["code"], notice["message"]), []).append(view.name)
    return tuple((code, message, tuple(names)) for (code, message), names in found.items())


def _of_the_examination(scored: CaseScore | None) -> list[tuple[str, str, tuple[str, ...]]]:
    """Notices of the examination, without those that the page says beside the score."""
    notices = () if scored is None else scored.notices
    return [(notice.code, notice.message, ()) for notice in notices if notice.code not in (UNCALIBRATED, PER_BREAST)]


def _breasts(views: tuple[View, ...], past: list[Assessment], scored: CaseScore | None) -> tuple[Breast, ...]:
    newest = assessments.in_force(past)
    scores = {} if scored is None else scored.breasts
    sides = assessments.sides_of([view.image for view in views])
    return tuple(Breast(side, scores.get(side), newest.get(side)) for side in sides)
