"""Each method's closed form against what its paper defines, the derivatives taken by TensorFlow or by differences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mammolens.errors import ConfigurationError
from mammolens.explain.methods import METHODS, method
from mammolens.explain.occlusion import occlusion
from mammolens.explain.passes import OpenedNetwork, Pass
from mammolens.models import head, onnx_graph
from mammolens.models.network import Network
from mammolens.types import CropGeometry, ModelInput

SIZE = (96, 64)
GRID = (3, 2)


def bundle_of(network: Network, looks: int = 1) -> Any:
    return SimpleNamespace(graph=onnx_graph.write(network, looks=looks), contract=network.contract)


def picture(seed: int = 3) -> ModelInput:
    image = np.random.default_rng(seed).integers(1, 256, SIZE, dtype=np.uint8)
    mask = np.full(SIZE, 255, np.uint8)
    mask[:, 44:] = 0
    image[mask == 0] = 0
    return ModelInput(image, mask, CropGeometry((0.0, 0.0, 64.0, 96.0), False, SIZE))


@pytest.fixture(scope="module", params=[1, 2])
def opened(request: Any, random_network: Callable[..., Network]) -> tuple[OpenedNetwork, Network, Pass]:
    """A network, opened with one look and with two, and a picture's way through it."""
    network = random_network(size=SIZE, seed=4)
    graph = OpenedNetwork(bundle_of(network, request.param), threads=1)
    return graph, network, graph.passes([picture()])[0]


def test_the_head_is_read_from_the_graph(opened: tuple[OpenedNetwork, Network, Pass]) -> None:
    graph, network, seen = opened
    np.testing.assert_allclose(graph.shares * 6, network.head, rtol=1e-6)
    pooled = seen.features.mean(axis=(0, 1), dtype=np.float64)
    assert seen.logit == pytest.approx(float(pooled @ network.head) + network.bias, abs=1e-4)


def test_grad_cam_and_hires_cam_are_one_map_here(opened: tuple[OpenedNetwork, Network, Pass]) -> None:
    _, network, seen = opened
    there, here = METHODS["grad-cam"](seen), METHODS["hires-cam"](seen)
    np.testing.assert_allclose(there, here, atol=1e-5)
    assert there.sum() + network.bias == pytest.approx(seen.logit, abs=1e-4)


def derivatives(features: np.ndarray, weights: np.ndarray, bias: float) -> list[np.ndarray]:
    """First, second and third derivative of ``exp(logit)`` by each feature alone, by nested gradient tapes."""
    tf = pytest.importorskip("tensorflow")
    shift = tf.Variable(np.zeros(features.shape), dtype=tf.float64)
    along = tf.ones(features.shape, tf.float64)

    def value(x: Any) -> Any:
        # One logit for each feature, with that one moved: so that no mixed derivative comes in.
        base = tf.reduce_sum(tf.reduce_mean(features, axis=(0, 1)) * weights) + bias
        moved = x * weights / (features.shape[0] * features.shape[1])
        return tf.exp(base + moved)

    with tf.GradientTape() as third:
        with tf.GradientTape() as second:
            with tf.GradientTape() as first:
                y = value(shift)
            d1 = first.gradient(y, shift, output_gradients=along)
        d2 = second.gradient(d1, shift, output_gradients=along)
    d3 = third.gradient(d2, shift, output_gradients=along)
    return [np.asarray(each) for each in (d1, d2, d3)]


def test_grad_cam_plus_plus_is_what_the_paper_makes_of_three_derivatives(
    opened: tuple[OpenedNetwork, Network, Pass],
) -> None:
    _, network, seen = opened
    features, weights = seen.features.astype(np.float64), network.head.astype(np.float64)
    d1, d2, d3 = derivatives(features, weights, network.bias)
    score = np.exp(float(features.mean(axis=(0, 1)) @ weights) + network.bias)
    # The paper's coefficients are of the derivatives of y, which are these divided by exp(y).
    g2, g3 = d2 / score, d3 / score
    alpha = g2 / (2.0 * g2 + g3 * features.sum(axis=(0, 1)))
    channels = (alpha * np.maximum(d1, 0.0)).sum(axis=(0, 1)) / score
    np.testing.assert_allclose(METHODS["grad-cam++"](seen), features @ channels, rtol=1e-4, atol=1e-6)


def numeric_gradient(seen: Pass, network: Network) -> np.ndarray:
    """Logit's gradient by every feature, by differences, shape (h, w, C)."""

    def logit(features: np.ndarray) -> float:
        return float(features.mean(axis=(0, 1)) @ network.head.astype(np.float64)) + network.bias

    features = seen.features.astype(np.float64)
    found = np.zeros_like(features)
    for index in np.ndindex(*features.shape):
        moved = features.copy()
        moved[index] += 0.5
        found[index] = (logit(moved) - logit(features)) / 0.5
    return found


