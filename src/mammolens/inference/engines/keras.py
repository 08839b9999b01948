"""Keras with any backend: slower, from the bundle's Keras weights instead of its ONNX graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import EngineUnavailable
from mammolens.explain.gradcam import evidence_map
from mammolens.models.bundle import ModelBundle
from mammolens.models.contract import to_input
from mammolens.types import RawScore

_HALF = np.float32(0.5)


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

        models = rebuilt.of_bundle(bundle)
        self._looks, self._contract = bundle.manifest.looks, bundle.contract
        self._channels_first = keras.config.image_data_format() == "channels_first"
        self._networks = [
            keras.Model(model.input, [model.output, model.get_layer(FEATURES).output]) for model in models
        ]
        heads = [model.get_layer("logit").get_weights()[0][:, 0] for model in models]
        self._weights = np.asarray(np.concatenate(heads) / len(models), np.float32)

    def run(self, images: NDArray[np.uint8]) -> list[RawScore]:
        """Score a batch; see `Engine.run`."""
        logits, features = self._look(images)
        if self._looks == 2:
            again, turned = self._look(images[:, ::-1])
            logits, features = (logits + again) * _HALF, (features + turned[:, ::-1]) * _HALF
        return [
            RawScore(float(logit[0]), evidence_map(picture, self._weights))
            for logit, picture in zip(logits, features, strict=True)
        ]

    def _look(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean logits (N, 1) of a batch, and the networks' last features (N, h, w, K C) one after the other."""
        batch = to_input(images, self._contract)
        if self._channels_first:
            batch = batch.transpose(0, 3, 1, 2)
        answers = [network.predict_on_batch(batch) for network in self._networks]
        logits = np.asarray(np.mean([np.asarray(logit) for logit, _ in answers], axis=0), np.float32)
        features = np.concatenate([np.asarray(each) for _, each in answers], axis=1 if self._channels_first else -1)
        return logits, features.transpose(0, 2, 3, 1) if self._channels_first else features
