"""Scales of a model's input, against hand-worked values and against Keras' own."""

from __future__ import annotations

import numpy as np
import pytest

from mammolens.models.contract import to_input
from mammolens.models.network import InputContract

PICTURE = np.array([[[0, 51], [127, 255]]], np.uint8)


def contract(scale: str, channels: int) -> InputContract:
    return InputContract(2, 2, channels=channels, scale=scale)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scale", "low", "fifth", "high"),
    [
        ("255", [0, 0, 0], [51, 51, 51], [255, 255, 255]),
        ("1", [0, 0, 0], [0.2, 0.2, 0.2], [1, 1, 1]),
        ("-1..1", [-1, -1, -1], [-0.6, -0.6, -0.6], [1, 1, 1]),
        (
            "imagenet",
            [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225],
            [(0.2 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0.2 - 0.406) / 0.225],
            [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225],
        ),
        (
            "imagenet-bgr",
            [-103.939, -116.779, -123.68],
            [51 - 103.939, 51 - 116.779, 51 - 123.68],
            [255 - 103.939, 255 - 116.779, 255 - 123.68],
        ),
    ],
)
def test_scales_are_those_of_their_definition(
    scale: str, low: list[float], fifth: list[float], high: list[float]
) -> None:
    colour = to_input(PICTURE, contract(scale, 3))
    assert colour.shape == (1, 2, 2, 3)
    assert colour.dtype == np.float32
    np.testing.assert_allclose(colour[0, 0, 0], low, atol=2e-5)
    np.testing.assert_allclose(colour[0, 0, 1], fifth, atol=2e-5)
    np.testing.assert_allclose(colour[0, 1, 1], high, atol=2e-5)
    grey = to_input(PICTURE, contract(scale, 1))
    assert grey.shape == (1, 2, 2, 1)
    assert grey.dtype == np.float32
    np.testing.assert_allclose(grey[..., 0], colour.mean(axis=-1), atol=2e-5)


def test_0_to_255_passes_unchanged_to_the_bit() -> None:
    np.testing.assert_array_equal(to_input(PICTURE, contract("255", 1))[..., 0], PICTURE.astype(np.float32))


@pytest.mark.parametrize(("scale", "mode"), [("-1..1", "tf"), ("imagenet", "torch"), ("imagenet-bgr", "caffe")])
def test_scales_of_backbones_are_those_of_keras_preprocess_input(scale: str, mode: str) -> None:
    imagenet_utils = pytest.importorskip("keras").applications.imagenet_utils
    pictures = np.random.default_rng(0).integers(0, 256, (2, 5, 4)).astype(np.uint8)
    three = np.repeat(pictures[..., None], 3, axis=-1).astype(np.float32)
    expected = imagenet_utils.preprocess_input(three, data_format="channels_last", mode=mode)
    np.testing.assert_allclose(to_input(pictures, contract(scale, 3)), expected, atol=2e-5)
