"""Real models, written by Keras 3 and by tf_keras (Keras 2), in every layout and style: each imports and answers alike.

References of the layouts: ``saving_lib.py`` and ``legacy_h5_format.py`` of Keras 3;
``saving/legacy/hdf5_format.py`` and ``saving/saving_lib.py`` of tf_keras, which writes
the attributes ``layer_names``, ``weight_names``, ``keras_version``, ``backend`` and
``model_config`` as Keras 2 did.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mammolens.models import efficientnet, golden, onnx_graph, weights_file
from mammolens.models.importing.container import open_source
from mammolens.models.importing.match import assemble
from mammolens.models.importing.recognise import plan
from mammolens.models.importing.source import Asked, Format, Plan
from mammolens.models.network import Network

h5py = pytest.importorskip("h5py", reason="models in HDF5 need h5py")
onnxruntime = pytest.importorskip("onnxruntime")

SIZE = (64, 48)
TOLERANCE = 1e-4
"""Largest difference of logits; an import may have 1e-3, but these models answer within 0.2 to 0.5."""

FORMATS = {
    ".keras": Format.KERAS,
    ".h5": Format.MODEL_HDF5,
    ".weights.h5": Format.WEIGHTS_KERAS_3,
    "_weights.h5": Format.WEIGHTS_LEGACY,
    "_saved": Format.SAVED_MODEL,
}
STYLES = ("nested", "flattened", "grey", "renamed nested", "renamed flattened")
APPLICATIONS = {f"efficientnet-b{number}": f"EfficientNetB{number}" for number in range(4)}


def library(writer: str) -> Any:
    """Keras of one generation; skips where it is not installed."""
    with warnings.catch_warnings():
        # tf_keras uses what newer NumPy and TensorFlow warn of.
        warnings.simplefilter("ignore")
        pytest.importorskip("tensorflow", reason="Keras needs a backend")
        return pytest.importorskip(writer, reason=f"{writer} is not installed")


@dataclass(frozen=True)
class Zoo:
    """Models of all styles on one backbone, and the backbone's features of the generated pictures."""

    models: dict[str, Any]
    trunk: Any
    features: NDArray[np.float64]


@cache
def zoo(writer: str, architecture: str) -> Zoo:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _zoo(library(writer), architecture)


def _zoo(keras: Any, architecture: str) -> Zoo:
    lay = keras.layers
    keras.utils.set_random_seed(11)

    class BrightnessJitter(lay.Layer):  # type: ignore[misc, name-defined, unused-ignore]
        """Custom layer of a training script."""

        def call(self, x: Any, training: bool = False) -> Any:
            return x * 1.1 if training else x

    def focal_loss(truth: Any, answer: Any) -> Any:
        return keras.losses.binary_crossentropy(truth, answer) * (1 - answer) ** 2

    application = getattr(keras.applications, APPLICATIONS[architecture])
    trunk = application(include_top=False, weights=None, input_shape=(*SIZE, 3), pooling="avg")
    pictures = np.repeat(golden.variations(SIZE)[..., None].astype(np.float32), 3, axis=-1)
    _settle(trunk, pictures)
    features = np.asarray(trunk(pictures, training=False), np.float64)
    augment = keras.Sequential([lay.RandomFlip("horizontal"), lay.RandomRotation(0.1)], name="augment")
    nested = keras.Sequential(
        [
            keras.Input((*SIZE, 3)),
            augment,
            BrightnessJitter(name="jitter"),
            trunk,
            lay.Dropout(0.4),
            lay.Dense(1, activation="sigmoid"),
        ]
    )
    nested.compile("adam", loss=focal_loss)
    normalised = lay.BatchNormalization(name="before_head")(trunk.output)
    flattened = keras.Model(trunk.input, lay.Dense(2, activation="softmax")(lay.Dropout(0.2)(normalised)))
    inputs = keras.Input((*SIZE, 1))
    hidden = trunk(lay.Concatenate()([inputs, inputs, inputs]), training=False)
    grey = keras.Model(inputs, lay.Softmax()(lay.Dense(2)(hidden)))
    models = {"nested": nested, "flattened": flattened, "grey": grey}
    with _renamed(trunk):
        # Keras 2 takes down the names of a functional model's layers when it is made.
        again = keras.Model(trunk.input, trunk.output, name="again")
        models["renamed nested"] = keras.Sequential([keras.Input((*SIZE, 3)), again, lay.Dense(1)])
        models["renamed flattened"] = keras.Model(trunk.input, lay.Dense(2, activation="sigmoid")(trunk.output))
    for model in models.values():
        _trained(model)
    return Zoo(models, trunk, features)


