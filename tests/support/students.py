"""The model of textbooks and theses: augmentation in front, EfficientNet, dropout, one sigmoid; a loss of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mammolens.models import golden


def student(application: str = "EfficientNetB0", size: tuple[int, int] = (96, 64), seed: int = 1) -> Any:
    """Build it with weights as training leaves them: statistics of pictures in 0..255, a bias that is not 0."""
    import keras
    from keras import layers

    class BrightnessJitter(layers.Layer):
        """Custom layer of the training script."""

        def __init__(self, strength: float = 0.2, **settings: Any) -> None:
            super().__init__(**settings)
            self.strength = strength
            self.generator = keras.random.SeedGenerator(seed)

        def call(self, x: Any, training: bool = False) -> Any:
            if not training:
                return x
            return x * (1 + keras.random.uniform((1,), -self.strength, self.strength, seed=self.generator))

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "strength": self.strength}

    def focal_loss(truth: Any, answer: Any) -> Any:
        return -keras.ops.mean((1 - answer) ** 2 * truth * keras.ops.log(answer + 1e-7))

    keras.utils.set_random_seed(seed)
    augment = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.05), BrightnessJitter()])
    trunk = getattr(keras.applications, application)(
        include_top=False, weights=None, input_shape=(*size, 3), pooling="avg"
    )
    model = keras.Sequential(
        [keras.Input((*size, 3)), augment, trunk, layers.Dropout(0.4), layers.Dense(1, activation="sigmoid")]
    )
    model.compile("adam", loss=focal_loss)
    settle(trunk, pictures(size, seed))
    random = np.random.default_rng(seed)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([random.normal(0, 0.2, kernel.shape), random.normal(0, 0.5, bias.shape)])
    return model


def pictures(size: tuple[int, int], seed: int) -> Any:
    """Generated breasts, each twice with coarse noise of its own, in 0..255; (32, H, W, 3)."""
    breasts = golden.variations(size).astype(np.float32)
    random = np.random.default_rng(seed)
    coarse = random.uniform(-40, 40, (32, size[0] // 8 + 1, size[1] // 8 + 1))
    noise = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, : size[0], : size[1]]
    seen = np.clip(np.concatenate([breasts, breasts]) + noise, 0, 255)
    return np.repeat(seen[..., None], 3, axis=-1).astype(np.float32)


def settle(trunk: Any, seen: Any) -> None:
    """Give every batch normalisation the statistics of what it sees."""
    normalisations = [layer for layer in trunk.layers if type(layer).__name__ == "BatchNormalization"]
    before = [layer.momentum for layer in normalisations]
    for layer in normalisations:
        layer.momentum = 0.0
    trunk(seen, training=True)
    for layer, momentum in zip(normalisations, before, strict=True):
        layer.momentum = momentum


def logits(model: Any) -> Any:
    """What a student's model answers for the generated pictures, before its sigmoid; (16,)."""
    trunk, head = model.layers[-3], model.layers[-1]
    size = model.input_shape[1:3]
    seen = np.repeat(golden.variations(size)[..., None].astype(np.float32), 3, axis=-1)
    features = np.asarray(trunk(seen, training=False), np.float64)
    kernel, bias = head.get_weights()
    return (features @ kernel + bias)[:, 0]


def saved(model: Any, folder: Path) -> dict[str, Path]:
    """Save a model in every way that Keras 3 offers, and its weights as Keras 2 laid them out."""
    import h5py

    places = {
        "keras": folder / "student.keras",
        "h5": folder / "student.h5",
        "weights": folder / "student.weights.h5",
        "legacy": folder / "student_weights.h5",
    }
    model.save(places["keras"])
    model.save(places["h5"])
    model.save_weights(places["weights"])
    # The legacy weights file is the group "model_weights" of the whole model, without the group.
    with h5py.File(places["h5"]) as whole, h5py.File(places["legacy"], "w") as weights:
        for name in whole["model_weights"]:
            whole["model_weights"].copy(name, weights)
        weights.attrs.update(whole["model_weights"].attrs)
    return places
