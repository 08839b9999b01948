"""Put a network of two views beside the one of single pictures, and prove that it answers as it did in Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BundleInvalid, ConfigurationError
from mammolens.imaging import preprocess
from mammolens.models import golden, onnx_graph, session, two_view, variants
from mammolens.models.bundle import CARD, PAIR, ModelBundle
from mammolens.models.export import TOLERANCE
from mammolens.models.looks import Looks
from mammolens.models.manifest import (
    Decision,
    Level,
    Manifest,
    Metric,
    Pair,
    PairGolden,
    Preprocessing,
    Training,
    parse,
)
from mammolens.models.network import PairNetwork
from mammolens.models.writing import write_bundle


@dataclass(frozen=True, slots=True)
class PairDescription:
    """What a bundle says of its network of two views beside the weights; see `mammolens.models.manifest.Pair`.

    ``name`` and ``version`` are those of the new bundle, ``card`` is what is added to the model card.
    """

    name: str
    version: str
    architecture: str
    looks: Looks
    evidence_scale: float
    breast: Decision
    woman: Level | None
    training: Training
    metrics: tuple[Metric, ...]
    protocol: str
    licence: str
    card: str


@dataclass(frozen=True, slots=True)
class PairGraph:
    """A graph, and the networks that it was written from.

    Attributes
    ----------
    graph : bytes
        As `mammolens.models.onnx_graph.write_pair` gives it.
    shared : bool
        Whether one backbone sees both views.
    members : int
    bias : float
        What is added to the shares of both views.
    """

    graph: bytes
    shared: bool
    members: int
    bias: float


def graph_of(models: Sequence[Any], architecture: str, looks: Looks) -> PairGraph:
    """Write the graph of two-view networks, and hold it against them.

    Parameters
    ----------
    models : sequence of keras.Model, length K
        As `mammolens.models.two_view.build` with ``folded=True`` made them. Several make an ensemble: their kernels are
        rounded to 16 bits, in place, so that the graph is half as large.
    architecture : str
    looks : Looks
        At each of the two pictures.

    Returns
    -------
    PairGraph

    Raises
    ------
    BundleInvalid
        If the graph's logits differ from the networks' by over 1e-3, or a weight is too large for 16 bits.
    ConfigurationError
        If the networks don't belong together.
    """
    networks = [two_view.pair_of(model, architecture, looks.size) for model in models]
    if len({network.shared for network in networks}) != 1:
        raise ConfigurationError("The networks of an ensemble must all share their trunk, or none of them.")
    if len(networks) > 1:
        networks = [_rounded(model, network) for model, network in zip(models, networks, strict=True)]
    graph = onnx_graph.write_pair(networks, 2 if looks.upside_down else 1, looks.second_size)
    if len(networks) > 1:
        graph = variants.compact(graph)
    bias = float(np.mean([network.bias for network in networks]))
    made = PairGraph(graph, networks[0].shared, len(networks), bias)
    difference = parity([_at_every_size(model, architecture, looks) for model in models], made, looks)
    if not difference <= TOLERANCE:
        raise BundleInvalid(f"The exported graph differs from the two-view network by {difference:.2g} in the logit.")
    return made


def _rounded(model: Any, network: PairNetwork) -> PairNetwork:
    rounded = network.rounded()
    two_view.take(model, rounded)
    return rounded


def _at_every_size(model: Any, architecture: str, looks: Looks) -> dict[tuple[int, int], Any]:
    """Build the same network for every size at which a picture is looked at."""
    made, (first, second) = {looks.size: model}, two_view.trunks(model)
    for size in looks.sizes[1:]:
        trunk: two_view.Trunk = "shared" if first is second else "paired"
        made[size] = two_view.build(architecture, size, trunk=trunk, folded=True, dropout=0.0)
        made[size].set_weights(model.get_weights())
    return made


def parity(models: Sequence[Mapping[tuple[int, int], Any]], made: PairGraph, looks: Looks) -> float:
    """Largest difference of logits between Keras and the graph, on the golden pictures paired with one another.

    Parameters
    ----------
    models : sequence of mapping of (height, width) to keras.Model
        Whose logits are averaged; each built for every size of ``looks``.
    made : PairGraph
    looks : Looks

    Returns
    -------
    float
    """
    import keras

    axis = 1 if keras.config.image_data_format() == "channels_first" else -1
    pictures = np.stack([golden.model_input(seed, looks.size).image for seed in golden.SEEDS])
    shares, _ = scores(made.graph, pictures.astype(np.float32)[..., None])
    largest = 0.0
    for turn in range(1, len(pictures)):
        logits = []
        for size, pair in looks.at(np.stack([pictures, np.roll(pictures, turn, axis=0)])):
            views = [np.expand_dims(view, axis) for view in pair]
            logits += [np.asarray(model[size].predict_on_batch(views))[:, 0] for model in models]
        found = shares[:, 0] + np.roll(shares[:, 1], turn) + made.bias
        # The largest of values of which one is no number is none either.
        largest = float(np.maximum(largest, np.abs(np.mean(logits, axis=0) - found).max()))
    return largest


def scores(graph: bytes, inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shares and evidence of pictures, by ONNX Runtime.

    Parameters
    ----------
    graph : bytes
        As `mammolens.models.onnx_graph.write_pair` gives it.
    inputs : ndarray of float32, shape (N, H, W, 1)

    Returns
    -------
    shares : ndarray of float32, shape (N, 2)
    evidence : ndarray of float32, shape (N, 2, h, w)

    Raises
    ------
    BundleInvalid
        If ONNX Runtime can't open the graph.
    EngineError
        If ONNX Runtime fails.
    """
    opened = session.open_session(graph)
    parts = [session.run(opened, inputs[at : at + 16], session.PAIR_OUTPUTS) for at in range(0, len(inputs), 16)]
    shares, evidence = (np.concatenate(each) for each in zip(*parts, strict=True))
    return shares, evidence


