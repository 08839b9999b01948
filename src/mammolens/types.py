"""The types that pass through the doors between the rooms.

All are frozen. Coordinates are source pixels, x to the right and y down; pixel
``i`` covers ``[i, i + 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PixelSpacing:
    """Distance between pixel centres.

    Attributes
    ----------
    row : float
        Between adjacent rows (vertical), millimetres.
    column : float
        Between adjacent columns (horizontal), millimetres.
    origin : {"imager", "detector", "calibrated"}
        Where the figure comes from: at the imager (ImagerPixelSpacing), the
        detector's own spacing (DetectorElementSpacing), or calibrated or corrected for
        magnification (PixelSpacing).
    """

    row: float
    column: float
    origin: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning that travels with an answer.

    Attributes
    ----------
    code : str
        Stable, for programs.
    message : str
        What was seen and what it means for the answer; no header value beside the
        coded ones.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Breast:
    """Where the breast lies in a picture.

    Attributes
    ----------
    box : tuple of float
        ``(x0, y0, x1, y1)`` in pixels of the picture searched, x to the right, y
        down, half open.
    chest_wall : {"left", "right"}
        The side of the box that the breast is attached to.
    mask : ndarray of uint8, shape (M, N)
        255 on the breast, 0 elsewhere, sampled evenly over ``box``.
    area : float
        Share of the picture that the breast covers, 0 to 1.
    """

    box: tuple[float, float, float, float]
    chest_wall: str
    mask: NDArray[np.uint8]
    area: float


@dataclass(frozen=True, slots=True)
class Mammogram:
    """One mammographic image, ready for preprocessing.

    Attributes
    ----------
    pixels : ndarray of uint8, uint16 or float32, shape (h, w)
        Bright = dense, linear in the stored values after the modality LUT, no VOI
        LUT. Scale and offset mean nothing. ``h`` and ``w`` are the source's rows and
        columns divided by ``reduction``, rounded up.
    rows, columns : int
        Size of the source picture (after EXIF orientation).
    reduction : int
        1, 2, 4, …: by how much ``pixels`` is smaller than the source.
    sha256 : str
        Of the file's bytes (of the array's bytes where there was no file).
    source : {"dicom", "png", "jpeg", "array"}
    laterality : {"L", "R", "B"} or None
    view : str or None
        View code of DICOM's MG IOD: CC, MLO, ML, LM, XCCL, …
    view_modifiers : tuple of str
        For example ``("spot compression", "magnification")``.
    pixel_spacing : PixelSpacing or None
        Of the source pixels.
    negative : bool
        Whether the picture was a negative and has been turned.
    notices : tuple of Notice
    breast : Breast or None
        The breast in ``pixels``, where it has been looked for already; saves the
        search in preprocessing.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]
    rows: int
    columns: int
    reduction: int = 1
    sha256: str = ""
    source: str = "array"
    laterality: str | None = None
    view: str | None = None
    view_modifiers: tuple[str, ...] = ()
    pixel_spacing: PixelSpacing | None = None
    negative: bool = False
    notices: tuple[Notice, ...] = ()
    breast: Breast | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class CropGeometry:
    """The exact map between model input and source pixels.

    Attributes
    ----------
    box : tuple of float
        ``(x0, y0, x1, y1)`` of the crop in source pixels, half open.
    mirrored : bool
        Whether the crop was mirrored left to right.
    size : tuple of int
        ``(height, width)`` of the model input.
    """

    box: tuple[float, float, float, float]
    mirrored: bool
    size: tuple[int, int]

    def to_source(self, x: float, y: float) -> tuple[float, float]:
        """Source position of a model-input position.

        Parameters
        ----------
        x, y : float
            Position in model-input pixels.

        Returns
        -------
        tuple of float
            ``(x, y)`` in source pixels.
        """
        height, width = self.size
        u = (width - x if self.mirrored else x) / width
        x0, y0, x1, y1 = self.box
        return x0 + u * (x1 - x0), y0 + y / height * (y1 - y0)

    def to_input(self, x: float, y: float) -> tuple[float, float]:
        """Model-input position of a source position; the inverse of `to_source`."""
        height, width = self.size
        x0, y0, x1, y1 = self.box
        u = (x - x0) / (x1 - x0) * width
        return (width - u if self.mirrored else u), (y - y0) / (y1 - y0) * height


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What the network sees.

    Attributes
    ----------
    image : ndarray of uint8, shape (height, width)
        Grey, bright = dense, chest wall to the left, 0 outside the breast (but for the
        two pixels that smoothing spreads). Eight bits, so that equal pictures give
        equal bytes on every machine.
    mask : ndarray of uint8, shape (height, width)
        255 on the breast, 0 elsewhere.
    geometry : CropGeometry
        The way back to source pixels.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    geometry: CropGeometry


