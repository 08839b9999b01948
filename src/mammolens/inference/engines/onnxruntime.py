"""ONNX Runtime on the CPU: the default engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BundleInvalid, EngineError
from mammolens.models.bundle import ModelBundle
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
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(bundle.graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # ONNX Runtime's own exceptions share no base class below Exception.
            raise BundleInvalid("ONNX Runtime can't open the model's graph.") from error

    def run(self, images: NDArray[np.uint8]) -> list[RawScore]:
        """Score a batch; see `Engine.run`."""
        batch = images.astype(np.float32)[..., None]
        try:
            logits, evidence = self._session.run(["logit", "evidence"], {"image": batch})
        except Exception as error:
            raise EngineError("ONNX Runtime failed on this input.") from error
        return [RawScore(float(logit[0]), grid) for logit, grid in zip(logits, evidence, strict=True)]
