"""The manifest of a bundle: what a model is, expects, and has been measured to do."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mammolens.errors import BundleInvalid

SCHEMA = "mammolens.bundle/1"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Preprocessing(_Part):
    """How pictures become inputs: version of the code, height and width in pixels."""

    version: int
    height: int = Field(ge=32, le=4096)
    width: int = Field(ge=32, le=4096)


class Calibration(_Part):
    """Platt scaling: calibrated logit = slope × logit + intercept.

    ``prevalence`` is the share of cancers among the images it was fitted on.
    """

    method: Literal["platt"] = "platt"
    slope: float = Field(gt=0)
    intercept: float
    prevalence: float = Field(gt=0, lt=1)


class OperatingPoint(_Part):
    """A threshold on the calibrated probability, with what it gave out of fold."""

    name: str
    threshold: float = Field(gt=0, lt=1)
    sensitivity: float = Field(ge=0, le=1)
    specificity: float = Field(ge=0, le=1)


class Metric(_Part):
    """A figure with its 95 % interval; ``level`` is image, breast or woman."""

    name: str
    level: Literal["image", "breast", "woman"]
    value: float
    low: float
    high: float
    protocol: str


class Golden(_Part):
    """A generated picture, the hash of the input it must give, and the logit of that input."""

    seed: int
    input_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    logit: float


class Training(_Part):
    """What the weights were trained on, and its terms."""

    dataset: str
    images: int
    women: int
    terms: str
    configuration_sha256: str


class Manifest(_Part):
    """All of ``manifest.json``.

    Attributes
    ----------
    looks : int
        1, or 2: the network sees the picture and the picture upside down, and the
        features are averaged. The graph does so itself.
    evidence_scale : float
        Evidence of a strong finding: heat maps are divided by it.
    files : dict of str to str
        SHA-256 of every other file of the bundle.
    """

    model_schema: Literal["mammolens.bundle/1"] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,31}$")
    architecture: str
    looks: Literal[1, 2] = 1
    classes: tuple[Literal["benign"], Literal["malignant"]]
    input_scale: Literal[255] = 255
    preprocessing: Preprocessing
    calibration: Calibration
    operating_points: tuple[OperatingPoint, ...] = Field(min_length=1)
    default_operating_point: str
    evidence_scale: float = Field(gt=0)
    training: Training
    metrics: tuple[Metric, ...]
    golden: tuple[Golden, ...]
    licence: str
    files: dict[str, str]

    @model_validator(mode="after")
    def _default_exists(self) -> Manifest:
        if self.default_operating_point not in {point.name for point in self.operating_points}:
            raise ValueError("the default operating point is not among the operating points")
        return self

    @property
    def threshold(self) -> float:
        """Threshold of the default operating point."""
        return next(p.threshold for p in self.operating_points if p.name == self.default_operating_point)


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
        places = sorted({".".join(str(part) for part in problem["loc"]) or "(whole)" for problem in error.errors()})
        raise BundleInvalid(f"The bundle's manifest is not valid: {', '.join(places[:6])}.") from error
