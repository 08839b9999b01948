"""Smaller forms of a graph: what they store, what they compute, how little they change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mammolens.errors import BundleInvalid, ConfigurationError
from mammolens.models import golden, graph_weights, onnx_graph, session, variants
from mammolens.models.bundle import ModelBundle, load_bundle
from mammolens.models.contract import to_input
from mammolens.models.network import InputContract

onnx = pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.fixture(scope="module")
def built_in() -> ModelBundle:
    return load_bundle("default")


@pytest.fixture(scope="module")
def bundle(built_in: ModelBundle) -> ModelBundle:
    """The built-in bundle with the graph of one network, whose weights 16 bits do not hold exactly."""
    network, *_ = graph_weights.read(built_in.graph, built_in.manifest)
    finer = {
        name: replace(each, kernel=np.asarray(each.kernel * np.float32(1.0003), np.float32))
        for name, each in network.convolutions.items()
    }
    return replace(built_in, graph=onnx_graph.write(replace(network, convolutions=finer), built_in.manifest.looks))


@pytest.fixture(scope="module")
def images(bundle: ModelBundle) -> np.ndarray:
    size = (bundle.contract.height, bundle.contract.width)
    return np.stack([golden.model_input(seed, size).image for seed in golden.SEEDS])


def constants(graph: bytes) -> dict[str, np.ndarray]:
    tensors = onnx.load_from_string(graph).graph.initializer
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in tensors}


def test_half_stores_every_large_weight_rounded_to_16_bits_and_halves_the_file(bundle: ModelBundle) -> None:
    made = variants.float16(bundle.graph)
    before, after = constants(bundle.graph), constants(made)
    large = {name for name, values in before.items() if values.dtype == np.float32 and values.size >= 64}
    assert len(large) > 100
    for name in large:
        assert after[f"{name}/half"].dtype == np.float16
        np.testing.assert_array_equal(after[f"{name}/half"], before[name].astype(np.float16))
    assert len(made) < 0.52 * len(bundle.graph)
    onnx.checker.check_model(onnx.load_from_string(made), full_check=True)


def test_half_computes_in_32_bits_with_the_rounded_weights(bundle: ModelBundle, images: np.ndarray) -> None:
    """The same as a graph whose 32-bit weights were rounded beforehand."""
    model = onnx.load_from_string(bundle.graph)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= 64:
            rounded = values.astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))
    inputs = to_input(images[:2], bundle.contract)
    expected, maps = session.scores(model.SerializeToString(), inputs)
    logits, evidence = session.scores(variants.float16(bundle.graph), inputs)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    np.testing.assert_allclose(evidence, maps, atol=1e-6)
    original, _ = session.scores(bundle.graph, inputs)
    assert 0.0 < np.abs(logits - original).max() < 0.02


def test_weight_beyond_16_bits_is_refused(bundle: ModelBundle) -> None:
    model = onnx.load_from_string(bundle.graph)
    tensor = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] = 1e6
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    with pytest.raises(BundleInvalid, match="16 bits"):
        variants.float16(model.SerializeToString())


def test_8_bits_are_taken_for_large_pointwise_convolutions_alone(bundle: ModelBundle, images: np.ndarray) -> None:
    made = variants.int8(bundle.graph, images, bundle.contract)
    stored = constants(made)
    eight = {name.removesuffix("/kernel_quantized") for name in stored if name.endswith("/kernel_quantized")}
    assert {"block4b_expand_conv", "block7a_project_conv", "top_conv"} <= eight
    assert not [name for name in eight if "_se_" in name or "dwconv" in name or name.startswith(("stem", "evidence"))]
    assert not [name for name in eight if name.startswith(("block1", "block2", "block3"))]
    for name in eight:
        weights, scales = stored[f"{name}/kernel_quantized"], stored[f"{name}/kernel_scale"]
        # One scale for each output channel, and the weights within half a step of what they were.
        assert weights.dtype == np.int8
        assert scales.shape == (len(weights),)
        original = constants(bundle.graph)[f"{name}/kernel"]
        steps = np.abs(weights * scales[:, None, None, None] - original) / scales[:, None, None, None]
        assert steps.max() <= 0.501
    inputs = to_input(images, bundle.contract)
    (logits, evidence), (expected, maps) = session.scores(made, inputs), session.scores(bundle.graph, inputs)
    assert 1e-4 < np.abs(logits - expected).max() < 0.5
    assert np.corrcoef(evidence.ravel(), maps.ravel())[0, 1] > 0.95
    assert len(made) < 0.5 * len(bundle.graph)


def test_8_bits_are_made_of_an_ensemble_whose_weights_are_stored_in_16(
    built_in: ModelBundle, images: np.ndarray
) -> None:
    assert built_in.manifest.members == 2
    made = variants.int8(built_in.graph, images, built_in.contract)
    eight = [name for name in constants(made) if name.endswith("/kernel_quantized")]
    assert {name.partition("/")[0] for name in eight} == {"member1", "member2"}
    inputs = to_input(images, built_in.contract)
    (logits, evidence), (expected, maps) = session.scores(made, inputs), session.scores(built_in.graph, inputs)
    assert 1e-4 < np.abs(logits - expected).max() < 0.5
    assert np.corrcoef(evidence.ravel(), maps.ravel())[0, 1] > 0.95
    assert len(made) < 0.8 * len(built_in.graph)


def test_weights_that_are_stored_in_16_bits_already_are_not_halved_again(built_in: ModelBundle) -> None:
    with pytest.raises(BundleInvalid, match="already"):
        variants.float16(built_in.graph)


def test_graph_without_large_convolutions_is_refused() -> None:
    helper = onnx.helper
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 4, 4, 1])
    logit = helper.make_tensor_value_info("logit", onnx.TensorProto.FLOAT, ["N", 4, 4, 1])
    graph = helper.make_graph([helper.make_node("Identity", ["image"], ["logit"])], "none", [image], [logit])
    with pytest.raises(BundleInvalid, match="eight bits"):
        variants.int8(helper.make_model(graph).SerializeToString(), np.zeros((1, 4, 4), np.uint8), InputContract(4, 4))


def test_without_onnx_the_line_that_installs_it_is_said(bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'mammolens\[import\]'"):
        variants.float16(bundle.graph)