def join(bundle: ModelBundle, made: PairGraph, about: PairDescription, folder: Path) -> Path:
    """Write a bundle anew with a network of two views beside its own; all of it or nothing.

    Parameters
    ----------
    bundle : ModelBundle
        Answers for single pictures, and for breasts that lack a view. One that has a network of two views gets this one
        instead.
    made : PairGraph
        As `graph_of` gives it.
    about : PairDescription
    folder : Path
        The new bundle's folder; what was there is replaced.

    Returns
    -------
    Path
        ``folder``.

    Raises
    ------
    BundleInvalid
        If the manifest would break a rule; the message names the fields.
    OutputError
        If it can't be written there.
    """
    base = bundle.manifest
    contents = {name: bundle.read(name) for name in base.files if name not in (CARD, PAIR)}
    card = bundle.read(CARD).decode("utf-8").rstrip()
    pair = _section(base, made, about)

    def fill(place: Path) -> None:
        for name, content in contents.items():
            (place / name).write_bytes(content)
        (place / PAIR).write_bytes(made.graph)
        (place / CARD).write_text(f"{card}\n\n{about.card}", encoding="utf-8")

    def describe(hashes: dict[str, str]) -> Manifest:
        changes = {"name": about.name, "version": about.version, "pair": pair, "files": hashes}
        return parse(base.model_copy(update=changes).model_dump_json(by_alias=True).encode())

    return write_bundle(folder, fill, describe)


def _section(base: Manifest, made: PairGraph, about: PairDescription) -> Pair:
    size = about.looks.size
    goldens = [golden.model_input(seed, size) for seed in golden.SEEDS]
    shares, _ = scores(made.graph, np.stack([each.image for each in goldens]).astype(np.float32)[..., None])
    return Pair(
        architecture=about.architecture,
        trunk="shared" if made.shared else "paired",
        looks=2 if about.looks.upside_down else 1,
        second_size=about.looks.second_size,
        members=made.members,
        preprocessing=Preprocessing(version=preprocess.VERSION, height=size[0], width=size[1]),
        bias=made.bias,
        evidence_scale=about.evidence_scale,
        views=base.calibration,
        breast=about.breast,
        woman=about.woman,
        training=about.training,
        metrics=about.metrics,
        protocol=about.protocol,
        golden=tuple(
            PairGolden(seed=seed, input_sha256=golden.digest(each), cc=float(share[0]), mlo=float(share[1]))
            for seed, each, share in zip(golden.SEEDS, goldens, shares, strict=True)
        ),
        licence=about.licence,
    )