def _settle(trunk: Any, seen: Any) -> None:
    """Give every batch normalisation the statistics of what it sees, so that answers differ between pictures."""
    normalisations = [layer for layer in trunk.layers if type(layer).__name__ == "BatchNormalization"]
    random = np.random.default_rng(5)
    for layer in normalisations:
        gamma, beta, mean, variance = layer.get_weights()
        gamma = random.uniform(0.8, 1.2, gamma.shape)
        layer.set_weights([gamma, random.normal(0, 0.1, beta.shape), mean, variance])
        layer.momentum = 0.0
    trunk(seen, training=True)
    for layer in normalisations:
        layer.momentum = 0.99
        # Channels that hardly vary in the few pictures would amplify rounding into the answer.
        gamma, beta, mean, variance = layer.get_weights()
        layer.set_weights([gamma, beta, mean, variance + 0.03 * variance.mean()])


def _trained(model: Any) -> None:
    """Give a head's layers weights that are no initialiser's."""
    random = np.random.default_rng(3)
    for layer in model.layers:
        name = type(layer).__name__
        if name == "Dense":
            kernel, bias = layer.get_weights()
            layer.set_weights([random.normal(0, 0.05, kernel.shape), random.normal(0, 0.5, bias.shape)])
        elif layer.name == "before_head":
            shape = layer.get_weights()[0].shape
            layer.set_weights([random.uniform(0.5, 1.5, shape) for _ in range(4)])


