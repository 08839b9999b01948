"""Shuffled weights: as many as before, in another order, from the head as far down as is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from mammolens.errors import BundleInvalid
from mammolens.models import onnx_graph
from mammolens.models.network import Network
from mammolens.models.randomised import STAGES, randomised

onnx = pytest.importorskip("onnx")


@dataclass
class Holder:
    """What of a bundle is asked for."""

    graph: bytes


def tensors(graph: bytes) -> dict[str, np.ndarray]:
    model = onnx.load_from_string(graph)
    return {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}


@pytest.mark.parametrize(
    ("stage", "changed", "kept"),
    [
        ("head", "logit/share", "top_conv/kernel"),
        ("head and last convolution", "top_conv/kernel", "block7a_project_conv/kernel"),
        ("head to block 5", "block5a_project_conv/kernel", "block4a_project_conv/kernel"),
        ("everything", "stem_conv/kernel", "scale"),
    ],
)
def test_what_is_shuffled_ends_where_the_stage_ends(
    random_network: Callable[..., Network], stage: str, changed: str, kept: str
) -> None:
    graph = onnx_graph.write(random_network())
    before, after = tensors(graph), tensors(randomised(Holder(graph), stage, seed=2).graph)  # type: ignore[type-var]
    assert not np.array_equal(before[changed], after[changed])
    np.testing.assert_array_equal(np.sort(before[changed].ravel()), np.sort(after[changed].ravel()))
    np.testing.assert_array_equal(before[kept], after[kept])


def test_stages_reach_further_down_one_after_the_other(random_network: Callable[..., Network]) -> None:
    graph = onnx_graph.write(random_network())
    before, last = tensors(graph), set()
    for stage in STAGES:
        after = tensors(randomised(Holder(graph), stage).graph)  # type: ignore[type-var]
        moved = {name for name in before if not np.array_equal(before[name], after[name])}
        assert last < moved
        last = moved


def test_the_networks_of_an_ensemble_are_all_shuffled(random_network: Callable[..., Network]) -> None:
    model = onnx.load_from_string(onnx_graph.write(random_network()))
    for tensor in model.graph.initializer:
        tensor.name = f"member2/{tensor.name}"
    after = tensors(randomised(Holder(model.SerializeToString()), "head and last convolution").graph)  # type: ignore[type-var]
    before = tensors(model.SerializeToString())
    assert not np.array_equal(before["member2/top_conv/kernel"], after["member2/top_conv/kernel"])
    np.testing.assert_array_equal(
        before["member2/block7a_project_conv/kernel"], after["member2/block7a_project_conv/kernel"]
    )


def test_a_graph_of_unknown_layers_is_refused() -> None:
    from onnx import TensorProto, helper, numpy_helper

    value = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], [value]))
    with pytest.raises(BundleInvalid):
        randomised(Holder(model.SerializeToString()), "everything")  # type: ignore[type-var]
