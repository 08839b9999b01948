"""The process of the second road: Keras opens the file here, and here the graph is made.

Started by `mammolens.models.importing.foreign` as ``python -m
mammolens.models.importing.foreign_worker MEMORY SECONDS``, in an empty folder and
without the parent's environment. It gives up the network and bounds itself before it
reads anything. It is told of a file, says what it found, is given inputs, and answers
with the graph and with what the source model makes of the inputs.

Keras is not shown the file as it came but a copy: the weights as they are, beside a
description written anew by `foreign_config`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import sys
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mammolens.errors import ModelFileError, ModelFileUnsafe, ModelIncomplete, ModelUnsupported
from mammolens.imaging.channel import Channel, Header
from mammolens.models.importing import confinement

MOST_BYTES = 2 << 30
"""Largest file that the process may write, and largest graph: a protocol buffer holds no more."""

_PIECE_BYTES = 1 << 20
_WEIGHTS = "model.weights.h5"
_GRACE_SECONDS = 5
_CHANGED = "The file changed while it was being imported. Try again."
_FULL = "Converting this model takes more memory than it may. Do not use it, or import it on a larger machine."
_FAILED = "The model could not be converted. Export it as ONNX where it was made, and import that file."
_REFUSED = (
    "Keras can't open the model: its weights do not fit its description. Save it again with a current Keras, or export "
    "it as ONNX."
)
_LEFT_OVER = "The file holds {} numbers, of which the model that it describes takes {}. Save it again, whole."

Answer = Callable[[Any], Any]
"""Gives the source model's (N, units) outputs before its last activation, of (N, H, W, C) inputs."""


def keras_model(place: Path, header: Header, config: dict[str, Any]) -> tuple[Any, Answer]:
    """Have Keras open a model, and convert it.

    Parameters
    ----------
    place : Path
        A copy of the file.
    header : dict
        ``legacy``, whether it is HDF5 and no zip; ``shape``, (height, width, channels) of
        the input; ``parameters``, how many numbers the file holds.
    config : dict
        Of `mammolens.models.importing.foreign_config.clean`.

    Returns
    -------
    model : onnx.ModelProto
    answer : callable

    Raises
    ------
    ModelIncomplete
        If the weights do not fit.
    """
    import keras
    import numpy as np

    from mammolens.models.importing import config as configs
    from mammolens.models.importing import foreign_config, foreign_graph, onnx_rules

    bare, found = foreign_config.bare(config)
    copy = (_hdf5_copy if header["legacy"] else _zip_copy)(place, bare)
    try:
        model = keras.saving.load_model(copy, compile=False, safe_mode=True)
    except Exception as error:
        if _is_memory(error):
            raise
        # Keras raises what it likes; the description is one that it understands, so it is the weights.
        raise ModelIncomplete(_REFUSED) from error
    copy.unlink()
    place.unlink()
    taken = sum(math.prod(each.shape) for each in model.weights if each.dtype == "float32")
    if taken != header["parameters"]:
        raise ModelIncomplete(_LEFT_OVER.format(header["parameters"], taken))

    def weights(path: tuple[str, ...]) -> list[Any]:
        layer = model
        for name in path:
            layer = layer.get_layer(name)
        return [np.asarray(each, np.float32) for each in layer.get_weights()]

    def answer(inputs: Any) -> Any:
        rows = [np.asarray(keras.ops.convert_to_numpy(model(each[None], training=False))) for each in inputs]
        return np.stack(rows).astype(np.float64).reshape(len(inputs), -1)

    if not found:
        raise ModelUnsupported("The model ends in something else than a layer with an activation.")
    graph = foreign_graph.convert(configs.flatten(foreign_config.single_calls(config)), tuple(header["shape"]), weights)
    return onnx_rules.folded(graph), answer


def onnx_model(place: Path, size: tuple[int, int] | None) -> tuple[Any, Answer]:
    """Bring an ONNX file into our form.

    Parameters
    ----------
    place : Path
        A copy of the file.
    size : tuple of int, optional
        ``(height, width)`` where the file leaves it open.

    Returns
    -------
    model : onnx.ModelProto
    answer : callable
    """
    import numpy as np
    import onnx
    import onnxruntime

    from mammolens.models.importing import onnx_rules
    from mammolens.models.importing.onnx_tail import last_activation

    model = onnx_rules.parsed(place.read_bytes())
    seen = onnx_rules.picture(model, size)
    # The file's own graph answers for itself, as it came but for one more output.
    _, name = last_activation(model)
    source = onnx.ModelProto()
    source.CopyFrom(model)
    if name not in {each.name for each in source.graph.output}:
        source.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(source.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # ONNX Runtime's own exceptions share no base class below Exception.
        raise ModelUnsupported("ONNX Runtime does not take the model's graph. Export it again.") from error

    def answer(inputs: Any) -> Any:
        planes = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2)) if seen.planar else inputs
        rows = [session.run([name], {seen.name: each[None]})[0] for each in planes]
        return np.stack(rows).astype(np.float64).reshape(len(inputs), -1)

    return onnx_rules.normalised(model, seen), answer


