"""Make a bundle from a fitted network, and prove that it answers as the network does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BundleInvalid
from mammolens.imaging import preprocess
from mammolens.models import golden, onnx_graph
from mammolens.models.bundle import CARD, GRAPH, WEIGHTS
from mammolens.models.imported import ImportDescription, export_graph, export_network
from mammolens.models.manifest import (
    SCHEMA,
    Calibration,
    Evaluation,
    Golden,
    Manifest,
    Metric,
    OperatingPoint,
    Preprocessing,
    Training,
)
from mammolens.models.transfer import network_of, unfold
from mammolens.models.writing import write_bundle

__all__ = ["Description", "ImportDescription", "export", "export_graph", "export_network", "parity"]

TOLERANCE = 1e-3
"""Largest difference of logits, Keras against ONNX Runtime, that an export may have."""


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


def parity(model: Any, graph: bytes, inputs: NDArray[np.uint8], looks: int = 1) -> tuple[float, NDArray[np.float32]]:
    """Largest difference of logits between Keras and the graph, and the graph's logits.

    Parameters
    ----------
    model : keras.Model
    graph : bytes
        ONNX.
    inputs : ndarray of uint8, shape (N, H, W)
    looks : int
        As the graph was written with.

    Returns
    -------
    difference : float
    logits : ndarray of float32, shape (N,)
    """
    import keras
    import onnxruntime

    axis = 1 if keras.config.image_data_format() == "channels_first" else -1
    batch = inputs.astype(np.float32)
    seen = (batch, np.ascontiguousarray(batch[:, ::-1]))[:looks]
    expected = np.mean([np.asarray(model.predict_on_batch(np.expand_dims(b, axis)))[:, 0] for b in seen], axis=0)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    logits = session.run(["logit"], {"image": batch[..., None]})[0][:, 0]
    return float(np.abs(expected - logits).max()), logits


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
    graph = onnx_graph.write(network_of(model, about.architecture, about.size), looks=about.looks)
    plain = unfold(model, about.architecture, about.size)
    goldens = [golden.model_input(seed, about.size) for seed in golden.SEEDS]
    inputs = np.stack([made.image for made in goldens])
    logits = np.zeros(len(goldens), np.float32)
    for network in (model, plain):
        difference, logits = parity(network, graph, inputs, about.looks)
        if not difference <= TOLERANCE:
            raise BundleInvalid(f"The exported graph differs from the network by {difference:.2g} in the logit.")

    def fill(made: Path) -> None:
        (made / GRAPH).write_bytes(graph)
        plain.save_weights(made / WEIGHTS)
        (made / CARD).write_text(about.card, encoding="utf-8")

    return write_bundle(folder, fill, lambda hashes: _manifest(about, goldens, logits, hashes))


def _manifest(about: Description, goldens: list[Any], logits: NDArray[np.float32], hashes: dict[str, str]) -> Manifest:
    return Manifest(
        schema=SCHEMA,
        name=about.name,
        version=about.version,
        architecture=about.architecture,
        looks=1 if about.looks == 1 else 2,
        classes=("benign", "malignant"),
        preprocessing=Preprocessing(version=preprocess.VERSION, height=about.size[0], width=about.size[1]),
        calibration=about.calibration,
        operating_points=about.operating_points,
        default_operating_point=about.default_operating_point,
        evidence_scale=about.evidence_scale,
        training=about.training,
        metrics=about.metrics,
        evaluation=about.evaluation,
        golden=tuple(
            Golden(seed=seed, input_sha256=golden.digest(made), logit=float(logit))
            for seed, made, logit in zip(golden.SEEDS, goldens, logits, strict=True)
        ),
        licence=about.licence,
        files=hashes,
    )
