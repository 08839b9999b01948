"""Smaller forms of a graph: weights stored in 16 bits, and convolutions in 8 bits.

Both change the answers a little, so each becomes a model of its own with its own
hash, and only after its differences have been measured on real pictures
(`mammolens.evaluation.optimise`).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BundleInvalid
from mammolens.models import session
from mammolens.models.contract import to_input
from mammolens.models.head import onnx_library
from mammolens.models.network import InputContract

_SMALL = 64
_MANY_WEIGHTS = 1 << 14
_LARGEST_HALF = 65504.0
_WORTH_IT = 0.9
"""Share of the bytes above which nothing was gained."""


def float16(graph: bytes) -> bytes:
    """Store a graph's weights in 16 bits; it computes in 32 bits as before.

    Each weight is rounded to 11 significant bits and cast back when the graph is
    opened, so speed and memory stay as they are and the file is half as large.

    Parameters
    ----------
    graph : bytes
        ONNX.

    Returns
    -------
    bytes

    Raises
    ------
    BundleInvalid
        If a weight is too large for 16 bits, or the large ones are stored so already, as an ensemble's are.
    ConfigurationError
        If onnx is not installed.
    """
    made = _halved(graph, exactly=False)
    if len(made) > _WORTH_IT * len(graph):
        raise BundleInvalid("The model's weights are stored in 16 bits already.")
    return made


def compact(graph: bytes) -> bytes:
    """Store in 16 bits the weights that 16 bits hold exactly, and no others: the answers stay what they are.

    Parameters
    ----------
    graph : bytes
        ONNX, of networks that were `mammolens.models.network.Network.rounded`.

    Returns
    -------
    bytes

    Raises
    ------
    ConfigurationError
        If onnx is not installed.
    """
    return _halved(graph, exactly=True)


def _halved(graph: bytes, *, exactly: bool) -> bytes:
    onnx = onnx_library()
    model = onnx.load_from_string(graph)
    casts, kept = [], []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _SMALL or (exactly and not _held(values)):
            kept.append(tensor)
            continue
        if not np.abs(values).max() <= _LARGEST_HALF:
            raise BundleInvalid("A weight of the model is too large for 16 bits.")
        stored = f"{tensor.name}/half"
        kept.append(onnx.numpy_helper.from_array(values.astype(np.float16), stored))
        name = f"{tensor.name}/single"
        casts.append(onnx.helper.make_node("Cast", [stored], [tensor.name], name=name, to=onnx.TensorProto.FLOAT))
    return _finished(model, casts, kept)


def _whole(graph: bytes) -> bytes:
    """Store in 32 bits what `_halved` stored in 16: the quantiser wants the weights themselves."""
    onnx = onnx_library()
    model = onnx.load_from_string(graph)
    halves = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name.endswith("/half")}
    casts = [node for node in model.graph.node if node.op_type == "Cast" and node.input[0] in halves]
    for node in casts:
        values = onnx.numpy_helper.to_array(halves[node.input[0]]).astype(np.float32)
        halves[node.input[0]].CopyFrom(onnx.numpy_helper.from_array(values, node.output[0]))
        model.graph.node.remove(node)
    return bytes(model.SerializeToString(deterministic=True))


def _held(values: NDArray[np.float32]) -> bool:
    """Whether 16 bits hold all values exactly."""
    if not np.abs(values).max() <= _LARGEST_HALF:
        return False
    return bool(np.array_equal(values.astype(np.float16).astype(np.float32), values))


def int8(graph: bytes, images: NDArray[np.uint8], contract: InputContract) -> bytes:
    """Compute the pointwise convolutions of a graph in 8 bits ("static quantisation").

    Weights get a scale for each output channel; activations get one for each tensor,
    from the smallest and the largest value of each calibration picture, averaged over
    the pictures. Convolutions with few weights (the early ones), depthwise ones,
    squeeze-and-excitation and the evidence stay in 32 bits: they hold few of the
    bytes, and most of the differences would come from them.

    Parameters
    ----------
    graph : bytes
        ONNX.
    images : ndarray of uint8, shape (N, H, W)
        Model inputs to calibrate with.
    contract : InputContract

    Returns
    -------
    bytes

    Raises
    ------
    BundleInvalid
        If the graph has no convolution that can be computed so.
    ConfigurationError
        If onnx is not installed.

    References
    ----------
    B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018, arXiv:1712.05877.
    """
    onnx = onnx_library()
    from onnxruntime import quantization

    stored, graph = graph, _whole(graph)
    model = onnx.load_from_string(graph)
    names = _pointwise(model)
    if not names:
        raise BundleInvalid("The model has no convolutions that can be computed in eight bits.")
    # Says that nothing is to be merged beforehand; else the quantiser logs advice.
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    ranges = _ranges(onnx, graph, names, (to_input(image[None], contract) for image in images))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "quantised.onnx"
        quantization.quantize_static(
            model,
            place,
            # The quantiser wants a picture of its own, and then takes the ranges that it is given.
            _reader(quantization, to_input(images[:1], contract)),
            quant_format=quantization.QuantFormat.QDQ,
            nodes_to_quantize=names,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"TensorQuantOverrides": ranges},
        )
        made = place.read_bytes()
    # What stays in 32 bits was stored in 16 before, and can be again.
    return made if len(graph) == len(stored) else compact(made)


def _finished(model: Any, casts: list[Any], constants: list[Any]) -> bytes:
    """Graph with other constants and the nodes that come before all others."""
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
    return bytes(model.SerializeToString(deterministic=True))


def _pointwise(model: Any) -> list[str]:
    """Names of the 1 × 1 convolutions with many weights over more than one position."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    pooled: set[str] = set()
    names = []
    for node in model.graph.node:
        # What is computed from pooled features alone has one position; it ends where it gates a whole plane.
        if node.op_type == "GlobalAveragePool" or (node.input and all(i in pooled or i in shapes for i in node.input)):
            pooled.update(node.output)
            continue
        shape = shapes.get(node.input[1], ()) if node.op_type == "Conv" else ()
        if shape[2:] == (1, 1) and math.prod(shape) >= _MANY_WEIGHTS:
            names.append(node.name)
    return names


def _ranges(
    onnx: Any, graph: bytes, names: list[str], inputs: Iterable[NDArray[np.float32]]
) -> dict[str, list[dict[str, np.float32]]]:
    """Range of what goes into and comes out of some nodes, as the quantiser takes it.

    The mean of the pictures' extremes lets no single picture stretch the scale; one
    picture is held at a time.
    """
    model = onnx.load_from_string(graph)
    chosen = [node for node in model.graph.node if node.name in names]
    tensors = sorted({name for node in chosen for name in (node.input[0], node.output[0])})
    present = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in present)
    opened = session.open_session(bytes(model.SerializeToString()))
    found = [
        [(values.min(), values.max()) for values in session.run(opened, batch, tuple(tensors))] for batch in inputs
    ]
    ends = np.array(found, np.float64).mean(axis=0)
    return {
        name: [{"rmin": np.float32(ends[row, 0]), "rmax": np.float32(ends[row, 1])}] for row, name in enumerate(tensors)
    }


def _reader(quantization: Any, batch: NDArray[np.float32]) -> Any:
    """Give one batch to the quantiser."""

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = iter([{"image": batch}])

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self._batches, None)

    return Reader()
