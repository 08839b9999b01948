"""Make a bundle from a fitted network, and prove that it answers as the network does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BundleInvalid
from mammolens.imaging import preprocess
from mammolens.models import golden, onnx_graph, variants, weights_file
from mammolens.models.bundle import CARD, GRAPH, WEIGHTS
from mammolens.models.efficientnet import build
from mammolens.models.imported import ImportDescription, export_graph, export_network
from mammolens.models.looks import Looks
from mammolens.models.manifest import (
    SCHEMA,
    Calibration,
    Evaluation,
    Examination,
    Golden,
    Manifest,
    Metric,
    OperatingPoint,
    Preprocessing,
    Training,
)
from mammolens.models.network import Network
from mammolens.models.transfer import network_of, unfold
from mammolens.models.writing import write_bundle

__all__ = [
    "Description",
    "ImportDescription",
    "ensemble_graph",
    "export",
    "export_ensemble",
    "export_graph",
    "export_network",
    "parity",
]

TOLERANCE = 1e-3
"""Largest difference of logits, Keras against ONNX Runtime, that an export may have."""

LARGEST = 40_000_000
"""Bytes that an ensemble's weights may take in both formats together; above, the graph alone holds them."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a bundle says of its model beside the weights; see `Manifest` for the fields."""

    name: str
    version: str
    architecture: str
    size: tuple[int, int]
    looks: int
    calibration: Calibration
    operating_points: tuple[OperatingPoint, ...]
    default_operating_point: str
    evidence_scale: float
    training: Training
    metrics: tuple[Metric, ...]
    licence: str
    card: str
    evaluation: Evaluation | None = None
    examination: Examination | None = None
    second_size: tuple[int, int] | None = None

    @property
    def looking(self) -> Looks:
        """How the model looks at a picture."""
        return Looks(self.size, self.looks == 2, self.second_size)


def parity(
    models: Sequence[Mapping[tuple[int, int], Any]], graph: bytes, inputs: NDArray[np.uint8], looks: Looks
) -> tuple[float, NDArray[np.float32]]:
    """Largest difference of logits between Keras and the graph, and the graph's logits.

    Parameters
    ----------
    models : sequence of mapping of (height, width) to keras.Model
        A network, or those of an ensemble, whose logits are averaged; each built for every size of ``looks``.
    graph : bytes
        ONNX.
    inputs : ndarray of uint8, shape (N, H, W)
    looks : Looks
        As the graph was written with.

    Returns
    -------
    difference : float
    logits : ndarray of float32, shape (N,)
    """
    import keras
    import onnxruntime

    axis = 1 if keras.config.image_data_format() == "channels_first" else -1
    seen = [(size, np.expand_dims(pictures, axis)) for size, pictures in looks.at(inputs)]
    answers = [np.asarray(each[size].predict_on_batch(pictures))[:, 0] for each in models for size, pictures in seen]
    expected = np.mean(answers, axis=0)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    said = session.run(["logit"], {"image": inputs.astype(np.float32)[..., None]})[0][:, 0]
    return float(np.abs(expected - said).max()), said


def export(model: Any, about: Description, folder: Path) -> Path:
    """Write a bundle; all of it or nothing.

    Parameters
    ----------
    model : keras.Model
        Folded, as `mammolens.models.efficientnet.build` made it.
    about : Description
    folder : Path
        The bundle's folder; what was there is replaced.

    Returns
    -------
    Path
        ``folder``.

    Raises
    ------
    BundleInvalid
        If the graph's logits differ from the network's by over 1e-3, in the folded or
        in the standard layout.
    OutputError
        If it can't be written there.
    """
    graph = onnx_graph.write(network_of(model, about.architecture, about.size), about.looks, about.second_size)
    plain = unfold(model, about.architecture, about.size)
    goldens = [golden.model_input(seed, about.size) for seed in golden.SEEDS]
    inputs = np.stack([made.image for made in goldens])
    logits = np.zeros(len(goldens), np.float32)
    for network, folded in ((model, True), (plain, False)):
        difference, logits = parity([_at_every_size(network, about, folded=folded)], graph, inputs, about.looking)
        if not difference <= TOLERANCE:
            raise BundleInvalid(f"The exported graph differs from the network by {difference:.2g} in the logit.")

    def fill(made: Path) -> None:
        (made / GRAPH).write_bytes(graph)
        plain.save_weights(made / WEIGHTS)
        (made / CARD).write_text(about.card, encoding="utf-8")

    return write_bundle(folder, fill, lambda hashes: _manifest(about, goldens, logits, hashes))


