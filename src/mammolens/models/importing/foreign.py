"""The second road: convolutional classifiers that are no EfficientNet of ours, by way of ONNX.

A Keras file is opened by Keras, in safe mode and without its training configuration, in
a process of its own that has no network, an empty environment and bounds on memory,
processor and wall clock; what Keras sees there has been written anew by `foreign_config`
and names no class outside Keras. An ONNX file is worked on in the same process. What
comes back is a graph, and it is judged here as a stranger's: its operators, its inputs
and outputs, and its answers to 16 golden inputs against those of the source model.

============================================  ====================
what happens to the process                   what the caller gets
============================================  ====================
it refuses the file                           the same error
takes longer by the clock or the processor    `ModelFileUnsafe`
asks for more memory than it may              `ModelFileUnsafe`
dies of a signal, or ends without an answer   `ModelFileUnsafe`
answers with what does not hold               `ModelFileMalformed`
============================================  ====================
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import mammolens
from mammolens.errors import (
    ConfigurationError,
    ContractUnknown,
    ModelFileError,
    ModelFileMalformed,
    ModelFileUnsafe,
    ModelIncomplete,
    ModelUnsupported,
    ParityFailed,
)
from mammolens.imaging.channel import Channel, Header
from mammolens.models import session
from mammolens.models.importing import confinement, foreign_config, foreign_worker, head, onnx_rules, proof
from mammolens.models.importing.payloads import hostile_config
from mammolens.models.importing.source import Asked, Format, Head, Source
from mammolens.models.network import InputContract, InputScale

_log = logging.getLogger(__name__)

_MODULE = foreign_worker.__name__
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "PYTHONHOME", "KERAS_BACKEND")
_ERRORS: dict[str, type[ModelFileError]] = {
    error.code: error
    for error in (ModelFileUnsafe, ModelFileMalformed, ModelIncomplete, ModelUnsupported, ContractUnknown)
}
_MOST_MESSAGE_CHARACTERS = 1000
_LATE = "Converting this model took longer than it may. Do not use it, or import it on a faster machine."
_DIED = "The process that converts the model ended without an answer: the model is too large, or the file is damaged."
_GARBLED = "The process that converts the model gave no valid answer. Do not use this file."
_NO_SCALE = (
    "Nothing in the file tells the scale of the input. Say with --scale what the model was trained on: 255, 1, -1..1, "
    "imagenet or imagenet-bgr."
)
_KNOWN = re.compile(
    r"vgg[-_]?1[69]|resnet[-_]?(?:50|101|152)(?:[-_]?v2)?|densenet[-_]?(?:121|169|201)|"
    r"mobilenet(?:[-_]?v[123])?(?:[-_]?small|[-_]?large)?|inception[-_]?(?:resnet[-_]?)?(?:v[1234])?|xception|"
    r"nasnet[-_]?(?:mobile|large)?|efficientnet[-_]?(?:v2[-_]?)?(?:b\d|s|m|l)?"
)
_SUFFIXES = {Format.KERAS: ".keras", Format.MODEL_HDF5: ".h5", Format.ONNX: ".onnx"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the converting process may take.

    Attributes
    ----------
    memory_bytes : int
        Address space. Keras with TensorFlow takes 4 GiB of it before it has done anything.
    seconds : int
        By the clock; of processor time, as much for each processor.
    """

    memory_bytes: int = 12 << 30
    seconds: int = 600


@dataclass(frozen=True, slots=True)
class Foreign:
    """A model that came by the second road.

    Attributes
    ----------
    graph : bytes
        ONNX from ``image`` (N, H, W, C) float32 in the contract's scale to ``logit`` (N, 1),
        ``evidence`` (N, h, w) and ``features`` (N, K, h, w).
    contract : InputContract
    architecture : str
        ``foreign:`` and what the file calls it: ``foreign:resnet50``, ``foreign:cnn``, ``foreign:onnx``.
    explanation : {"linear", "gradient"}
        ``linear``: the evidence sums to the logit but for a constant.
    parity : float
        Largest difference of logits, source against graph, over 16 golden inputs.
    head : Head
    assumptions : tuple of str
        What was taken for granted, in words for the manifest and the user.
    """

    graph: bytes
    contract: InputContract
    architecture: str
    explanation: Literal["linear", "gradient"]
    parity: float
    head: Head
    assumptions: tuple[str, ...]


