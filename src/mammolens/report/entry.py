"""What a report is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mammolens.types import ModelIdentity, Prediction

if TYPE_CHECKING:
    from mammolens.models.bundle import ModelBundle

HANGING = (("R", "CC"), ("L", "CC"), ("R", "MLO"), ("L", "MLO"))
"""Order in which the four standard views hang, row by row: chest walls touch in the middle."""


@dataclass(frozen=True, slots=True)
class ReportEntry:
    """One file: an answer or a refusal.

    Attributes
    ----------
    title : str
        What the reader knows the file by; any text.
    prediction : Prediction or None
        The answer. Its ``mammogram.pixels`` and ``heatmap`` are not looked at.
    code, message : str or None
        Of the refusal.
    picture, overlay : Path or None
        PNG files inside the report's folder.

    Raises
    ------
    ValueError
        If there is neither an answer nor a refusal, or both.
    """

    title: str
    prediction: Prediction | None = None
    code: str | None = None
    message: str | None = None
    picture: Path | None = None
    overlay: Path | None = None

    def __post_init__(self) -> None:
        """Check that the entry is an answer or a refusal."""
        refused = self.code is not None and self.message is not None
        if refused == (self.prediction is not None) or (self.code is None) != (self.message is None):
            raise ValueError("an entry holds either a prediction or a refusal's code and message")

    @property
    def place(self) -> tuple[str, str] | None:
        """Laterality and view, where both are known and the view is one of the four standard ones."""
        if self.prediction is None:
            return None
        mammogram = self.prediction.mammogram
        if mammogram.laterality is None or mammogram.view is None or mammogram.view_modifiers:
            return None
        found = (mammogram.laterality, mammogram.view)
        return found if found in HANGING else None


@dataclass(frozen=True, slots=True)
class ReportModel:
    """What the report says about the model that answered.

    Attributes
    ----------
    identity : ModelIdentity
    prevalence : float or None
        Share of cancers in the set that the probabilities were calibrated on, 0 to 1.
    calibrated_on : str or None
        That set, in words that fit into "calibrated on …".
    sensitivity, specificity : float or None
        At the threshold, in that set, 0 to 1.
    calibrated : bool
        Whether the probabilities were calibrated at all.
    """

    identity: ModelIdentity
    prevalence: float | None = None
    calibrated_on: str | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    calibrated: bool = True

    @classmethod
    def of(cls, bundle: ModelBundle) -> ReportModel:
        """Take what the report says from a bundle's manifest."""
        manifest = bundle.manifest
        point, training, calibration = manifest.default_point, manifest.training, manifest.calibration
        calibrated_on = None
        if calibration is not None and calibration.on is not None:
            on = calibration.on
            calibrated_on = f"{on.images} pictures of {on.women} women ({on.dataset}) by {on.by}"
        elif calibration is not None and training is not None:
            calibrated_on = f"{training.images} pictures of {training.women} women ({training.dataset})"
        return cls(
            identity=bundle.identity,
            prevalence=None if calibration is None else calibration.prevalence,
            calibrated_on=calibrated_on,
            sensitivity=point.sensitivity,
            specificity=point.specificity,
            calibrated=calibration is not None,
        )


def arrange(entries: list[ReportEntry]) -> dict[tuple[str, str], ReportEntry | None] | None:
    """Places of answered entries when they hang as one examination.

    Parameters
    ----------
    entries : list of ReportEntry
        Answers only.

    Returns
    -------
    dict or None
        Entries by place, in the order of `HANGING`, ``None`` for a view that is missing; a row
        without any view is left out. ``None`` altogether when a view is unknown or
        occurs twice, or when there is only one: then a plain grid is the honest way
        to show them.
    """
    places = {entry.place: entry for entry in entries}
    if None in places or len(places) != len(entries) or len(entries) < 2:
        return None
    views = {place[1] for place in places if place}
    return {place: places.get(place) for place in HANGING if place[1] in views}