@dataclass(frozen=True, slots=True)
class RawScore:
    """What an engine gives for one input.

    Attributes
    ----------
    logit : float
        Uncalibrated malignancy logit.
    evidence : ndarray of float32, shape (h, w)
        Each position's share of the logit on the grid of the last convolutional
        features: their sum plus the head's bias is the logit. This is the Grad-CAM
        of the logit before rectification.
    """

    logit: float
    evidence: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Region:
    """A place that the score rests on.

    Attributes
    ----------
    box : tuple of int
        ``(x0, y0, x1, y1)`` in source pixels, half open.
    centre : tuple of int
        ``(x, y)`` of the peak in source pixels.
    score : float
        Height of the peak, as a share of the map's highest possible value, 0 to 1.
    """

    box: tuple[int, int, int, int]
    centre: tuple[int, int]
    score: float


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model answered: name, version and the bundle's hash."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds spent in each stage; ``total`` is wall time from file to answer."""

    read: float
    preprocess: float
    infer: float
    explain: float
    total: float


@dataclass(frozen=True, slots=True, eq=False)
class PairShare:
    """What a picture adds to its breast's logit in a network of two views, as either view.

    Attributes
    ----------
    logits : tuple of float
        As CC and as MLO. That of the one picture as CC, that of the other as MLO and the network's bias make the
        breast's logit, uncalibrated.
    evidence : ndarray of float32, shape (2, h, w)
        Each position's share of them: their sums.
    mask : ndarray of uint8, shape (height, width)
        255 on the breast, on the network's input grid.
    geometry : CropGeometry
        Puts the evidence on source pixels.
    """

    logits: tuple[float, float]
    evidence: NDArray[np.float32]
    mask: NDArray[np.uint8]
    geometry: CropGeometry


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one mammogram.

    Attributes
    ----------
    probability : float
        Calibrated probability of malignancy, 0 to 1, at the prevalence that the
        bundle states. With the notice ``uncalibrated``: the sigmoid of the model's logit.
    logit : float
        Calibrated logit; with that notice the model's own.
    threshold : float
        Probability from which the label is "malignant".
    label : {"benign", "malignant"}
    confidence : float
        Probability of the label given.
    mammogram : Mammogram
        The picture answered for.
    heatmap : ndarray of float32, shape (height, width)
        Evidence for malignancy on the model's input grid, 0 to 1, 0 outside the breast.
    geometry : CropGeometry
        Puts the heat map back on source pixels.
    regions : tuple of Region
        Highest first.
    notices : tuple of Notice
        Those of reading and those of answering.
    model : ModelIdentity
    timing : Timing
    pair : PairShare or None
        None: the model has no network of two views, or the picture shows no view that it looks at.
    """

    probability: float
    logit: float
    threshold: float
    label: str
    confidence: float
    mammogram: Mammogram
    heatmap: NDArray[np.float32]
    geometry: CropGeometry
    regions: tuple[Region, ...]
    notices: tuple[Notice, ...]
    model: ModelIdentity
    timing: Timing = field(compare=False)
    pair: PairShare | None = field(default=None, compare=False)

    def without_pixels(self) -> Prediction:
        """Give the answer with a single pixel for picture and heat map: what thousands of may be kept of.

        What it adds to a network of two views stays, with its evidence and a mask of a single pixel.
        """
        picture = replace(self.mammogram, pixels=np.zeros((1, 1), np.uint8), breast=None)
        pair = None if self.pair is None else replace(self.pair, mask=np.zeros((1, 1), np.uint8))
        return replace(self, mammogram=picture, heatmap=np.zeros((1, 1), np.float32), pair=pair)


@dataclass(frozen=True, slots=True)
class Score:
    """What several pictures together say: of a breast, or of an examination.

    Attributes
    ----------
    probability : float
        Of malignancy, 0 to 1. What it was calibrated at, if at anything, is said by the
        examination's notices.
    logit : float
        Of ``probability``.
    threshold : float
        Probability from which the label is "malignant".
    rule : {"pair", "mean-logit", "mean-probability", "max", "noisy-or"}
        What made it: the network of two views, or a rule of `mammolens.inference.examination.combine`. Scores that
        came about otherwise are equal where their figures are.
    """

    probability: float
    logit: float
    threshold: float
    rule: str = field(compare=False)

    @property
    def label(self) -> str:
        """``malignant`` from the threshold on, else ``benign``."""
        return "malignant" if self.probability >= self.threshold else "benign"

    @property
    def confidence(self) -> float:
        """Probability of the label."""
        return self.probability if self.label == "malignant" else 1.0 - self.probability


@dataclass(frozen=True, slots=True)
class BreastPrediction:
    """The answer for one breast.

    Attributes
    ----------
    laterality : {"L", "R", "B"} or None
        None: nothing tells which breast it is; such a picture makes a breast of its own.
    score : Score
    views : tuple of Prediction
        All its pictures, CC before MLO before others.
    counted : tuple of bool
        Which of them the score is made of.
    pair : tuple of int, or None
        Places in ``views`` of the CC and the MLO picture that the network of two views took; None: it gave no score.
    """

    laterality: str | None
    score: Score
    views: tuple[Prediction, ...]
    counted: tuple[bool, ...]
    pair: tuple[int, int] | None = None

    @property
    def evidence(self) -> tuple[tuple[Prediction, NDArray[np.float32]], ...]:
        """The two pictures that the network of two views took, each with its exact evidence, shape (h, w).

        Both maps and the network's bias sum to the breast's logit before calibration. Empty where another rule gave
        the score; each picture then has its own heat map.
        """
        shown = [(self.views[place], view) for view, place in enumerate(self.pair or ())]
        return tuple((each, each.pair.evidence[view]) for each, view in shown if each.pair is not None)


@dataclass(frozen=True, slots=True)
class RefusedView:
    """A picture of the examination that got no answer.

    Attributes
    ----------
    source : int
        Its place among what was given, from 0.
    code, message : str
        Of the error.
    """

    source: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ExamPrediction:
    """The answer for one examination.

    Attributes
    ----------
    name : str
        16 hexadecimal digits made of the pictures' hashes and of nothing that a header says.
    score : Score
    breasts : tuple of BreastPrediction
        Right, left, then those whose side is not known.
    missing : tuple of (str, str)
        Laterality and view of each standard view that was not given.
    doubled : tuple of (str, str)
        Of each view that was given more than once; its pictures were averaged, or the network of two views took one.
    notices : tuple of Notice
        Of the examination; each picture has its own beside them.
    model : ModelIdentity
    refused : tuple of RefusedView
    """

    name: str
    score: Score
    breasts: tuple[BreastPrediction, ...]
    missing: tuple[tuple[str, str], ...]
    doubled: tuple[tuple[str, str], ...]
    notices: tuple[Notice, ...]
    model: ModelIdentity
    refused: tuple[RefusedView, ...] = ()
