"""Make a bundle from a network that was trained elsewhere.

Nobody has calibrated or measured it here, and its manifest and card say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Literal

import numpy as np
from pydantic import ValidationError

from mammolens.errors import BundleInvalid, ModelFileMalformed, ModelUnsupported
from mammolens.imaging import preprocess
from mammolens.models import golden, onnx_graph, session, weights_file
from mammolens.models.bundle import CARD, GRAPH, WEIGHTS
from mammolens.models.contract import to_input
from mammolens.models.manifest import SCHEMA, Golden, ImportedFrom, Manifest, OperatingPoint, Preprocessing, refusal
from mammolens.models.network import InputContract, Network
from mammolens.models.writing import write_bundle

UNMEASURED = "unmeasured"
"""Name of the operating point of a model that nobody has measured."""


@dataclass(frozen=True, slots=True)
class ImportDescription:
    """What is known of a model that came from elsewhere.

    Attributes
    ----------
    name, version : str
        Of the bundle.
    source : ImportedFrom
    explanation : {"linear", "gradient"}
        How the graph makes its evidence; see `Manifest`.
    """

    name: str
    source: ImportedFrom
    version: str = "1"
    explanation: Literal["linear", "gradient"] = "linear"


def export_network(network: Network, about: ImportDescription, folder: Path) -> Path:
    """Write the bundle of an imported network, uncalibrated; all of it or nothing.

    Parameters
    ----------
    network : Network
    about : ImportDescription
    folder : Path
        The bundle's folder; what was there is replaced once the new one is whole.

    Returns
    -------
    Path
        ``folder``.

    Raises
    ------
    ModelFileMalformed
        If a logit or an evidence map of the generated pictures is not finite.
    ModelUnsupported
        If the evidence is zero everywhere.
    BundleInvalid
        If the manifest would break a rule; the message names the fields.
    ConfigurationError
        If h5py is not installed.
    OutputError
        If it can't be written there.
    """
    graph = onnx_graph.write(network)
    return export_graph(graph, network.contract, about, folder, architecture=network.architecture, network=network)


def export_graph(
    graph: bytes,
    contract: InputContract,
    about: ImportDescription,
    folder: Path,
    *,
    architecture: str,
    network: Network | None = None,
) -> Path:
    """Write the bundle of an imported graph, uncalibrated; all of it or nothing.

    The evidence scale is the highest evidence in the sixteen pictures of
    `mammolens.models.golden.variations`, for want of real ones.

    Parameters
    ----------
    graph : bytes
        ONNX, from ``image`` (N, H, W, C) in the contract's scale to ``logit`` (N, 1),
        ``evidence`` (N, h, w) and ``features`` (N, K, h, w).
    contract : InputContract
    about : ImportDescription
    folder : Path
    architecture : str
    network : Network, optional
        What the graph was written from. Without it, the bundle has no weights file.

    Returns
    -------
    Path
        ``folder``.

    Raises
    ------
    MammolensError
        As `export_network`.
    """
    size = (contract.height, contract.width)
    images = golden.variations(size)
    logits, evidence = session.scores(graph, to_input(images, contract))
    if not (np.isfinite(logits).all() and np.isfinite(evidence).all()):
        raise ModelFileMalformed("The model answers with values that are no numbers. Nothing can be made of it.")
    scale = float(max(evidence.max(), 0.0)) or float(np.abs(evidence).max())
    if scale == 0.0:
        raise ModelUnsupported("No place of any picture speaks for or against malignancy: the model's head is dead.")
    goldens = tuple(
        Golden(seed=seed, input_sha256=golden.digest(golden.model_input(seed, size)), logit=float(logit))
        for seed, logit in zip(golden.SEEDS, logits, strict=False)
    )
    made = _imported(about, contract, architecture, goldens, scale, network)

    def fill(place: Path) -> None:
        (place / GRAPH).write_bytes(graph)
        (place / CARD).write_text(import_card(made), encoding="utf-8")
        if network is not None:
            weights_file.write(network, place / WEIGHTS)

    return write_bundle(folder, fill, lambda hashes: made.model_copy(update={"files": hashes}))


def _imported(
    about: ImportDescription,
    contract: InputContract,
    architecture: str,
    goldens: tuple[Golden, ...],
    evidence_scale: float,
    network: Network | None,
) -> Manifest:
    """Manifest of an imported model, but for the files."""
    try:
        return Manifest(
            schema=SCHEMA,
            name=about.name,
            version=about.version,
            architecture=architecture,
            classes=("benign", "malignant"),
            input_scale=contract.scale,
            channels=contract.channels,
            factor=None if network is None else tuple(network.factor.tolist()),
            offset=None if network is None else tuple(network.offset.tolist()),
            preprocessing=Preprocessing(version=preprocess.VERSION, height=contract.height, width=contract.width),
            calibration=None,
            operating_points=(OperatingPoint(name=UNMEASURED, threshold=0.5, sensitivity=None, specificity=None),),
            default_operating_point=UNMEASURED,
            evidence_scale=evidence_scale,
            training=None,
            source=about.source,
            explanation=about.explanation,
            metrics=(),
            golden=goldens,
            licence=f"Weights: terms {about.source.terms}",
            files={},
        )
    except ValidationError as error:
        raise refusal(error) from error


_EXPLANATIONS = {
    "linear": "The heat map is exact: its places sum to the score.",
    "gradient": "The heat map is made of the score's gradient (Grad-CAM); its places do not sum to the score.",
}
_STRUCTURE = (
    "Every tensor of the file has found its place and its shape, and none is left over. The file's own network could "
    "not be run beside it."
)


def import_card(manifest: Manifest) -> str:
    """Model card of an imported model.

    Parameters
    ----------
    manifest : Manifest
        With a ``source``.

    Returns
    -------
    str
        Markdown.
    """
    source, contract = manifest.source, manifest.contract
    if source is None:
        raise BundleInvalid("Only an imported model gets its card from its manifest.")
    parity = f"On 16 generated pictures its logits differ from the file's own by at most {source.parity or 0.0:.1e}."
    template = Template(Path(__file__).with_name("import_card.md").read_text(encoding="utf-8"))
    return template.substitute(
        name=manifest.name,
        version=manifest.version,
        architecture=_plain(manifest.architecture),
        height=contract.height,
        width=contract.width,
        channels="one grey channel" if contract.channels == 1 else "the grey picture as three channels",
        scale=f"`{contract.scale}`",
        explanation=_EXPLANATIONS[manifest.explanation],
        format=_plain(source.format),
        keras=f", written by Keras {_plain(source.keras_version)}" if source.keras_version else "",
        sha256=source.sha256,
        found=_plain(source.architecture_found),
        proof=parity if source.proof == "parity" else _STRUCTURE,
        assumptions="\n".join(f"- {_plain(text)}" for text in source.assumptions) or "- nothing",
        threshold=f"{manifest.threshold:g}",
        terms=_plain(source.terms),
        evidence=f"{manifest.evidence_scale:.3g}",
    )


def _plain(text: str) -> str:
    """One line without what Markdown or a terminal would act on; names of layers come from a stranger's file."""
    return "".join(each if each.isprintable() and each not in "<>`[]|\\" else " " for each in text)
