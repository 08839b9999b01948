"""Networks in Keras: of plain arrays, and of a bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mammolens.errors import BundleInvalid
from mammolens.models import graph_weights, weights_file
from mammolens.models.architecture import VARIANTS
from mammolens.models.bundle import WEIGHTS, ModelBundle
from mammolens.models.network import InputContract, Network


def of_bundle(bundle: ModelBundle, size: tuple[int, int] | None = None) -> list[Any]:
    """Build a bundle's networks from its weights file, or from its graph where an ensemble has no such file.

    Parameters
    ----------
    bundle : ModelBundle
    size : tuple of int, optional
        ``(height, width)`` of their input; default: the bundle's.

    Returns
    -------
    list of keras.Model
        More than one for an ensemble; batch normalisation not folded.

    Raises
    ------
    BundleInvalid
        If the architecture is not one of ours, or the weights do not fit it.
    BundleTampered
        If the weights file has changed.
    """
    manifest = bundle.manifest
    if manifest.architecture not in VARIANTS or manifest.explanation != "linear":
        raise BundleInvalid("The bundle's architecture is not one that Mammolens builds in Keras.")
    height, width = size or manifest.looking.size
    if manifest.members == 1:
        contract = replace(manifest.contract, height=height, width=width)
        model = _empty(manifest.architecture, contract, manifest.factor, manifest.offset)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / WEIGHTS
            path.write_bytes(bundle.read(WEIGHTS))
            try:
                model.load_weights(path)
            except (OSError, ValueError, KeyError) as error:
                raise BundleInvalid("The bundle's Keras weights do not fit its architecture.") from error
        return [model]
    stored = WEIGHTS in manifest.files
    networks = (
        weights_file.networks(bundle.read(WEIGHTS), manifest) if stored else graph_weights.read(bundle.graph, manifest)
    )
    return [of_network(network.at((height, width))) for network in networks]


def of_network(network: Network) -> Any:
    """Build the Keras model of a network.

    Parameters
    ----------
    network : Network

    Returns
    -------
    keras.Model
        As `mammolens.models.efficientnet.build` makes it, batch normalisation not
        folded and without dropout.
    """
    model = _empty(network.architecture, network.contract, network.factor.tolist(), network.offset.tolist())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / WEIGHTS
        weights_file.write(network, path)
        model.load_weights(path)
    return model


def _empty(
    architecture: str, contract: InputContract, factor: Sequence[float] | None, offset: Sequence[float] | None
) -> Any:
    from mammolens.models.efficientnet import build

    size = (contract.height, contract.width)
    return build(architecture, size, dropout=0.0, channels=contract.channels, factor=factor, offset=offset)
