"""The process that has Keras answer with a source model: ``python -m mammolens.models.importing.proof_child FOLDER``.

Started by `mammolens.models.importing.proof`; it gives up the network and bounds itself
before it reads anything. It runs none of the file's code: Keras opens the file in safe mode and without its training
configuration, and layers of classes that Keras doesn't know are replaced by identities,
where the plan has assumed that they are.

In the folder it finds ``request.json``, ``inputs.npy`` (float32, (N, H, W, C), in the
model's own scale) and the model's file under a name that Keras understands; it leaves
``logits.npy`` (float64, (N,)).
"""

from __future__ import annotations

import json
import math
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.models.importing import confinement, keras_2

REQUEST, INPUTS, LOGITS = "request.json", "inputs.npy", "logits.npy"

MOST_FILE_BYTES = 1 << 30
"""Largest file that the process may write: Keras unpacks weights."""

NOT_OPENED = 3
"""Exit status where Keras does not take the file."""

_PIXELS_AT_A_TIME = 1 << 19

_LEGACY_ARGUMENTS = ("groups",)
"""Arguments that Keras 2 wrote for a depthwise convolution and Keras 3 refuses; at their only legal value they
change nothing."""

Request = dict[str, Any]


class NotOpened(Exception):
    """Keras does not take the file."""


def main(folder: Path) -> None:
    """Answer the request in a folder."""
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    inputs = np.load(folder / INPUTS, mmap_mode="r")
    logits = whole(folder, request, inputs) if request["whole"] else weights_alone(folder, request, inputs)
    np.save(folder / LOGITS, logits)


def whole(folder: Path, request: Request, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Logits of a model that describes itself."""
    model = _opened(folder / request["file"], request)
    _in_single_precision(model)
    bare = _without_activation(model) if request["kind"] != "linear" else True
    outputs = _outputs(model, inputs)
    if not bare:
        if request["kind"] != "softmax":
            raise ValueError("the last activation can't be taken off")
        # Differences of a softmax's logarithms are differences of logits.
        outputs = np.log(outputs)
    return _logits(outputs, request)


def _opened(file: Path, request: Request) -> Any:
    """Have Keras open a model; failing that, have it read the description as one of Keras 2, without what is idle."""
    import keras

    stand_ins = _stand_ins(request)
    try:
        return keras.saving.load_model(file, custom_objects=stand_ins, compile=False, safe_mode=True)
    except Exception:
        # Keras raises what it likes on files that it does not understand.
        traceback.print_exc()
    config = keras_2.describe(request["config"], set(request["idle"]))
    kind = keras.Sequential if config["class_name"] == "Sequential" else keras.Model
    try:
        model = kind.from_config(config["config"], custom_objects=stand_ins)
        model.load_weights(file)
    except Exception as error:
        raise NotOpened from error
    return model


def weights_alone(folder: Path, request: Request, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Logits of a file of weights, which Keras loads by its own rules into its own network.

    The scaling of the input, which such a file tells in part at most, is the plan's.
    """
    import keras

    make = getattr(keras.applications, request["application"])
    failure: Exception | None = None
    # A frozen trunk's weights stand in another order in the old layout.
    for trainable in (True, False):
        trunk = make(include_top=False, weights=None, input_shape=tuple(request["shape"]), pooling="avg")
        trunk.trainable = trainable
        head = keras.layers.Dense(request["units"])
        if request["nested"]:
            model = keras.Sequential([keras.Input(tuple(request["shape"])), trunk, keras.layers.Dropout(0.2), head])
        else:
            model = keras.Model(trunk.input, head(keras.layers.Dropout(0.2)(trunk.output)))
        try:
            model.load_weights(folder / request["file"])
        except (ValueError, KeyError) as error:
            failure = error
            continue
        inner = keras.Model(trunk.get_layer("stem_conv_pad").input, trunk.output)
        factor, offset = (np.array(request[part], np.float32) for part in ("factor", "offset"))
        features = _outputs(inner, inputs * factor + offset)
        kernel, bias = (np.asarray(value, np.float64) for value in head.get_weights())
        return _logits(features @ kernel + bias, request)
    raise NotOpened from failure


def _stand_ins(request: Request) -> dict[str, Any]:
    """Classes for Keras to take instead of those that it lacks."""
    import keras

    class Unchanged(keras.layers.Layer):
        """Stands for a layer that changes nothing at inference."""

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return cls(name=config.get("name"))

        def call(self, inputs: Any, training: Any = None) -> Any:
            return inputs

    class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
        """Takes the description that Keras 2 wrote."""

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return keras.layers.DepthwiseConv2D.from_config(
                {name: value for name, value in config.items() if name not in _LEGACY_ARGUMENTS}
            )

    known = {name for room in (keras.layers, keras.models) for name in dir(room)}
    unknown: dict[str, Any] = {name: Unchanged for name in request["identities"] if name not in known}
    for name, base in request["models"].items():
        if name not in known:
            # Keras 3 finds a model's weights by the name of its class.
            unknown[name] = type(name.rpartition(">")[2], (getattr(keras, base),), {})
    return unknown | {keras_2.UNCHANGED: Unchanged, "DepthwiseConv2D": DepthwiseConv2D}


def _in_single_precision(model: Any) -> None:
    """Compute in float32 where training was set to mixed precision: the bundle does so too."""
    for layer in getattr(model, "layers", ()):
        _in_single_precision(layer)
        if layer.dtype_policy.name.startswith("mixed"):
            layer.dtype_policy = "float32"


def _without_activation(model: Any) -> bool:
    """Take the last layer's activation off: near 0 and 1, a probability in float32 no longer tells its logit.

    Returns
    -------
    bool
        False if what comes last is no layer with an activation, but an activation that can't be taken off.
    """
    import keras

    last = model
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    if getattr(last, "activation", None) in (None, keras.activations.linear):
        return False
    last.activation = keras.activations.linear
    return True


def _outputs(model: Any, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Answers (N, K), few pictures at a time if they are large: a batch of them takes more memory than there is."""
    from keras import ops

    step = max(1, _PIXELS_AT_A_TIME // math.prod(inputs.shape[1:3]))
    parts = [inputs[start : start + step] for start in range(0, len(inputs), step)]
    return np.concatenate([np.asarray(ops.convert_to_numpy(model(part, training=False))) for part in parts]).astype(
        np.float64
    )


def _logits(outputs: NDArray[np.float64], request: Request) -> NDArray[np.float64]:
    """Malignancy logits of the head's outputs (N, units) before their activation."""
    if outputs.shape[1:] != (request["units"],):
        raise ValueError("the model has another number of outputs")
    malignant = request["malignant"]
    if request["units"] == 1:
        return outputs[:, 0] if malignant else -outputs[:, 0]
    if request["kind"] == "sigmoid":
        # Each output has a logit of its own.
        return outputs[:, malignant]
    return outputs[:, malignant] - outputs[:, 1 - malignant]


if __name__ == "__main__":
    confinement.leave_network()
    confinement.bound(int(sys.argv[2]), int(sys.argv[3]), MOST_FILE_BYTES)
    try:
        main(Path(sys.argv[1]))
    except NotOpened:
        traceback.print_exc()
        sys.exit(NOT_OPENED)
