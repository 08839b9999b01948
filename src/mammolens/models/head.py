"""The weights of a graph's linear head, read from the graph itself.

The graph that `mammolens.models.onnx_graph` writes makes the evidence by one 1 × 1
convolution of the last features; its kernel is the head's weights divided by the
number of positions. Reading them there holds for every bundle that can answer, also
for one whose weights file is not whole or that was stored in fewer bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BundleInvalid, ConfigurationError

_SHARES = "evidence/grid"
"""Name of the convolution from the last features to the evidence."""


def shares(graph: bytes) -> NDArray[np.float32]:
    """Read what each last feature adds to the logit at one position.

    Parameters
    ----------
    graph : bytes
        ONNX, as `mammolens.models.onnx_graph.write` gives it, or a variant of it.

    Returns
    -------
    ndarray of float32, shape (C,)
        The head's weights divided by the number of positions: the gradient of the
        logit by the last features, the same everywhere.

    Raises
    ------
    BundleInvalid
        If the graph has no such head.
    ConfigurationError
        If onnx is not installed.
    """
    onnx = onnx_library()
    model = onnx.load_from_string(graph).graph
    stored = {tensor.name: tensor for tensor in model.initializer}
    makers = {output: node for node in model.node for output in node.output}
    head = makers.get(_SHARES)
    if head is None or head.op_type != "Conv":
        raise BundleInvalid(
            "This model's head is not linear over averaged features, so only grad-cam and occlusion explain it."
        )
    name = head.input[1]
    if name not in stored and name in makers and makers[name].op_type == "Cast":
        name = makers[name].input[0]
    if name not in stored:
        raise BundleInvalid("The graph does not hold its head's weights as a constant. Export the bundle again.")
    return np.asarray(onnx.numpy_helper.to_array(stored[name]), np.float32).ravel()


def onnx_library() -> Any:
    """Import onnx.

    Raises
    ------
    ConfigurationError
        If it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ConfigurationError("onnx is not installed. Run: pip install 'mammolens[import]'.") from error
    return onnx
