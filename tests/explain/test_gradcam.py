"""The closed form of Grad-CAM, the heat map made of it, and Keras' gradient beside it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mammolens.errors import BundleInvalid, EngineError
from mammolens.explain import gradcam
from mammolens.explain.gradcam import evidence_map, heatmap, keras_gradcam, keras_raw_score
from mammolens.models.efficientnet import FEATURES, build
from mammolens.models.transfer import load_imagenet

HAND_FEATURES = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], np.float32)
HAND_WEIGHTS = np.array([1.0, -0.5], np.float32)
HAND_EVIDENCE = np.array([[0.0, 0.25], [0.5, 0.75]], np.float32)


def full_mask(height: int, width: int) -> np.ndarray:
    return np.full((height, width), 255, np.uint8)


def test_closed_form_gives_the_hand_worked_case() -> None:
    evidence = evidence_map(HAND_FEATURES, HAND_WEIGHTS)
    np.testing.assert_array_equal(evidence, HAND_EVIDENCE)
    # The mean features are (4, 5): the logit without bias is 4 - 2.5.
    assert evidence.sum() == 1.5


def test_features_and_weights_of_different_length_are_refused() -> None:
    with pytest.raises(EngineError):
        evidence_map(HAND_FEATURES, np.ones(3, np.float32))


def test_heat_of_one_cell_is_centred_on_the_pixels_it_covers() -> None:
    evidence = np.zeros((8, 6), np.float32)
    evidence[5, 2] = 1.0
    heat = heatmap(evidence, full_mask(256, 192), 1.0).astype(np.float64)
    y, x = np.mgrid[:256, :192]
    # Cell (5, 2) covers rows 160..191 and columns 64..95; their middle is 175.5, 79.5.
    assert (heat * y).sum() / heat.sum() == pytest.approx(175.5, abs=0.01)
    assert (heat * x).sum() / heat.sum() == pytest.approx(79.5, abs=0.01)


def test_a_ramp_of_evidence_stays_the_same_ramp_on_the_input_grid() -> None:
    ramp = np.tile(np.arange(6, dtype=np.float32) / 10.0 + 0.1, (8, 1))
    heat = heatmap(ramp, full_mask(256, 192), 1.0)
    x = np.arange(64, 128)
    np.testing.assert_allclose(heat[100, 64:128], ((x + 0.5) / 32 - 0.5) / 10 + 0.1, atol=1e-5)


def test_equal_evidence_gives_an_equal_heat_map() -> None:
    heat = heatmap(np.full((8, 6), 0.3, np.float32), full_mask(256, 192), 0.6)
    np.testing.assert_allclose(heat, 0.5, atol=1e-6)


def test_heat_is_clipped_rectified_and_zero_outside_the_breast() -> None:
    evidence = np.random.default_rng(1).normal(0.0, 3.0, (8, 6)).astype(np.float32)
    mask = full_mask(256, 192)
    mask[:, 120:] = 0
    heat = heatmap(evidence, mask, 1.0)
    assert heat.dtype == np.float32
    assert heat.min() == 0.0
    assert heat.max() == 1.0
    assert not heat[:, 120:].any()
    assert not heatmap(-np.abs(evidence), mask, 1.0).any()


def test_the_heat_map_of_a_large_input_is_the_whole_product() -> None:
    evidence = np.random.default_rng(4).uniform(0.0, 1.0, (36, 24)).astype(np.float32)
    rows, columns = gradcam._interpolation(36, 1152), gradcam._interpolation(24, 768)
    expected = rows.astype(np.float64) @ evidence.astype(np.float64) @ columns.T.astype(np.float64)
    found = heatmap(evidence, full_mask(1152, 768), 2.0)
    np.testing.assert_allclose(found, np.clip(expected / 2.0, 0.0, 1.0), atol=1e-6)


def test_no_thread_goes_on_working_once_the_heat_map_is_made() -> None:
    evidence, mask = np.ones((12, 9), np.float32), full_mask(384, 288)
    heatmap(evidence, mask, 1.0)
    after = []
    for _ in range(5):
        time.sleep(0.05)
        heatmap(evidence, mask, 1.0)
        began = time.process_time()
        time.sleep(0.05)
        after.append(time.process_time() - began)
    # OpenBLAS' threads would spin for 20 ms each time.
    assert min(after) < 0.005


def test_a_quiet_picture_stays_quiet() -> None:
    evidence = np.random.default_rng(2).uniform(0.0, 0.05, (8, 6)).astype(np.float32)
    assert heatmap(evidence, full_mask(256, 192), 1.0).max() < 0.08


def test_mirrored_evidence_gives_the_mirrored_heat_map() -> None:
    evidence = np.random.default_rng(3).normal(0.0, 1.0, (8, 6)).astype(np.float32)
    mask = full_mask(256, 192)
    there = heatmap(evidence, mask, 1.0)
    back = heatmap(np.ascontiguousarray(evidence[:, ::-1]), mask, 1.0)[:, ::-1]
    np.testing.assert_allclose(there, back, atol=1e-6)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_no_positive_number_is_refused(scale: float) -> None:
    with pytest.raises(BundleInvalid):
        heatmap(np.ones((2, 2), np.float32), full_mask(8, 8), scale)


def test_evidence_that_is_not_finite_is_refused() -> None:
    with pytest.raises(EngineError):
        heatmap(np.array([[0.0, np.nan]], np.float32), full_mask(8, 8), 1.0)


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("keras")


def randomise(model: Any, seed: int) -> None:
    """Give every weight a value that lets signals through, far from the initial zeros and ones."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        name = variable.path.rsplit("/", 1)[-1]
        if name in ("gamma", "factor"):
            variable.assign(generator.uniform(2.0, 3.0, variable.shape))
        elif name in ("beta", "moving_mean", "bias"):
            variable.assign(generator.normal(0.0, 0.1, variable.shape))
        elif name == "moving_variance":
            variable.assign(generator.uniform(0.8, 1.2, variable.shape))