def convert(path: Path, source: Source, asked: Asked, bounds: Bounds | None = None) -> Foreign:
    """Convert a foreign model.

    Parameters
    ----------
    path : Path
        The file.
    source : Source
        Of `mammolens.models.importing.container.open_source`, which has looked it over.
    asked : Asked
        ``scale`` must be given where no layer inside tells it; ``classes`` for two outputs.
    bounds : Bounds, optional

    Returns
    -------
    Foreign

    Raises
    ------
    ModelFileUnsafe
        If the file asks for code, or for more time or memory than it may have.
    ModelUnsupported
        If it holds what is not converted or can't be explained; the message names it.
    ModelIncomplete
        If the weights do not fit the description.
    ContractUnknown
        If scale, size or classes are not known.
    ParityFailed
        If the graph does not answer as the source does.
    ConfigurationError
        If Keras is not installed.
    """
    bounds = bounds or Bounds()
    request, body, assumed = _request(path, source, asked)
    with _process(bounds) as (channel, deadline):
        channel.send(request, body, deadline=deadline)
        found = _facts(_reply(channel, deadline)[0])
        decided, also = head.decide(found["kind"], found["units"], asked.classes)
        scale, suspicion = _scale(found["factor"], found["offset"], asked.scale)
        height, width, channels = found["shape"]
        contract = InputContract(height, width, channels, scale)
        inputs = proof.inputs_of(contract)
        message = {"malignant": decided.malignant, "count": len(inputs)}
        channel.send(message, np.ascontiguousarray(inputs).data.cast("B"), deadline=deadline)
        reply, content = _reply(channel, deadline)
    graph, outputs = _results(reply, content, len(inputs), decided.units)
    _check_graph(graph, contract)
    linear = reply.get("linear") is True
    return Foreign(
        graph,
        contract,
        f"foreign:{request['architecture']}",
        "linear" if linear else "gradient",
        _parity(graph, inputs, outputs, decided),
        decided,
        (*assumed, *also, *suspicion, *_confined(found["network"])),
    )


def _request(path: Path, source: Source, asked: Asked) -> tuple[Header, bytes, tuple[str, ...]]:
    """Make the job, after all that can be refused without a process."""
    if source.format not in _SUFFIXES:
        raise ModelUnsupported(
            "The second road takes .keras, whole-model .h5 and .onnx files. Save the model as one of them where it was "
            "made."
        )
    # The file's own checks have been made; what it holds is named here so that it can't change in between.
    header: Header = {"path": str(path.resolve()), "sha256": source.sha256, "suffix": _SUFFIXES[source.format]}
    header |= {"size": list(asked.size) if asked.size else None}
    if source.format is Format.ONNX:
        _need("onnx", "import")
        return header | {"job": "onnx", "architecture": "onnx"}, b"", ()
    if source.config is None:
        raise ModelUnsupported("The file holds weights alone. Save the whole model.")
    clean = foreign_config.clean(source.config, asked.size, legacy=not source.keras_version.startswith("3"))
    # Nothing that it writes can be hostile; that is looked at once more all the same.
    hostile_config(clean.model, strict=True)
    if asked.scale is None and not clean.rescales:
        raise ContractUnknown(_NO_SCALE)
    for name in ("keras", "h5py", "onnx"):
        _need(name, "train")
    header |= {
        "job": "keras",
        "legacy": source.format is Format.MODEL_HDF5,
        "shape": list(clean.shape),
        "parameters": sum(math.prod(each.shape) for each in source.tensors if "float" in each.dtype),
        "architecture": _architecture(clean.name),
    }
    return header, json.dumps(clean.model).encode(), clean.assumptions


def _need(name: str, extra: str) -> None:
    if find_spec(name) is None:
        raise ConfigurationError(f"{name} is not installed: pip install 'mammolens[{extra}]'.")


def _architecture(names: str) -> str:
    """Name of a well-known network among the names in a file, else ``cnn``."""
    found = _KNOWN.search(names.lower())
    return re.sub(r"[-_]", "", found.group()) if found else "cnn"


def _scale(factor: float, offset: float, asked: InputScale | None) -> tuple[InputScale, tuple[str, ...]]:
    """Scale of the input: what maps a range to a few units is made for that range."""
    size = abs(factor)
    found: InputScale | None = None
    if 0.5 <= size * 255 <= 6 or (size == 1 and offset <= -50):
        found = "255"
    elif size > 100:
        found = "-1..1" if offset > 50 else "1"
    elif 1 < size <= 6:
        found = "1"
    if found is None and asked is None:
        raise ContractUnknown(_NO_SCALE)
    if found is not None and asked is not None and asked != found:
        return asked, (
            f"the input is in the scale {asked}, as asked, although the model's first layers expect {found}: suspected "
            "of being scaled twice",
        )
    return asked or found or "255", ()


def _confined(network: str) -> tuple[str, ...]:
    if network == confinement.KERNEL:
        return ()
    return ("the process that converted the model was kept from the network by Python alone, not by the kernel",)


