"""Prove that an imported model answers as its source does.

The source model runs in a bounded process of its own, where Keras opens the file by its
own rules; the bundle's graph runs in ONNX Runtime. Where Keras is not installed, or
can't open the file, what is left is the structural proof: every tensor of the file has
the shape and the place that the architecture asks for, and none is left over.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import mammolens
from mammolens.errors import ParityFailed
from mammolens.models import golden, session
from mammolens.models.contract import to_input
from mammolens.models.importing import proof_child
from mammolens.models.importing.source import Format, Plan, Source
from mammolens.models.network import InputContract, Network
from mammolens.models.transfer import APPLICATIONS

TOLERANCE = 1e-3
"""Largest difference of logits, source against bundle, that an import may have."""

SECONDS = 600
"""Wall clock that the source model may take; Keras and its backend take most of it to start."""

MEMORY_BYTES = 16 << 30
"""Address space of the source model's process, most of which a backend reserves and never uses."""

BACKENDS = ("tensorflow", "torch", "jax")
"""Keras' backends, in the order in which one is taken."""

_log = logging.getLogger(__name__)

_NAMES = {
    Format.KERAS: "source.keras",
    Format.MODEL_HDF5: "source.h5",
    Format.WEIGHTS_KERAS_3: "source.weights.h5",
    Format.WEIGHTS_LEGACY: "source.h5",
}
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "PYTHONHOME", "KERAS_BACKEND")

_ABSENT = "Keras is not installed (pip install 'mammolens[train]')"
_REFUSED = "Keras can't open the file"
_FAILED = "Keras failed on the model"
_LATE = "the model took longer than it may in Keras"
_FOREIGN_FORMAT = "Keras does not open files of this format"


@dataclass(frozen=True, slots=True)
class Proof:
    """How an import has been proven.

    Attributes
    ----------
    kind : {"parity", "structure"}
    difference : float, optional
        Largest difference of logits; None for a structural proof.
    reason : str
        Why there is no parity; empty where there is.
    """

    kind: Literal["parity", "structure"]
    difference: float | None = None
    reason: str = ""


def inputs_of(contract: InputContract) -> NDArray[np.float32]:
    """Give the 16 inputs of the proof, made of the golden pictures.

    Parameters
    ----------
    contract : InputContract

    Returns
    -------
    ndarray of float32, shape (16, height, width, channels)
        `mammolens.models.golden.variations` in the contract's scale. The last four of
        several channels take each channel from another picture, so that exchanged ones show.
    """
    inputs = to_input(golden.variations((contract.height, contract.width)), contract)
    for channel in range(1, contract.channels):
        inputs[-4:, ..., channel] = np.roll(inputs[-4:, ..., channel], channel, axis=0)
    return inputs


def prove(path: Path, source: Source, plan: Plan, network: Network, graph: bytes) -> Proof:
    """Hold a bundle's graph against the file that it was made of.

    Parameters
    ----------
    path : Path
        The file.
    source, plan, network
        What has been made of it.
    graph : bytes
        ONNX.

    Returns
    -------
    Proof

    Raises
    ------
    ParityFailed
        If a logit differs by over `TOLERANCE`, or is no number.
    """
    if source.format not in _NAMES:
        return Proof("structure", reason=_FOREIGN_FORMAT)
    if find_spec("keras") is None or not any(find_spec(name) for name in BACKENDS):
        return Proof("structure", reason=_ABSENT)
    inputs = inputs_of(plan.contract)
    with tempfile.TemporaryDirectory(prefix="mammolens-proof-") as temporary:
        folder = Path(temporary)
        request = _request(source, plan, network)
        (folder / request["file"]).symlink_to(path.resolve())
        (folder / proof_child.REQUEST).write_text(json.dumps(request), encoding="utf-8")
        np.save(folder / proof_child.INPUTS, inputs)
        expected = _ask(folder, len(inputs))
    if isinstance(expected, str):
        return Proof("structure", reason=expected)
    return Proof("parity", difference=compare(expected, graph, inputs))


