"""One stored format of a bundle's weights in place of the other, where only one is whole.

A bundle holds its weights twice: in the graph and in the weights file. Where one of
the two is missing or differs from the manifest, the other one, whose hash is right,
gives the same answers. It is used, and that is said; other weights never are.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BundleError, BundleInvalid, MammolensError
from mammolens.models import golden, session
from mammolens.models.contract import to_input
from mammolens.models.efficientnet import VARIANTS
from mammolens.models.manifest import Manifest
from mammolens.types import Notice

CODE = "format-fallback"
"""Code of the notice that goes with every answer."""

EQUAL = 1e-4
"""How far two logits may lie apart to be called equal; times the logit where that is above 1."""

_log = logging.getLogger(__name__)


def equal(logits: NDArray[np.floating], others: NDArray[np.floating]) -> bool:
    """Whether two series of logits, shape (N,), are equal within `EQUAL`.

    The sigmoid of such logits differs by less than 3e-5: its slope is at most 1/4, and
    slope times logit at most 0.23.
    """
    a, b = np.asarray(logits, np.float64), np.asarray(others, np.float64)
    # A difference that is no number is none that is small.
    return bool(np.all(np.abs(a - b) <= EQUAL * np.maximum(1.0, np.abs(b))))


def without_weights(damage: BundleError) -> Notice:
    """Notice that the graph answers alone, because the weights file is not whole."""
    return _said(damage, "The model's graph, which is whole and holds the same weights, answers.")


def without_graph(manifest: Manifest, weights: bytes | None, damage: BundleError) -> tuple[bytes, Notice]:
    """Write the graph of a bundle anew from its weights file.

    Parameters
    ----------
    manifest : Manifest
    weights : bytes or None
        ``model.weights.h5``, its hash checked; None if it is not whole either.
    damage : BundleError
        What is wrong with the stored graph.

    Returns
    -------
    graph : bytes
        ONNX; gives the golden inputs the logits of the manifest.
    notice : Notice

    Raises
    ------
    BundleError
        ``damage`` itself, if no graph can be made that is equal in result.
    """
    if weights is None:
        raise damage
    try:
        graph = _written(manifest, weights)
        _prove(manifest, graph)
    except (MammolensError, ImportError) as error:
        _log.warning("The weights file can't stand in for the graph: %s", error)
        raise damage from error
    return graph, _said(damage, "A graph written anew from the model's weights file, which is whole, answers the same.")


def _said(damage: BundleError, instead: str) -> Notice:
    notice = Notice(CODE, f"{damage.message} {instead}")
    _log.warning("%s: %s", notice.code, notice.message)
    return notice


def _written(manifest: Manifest, weights: bytes) -> bytes:
    # Only who has a damaged bundle needs these.
    from mammolens.models import onnx_graph, weights_file

    if manifest.architecture not in VARIANTS or manifest.explanation != "linear":
        raise BundleInvalid("Only a network that Mammolens builds itself can be written anew.")
    return onnx_graph.write_ensemble(weights_file.networks(weights, manifest), manifest.looks, manifest.second_size)


def _prove(manifest: Manifest, graph: bytes) -> None:
    """Repeat the golden inputs, without which nothing is known to be equal."""
    if not manifest.golden:
        raise BundleInvalid("The manifest records no golden inputs to compare with.")
    size = (manifest.preprocessing.height, manifest.preprocessing.width)
    images = np.stack([golden.model_input(recorded.seed, size).image for recorded in manifest.golden])
    logits, _ = session.scores(graph, to_input(images, manifest.contract))
    if not equal(logits, np.array([recorded.logit for recorded in manifest.golden])):
        raise BundleInvalid("The graph written anew gives other logits than the manifest records.")
