"""Small foreign classifiers for the tests of the second road, with weights as training leaves them."""

from __future__ import annotations

from typing import Any

import numpy as np


def trained(model: Any, seed: int = 0) -> Any:
    """Give a model weights that are no initialiser's: biases, and statistics that differ from 0 and 1."""
    generator = np.random.default_rng(seed)
    for layer in _layers(model):
        values = []
        for variable in layer.weights:
            value, name = np.asarray(variable), variable.name
            if name.endswith(("gamma", "variance")):
                value = generator.uniform(0.5, 1.5, value.shape)
            elif name.endswith(("beta", "mean", "bias")):
                value = generator.normal(0.0, 0.1, value.shape)
            elif name == "alpha":
                value = generator.uniform(0.1, 0.4, value.shape)
            values.append(value)
        if values and not layer.name.startswith("normalization"):
            layer.set_weights(values)
    return model


def _layers(model: Any) -> list[Any]:
    return [leaf for layer in model.layers for leaf in (_layers(layer) if hasattr(layer, "layers") else [layer])]


def pooled(size: tuple[int, int] = (64, 48)) -> Any:
    """Sequential, grey, scaled inside, global average pooling, one sigmoid."""
    import keras
    from keras import layers as lay

    return trained(
        keras.Sequential(
            [
                keras.Input((*size, 1)),
                lay.RandomFlip("horizontal"),
                lay.Rescaling(1 / 255),
                lay.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
                lay.BatchNormalization(),
                lay.MaxPooling2D(),
                lay.SeparableConv2D(12, 3, padding="same", activation="relu"),
                lay.Dropout(0.3),
                lay.GlobalAveragePooling2D(),
                lay.Dropout(0.3),
                lay.Dense(1, activation="sigmoid"),
            ],
            name="small_cnn",
        )
    )


def flattened(size: tuple[int, int] = (64, 48)) -> Any:
    """Sequential, colour, normalised inside, Flatten, a hidden layer, softmax of two."""
    import keras
    from keras import layers as lay

    return trained(
        keras.Sequential(
            [
                keras.Input((*size, 3)),
                lay.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.04, 0.05, 0.06]),
                lay.Conv2D(8, 3, activation="relu"),
                lay.MaxPooling2D(),
                lay.Conv2D(12, (3, 5), activation="silu", dilation_rate=2),
                lay.AveragePooling2D(3, strides=2, padding="same"),
                lay.Flatten(),
                lay.Dense(16, activation="relu"),
                lay.BatchNormalization(),
                lay.Dropout(0.3),
                lay.Dense(2, activation="softmax"),
            ]
        )
    )


def with_trunk(application: str, size: tuple[int, int] = (64, 64), hidden: int = 0, **arguments: Any) -> Any:
    """A network of keras.applications, nested, called as transfer learning does, with a new head."""
    import keras
    from keras import layers as lay

    trunk = getattr(keras.applications, application)(
        weights=None, include_top=False, input_shape=(*size, 3), **arguments
    )
    trunk.trainable = False
    inputs = keras.Input((*size, 3))
    x = lay.GlobalAveragePooling2D()(trunk(inputs, training=False))
    if hidden:
        x = lay.Dense(hidden, activation="relu")(x)
    outputs = lay.Dense(1, activation="sigmoid")(lay.Dropout(0.2)(x))
    return trained(keras.Model(inputs, outputs))