def serve(channel: Channel, network: str) -> None:
    """Answer for one file.

    Parameters
    ----------
    channel : Channel
    network : str
        Who keeps the network away.
    """
    import numpy as np

    from mammolens.models.importing import onnx_rules, onnx_tail

    header, size = channel.receive_header()
    body = _body(channel, size)
    place = _copied(Path(header["path"]), Path(f"source{header['suffix']}"), header["sha256"])
    if header["job"] == "keras":
        model, answer = keras_model(place, header, json.loads(body))
    else:
        model, answer = onnx_model(place, tuple(header["size"]) if header["size"] else None)
    net = onnx_tail.Net(model)
    end = onnx_tail.ending(net)
    part = onnx_tail.tail(net, end.name)
    factor, offset = onnx_rules.input_line(model)
    shape = net.shape(onnx_rules.INPUT)
    found = {"kind": end.kind, "units": end.units, "shape": shape, "network": network}
    channel.send(found | {"factor": float(np.mean(factor)), "offset": float(np.mean(offset))})
    header, size = channel.receive_header()
    inputs = np.frombuffer(_body(channel, size), np.float32).reshape(header["count"], *shape)
    graph, linear = onnx_tail.finished(net, end, part, header["malignant"])
    content = onnx_rules.folded(graph).SerializeToString(deterministic=True)
    outputs = np.ascontiguousarray(answer(inputs))
    channel.send({"linear": linear, "outputs": outputs.nbytes}, outputs.data.cast("B"), content)


def _body(channel: Channel, size: int) -> bytearray:
    body = bytearray(size)
    channel.receive_into(memoryview(body))
    return body


def _copied(source: Path, place: Path, sha256: str) -> Path:
    """Copy the file, if it is still the one that was looked over."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, place.open("wb") as writer:
        while piece := reader.read(_PIECE_BYTES):
            digest.update(piece)
            writer.write(piece)
    if digest.hexdigest() != sha256:
        raise ModelFileUnsafe(_CHANGED)
    return place


def _zip_copy(place: Path, config: dict[str, Any]) -> Path:
    """Make a ``.keras`` file of our own description and the file's weights."""
    made = place.with_name("model.keras")
    with zipfile.ZipFile(place) as source, zipfile.ZipFile(made, "w") as target:
        target.writestr("metadata.json", source.read("metadata.json"))
        target.writestr("config.json", json.dumps(config))
        with (
            source.open(_WEIGHTS) as reader,
            target.open(_WEIGHTS, "w", force_zip64=True) as writer,
        ):
            while piece := reader.read(_PIECE_BYTES):
                writer.write(piece)
    return made


def _hdf5_copy(place: Path, config: dict[str, Any]) -> Path:
    """Make an HDF5 file of our own description and the file's weights."""
    import h5py

    made = place.with_name("model.h5")
    with h5py.File(place, "r") as source, h5py.File(made, "w") as target:
        source.copy("model_weights", target)
        # As one string of free length: an attribute of fixed length holds 64 KiB.
        target.attrs["model_config"] = json.dumps(config)
        for name in ("keras_version", "backend"):
            if name in source.attrs:
                target.attrs[name] = source.attrs[name]
    return made


def _is_memory(error: BaseException) -> bool:
    """Whether an error means that there is no memory left, by whatever name the backend calls it."""
    return isinstance(error, MemoryError) or type(error).__name__ in ("ResourceExhaustedError", "OutOfMemoryError")


def main(memory: int, seconds: int) -> None:
    """Take over standard input and output, bound this process, and answer."""
    channel = Channel(os.dup(0), os.dup(1))
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nothing, descriptor)
    network = confinement.leave_network()
    confinement.bound(memory, seconds * (os.cpu_count() or 1), MOST_BYTES)
    signal.alarm(seconds + _GRACE_SECONDS)
    try:
        serve(channel, network)
    except EOFError:
        return
    except ModelFileError as error:
        refusal: ModelFileError = error
    except Exception as error:
        # Whatever a library raised, it must not pass for a silent death.
        traceback.print_exc()
        refusal = ModelFileUnsafe(_FULL) if _is_memory(error) else ModelUnsupported(_FAILED)
    else:
        return
    channel.send({"error": refusal.code, "message": refusal.message})


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
    # Nothing is left to tidy up, and taking an interpreter with large libraries down takes longer than leaving.
    os._exit(0)
