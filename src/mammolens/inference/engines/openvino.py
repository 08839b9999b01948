"""OpenVINO on the CPU: the same graph as ONNX Runtime's, often faster on Intel's processors."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BundleInvalid, EngineError, EngineUnavailable
from mammolens.models.bundle import ModelBundle
from mammolens.models.contract import to_input
from mammolens.types import RawScore

_import_lock = threading.Lock()


class OpenVinoEngine:
    """One compiled model for many images, in 32-bit floating point throughout.

    Parameters
    ----------
    bundle : ModelBundle
    threads : int
        Threads within one run; 0 takes one per core. With a number given, as many runs
        as the cores allow go on side by side, each with that many threads.

    Raises
    ------
    EngineUnavailable
        If OpenVINO is not installed or can't run such a graph with equal results.
    BundleInvalid
        If OpenVINO can't open the graph.
    """

    name = "openvino"

    def __init__(self, bundle: ModelBundle, threads: int = 0) -> None:
        openvino = _imported()
        if b"QuantizeLinear" in bundle.graph:
            raise EngineUnavailable(
                "OpenVINO rounds eight-bit models otherwise than ONNX Runtime, which they are measured with. "
                "Use the engine onnxruntime."
            )
        self._contract = bundle.contract
        size = (self._contract.height, self._contract.width, self._contract.channels)
        try:
            core = openvino.Core()
            model = core.read_model(model=bundle.graph)
            # A fixed shape runs a little faster than an open one, and an image's result can't depend on its batch.
            model.reshape({"image": [1, *size]})
            self._compiled = core.compile_model(model, "CPU", _properties(openvino, threads))
        except (RuntimeError, TypeError, ValueError) as error:
            raise BundleInvalid("OpenVINO can't open the model's graph.") from error
        # A request holds the buffers of one run, so each thread has its own.
        self._mine = threading.local()

    def run(self, images: NDArray[np.uint8]) -> list[RawScore]:
        """Score a batch; see `Engine.run`."""
        return [self._score(image[None]) for image in to_input(images, self._contract)]

    def _score(self, image: NDArray[np.float32]) -> RawScore:
        """Score one image, shape (1, H, W, C)."""
        try:
            request = getattr(self._mine, "request", None)
            if request is None:
                request = self._mine.request = self._compiled.create_infer_request()
            request.start_async({"image": np.ascontiguousarray(image)}, share_inputs=True)
            request.wait()
            logit, evidence = (request.get_tensor(name).data for name in ("logit", "evidence"))
            # The next run overwrites the request's buffers.
            return RawScore(float(logit[0, 0]), np.array(evidence[0], np.float32))
        except RuntimeError as error:
            raise EngineError("OpenVINO failed on this input.") from error


def _imported() -> Any:
    """Give OpenVINO, imported without its telemetry.

    OpenVINO reports each import to its makers if the package ``openvino_telemetry``
    is installed. Where pictures of patients are, no program calls home: the package
    is hidden while OpenVINO is imported, which then takes its own empty stand-in.
    """
    with _import_lock:
        modules: dict[str, Any] = sys.modules
        name, hide = "openvino_telemetry", "openvino" not in modules
        before = modules.get(name)
        if hide:
            modules[name] = None
        try:
            import openvino
        except ImportError as error:
            raise EngineUnavailable("OpenVINO is not installed. Run: pip install 'mammolens[openvino]'.") from error
        finally:
            if hide:
                modules.pop(name)
            if before is not None:
                modules[name] = before
    return openvino


def _properties(openvino: Any, threads: int) -> dict[Any, Any]:
    """Properties under which the results are those of any other engine."""
    properties, hint = openvino.properties, openvino.properties.hint
    chosen = {
        # Else the plugin takes a shorter type (bfloat16) on processors that compute in it, with other results.
        hint.inference_precision: openvino.Type.f32,
        hint.execution_mode: hint.ExecutionMode.ACCURACY,
        # Several processes side by side must not be bound to the same cores.
        hint.enable_cpu_pinning: False,
        properties.num_streams: 1,
    }
    if threads:
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        streams = max(1, cores // threads)
        chosen |= {properties.num_streams: streams, properties.inference_num_threads: streams * threads}
    return chosen
