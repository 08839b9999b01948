"""Inference engines behind one Protocol; a new one is one module and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import EngineUnavailable
from mammolens.models.bundle import ModelBundle
from mammolens.types import RawScore


class Engine(Protocol):
    """Runs one model; safe to call from several threads."""

    name: str

    def run(self, images: NDArray[np.uint8]) -> list[RawScore]:
        """Score a batch.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, height, width)

        Returns
        -------
        list of RawScore
            One per image, in order.

        Raises
        ------
        EngineError
            If the engine fails.
        """
        ...


def _onnxruntime(bundle: ModelBundle, threads: int) -> Engine:
    from mammolens.inference.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(bundle, threads)


def _openvino(bundle: ModelBundle, threads: int) -> Engine:
    from mammolens.inference.engines.openvino import OpenVinoEngine

    return OpenVinoEngine(bundle, threads)


def _keras(bundle: ModelBundle, threads: int) -> Engine:
    from mammolens.inference.engines.keras import KerasEngine

    return KerasEngine(bundle)


ENGINES: dict[str, Callable[[ModelBundle, int], Engine]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "keras": _keras,
}
"""Name of an engine and what opens it; in the order in which they stand in for one another."""


def open_engine(name: str, bundle: ModelBundle, threads: int = 0) -> Engine:
    """Open the engine of a name, and no other.

    `mammolens.inference.engines.opening.open_equal` lets another one stand in.

    Parameters
    ----------
    name : str
        A key of `ENGINES`, or ``auto`` (see `mammolens.inference.engines.choice.choose`).
    bundle : ModelBundle
    threads : int
        Threads within one forward pass; 0 takes one per core.

    Raises
    ------
    EngineUnavailable
        If the name is unknown or the engine is not installed.
    BundleError
        If the engine can't open the bundle.
    """
    if name == "auto":
        from mammolens.inference.engines.choice import choose

        name = choose(bundle, threads)
    if name not in ENGINES:
        raise EngineUnavailable(f"Unknown engine. Known are: auto, {', '.join(ENGINES)}.")
    return ENGINES[name](bundle, threads)