def compare(expected: NDArray[np.float64], graph: bytes, inputs: NDArray[np.float32]) -> float:
    """Largest difference between a graph's logits and the expected ones.

    Raises
    ------
    ParityFailed
        If it is over `TOLERANCE` or no number.
    """
    difference = float(np.max(np.abs(expected - answers(graph, inputs))))
    if not difference <= TOLERANCE:
        raise ParityFailed(
            f"The imported model's logit differs from the source's by {difference:.2g}; at most {TOLERANCE:g} is "
            "allowed. The file holds something that this import does not understand. Try --foreign."
        )
    return difference


def answers(graph: bytes, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Logits (N,) that a bundle's graph gives, picture by picture."""
    # One by one: a batch of large ones takes more memory than there is.
    return np.array([session.scores(graph, picture[None])[0][0] for picture in inputs], np.float64)


def _request(source: Source, plan: Plan, network: Network) -> proof_child.Request:
    contract: InputContract = plan.contract
    idle = sorted({fate.source.rpartition("/")[2] for fate in plan.ignored})
    return {
        "file": _NAMES[source.format],
        "whole": source.config is not None,
        "config": source.config,
        "idle": idle,
        "identities": identities(source.config, set(idle)),
        "models": subclasses(source.config),
        "application": APPLICATIONS[plan.architecture],
        "shape": [contract.height, contract.width, contract.channels],
        "nested": max(len(tensor.layer) for tensor in source.tensors) > 1,
        "factor": network.factor.tolist(),
        "offset": network.offset.tolist(),
        "kind": plan.head.kind,
        "units": plan.head.units,
        "malignant": plan.head.malignant,
    }


def _classes(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names under which a description registers classes, each with one object's configuration."""
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        if isinstance(part, dict):
            waiting += part.values()
            inner = part.get("config")
            # Keras looks in HDF5 for the one name, and in a zip for the other.
            for name in {part.get("registered_name"), part.get("class_name")}:
                if isinstance(inner, dict) and isinstance(name, str):
                    yield name, inner


def identities(config: Any, layers: set[str]) -> list[str]:
    """Names of the classes of some layers.

    Parameters
    ----------
    config : dict or None
        A model's description, with all that is nested in it.
    layers : set of str
        Names of layers.

    Returns
    -------
    list of str
        Sorted. Keras' own classes may be among them.
    """
    return sorted({name for name, inner in _classes(config) if inner.get("name") in layers})


def subclasses(config: Any) -> dict[str, str]:
    """Names of the classes of models within a description, and which of Keras' models they answer as."""
    found = {name: inner for name, inner in _classes(config) if isinstance(inner.get("layers"), list)}
    return {name: "Model" if "input_layers" in inner else "Sequential" for name, inner in sorted(found.items())}


def _ask(folder: Path, count: int) -> NDArray[np.float64] | str:
    """Logits of the source model, or why there are none."""
    arguments = [str(folder), str(MEMORY_BYTES), str(SECONDS * (os.cpu_count() or 1))]
    try:
        subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", proof_child.__name__, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=_environment(folder),
            timeout=SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return _LATE
    except subprocess.CalledProcessError as error:
        _log.debug("the proof's process ended with %s: %s", error.returncode, error.stderr[-4000:])
        return _REFUSED if error.returncode == proof_child.NOT_OPENED else _FAILED
    logits = np.load(folder / proof_child.LOGITS, allow_pickle=False)
    if logits.shape != (count,) or logits.dtype != np.float64:
        return _FAILED
    return np.asarray(logits, np.float64)


def _environment(folder: Path) -> dict[str, str]:
    """Keep what Python and Keras need, and no secret of the parent's; Keras' settings are its defaults."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    kept.setdefault("KERAS_BACKEND", next(name for name in BACKENDS if find_spec(name)))
    places = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(Path(mammolens.__file__).parents[1])]
    return kept | {
        "PYTHONPATH": os.pathsep.join(str(Path.cwd() / place) for place in dict.fromkeys(places) if place),
        "HOME": str(folder),
        "KERAS_HOME": str(folder),
        "TMPDIR": str(folder),
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
