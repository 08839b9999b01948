"""Networks in Keras: of plain arrays, and of a bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mammolens.errors import BundleInvalid
from mammolens.models import graph_weights, weights_file
from mammolens.models.architecture import VARIANTS
from mammolens.models.bundle import WEIGHTS, ModelBundle
from mammolens.models.network import InputContract, Network


def of_bundle(bundle: ModelBundle) -> list[Any]:
    """Build a bundle's networks from its weights file, or from its graph where an ensemble has no such file.

    Parameters
    ----------
    bundle : ModelBundle

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
    if manifest.members == 1:
        model = _empty(manifest.architecture, manifest.contract, manifest.factor, manifest.offset)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / WEIGHTS
            path.write_bytes(bundle.read(WEIGHTS))
            try:
                model.load_weights(path)
            except (OSError, ValueError, KeyError) as error:
                raise BundleInvalid("The bundle's Keras weights do not fit its architecture.") from error
        return [model]
    if WEIGHTS in manifest.files:
        return [of_network(network) for network in weights_file.networks(bundle.read(WEIGHTS), manifest)]
    return [of_network(network) for network in graph_weights.read(bundle.graph, manifest)]


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