def _expected(model: Any, features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits of a model, from the backbone's features by its head's own weights in float64."""
    head = [layer for layer in model.layers if type(layer).__name__ == "Dense"][-1]
    batch = [layer for layer in model.layers if layer.name == "before_head"]
    if batch:
        gamma, beta, mean, variance = (np.asarray(each, np.float64) for each in batch[0].get_weights())
        features = (features - mean) / np.sqrt(variance + batch[0].epsilon) * gamma + beta
    outputs = features @ np.asarray(head.get_weights()[0], np.float64) + head.get_weights()[1]
    if outputs.shape[1] == 1:
        return np.asarray(outputs[:, 0])
    # Two sigmoids have a logit each; of a softmax's two, the difference counts.
    return np.asarray(outputs[:, 1] if _activation(head) == "sigmoid" else outputs[:, 1] - outputs[:, 0])


def _activation(layer: Any) -> str:
    return str(getattr(layer.activation, "__name__", ""))


@pytest.fixture(autouse=True)
def _no_advice() -> Iterator[None]:
    """Keras warns that HDF5 is old, and tf_keras uses what is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _save(model: Any, ending: str, folder: Path) -> Path:
    path = folder / f"model{ending}"
    if ending.startswith((".weights", "_weights")):
        model.save_weights(path)
    elif ending == "_saved" and hasattr(model, "export") and not hasattr(model, "save_spec"):
        model.export(path, format="tf_saved_model", verbose=False)
    else:
        model.save(path)
    return path


@contextlib.contextmanager
def _renamed(trunk: Any) -> Iterator[None]:
    """Let a backbone's layers have other names, as scripts that set ``_name`` do: weights keep the old ones."""
    # The input's name is that of its tensor too, in Keras 2.
    layers = [layer for layer in trunk.layers if type(layer).__name__ != "InputLayer"]
    names = [layer.name for layer in layers]
    for number, layer in enumerate(layers):
        _call(layer, f"renamed_{number}")
    yield
    for layer, name in zip(layers, names, strict=True):
        _call(layer, name)


def _call(layer: Any, name: str) -> None:
    # Keras 3 keeps the name as it is given, Keras 2 behind a property without a setter.
    attribute = "_name" if isinstance(getattr(type(layer), "name", None), property) else "name"
    setattr(layer, attribute, name)


def _imported(path: Path, asked: Asked) -> tuple[Plan, Network]:
    source = open_source(path)
    asked = asked if source.config is None else replace(asked, architecture=None, size=None)
    made = plan(source, asked)
    return made, assemble(source, made)[0]


def _logits(network: Network) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(onnx_graph.write(network), providers=["CPUExecutionProvider"])
    pictures = golden.variations(SIZE)[..., None].astype(np.float32)
    inputs = np.repeat(pictures, network.contract.channels, axis=-1)
    return np.asarray(session.run(["logit"], {"image": inputs})[0][:, 0])


CASES = [
    (writer, style, ending)
    for writer in ("keras", "tf_keras")
    for style in STYLES
    for ending in FORMATS
    # Keras 3 writes no legacy weights. Weights alone tell neither a normalisation in the head nor two sigmoids.
    if not (writer == "keras" and ending == "_weights.h5")
    and not ("weights" in ending and style in ("flattened", "renamed flattened"))
    # Tracing a SavedModel takes a minute: one of each writer is enough.
    and not (ending == "_saved" and style != "nested")
]
QUICK = {
    ("keras", "nested", ".keras"),
    ("keras", "nested", ".weights.h5"),
    ("keras", "flattened", ".keras"),
    ("keras", "grey", ".h5"),
    ("keras", "renamed nested", ".h5"),
    ("tf_keras", "nested", ".h5"),
    ("tf_keras", "nested", "_weights.h5"),
    ("tf_keras", "flattened", ".h5"),
    ("tf_keras", "grey", ".keras"),
    ("tf_keras", "renamed flattened", ".h5"),
    ("tf_keras", "renamed nested", "_weights.h5"),
}


def _marked(architecture: str, case: tuple[str, str, str]) -> Any:
    quick = architecture == "efficientnet-b0" and case in QUICK
    return pytest.param(architecture, *case, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(
    ("architecture", "writer", "style", "ending"),
    [
        _marked(architecture, case)
        for architecture in APPLICATIONS
        for case in CASES
        if architecture == "efficientnet-b0" or case[2] != "_saved"
    ],
)
def test_model_written_by_keras_imports_with_parity(
    architecture: str, writer: str, style: str, ending: str, tmp_path: Path
) -> None:
    animals = zoo(writer, architecture)
    model = animals.models[style]
    with _renamed(animals.trunk) if style.startswith("renamed") else contextlib.nullcontext():
        path = _save(model, ending, tmp_path)
    assert open_source(path).format is FORMATS[ending]
    classes = None if style.endswith("nested") else ("benign", "malignant")
    made, network = _imported(path, Asked(architecture=architecture, size=SIZE, classes=classes))
    assert made.architecture == architecture
    assert made.contract.scale == "255"
    # Weights alone can't tell that the network takes one channel and repeats it.
    assert made.contract.channels == (1 if style == "grey" and "weights" not in ending else 3)
    expected, found = _expected(model, animals.features), _logits(network)
    assert np.ptp(expected) > 1000 * TOLERANCE
    assert np.abs(found - expected).max() <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("offsets", [1, 3])
def test_network_of_our_own_layout_comes_back_from_keras(
    offsets: int, tmp_path: Path, random_network: Callable[..., Network]
) -> None:
    """Our weights file, opened by Keras, saved by Keras and imported, gives the network that it was written from.

    Three offsets for one channel are what a model comes to that repeats its grey input.
    """
    library("keras")
    network = random_network(size=SIZE, channels=3 if offsets == 3 else 1)
    if offsets == 3:
        network = replace(network, contract=replace(network.contract, channels=1))
    weights_file.write(network, tmp_path / "ours.weights.h5")
    line = {"factor": network.factor.tolist(), "offset": network.offset.tolist()}
    model = efficientnet.build("efficientnet-b0", SIZE, channels=1, dropout=0.0, **line)
    model.load_weights(tmp_path / "ours.weights.h5")
    pictures = golden.variations(SIZE)[..., None].astype(np.float32)
    answers = np.asarray(model(pictures, training=False))[:, 0]
    made, again = _imported(_save(model, ".keras", tmp_path), Asked())
    assert made.contract == network.contract
    assert made.head.kind == "linear"
    assert again.factor.shape == (offsets,)
    for logits in (_logits(network), _logits(again)):
        np.testing.assert_allclose(logits, answers, atol=TOLERANCE)