def test_layer_cam_is_what_the_paper_makes_of_the_gradient(opened: tuple[OpenedNetwork, Network, Pass]) -> None:
    _, network, seen = opened
    gradient = numeric_gradient(seen, network)
    expected = (np.maximum(gradient, 0.0) * seen.features).sum(axis=2)
    np.testing.assert_allclose(METHODS["layer-cam"](seen), expected, rtol=1e-4, atol=1e-6)
    # And with all of the gradient it is HiResCAM, with its mean over the positions Grad-CAM.
    np.testing.assert_allclose(METHODS["hires-cam"](seen), (gradient * seen.features).sum(axis=2), atol=1e-5)
    mean = seen.features @ gradient.mean(axis=(0, 1))
    np.testing.assert_allclose(METHODS["grad-cam"](seen), mean, atol=1e-5)


def test_eigen_cam_is_the_first_singular_component(opened: tuple[OpenedNetwork, Network, Pass]) -> None:
    _, _, seen = opened
    flat = seen.features.reshape(6, -1).astype(np.float64)
    _, _, right = np.linalg.svd(flat, full_matrices=False)
    projected = flat @ right[0]
    expected = (projected if projected.sum() > 0 else -projected).reshape(GRID)
    np.testing.assert_allclose(METHODS["eigen-cam"](seen), expected, rtol=1e-4)


def test_eigen_cam_does_not_ask_the_head(random_network: Callable[..., Network]) -> None:
    network = random_network(size=SIZE, seed=4)
    other = Network(**{name: getattr(network, name) for name in network.__slots__} | {"head": -network.head})
    maps = [
        METHODS["eigen-cam"](OpenedNetwork(bundle_of(each), threads=1).passes([picture()])[0])
        for each in (network, other)
    ]
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-5)


def fake(score: Callable[[np.ndarray], np.ndarray], made: ModelInput) -> Pass:
    network: Any = SimpleNamespace(logits=score)
    logit = float(score(made.image[None])[0])
    return Pass(network, made.image, made.mask, logit, np.zeros(GRID, np.float32), np.zeros((*GRID, 1), np.float32))


def test_occlusion_finds_what_the_logit_rests_on_and_its_size() -> None:
    image = np.full((96, 72), 100, np.uint8)
    image[36:48, 12:24] = 200
    made = ModelInput(image, np.full((96, 72), 255, np.uint8), CropGeometry((0.0, 0.0, 72.0, 96.0), False, (96, 72)))
    # Cells of 12 × 12; row 3, column 1 is the bright one. Its neighbours' covers reach 3 pixels into it.
    falls = occlusion(fake(lambda p: (p > 150).sum(axis=(1, 2)).astype(np.float64), made), (8, 6))
    expected = np.zeros((8, 6))
    expected[2:5, 0:3] = np.outer([3, 12, 3], [3, 12, 3])
    np.testing.assert_array_equal(falls, expected)


def test_occlusion_covers_no_air() -> None:
    made = picture()
    seen: list[np.ndarray] = []

    def watching(images: np.ndarray) -> np.ndarray:
        seen.extend(images)
        return np.zeros(len(images))

    falls = occlusion(fake(watching, made), (8, 6))
    assert all(not image[:, 44:].any() for image in seen)
    # Columns 5 and 6 of 6 begin at 42.7 and 53.3; one of their pixels, or none, is breast.
    assert len(seen) == 1 + 8 * 5
    assert not falls[:, 5].any()


def test_a_graph_in_half_precision_still_gives_its_head(random_network: Callable[..., Network]) -> None:
    variants = pytest.importorskip("mammolens.models.variants")
    network = random_network(size=SIZE)
    np.testing.assert_allclose(
        head.shares(variants.float16(onnx_graph.write(network))) * 6, network.head, rtol=1e-3, atol=1e-6
    )


def test_every_method_explains_the_built_in_bundle() -> None:
    from mammolens.models.bundle import load_bundle

    bundle = load_bundle()
    height, width = bundle.manifest.looking.size
    image = np.random.default_rng(1).integers(1, 256, (height, width), dtype=np.uint8)
    geometry = CropGeometry((0.0, 0.0, float(width), float(height)), False, image.shape)
    made = ModelInput(image, np.full(image.shape, 255, np.uint8), geometry)
    seen = OpenedNetwork(bundle, threads=1).passes([made])[0]
    np.testing.assert_allclose(METHODS["hires-cam"](seen), seen.evidence, atol=1e-5)
    for name in METHODS:
        if name != "occlusion":
            assert METHODS[name](seen).shape == seen.evidence.shape
            assert np.isfinite(METHODS[name](seen)).all()


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="grad-cam"):
        method("smoothgrad")


def test_every_method_stands_in_the_document() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "explanation.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in METHODS)
