"""Networks read back from the graph that `mammolens.models.onnx_graph` wrote of them.

A bundle's graph holds all of its weights, so a bundle without a weights file (an
ensemble for which there is no room twice) can be opened by Keras too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BundleInvalid
from mammolens.models.architecture import features_of, kernels
from mammolens.models.head import onnx_library
from mammolens.models.manifest import Manifest
from mammolens.models.network import Convolution, Network
from mammolens.models.onnx_graph import member_prefix


def read(graph: bytes, manifest: Manifest) -> list[Network]:
    """Read every network of a graph.

    Parameters
    ----------
    graph : bytes
        ONNX, as `mammolens.models.onnx_graph.write_ensemble` wrote it, its weights in 32
        or in 16 bits.
    manifest : Manifest
        Says architecture, input and number of networks.

    Returns
    -------
    list of Network
        As many as ``manifest.members``. The graph holds the mean of their biases alone,
        so each has that one.

    Raises
    ------
    BundleInvalid
        If a weight is missing, of another shape or not finite.
    ConfigurationError
        If onnx is not installed.
    """
    stored = _constants(graph)
    shapes, channels = kernels(manifest.architecture, manifest.channels), features_of(manifest.architecture)
    factor, offset = stored.get("scale"), stored.get("offset")
    share, bias = stored.get("logit/share"), stored.get("logit/bias")
    if share is None or bias is None or factor is None or offset is None or share.size != manifest.members * channels:
        raise BundleInvalid("The graph's head is not that of the networks that its manifest names.")
    positions = _positions(manifest)
    heads = share.reshape(manifest.members, channels) * np.float32(manifest.members * positions)
    networks = []
    for member, head in enumerate(heads, 1):
        prefix = member_prefix(member, manifest.members)
        if factor.size == 3 and manifest.channels == 1:
            shapes = kernels(manifest.architecture, 3)
        convolutions = {layer: _convolution(stored, prefix, layer, shape) for layer, shape in shapes.items()}
        networks.append(
            Network(
                architecture=manifest.architecture,
                contract=manifest.contract,
                factor=factor.reshape(-1),
                offset=offset.reshape(-1),
                convolutions=convolutions,
                head=head,
                bias=float(bias.reshape(())),
            )
        )
    return networks


def _constants(graph: bytes) -> dict[str, NDArray[np.float32]]:
    """Constants of a graph by name, those in 16 bits under the name that their cast gives."""
    onnx = onnx_library()
    model = onnx.load_from_string(graph)
    casts = {node.input[0]: node.output[0] for node in model.graph.node if node.op_type == "Cast"}
    found = {}
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype.kind == "f":
            found[casts.get(tensor.name, tensor.name)] = values.astype(np.float32)
    return found


def _positions(manifest: Manifest) -> int:
    """Places of the last features."""
    rows, columns = manifest.preprocessing.height, manifest.preprocessing.width
    for _ in range(5):
        rows, columns = (rows + 1) // 2, (columns + 1) // 2
    return rows * columns


def _convolution(
    stored: dict[str, NDArray[np.float32]], prefix: str, layer: str, shape: tuple[int, int, int, int]
) -> Convolution:
    kernel, bias = stored.get(f"{prefix}{layer}/kernel"), stored.get(f"{prefix}{layer}/bias")
    depthwise = layer.endswith("dwconv")
    if kernel is not None:
        # The graph has output channels first: (out, in, kh, kw), depthwise (C, 1, kh, kw).
        kernel = kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(2, 3, 1, 0)
    width = shape[2] if depthwise else shape[3]
    if kernel is None or bias is None or kernel.shape != shape or bias.shape != (width,):
        raise BundleInvalid(f"The model's graph does not hold the layer {layer} of this architecture.")
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        raise BundleInvalid(f"The model's graph holds values of the layer {layer} that are no numbers.")
    return Convolution(np.ascontiguousarray(kernel), bias)
