"""A grown network computes what the smaller one does, and learns with all that it has."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from mammolens.errors import ConfigurationError  # noqa: E402
from mammolens.models import efficientnet, growth  # noqa: E402
from mammolens.models.architecture import features_of, kernels  # noqa: E402

SIZE = (64, 32)


@pytest.fixture(scope="module")
def small() -> object:
    from tests.models.test_efficientnet import random_weights

    model = efficientnet.build("efficientnet-b0", SIZE, folded=True, dropout=0.0)
    random_weights(model)
    return model


def features(model: object, images: np.ndarray) -> np.ndarray:
    part = keras.Model(model.inputs[0], model.get_layer("avg_pool").output)  # type: ignore[attr-defined]
    return np.asarray(part(images))


@pytest.mark.parametrize("architecture", ["efficientnet-b1", "efficientnet-b2", "efficientnet-b3"])
def test_grown_network_has_the_features_of_the_smaller(small: object, architecture: str) -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, *SIZE, 1)).astype(np.float32)
    large = efficientnet.build(architecture, SIZE, folded=True, dropout=0.0)
    assert np.abs(features(large, images)[:, :1280] - features(small, images)).max() > 1e-2
    growth.grow(small, "efficientnet-b0", large, architecture)
    ours, theirs = features(large, images), features(small, images)
    assert ours.shape[1] == features_of(architecture)
    assert np.abs(theirs).max() > 0.1
    np.testing.assert_allclose(ours[:, :1280], theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())


def test_every_kernel_of_a_grown_network_learns_within_a_few_steps(small: object) -> None:
    keras.utils.set_random_seed(0)
    large = efficientnet.build("efficientnet-b2", SIZE, folded=True, dropout=0.0)
    growth.grow(small, "efficientnet-b0", large, "efficientnet-b2")
    before = {name: large.get_layer(name).get_weights()[0] for name in kernels("efficientnet-b2")}
    large.compile(optimizer=keras.optimizers.Adam(1e-3), loss=keras.losses.BinaryCrossentropy(from_logits=True))
    random = np.random.default_rng(2)
    images = random.integers(0, 256, (4, *SIZE, 1)).astype(np.float32)
    labels = np.array([[0.0], [1.0], [1.0], [0.0]], np.float32)
    for _ in range(3):
        large.train_on_batch(images, labels)
    still = [name for name, kernel in before.items() if np.array_equal(kernel, large.get_layer(name).get_weights()[0])]
    assert not still


def test_a_network_does_not_grow_smaller() -> None:
    assert growth.can_grow("efficientnet-b1", "efficientnet-b1")
    assert not growth.can_grow("efficientnet-b2", "efficientnet-b1")
    with pytest.raises(ConfigurationError, match="larger"):
        growth.grow(None, "efficientnet-b3", None, "efficientnet-b2")
