"""ONNX Runtime's sessions, opened in one way."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BundleInvalid, EngineError, EngineUnavailable

PAIR_OUTPUTS = ("shares", "evidence")
"""Outputs of the graph of a network of two views."""

_BATCH, _PIXELS = 16, 1 << 20
"""Most pictures and most pixels that go through a network at a time: it takes some kilobytes for each pixel."""


def open_session(graph: bytes, threads: int = 0) -> Any:
    """Open a graph in ONNX Runtime, on the CPU.

    Parameters
    ----------
    graph : bytes
        ONNX.
    threads : int
        Threads within one run; 0 takes one per core.

    Returns
    -------
    onnxruntime.InferenceSession
        May be run from several threads.

    Raises
    ------
    BundleInvalid
        If ONNX Runtime can't open the graph.
    EngineUnavailable
        If ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineUnavailable("ONNX Runtime is not installed. Run: pip install onnxruntime.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # ONNX Runtime's own exceptions share no base class below Exception.
        raise BundleInvalid("ONNX Runtime can't open the model's graph.") from error


def run(session: Any, inputs: NDArray[np.float32], outputs: tuple[str, ...]) -> list[NDArray[np.float32]]:
    """Run a batch.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
    inputs : ndarray of float32, shape (N, H, W, C)
    outputs : tuple of str
        ``logit``, ``evidence``, ``features``; of a network of two views `PAIR_OUTPUTS`.

    Returns
    -------
    list of ndarray of float32
        One for each output.

    Raises
    ------
    EngineError
        If ONNX Runtime fails.
    """
    try:
        return list(session.run(list(outputs), {"image": inputs}))
    except Exception as error:
        raise EngineError("ONNX Runtime failed on this input.") from error


@lru_cache(maxsize=2)
def _opened(graph: bytes) -> Any:
    return open_session(graph)


def scores(graph: bytes, inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits and evidence of inputs in the graph's own scale; the last two graphs stay open.

    Parameters
    ----------
    graph : bytes
    inputs : ndarray of float32, shape (N, H, W, C)

    Returns
    -------
    logits : ndarray of float32, shape (N,)
    evidence : ndarray of float32, shape (N, h, w)

    Raises
    ------
    BundleInvalid
        If ONNX Runtime can't open the graph.
    EngineError
        If there are no inputs, or ONNX Runtime fails.
    """
    if not len(inputs):
        raise EngineError("There is no picture in the batch. Give at least one.")
    step = min(_BATCH, max(1, _PIXELS // (inputs.shape[1] * inputs.shape[2])))
    parts = [
        run(_opened(graph), inputs[start : start + step], ("logit", "evidence"))
        for start in range(0, len(inputs), step)
    ]
    logits, evidence = (np.concatenate(each) for each in zip(*parts, strict=True))
    return logits[:, 0], evidence
