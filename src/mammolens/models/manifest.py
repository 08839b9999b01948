"""The manifest of a bundle: what a model is, expects, and has been measured to do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from mammolens.errors import BundleInvalid
from mammolens.models.looks import Looks
from mammolens.models.manifest_parts import (
    CalibratedOn,
    Calibration,
    CalibrationBin,
    Decision,
    Evaluation,
    Examination,
    Golden,
    ImportedFrom,
    Level,
    Metric,
    OperatingPoint,
    Pair,
    PairGolden,
    Part,
    Preprocessing,
    RocPoint,
    Rule,
    Side,
    Subgroup,
    Training,
)
from mammolens.models.network import InputContract, InputScale

__all__ = [
    "SCHEMA",
    "CalibratedOn",
    "Calibration",
    "CalibrationBin",
    "Decision",
    "Evaluation",
    "Examination",
    "Golden",
    "ImportedFrom",
    "Level",
    "Manifest",
    "Metric",
    "OperatingPoint",
    "Pair",
    "PairGolden",
    "Preprocessing",
    "RocPoint",
    "Rule",
    "Subgroup",
    "Training",
    "parse",
    "refusal",
]

SCHEMA = "mammolens.bundle/1"


class Manifest(Part):
    """All of ``manifest.json``.

    Attributes
    ----------
    looks : int
        1, or 2: the network sees the picture and the picture upside down, and the
        features are averaged. The graph does so itself.
    second_size : tuple of int or None
        ``(height, width)`` at which the graph looks at the picture as well; see
        `mammolens.models.looks`.
    members : int
        Networks of the ensemble that the graph is, whose logits and evidence are
        averaged; 1: a single network.
    input_scale : InputScale
        Bundles from before there was a choice hold the number 255.
    channels : {1, 3}
        Of the input.
    factor, offset : tuple of float, or None
        The network's own first step, per channel; None:
        `mammolens.models.efficientnet.normalisation`. See `mammolens.models.network.Network`.
    calibration : Calibration or None
        None: nobody calibrated it; the sigmoid of the logit is reported, with a notice.
    evidence_scale : float
        Evidence of a strong finding: heat maps are divided by it.
    training : Training or None
        None: unknown.
    source : ImportedFrom or None
        None: made by Mammolens' own training.
    explanation : {"linear", "gradient"}
        ``gradient``: the evidence is the last feature map weighed by its gradient,
        and its sum is not the logit.
    evaluation : Evaluation or None
        None: not recorded.
    examination : Examination or None
        None: measured for single pictures only.
    pair : Pair or None
        None: no network of two views.
    files : dict of str to str
        SHA-256 of every other file of the bundle.
    """

    model_schema: Literal["mammolens.bundle/1"] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,31}$")
    architecture: str
    looks: Literal[1, 2] = 1
    second_size: tuple[Side, Side] | None = None
    members: int = Field(default=1, ge=1, le=16)
    classes: tuple[Literal["benign"], Literal["malignant"]]
    input_scale: InputScale = "255"
    channels: Literal[1, 3] = 1
    factor: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    preprocessing: Preprocessing
    calibration: Calibration | None
    operating_points: tuple[OperatingPoint, ...] = Field(min_length=1)
    default_operating_point: str
    evidence_scale: float = Field(gt=0)
    training: Training | None
    source: ImportedFrom | None = None
    explanation: Literal["linear", "gradient"] = "linear"
    metrics: tuple[Metric, ...]
    evaluation: Evaluation | None = None
    examination: Examination | None = None
    pair: Pair | None = None
    golden: tuple[Golden, ...]
    licence: str
    files: dict[str, str]

    @field_validator("input_scale", mode="before")
    @classmethod
    def _scale_was_a_number(cls, value: object) -> object:
        return "255" if value == 255 else value

    @model_validator(mode="after")
    def _first_step_has_every_channel(self) -> Manifest:
        for values in (self.factor, self.offset):
            # Three for one channel: the network repeats it.
            if values is not None and len(values) not in (self.channels, 3):
                raise ValueError("the first step has one factor and one offset for each channel")
        if (self.factor is None) != (self.offset is None):
            raise ValueError("the first step has both factor and offset, or neither")
        return self

    @model_validator(mode="after")
    def _default_exists(self) -> Manifest:
        if self.default_operating_point not in {point.name for point in self.operating_points}:
            raise ValueError("the default operating point is not among the operating points")
        return self

    @property
    def contract(self) -> InputContract:
        """What the model expects of its input."""
        size = self.preprocessing
        return InputContract(height=size.height, width=size.width, channels=self.channels, scale=self.input_scale)

    @property
    def looking(self) -> Looks:
        """How the model looks at a picture."""
        size = (self.preprocessing.height, self.preprocessing.width)
        return Looks(size, self.looks == 2, self.second_size)

    def calibrated(self, logit: float) -> float:
        """Give the logit as it is reported: calibrated, or as it is where nobody calibrated the model."""
        return logit if self.calibration is None else float(self.calibration.logits(logit))

    @property
    def default_point(self) -> OperatingPoint:
        """The default operating point."""
        return next(point for point in self.operating_points if point.name == self.default_operating_point)

    @property
    def threshold(self) -> float:
        """Threshold of the default operating point."""
        return self.default_point.threshold


def parse(content: bytes) -> Manifest:
    """Read and validate a manifest.

    Raises
    ------
    BundleInvalid
        If it is not JSON or breaks a rule; the message names the fields.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise refusal(error) from error


def refusal(error: ValidationError) -> BundleInvalid:
    """Give the error that names the fields of a manifest which break a rule."""
    places = sorted({".".join(str(part) for part in problem["loc"]) or "(whole)" for problem in error.errors()})
    return BundleInvalid(f"The bundle's manifest is not valid: {', '.join(places[:6])}.")
