"""ONNX Runtime on the CPU: the default engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mammolens.models import session
from mammolens.models.bundle import ModelBundle
from mammolens.models.contract import to_input
from mammolens.types import RawScore


class OnnxRuntimeEngine:
    """One session for many images; ONNX Runtime's sessions may be run from several threads.

    Parameters
    ----------
    bundle : ModelBundle
    threads : int
        Threads within one run; 0 takes one per core.

    Raises
    ------
    BundleInvalid
        If ONNX Runtime can't open the graph.
    """

    name = "onnxruntime"

    def __init__(self, bundle: ModelBundle, threads: int = 0) -> None:
        self._session = session.open_session(bundle.graph, threads)
        self._contract = bundle.contract

    def run(self, images: NDArray[np.uint8]) -> list[RawScore]:
        """Score a batch; see `Engine.run`."""
        logits, evidence = session.run(self._session, to_input(images, self._contract), ("logit", "evidence"))
        return [RawScore(float(logit[0]), grid) for logit, grid in zip(logits, evidence, strict=True)]