def features_of(keras: Any, model: Any, image: np.ndarray) -> np.ndarray:
    inner = keras.Model(model.input, model.get_layer(FEATURES).output)
    return np.asarray(keras.ops.convert_to_numpy(inner(image[None, ..., None].astype(np.float32), training=False)))[0]


def check_closed_form(keras: Any, model: Any) -> None:
    image = np.random.default_rng(5).integers(0, 256, (96, 64), dtype=np.uint8)
    kernel, bias = model.get_layer("logit").get_weights()
    closed = evidence_map(features_of(keras, model, image), kernel[:, 0])
    raw = keras_raw_score(model, image)
    assert raw.evidence.shape == (3, 2)
    assert np.abs(closed).max() > 0.01
    assert np.abs(raw.evidence - closed).max() <= 1e-4
    assert raw.logit == pytest.approx(float(closed.sum(dtype=np.float64) + bias[0]), abs=1e-4)


@pytest.mark.parametrize("folded", [False, True])
def test_closed_form_is_the_gradient_of_keras_on_random_weights(keras: Any, folded: bool) -> None:
    keras.utils.set_random_seed(7)
    model = build("efficientnet-b0", (96, 64), folded=folded)
    randomise(model, 11)
    check_closed_form(keras, model)


@pytest.mark.parametrize("folded", [False, True])
def test_closed_form_is_the_gradient_of_keras_on_imagenet_weights(keras: Any, folded: bool, shared: Path) -> None:
    weights = shared / "weights" / "efficientnet_b0_imagenet" / "efficientnet_b0_imagenet_notop.weights.h5"
    if not weights.is_file():
        pytest.skip("the shared ImageNet weights are not on this machine")
    keras.utils.set_random_seed(7)
    model = build("efficientnet-b0", (96, 64), folded=folded)
    load_imagenet(model, "efficientnet-b0", weights)
    check_closed_form(keras, model)


def test_gradient_reaches_a_backbone_nested_twice(keras: Any) -> None:
    keras.utils.set_random_seed(3)
    whole = build("efficientnet-b0", (96, 64))
    randomise(whole, 12)
    backbone = keras.Model(whole.input, whole.get_layer(FEATURES).output, name="backbone")
    middle_input = keras.Input((96, 64, 1))
    middle = keras.Model(middle_input, backbone(middle_input), name="middle")
    outer_input = keras.Input((96, 64, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(middle(outer_input))
    head = keras.layers.Dense(1)
    nested = keras.Model(outer_input, head(pooled))
    head.set_weights(whole.get_layer("logit").get_weights())
    image = np.random.default_rng(6).integers(0, 256, (96, 64), dtype=np.uint8)
    expected = keras_gradcam(whole, image)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(keras_gradcam(nested, image), expected, atol=1e-5)


def plain(keras: Any, head: Any, channels: int = 1) -> Any:
    """A network whose last features are its input, before ``head``."""
    inputs = keras.Input((2, 2, channels))
    features = keras.layers.Activation("linear", name=FEATURES)(inputs)
    return keras.Model(inputs, head(keras.layers.GlobalAveragePooling2D()(features)))


def test_gradient_of_a_head_that_is_not_linear_gives_the_hand_worked_case(keras: Any) -> None:
    image = np.array([[0.0, 1.0], [2.0, 5.0]], np.float32)
    # The mean is 2; sigmoid'(2) / 4 weighs each feature.
    p = 1.0 / (1.0 + np.exp(-2.0))
    raw = keras_raw_score(plain(keras, keras.layers.Activation("sigmoid")), image)
    assert raw.logit == pytest.approx(p, abs=1e-6)
    np.testing.assert_allclose(raw.evidence, p * (1.0 - p) / 4.0 * image, atol=1e-6)


def test_a_plane_is_repeated_for_a_network_of_three_channels(keras: Any) -> None:
    head = keras.layers.Dense(1)
    model = plain(keras, head, channels=3)
    head.set_weights([np.array([[1.0], [2.0], [3.0]], np.float32), np.zeros(1, np.float32)])
    image = np.array([[0.0, 1.0], [2.0, 5.0]], np.float32)
    np.testing.assert_allclose(keras_gradcam(model, image), 6.0 / 4.0 * image, atol=1e-6)


def test_the_model_is_the_same_after_the_gradient_was_taken(keras: Any) -> None:
    model = plain(keras, keras.layers.Dense(1))
    image = np.array([[0.0, 1.0], [2.0, 5.0]], np.float32)
    before = float(np.asarray(keras.ops.convert_to_numpy(model(image[None, ..., None])))[0, 0])
    keras_gradcam(model, image)
    assert float(np.asarray(keras.ops.convert_to_numpy(model(image[None, ..., None])))[0, 0]) == before
    assert "call" not in vars(model.get_layer(FEATURES))


def test_a_model_without_the_feature_layer_is_refused(keras: Any) -> None:
    inputs = keras.Input((2, 2, 1))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(inputs)))
    with pytest.raises(EngineError):
        keras_gradcam(model, np.zeros((2, 2), np.float32))


def test_a_model_of_two_logits_is_refused(keras: Any) -> None:
    with pytest.raises(EngineError):
        keras_gradcam(plain(keras, keras.layers.Dense(2)), np.ones((2, 2), np.float32))
