"""Write the textbook's model with tf_keras, which is Keras 2: ``python students_of_keras_2.py FOLDER``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

SIZE = (96, 64)


def main(folder: Path) -> None:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tf_keras as keras
    from tf_keras import layers

    class Jitter(layers.Layer):
        def call(self, x: object, training: bool | None = None) -> object:
            return x

    keras.utils.set_random_seed(1)
    random = np.random.default_rng(1)
    trunk = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(*SIZE, 3), pooling="avg")
    for layer in trunk.layers:
        layer.momentum = 0.5
    for _ in range(4):
        trunk(random.uniform(0, 255, (8, *SIZE, 3)), training=True)
    dense = layers.Dense(1, activation="sigmoid")
    augment = keras.Sequential([layers.RandomFlip("horizontal"), Jitter()])
    nested = keras.Sequential([keras.Input((*SIZE, 3)), augment, trunk, layers.Dropout(0.4), dense])
    image = keras.Input((*SIZE, 3))
    called = keras.Sequential([layers.RandomFlip(), layers.RandomBrightness(0.1)])(image)
    functional = keras.Model(image, dense(layers.Dropout(0.4)(trunk(called, training=False))))
    dense.set_weights([random.normal(0, 0.2, each.shape) for each in dense.get_weights()])
    for name, model in (("sequential", nested), ("functional", functional)):
        model.compile("adam", loss="binary_crossentropy")
        model.save(folder / f"{name}.h5")
    nested.save_weights(folder / "sequential_weights.h5")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
