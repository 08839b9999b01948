"""Networks of a configuration and what they start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from mammolens.training import config, networks  # noqa: E402

CONFIGURATION = """
[model]
name = "a"
architecture = "{architecture}"
size = [64, 32]
imagenet = "b0.weights.h5"
[data]
dataset = "rsna-640"
folder = "there"
[fit]
epochs = 1
"""


def test_larger_network_starts_as_the_smaller_whose_weights_there_are(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    keras.applications.EfficientNetB0(include_top=False, weights=None).save_weights(tmp_path / "b0.weights.h5")
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 1)).astype(np.float32)
    pooled = []
    for architecture, grown in (("efficientnet-b0", []), ("efficientnet-b1", ['model.grown_from="efficientnet-b0"'])):
        path = tmp_path / f"{architecture}.toml"
        path.write_text(CONFIGURATION.format(architecture=architecture), encoding="utf-8")
        settings = config.load(path, grown)
        model = networks.network(settings, (64, 32))
        networks.load_start(model, settings)
        pooled.append(np.asarray(keras.Model(model.inputs[0], model.get_layer("avg_pool").output)(images)))
    assert np.abs(pooled[0]).max() > 0
    np.testing.assert_allclose(pooled[1], pooled[0], rtol=1e-3, atol=1e-4 * np.abs(pooled[0]).max())
