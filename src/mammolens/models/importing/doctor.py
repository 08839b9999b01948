"""Look a model file over before it is trusted: what it is, what it expects, what is wrong with it.

Nothing of it is run and nothing is written. With a file that is HDF5 inside, neither
Keras nor TensorFlow is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from mammolens.errors import ModelFileError, ModelFileMalformed, ModelUnsupported
from mammolens.models.importing.container import open_source
from mammolens.models.importing.foreign_config import clean
from mammolens.models.importing.health import NOTHING, Suspicions, is_dead, suspicions
from mammolens.models.importing.match import assemble
from mammolens.models.importing.recognise import plan as recognise
from mammolens.models.importing.source import Asked, Format, Plan, Source

LINEAR = (
    "exactly, at the cost of the forward pass: the head is linear on averaged features, so each place has a share of "
    "the logit (Grad-CAM)"
)
GRADIENT = "by the gradient of the logit at the last feature maps (Grad-CAM), computed within the graph"
EXPLANATIONS = {"own": LINEAR, "foreign": GRADIENT, "": ""}
"""How the answers of a model are explained, by the road that it comes."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found in a model file; empty or None: nothing, or not known.

    Attributes
    ----------
    format, sha256, keras_version : str
    size : int
        Bytes.
    tensors, parameters : int
    compiled : bool
        Whether it holds a training configuration or an optimiser's state.
    plan : Plan or None
        Architecture, input contract, head and what is taken for granted; None where
        the file can't be understood.
    suspicions : Suspicions
    dead : tuple of str
        Kernels of one single value, where training leaves many.
    not_finite : tuple of str
        Tensors with values that are no numbers.
    road : {"own", "foreign", ""}
        How it would import: as one of our networks, by ``--foreign``, or not at all.
    refusal : ModelFileError or None
        Why it would not import as one of our networks.
    """

    format: str = ""
    size: int = 0
    sha256: str = ""
    keras_version: str = ""
    tensors: int = 0
    parameters: int = 0
    compiled: bool = False
    plan: Plan | None = None
    suspicions: Suspicions = NOTHING
    dead: tuple[str, ...] = ()
    not_finite: tuple[str, ...] = ()
    road: Literal["own", "foreign", ""] = ""
    refusal: ModelFileError | None = field(default=None, compare=False)

    @property
    def explanation(self) -> str:
        """How its answers would be explained."""
        return EXPLANATIONS[self.road]


def examine(path: Path, asked: Asked | None = None) -> Findings:
    """Look a model file over.

    Parameters
    ----------
    path : Path
        File or SavedModel folder.
    asked : Asked, optional
        What the user states because the file can't tell.

    Returns
    -------
    Findings

    Raises
    ------
    FileMissing
        If there is no such file.
    ConfigurationError
        If a library that the format needs is missing.
    """
    try:
        source = open_source(path)
    except ModelFileError as error:
        return Findings(refusal=error)
    asked, found = asked or Asked(), _facts(source)
    plan: Plan | None = None
    try:
        plan = recognise(source, asked)
        network, fates = assemble(source, plan)
        return replace(found, plan=plan, suspicions=suspicions(source, network, fates), road="own")
    except ModelFileError as error:
        road: Literal["foreign", ""] = "foreign" if _foreign_would_do(source, asked, error) else ""
        return replace(found, plan=plan, refusal=error, road=road)


def _facts(source: Source) -> Findings:
    """Look at what needs no understanding of the network."""
    dead, not_finite = [], []
    for tensor in source.tensors:
        try:
            if is_dead(tensor.read()):
                dead.append(tensor.path)
        except ModelFileMalformed:
            not_finite.append(tensor.path)
    return Findings(
        format=str(source.format),
        size=source.size,
        sha256=source.sha256,
        keras_version=source.keras_version,
        tensors=len(source.tensors),
        parameters=sum(int(np.prod(tensor.shape)) for tensor in source.tensors),
        compiled=source.compiled,
        dead=tuple(dead),
        not_finite=tuple(not_finite),
    )


def _foreign_would_do(source: Source, asked: Asked, refusal: ModelFileError) -> bool:
    """Whether the second road takes what the first one does not understand, as far as can be told without Keras."""
    if not isinstance(refusal, ModelUnsupported):
        return False
    if source.config is None:
        return source.format is Format.ONNX
    try:
        clean(source.config, asked.size, legacy=not source.keras_version.startswith("3"))
    except ModelFileError:
        return False
    return True