def _at_every_size(model: Any, about: Description, *, folded: bool) -> dict[tuple[int, int], Any]:
    """Build the same network for every size at which a picture is looked at."""
    made = {about.size: model}
    for size in about.looking.sizes[1:]:
        made[size] = build(about.architecture, size, folded=folded, dropout=0.0)
        made[size].set_weights(model.get_weights())
    return made


def ensemble_graph(networks: Sequence[Network], looks: int = 1, second_size: tuple[int, int] | None = None) -> bytes:
    """Write the graph of an ensemble as it is shipped: kernels in 16 bits, computed with in 32.

    Parameters
    ----------
    networks : sequence of Network
        As `mammolens.models.network.Network.rounded` gives them.
    looks, second_size
        As `mammolens.models.onnx_graph.write` takes them.

    Returns
    -------
    bytes
        See `mammolens.models.onnx_graph.write_ensemble`.
    """
    return variants.compact(onnx_graph.write_ensemble(networks, looks, second_size))


def export_ensemble(networks: Sequence[Network], about: Description, folder: Path) -> Path:
    """Write the bundle of an ensemble; all of it or nothing.

    Kernels are rounded to 16 bits first, so that graph, weights file and Keras hold the
    same numbers. Where both formats together would be larger than `LARGEST`, the graph
    alone holds the weights, and the Keras engine reads them there.

    Parameters
    ----------
    networks : sequence of Network
    about : Description
    folder : Path
        The bundle's folder; what was there is replaced.

    Returns
    -------
    Path
        ``folder``.

    Raises
    ------
    BundleInvalid
        If the graph's logits differ from the mean of the networks' by over 1e-3, or a
        weight is too large for 16 bits.
    ConfigurationError
        If the networks don't belong together.
    OutputError
        If it can't be written there.
    """
    from mammolens.models import rebuilt

    rounded = [network.rounded() for network in networks]
    graph = ensemble_graph(rounded, about.looks, about.second_size)
    goldens = [golden.model_input(seed, about.size) for seed in golden.SEEDS]
    inputs = np.stack([made.image for made in goldens])
    models = [{size: rebuilt.of_network(network.at(size)) for size in about.looking.sizes} for network in rounded]
    difference, logits = parity(models, graph, inputs, about.looking)
    if not difference <= TOLERANCE:
        raise BundleInvalid(f"The exported graph differs from the networks by {difference:.2g} in the logit.")

    def fill(made: Path) -> None:
        (made / GRAPH).write_bytes(graph)
        (made / CARD).write_text(about.card, encoding="utf-8")
        weights_file.write_ensemble(rounded, made / WEIGHTS)
        if len(graph) + (made / WEIGHTS).stat().st_size > LARGEST:
            (made / WEIGHTS).unlink()

    return write_bundle(folder, fill, lambda hashes: _manifest(about, goldens, logits, hashes, len(networks)))


def _manifest(
    about: Description, goldens: list[Any], logits: NDArray[np.float32], hashes: dict[str, str], members: int = 1
) -> Manifest:
    return Manifest(
        schema=SCHEMA,
        name=about.name,
        version=about.version,
        architecture=about.architecture,
        looks=1 if about.looks == 1 else 2,
        second_size=about.second_size,
        members=members,
        classes=("benign", "malignant"),
        preprocessing=Preprocessing(version=preprocess.VERSION, height=about.size[0], width=about.size[1]),
        calibration=about.calibration,
        operating_points=about.operating_points,
        default_operating_point=about.default_operating_point,
        evidence_scale=about.evidence_scale,
        training=about.training,
        metrics=about.metrics,
        evaluation=about.evaluation,
        examination=about.examination,
        golden=tuple(
            Golden(seed=seed, input_sha256=golden.digest(made), logit=float(logit))
            for seed, made, logit in zip(golden.SEEDS, goldens, logits, strict=True)
        ),
        licence=about.licence,
        files=hashes,
    )
