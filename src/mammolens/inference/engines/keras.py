"""Keras with any backend: slower, from the bundle's Keras weights instead of its ONNX graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import EngineUnavailable
from mammolens.explain.gradcam import evidence_map
from mammolens.models.bundle import ModelBundle
from mammolens.models.contract import to_input
from mammolens.models.looks import Size, resampled
from mammolens.types import RawScore


class KerasEngine:
    """Runs the network from ``model.weights.h5``; an ensemble's networks one after the other.

    Parameters
    ----------
    bundle : ModelBundle

    Raises
    ------
    EngineUnavailable
        If Keras or its backend is not installed.
    BundleInvalid
        If the bundle has no Keras weights that fit its architecture.
    """

    name = "keras"

    def __init__(self, bundle: ModelBundle) -> None:
        try:
            import keras
        except ImportError as error:
            raise EngineUnavailable("Keras is not installed. Run: pip install 'mammolens[train]'.") from error
        from mammolens.models import rebuilt
        from mammolens.models.efficientnet import FEATURES

        self._looks, self._contract = bundle.manifest.looking, bundle.contract
        self._channels_first = keras.config.image_data_format() == "channels_first"
        self._networks = {
            size: [
                keras.Model(model.input, [model.output, model.get_layer(FEATURES).output])
                for model in rebuilt.of_bundle(bundle, size)
            ]
            for size in self._looks.sizes
        }
        heads = [model.get_layer("logit").get_weights()[0][:, 0] for model in self._networks[self._looks.size]]
        self._weights = np.asarray(np.concatenate(heads) / len(heads), np.float32)

    def run(self, images: NDArray[np.uint8]) -> list[RawScore]:
        """Score a batch; see `Engine.run`."""
        batch = to_input(images, self._contract).transpose(0, 3, 1, 2)
        grid: tuple[int, int] | None = None
        logits, features = [], []
        for turned, (size, seen) in zip(self._looks.turned, self._looks.at(batch), strict=True):
            logit, feature = self._look(seen, size)
            feature = feature[..., ::-1, :] if turned else feature
            grid = grid or (feature.shape[2], feature.shape[3])
            logits.append(logit)
            features.append(feature if feature.shape[2:] == grid else resampled(feature, grid))
        means = np.mean(logits, axis=0), np.mean(features, axis=0).transpose(0, 2, 3, 1)
        return [
            RawScore(float(logit[0]), evidence_map(np.asarray(picture, np.float32), self._weights))
            for logit, picture in zip(*means, strict=True)
        ]

    def _look(self, batch: NDArray[np.float32], size: Size) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean logits (N, 1) of a batch, and the networks' last features (N, K C, h, w) one after the other."""
        seen = batch if self._channels_first else np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
        answers = [network.predict_on_batch(seen) for network in self._networks[size]]
        logits = np.asarray(np.mean([np.asarray(logit) for logit, _ in answers], axis=0), np.float32)
        features = np.concatenate([np.asarray(each) for _, each in answers], axis=1 if self._channels_first else -1)
        return logits, features if self._channels_first else features.transpose(0, 3, 1, 2)
