"""What a stranger's model file holds, before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from numpy.typing import NDArray

from mammolens.models.importing.config import Layer
from mammolens.models.network import InputContract, InputScale


class Format(StrEnum):
    """Formats of model files, told apart by their content."""

    KERAS = "keras"
    """Keras 3 zip: ``config.json``, ``metadata.json``, ``model.weights.h5``."""
    MODEL_HDF5 = "model-hdf5"
    """Whole model of Keras 1, 2 or 3 in HDF5: ``model_config`` and ``model_weights``."""
    WEIGHTS_KERAS_3 = "weights-keras-3"
    """``.weights.h5`` in the layout of Keras 3 (``layers/…/vars/0``)."""
    WEIGHTS_LEGACY = "weights-legacy"
    """Weights alone in the layout of Keras 1 and 2 (``layer_names`` and ``weight_names``)."""
    SAVED_MODEL = "saved-model"
    """TensorFlow SavedModel folder."""
    ONNX = "onnx"


@dataclass(frozen=True, slots=True)
class SourceTensor:
    """One array of a model file.

    Attributes
    ----------
    path : str
        Where it lies, as it is shown to the user: ``model_weights/top_bn/top_bn/gamma:0``.
    layer : tuple of str
        The layers it lies in, outermost first, by the file's names:
        ``("efficientnetb2", "top_bn")`` or, in Keras 3, ``("functional", "batch_normalization_48")``.
    name : str
        ``gamma``, ``kernel``, … or, in Keras 3, its index ``0``, ``1``, ….
    shape : tuple of int
    dtype : str
        NumPy's name.
    read : callable
        Gives the array; raises `ModelFileMalformed` where it holds values that are not
        numbers.
    label : str
        The innermost layer's own name (``block1a_bn``) where the file tells it, also where
        ``layer`` holds counted class names; empty where it does not.
    """

    path: str
    layer: tuple[str, ...]
    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], NDArray[Any]] = field(repr=False, compare=False)
    label: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """A model file, opened safely.

    Attributes
    ----------
    format : Format
    sha256 : str
        Of the file; of the sorted files' hashes for a folder.
    size : int
        Bytes.
    keras_version : str
        That wrote it; empty where the file does not say.
    backend : str
        Of Keras; empty where the file does not say.
    config : dict, optional
        The model's own description (``{"class_name": …, "config": …}``); None for weights alone.
    tensors : tuple of SourceTensor
        In the file's own order; without an optimiser's state.
    compiled : bool
        Whether it holds a training configuration or an optimiser's state.
    """

    format: Format
    sha256: str
    size: int
    keras_version: str
    backend: str
    config: dict[str, Any] | None
    tensors: tuple[SourceTensor, ...]
    compiled: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user states because a file can't tell; None or empty: find out.

    Attributes
    ----------
    architecture : str, optional
    size : tuple of int, optional
        ``(height, width)``.
    scale : InputScale, optional
    classes : tuple of str, optional
        In the order of the outputs: ``("benign", "malignant")``; for one output, what
        its low and its high end mean.
    """

    architecture: str | None = None
    size: tuple[int, int] | None = None
    scale: InputScale | None = None
    classes: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one thing of the file.

    Attributes
    ----------
    source : str
        Path of a tensor, or name of a layer without weights.
    target : str
        Where it went: ``block2a_expand_conv kernel``; empty if it was not needed.
    reason : str
        Why it was not needed (``training only``, ``identity at inference``); empty if used.
    """

    source: str
    target: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The classifier on top.

    Attributes
    ----------
    kind : {"sigmoid", "softmax", "linear"}
        Activation of the last layer; ``linear`` with one unit is a logit.
    units : {1, 2}
    malignant : {0, 1}
        Index of the malignant output; for one unit, 1 if its high end means malignant.
    """

    kind: Literal["sigmoid", "softmax", "linear"]
    units: Literal[1, 2]
    malignant: Literal[0, 1] = 1


@dataclass(frozen=True, slots=True)
class Step:
    """One layer that scales the input inside the network: ``x * factor + offset``.

    Attributes
    ----------
    layer : Layer
    factor, offset : tuple of float
        One number, or one per channel; empty if they follow from the layer's tensors
        (a normalisation that was adapted to data).
    inverted : bool
        Whether such a normalisation undoes one.
    """

    layer: Layer
    factor: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """How a file becomes one of our networks, decided before a tensor is read.

    Attributes
    ----------
    architecture : str
    contract : InputContract
    head : Head
    inside : tuple of str
        Layers of the file that scale the input inside the network
        (``rescaling``, ``normalization``), by name.
    assumed : tuple of str
        What was taken for granted, in words for the manifest and the user
        ("layer 'jitter' of an unknown class changes nothing at inference").
    names : dict of str to tuple of str
        Registry layer → the file's layer path, where the configuration tells it.
    ignored : tuple of Fate
        Layers of the file without a part in the answer.
    layers : mapping of str to Layer
        Registry layer → the file's layer, with its settings; ``logit`` is the last dense
        layer, ``logit_bn``, ``logit_bn_1``, … are batch normalisations before it.
    steps : tuple of Step
        What happens to the input before the first convolution, in this order.
    built : tuple of Fate
        Layers of the file without weights that the network has too.
    tripled : bool
        Whether the network repeats its one grey channel three times before that.
    """

    architecture: str
    contract: InputContract
    head: Head
    inside: tuple[str, ...]
    assumed: tuple[str, ...]
    names: dict[str, tuple[str, ...]]
    ignored: tuple[Fate, ...]
    layers: Mapping[str, Layer] = field(default_factory=dict, repr=False)
    steps: tuple[Step, ...] = ()
    built: tuple[Fate, ...] = ()
    tripled: bool = False
