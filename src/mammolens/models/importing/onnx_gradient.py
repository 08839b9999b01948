"""The backward pass of a classifier's head, written as ONNX nodes.

A gradient is a tensor that broadcasts to the shape of what it is the gradient of: a
pooled map has one value per channel. Its batch is 1 where it is the same for every
picture, as it is all the way through a head without activations; ONNX Runtime computes
it once then. No node names the size of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mammolens.models.importing.onnx_derivatives import BACKWARD, Step, refusal
from mammolens.models.importing.onnx_writer import Writer

if TYPE_CHECKING:
    from mammolens.models.importing.onnx_tail import Net

_AFFINE = frozenset(
    (  # noqa: SIM905 - a list of words
        "Identity Dropout Cast Gemm MatMul Add Sub Sum Neg BatchNormalization Flatten Reshape Squeeze Unsqueeze "
        "Transpose GlobalAveragePool ReduceMean ReduceSum AveragePool Conv Concat"
    ).split()
)


def is_linear(net: Net, nodes: Sequence[Any]) -> bool:
    """Whether a head is a weighted sum of the features plus a constant."""
    return all(
        node.op_type in _AFFINE
        or (node.op_type == "Mul" and len(net.live.intersection(node.input)) == 1)
        or (node.op_type == "Div" and node.input[1] not in net.live)
        for node in nodes
    )


def backward(writer: Writer, net: Net, nodes: Sequence[Any], features: str, end: str, start: str) -> str:
    """Write the gradient with respect to the features.

    Parameters
    ----------
    writer : Writer
    net : Net
    nodes : sequence of onnx.NodeProto
        From the features to the end, in order.
    features, end : str
        Tensors.
    start : str
        Gradient at the end.

    Returns
    -------
    str
        Tensor that broadcasts to the features.

    Raises
    ------
    ModelUnsupported
        If the derivative of a node is not written here.
    """
    head = {features} | {name for node in nodes for name in node.output}
    gradients: dict[str, str] = {end: start}
    for node in reversed(nodes):
        gradient = gradients.get(node.output[0])
        if gradient is None or len([name for name in node.output if name in gradients]) > 1:
            raise refusal(node)
        if node.op_type not in BACKWARD:
            raise refusal(node)
        for name, part in BACKWARD[node.op_type](Step(writer, net, node, head), gradient):
            gradients[name] = writer.node("Add", gradients[name], part) if name in gradients else part
    return gradients[features]