@contextmanager
def _process(bounds: Bounds) -> Iterator[tuple[Channel, float]]:
    """Start the converting process, and make one typed error of every end that it can take."""
    if os.name != "posix":
        raise ConfigurationError("This system can't bound the process that converts models. Use Linux or macOS.")
    with tempfile.TemporaryDirectory(prefix="mammolens-foreign-") as folder, tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", _MODULE, str(bounds.memory_bytes), str(bounds.seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            cwd=folder,
            env=_environment(folder),
            start_new_session=True,
        )
        if process.stdin is None or process.stdout is None:
            raise ModelFileUnsafe(_DIED)
        try:
            with process.stdin, process.stdout:
                deadline = time.monotonic() + bounds.seconds
                yield Channel(process.stdout.fileno(), process.stdin.fileno()), deadline
        except EOFError:
            process.wait()
            complaints.seek(max(0, complaints.seek(0, os.SEEK_END) - 4000))
            _log.debug("the converting process ended with %s: %s", process.returncode, complaints.read())
            raise ModelFileUnsafe(_DIED) from None
        except TimeoutError:
            raise ModelFileUnsafe(_LATE) from None
        finally:
            process.kill()
            process.wait()


def _environment(folder: str) -> dict[str, str]:
    """Keep what Python and Keras need, and no secret of the parent's; Keras' settings are its defaults."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    places = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(Path(mammolens.__file__).parents[1])]
    installed = (name for name in proof.BACKENDS if find_spec(name))
    kept.setdefault("KERAS_BACKEND", next(installed, proof.BACKENDS[0]))
    return kept | {
        "PYTHONPATH": os.pathsep.join(str(Path.cwd() / place) for place in dict.fromkeys(places) if place),
        "HOME": folder,
        "KERAS_HOME": folder,
        "TMPDIR": folder,
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "HDF5_PLUGIN_PRELOAD": "::",
        "HDF5_USE_FILE_LOCKING": "FALSE",
    }


def _reply(channel: Channel, deadline: float) -> tuple[Header, bytes]:
    """Take a frame, or raise what it says."""
    try:
        header, size = channel.receive_header(deadline)
        if size > foreign_worker.MOST_BYTES:
            raise ValueError("too large")
    except ValueError:
        raise ModelFileMalformed(_GARBLED) from None
    body = bytearray(size)
    channel.receive_into(memoryview(body), deadline)
    if "error" not in header:
        return header, bytes(body)
    kind, message = _ERRORS.get(str(header["error"])), header.get("message")
    if kind is None or not isinstance(message, str) or len(message) > _MOST_MESSAGE_CHARACTERS:
        raise ModelFileMalformed(_GARBLED)
    raise kind(message)


def _facts(header: Header) -> dict[str, Any]:
    """Check what the process says that it found."""
    shape, line = header.get("shape"), (header.get("factor"), header.get("offset"))
    sound = (
        header.get("kind") in ("sigmoid", "softmax", "linear")
        and header.get("units") in (1, 2)
        and header.get("network") in (confinement.KERNEL, confinement.PYTHON)
        and all(isinstance(each, float) and math.isfinite(each) for each in line)
        and isinstance(shape, list)
        and len(shape) == 3
        and all(isinstance(each, int) and 0 < each <= onnx_rules.LARGEST_SIDE for each in shape)
        and shape[2] in (1, 3)
    )
    if not sound:
        raise ModelFileMalformed(_GARBLED)
    return header


def _results(header: Header, content: bytes, count: int, units: int) -> tuple[bytes, NDArray[np.float64]]:
    """Split the answer into the graph and the source's outputs."""
    size = count * units * 8
    if header.get("outputs") != size or len(content) <= size:
        raise ModelFileMalformed(_GARBLED)
    return content[size:], np.frombuffer(content[:size], np.float64).reshape(count, units)


def _check_graph(graph: bytes, contract: InputContract) -> None:
    """Judge the graph as one from outside."""
    model = onnx_rules.parsed(graph)
    seen = onnx_rules.named(model)
    shape = (contract.height, contract.width, contract.channels)
    if seen != ("image", shape, ("logit", "evidence", "features")):
        raise ModelFileMalformed(_GARBLED)


def _parity(graph: bytes, inputs: NDArray[np.float32], outputs: NDArray[np.float64], decided: Head) -> float:
    """Hold the graph's logits against the source's, one by one and two at a time."""
    if decided.units == 1:
        expected = outputs[:, 0] if decided.malignant else -outputs[:, 0]
    else:
        expected = outputs[:, decided.malignant] - outputs[:, 1 - decided.malignant]
    difference = proof.compare(expected, graph, inputs)
    together, _ = session.scores(graph, inputs[:2])
    if not np.abs(expected[:2] - together).max() <= proof.TOLERANCE:
        raise ParityFailed("The imported model answers otherwise for two pictures at a time. Free its batch.")
    return difference
