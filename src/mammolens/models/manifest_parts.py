"""Parts of a manifest: how pictures become inputs, how logits become probabilities, what was measured."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Side = Annotated[int, Field(ge=32, le=4096)]
"""Of an input, in pixels."""


class Part(BaseModel):
    """Part of a manifest: frozen, without unknown keys and without values that are no numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Preprocessing(Part):
    """How pictures become inputs: version of the code, height and width in pixels."""

    version: int
    height: Side
    width: Side


class CalibratedOn(Part):
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


class Calibration(Part):
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


class OperatingPoint(Part):
    """A threshold on the probability, with what it gave out of fold; None: never measured."""

    name: str
    threshold: float = Field(gt=0, lt=1)
    sensitivity: float | None = Field(ge=0, le=1)
    specificity: float | None = Field(ge=0, le=1)


class Metric(Part):
    """A figure with its 95 % interval; ``level`` is image, breast or woman."""

    name: str
    level: Literal["image", "breast", "woman"]
    value: float
    low: float
    high: float
    protocol: str


class Golden(Part):
    """A generated picture, the hash of the input it must give, and the logit of that input."""

    seed: int
    input_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    logit: float


class Training(Part):
    """What the weights were trained on, and its terms."""

    dataset: str
    images: int
    women: int
    terms: str
    configuration_sha256: str


class ImportedFrom(Part):
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


class RocPoint(Part):
    """A point of the ROC curve: the sensitivity, with its interval, at a share of benign pictures called malignant."""

    false_positive_rate: float = Field(ge=0, le=1)
    sensitivity: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


class CalibrationBin(Part):
    """Pictures of like probability: their number, what was promised, what was seen."""

    images: int = Field(gt=0)
    predicted: float = Field(ge=0, le=1)
    observed: float = Field(ge=0, le=1)


class Subgroup(Part):
    """AUC of a part of the pictures; None for parts of too few women or of one class."""

    group: str
    value: str
    images: int = Field(ge=0)
    malignant: int = Field(ge=0)
    auc: float | None
    low: float | None
    high: float | None


class Evaluation(Part):
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


class Decision(Part):
    """How a logit becomes a probability and a label, and what was measured of that.

    Attributes
    ----------
    calibration : Calibration
        Of the logit.
    operating_points : tuple of OperatingPoint
    default_operating_point : str
    auc : Metric or None
        By the whole procedure, on women that it had not seen.
    """

    calibration: Calibration
    operating_points: tuple[OperatingPoint, ...] = Field(min_length=1)
    default_operating_point: str
    auc: Metric | None = None

    @model_validator(mode="after")
    def _default_exists(self) -> Decision:
        if self.default_operating_point not in {point.name for point in self.operating_points}:
            raise ValueError("the default operating point is not among the operating points")
        return self

    @property
    def threshold(self) -> float:
        """Threshold of the default operating point."""
        return next(p.threshold for p in self.operating_points if p.name == self.default_operating_point)


class Level(Decision):
    """How scores are put together at a level, and what was measured there.

    The calibration is that of the logit that the rule gives, and the AUC counts the choice of the rule in.

    Attributes
    ----------
    rule : Rule
    """

    rule: Rule


class Examination(Part):
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


class PairGolden(Part):
    """A golden picture for a network of two views: the hash of its input, and its shares as either view."""

    seed: int
    input_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    cc: float
    mlo: float


class Pair(Part):
    """A network that sees both views of a breast, beside the one of single pictures.

    Its logit is the share of the craniocaudal picture plus that of the oblique one plus the bias, and the share of a
    picture is the sum of its evidence.

    Attributes
    ----------
    architecture : str
    trunk : {"shared", "paired"}
        One backbone for both views, or one each.
    looks, second_size, members
        As those of `Manifest`.
    preprocessing : Preprocessing
        Its version is the one of `Manifest`.
    bias : float
    evidence_scale : float
        As that of `Manifest`; one for both views, so that their maps can be held against each other.
    views : Calibration or None
        Of the single pictures that this was put beside: where the bundle's own is another one by now, a site has
        calibrated it and not this network, which then gives no score.
    breast : Decision
    woman : Level or None
        From the calibrated logits of the breasts. None: never measured; the examination then says what its most
        suspicious breast says.
    training : Training
        ``images`` counts both views of a breast.
    metrics : tuple of Metric
    protocol : str
    golden : tuple of PairGolden
    licence : str
    """

    architecture: str
    trunk: Literal["shared", "paired"] = "shared"
    looks: Literal[1, 2] = 1
    second_size: tuple[Side, Side] | None = None
    members: int = Field(default=1, ge=1, le=16)
    preprocessing: Preprocessing
    bias: float
    evidence_scale: float = Field(gt=0)
    views: Calibration | None
    breast: Decision
    woman: Level | None = None
    training: Training
    metrics: tuple[Metric, ...]
    protocol: str
    golden: tuple[PairGolden, ...] = Field(min_length=1)
    licence: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input, pixels."""
        return self.preprocessing.height, self.preprocessing.width
