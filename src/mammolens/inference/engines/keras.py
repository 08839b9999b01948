"""Keras with any backend: slower, from the bundle's Keras weights instead of its ONNX graph."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BundleInvalid, EngineUnavailable
from mammolens.explain.gradcam import evidence_map
from mammolens.models.bundle import WEIGHTS, ModelBundle
from mammolens.models.contract import to_input
from mammolens.types import RawScore

_HALF = np.float32(0.5)


class KerasEngine:
    """Runs the network from ``model.weights.h5``.

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
        from mammolens.models.efficientnet import FEATURES, VARIANTS, build

        manifest, contract = bundle.manifest, bundle.contract
        if manifest.architecture not in VARIANTS or manifest.explanation != "linear":
            raise BundleInvalid("The bundle's architecture is not one that Mammolens builds in Keras.")
        model = build(
            manifest.architecture,
            (contract.height, contract.width),
            dropout=0.0,
            channels=contract.channels,
            factor=manifest.factor,
            offset=manifest.offset,
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / WEIGHTS
            path.write_bytes(bundle.read(WEIGHTS))
            try:
                model.load_weights(path)
            except (OSError, ValueError, KeyError) as error:
                raise BundleInvalid("The bundle's Keras weights do not fit its architecture.") from error
        self._looks, self._contract = manifest.looks, contract
        self._channels_first = keras.config.image_data_format() == "channels_first"
        self._network = keras.Model(model.input, [model.output, model.get_layer(FEATURES).output])
        self._weights: NDArray[np.float32] = model.get_layer("logit").get_weights()[0][:, 0]

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
        """Logits (N, 1) and last features (N, h, w, C) of a batch."""
        batch = to_input(images, self._contract)
        if self._channels_first:
            batch = batch.transpose(0, 3, 1, 2)
        logits, features = (np.asarray(part) for part in self._network.predict_on_batch(batch))
        return logits, features.transpose(0, 2, 3, 1) if self._channels_first else features
