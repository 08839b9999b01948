"""The manifest of a bundle: what a model is, expects, and has been measured to do."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mammolens.errors import BundleInvalid
from mammolens.models.looks import Looks
from mammolens.models.network import InputContract, InputScale

SCHEMA = "mammolens.bundle/1"


Side = Annotated[int, Field(ge=32, le=4096)]
"""Of an input, in pixels."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Preprocessing(_Part):
    """How pictures become inputs: version of the code, height and width in pixels."""

    version: int
    height: Side
    width: Side


class CalibratedOn(_Part):
    """Who calibrated a model, and on which pictures.

    Attributes
    ----------
    by : str
        In their own words.
    dataset : str
    images, women, malignant : int
        Pictures, women, and pictures of a breast with cancer.
    """

    by: str = Field(min_length=1, max_length=200)
    dataset: str
    images: int = Field(gt=0)
    women: int = Field(gt=0)
    malignant: int = Field(gt=0)


class Calibration(_Part):
    """How a network's logit becomes the one that is reported.

    Attributes
    ----------
    method : {"platt", "temperature", "isotonic"}
        Calibrated logit = slope × logit + intercept; with ``temperature`` the intercept is 0. With ``isotonic`` the
        probability is read from ``knots`` at that value, linear between them and level beyond.
    slope, intercept : float
    prevalence : float
        Share of cancers among the images it was fitted on.
    knots : tuple of (float, float), or None
        Logit and probability, both rising; of ``isotonic`` alone.
    on : CalibratedOn or None
        None: the data set and the women that the model was trained on, out of fold.
    """

    method: Literal["platt", "temperature", "isotonic"] = "platt"
    slope: float = Field(gt=0)
    intercept: float
    prevalence: float = Field(gt=0, lt=1)
    knots: tuple[tuple[float, float], ...] | None = None
    on: CalibratedOn | None = None

    @model_validator(mode="after")
    def _form_is_the_methods(self) -> Calibration:
        if (self.method == "isotonic") != (self.knots is not None):
            raise ValueError("isotonic calibration has knots, and no other has them")
        if self.method == "temperature" and self.intercept != 0.0:
            raise ValueError("calibration by temperature has no intercept")
        if self.knots is not None:
            pairs = list(zip(self.knots, self.knots[1:], strict=False))
            if not self.knots or any(not (a[0] < b[0] and a[1] <= b[1]) for a, b in pairs):
                raise ValueError("the knots of a calibration rise")
            if any(not 0.0 < p < 1.0 for _, p in self.knots):
                raise ValueError("the knots' probabilities lie between 0 and 1")
        return self

    def logits(self, raw: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Calibrate.

        Parameters
        ----------
        raw : ndarray of float64, or float
            The network's logits.

        Returns
        -------
        ndarray of float64
            Of the same shape; never falling with the network's.
        """
        z = self.slope * np.asarray(raw, np.float64) + self.intercept
        if self.knots is None:
            return z
        p = np.interp(z, [at for at, _ in self.knots], [probability for _, probability in self.knots])
        return np.asarray(np.log(p) - np.log1p(-p))


class OperatingPoint(_Part):
    """A threshold on the probability, with what it gave out of fold; None: never measured."""

    name: str
    threshold: float = Field(gt=0, lt=1)
    sensitivity: float | None = Field(ge=0, le=1)
    specificity: float | None = Field(ge=0, le=1)


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


class ImportedFrom(_Part):
    """The file that an imported model was made from.

    Attributes
    ----------
    format : str
        A value of `mammolens.models.importing.source.Format`.
    sha256 : str
        Of the file.
    keras_version : str
        That wrote it; empty where the file does not say.
    architecture_found : str
        What the file was recognised as.
    assumptions : tuple of str
        What was taken for granted, in words.
    proof : {"parity", "structure"}
        Whether the source was run beside the bundle, or could not be.
    parity : float or None
        Largest difference of the logits where it was run.
    foreign : bool
        Whether it came by the second road: not one of our networks.
    terms : str
        Terms of the weights, as far as anybody said.
    """

    format: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    keras_version: str
    architecture_found: str
    assumptions: tuple[str, ...] = ()
    proof: Literal["parity", "structure"]
    parity: float | None = Field(default=None, ge=0)
    foreign: bool = False
    terms: str = "unknown"

    @model_validator(mode="after")
    def _proof_has_its_figure(self) -> ImportedFrom:
        if (self.proof == "parity") != (self.parity is not None):
            raise ValueError("a proof by parity has its figure, and no other proof has one")
        return self


class RocPoint(_Part):
    """A point of the ROC curve: the sensitivity, with its interval, at a share of benign pictures called malignant."""

    false_positive_rate: float = Field(ge=0, le=1)
    sensitivity: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


class CalibrationBin(_Part):
    """Pictures of like probability: their number, what was promised, what was seen."""

    images: int = Field(gt=0)
    predicted: float = Field(ge=0, le=1)
    observed: float = Field(ge=0, le=1)


class Subgroup(_Part):
    """AUC of a part of the pictures; None for parts of too few women or of one class."""

    group: str
    value: str
    images: int = Field(ge=0)
    malignant: int = Field(ge=0)
    auc: float | None
    low: float | None
    high: float | None


class Evaluation(_Part):
    """How the model answered for pictures of women that it had not seen, as counts and curves.

    Attributes
    ----------
    protocol : str
    scores_benign, scores_malignant : tuple of int
        Pictures by calibrated probability, in bins of equal width from 0 to 1: what live scores are held against.
    roc : tuple of RocPoint
        By rising false positive rate, per image.
    calibration : tuple of CalibrationBin
        By rising probability, each part calibrated on the others.
    expected_calibration_error, brier : float
    subgroups : tuple of Subgroup
    """

    protocol: str
    scores_benign: tuple[int, ...] = Field(min_length=2)
    scores_malignant: tuple[int, ...] = Field(min_length=2)
    roc: tuple[RocPoint, ...] = Field(min_length=2)
    calibration: tuple[CalibrationBin, ...]
    expected_calibration_error: float = Field(ge=0, le=1)
    brier: float = Field(ge=0, le=1)
    subgroups: tuple[Subgroup, ...]

    @model_validator(mode="after")
    def _bins_are_the_same(self) -> Evaluation:
        if len(self.scores_benign) != len(self.scores_malignant):
            raise ValueError("both classes are counted in the same bins")
        return self


Rule = Literal["mean-logit", "mean-probability", "max", "noisy-or"]
"""How several scores become one; see `mammolens.inference.examination.combine`."""


class Level(_Part):
    """How scores are put together at a level, and what was measured there.

    Attributes
    ----------
    rule : Rule
    calibration : Calibration
        Of the logit that the rule gives.
    operating_points : tuple of OperatingPoint
    default_operating_point : str
    auc : Metric or None
        By the whole procedure, the choice of the rule included, on women that it had not seen.
    """

    rule: Rule
    calibration: Calibration
    operating_points: tuple[OperatingPoint, ...] = Field(min_length=1)
    default_operating_point: str
    auc: Metric | None = None

    @model_validator(mode="after")
    def _default_exists(self) -> Level:
        if self.default_operating_point not in {point.name for point in self.operating_points}:
            raise ValueError("the default operating point is not among the operating points")
        return self

    @property
    def threshold(self) -> float:
        """Threshold of the default operating point."""
        return next(p.threshold for p in self.operating_points if p.name == self.default_operating_point)


class Examination(_Part):
    """How the scores of views become those of breasts and of an examination.

    Attributes
    ----------
    views : Calibration
        Of the views whose logits this was fitted on: where the bundle's own is another one by now, the levels count
        as not calibrated.
    breast : Level
        From the views of a breast.
    woman : Level or None
        From the calibrated logits of the breasts. None: never measured, because the data hold too few women with
        both breasts; the examination then says what its most suspicious breast says.
    protocol : str
    """

    views: Calibration
    breast: Level
    woman: Level | None = None
    protocol: str


class Manifest(_Part):
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
