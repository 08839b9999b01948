"""What one forward pass leaves for an explanation: logit, evidence, last features and the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mammolens.models import head, session
from mammolens.models.bundle import ModelBundle
from mammolens.models.contract import to_input
from mammolens.types import ModelInput

_BATCH = 4
"""Pictures at a time: more need memory and are no faster on a CPU."""


class OpenedNetwork:
    """A bundle's graph, opened for explanations.

    Parameters
    ----------
    bundle : ModelBundle
    threads : int
        Threads within one run; 0 takes one per core.

    Raises
    ------
    BundleInvalid
        If ONNX Runtime can't open the graph.
    """

    def __init__(self, bundle: ModelBundle, threads: int = 0) -> None:
        self._graph, self._contract = bundle.graph, bundle.contract
        self._session = session.open_session(bundle.graph, threads)

    @cached_property
    def shares(self) -> NDArray[np.float32]:
        """The logit's gradient by the last features, shape (C,); see `mammolens.models.head.shares`."""
        return head.shares(self._graph)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Logits of pictures, shape (N,), of model inputs of shape (N, H, W)."""
        parts = [
            session.run(self._session, to_input(images[start : start + _BATCH], self._contract), ("logit",))[0][:, 0]
            for start in range(0, len(images), _BATCH)
        ]
        return np.concatenate(parts).astype(np.float64)

    def passes(self, inputs: Sequence[ModelInput]) -> list[Pass]:
        """Run pictures through the network.

        Parameters
        ----------
        inputs : sequence of ModelInput

        Returns
        -------
        list of Pass
            In the same order.

        Raises
        ------
        EngineError
            If the engine fails.
        """
        found: list[Pass] = []
        for start in range(0, len(inputs), _BATCH):
            batch = inputs[start : start + _BATCH]
            images = to_input(np.stack([made.image for made in batch]), self._contract)
            logits, evidence, features = session.run(self._session, images, ("logit", "evidence", "features"))
            for made, logit, grid, last in zip(batch, logits, evidence, features, strict=True):
                found.append(Pass(self, made.image, made.mask, float(logit[0]), grid, last.transpose(1, 2, 0)))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """One picture's way through a network.

    Attributes
    ----------
    network : OpenedNetwork
        For methods that look at changed pictures, or at the head.
    image, mask : ndarray of uint8, shape (H, W)
        As of `mammolens.types.ModelInput`.
    logit : float
        Uncalibrated.
    evidence : ndarray of float32, shape (h, w)
        Each position's share of the logit.
    features : ndarray of float32, shape (h, w, C)
        Last convolutional features. Of a bundle of two looks: the mean of those of the
        picture and, the right way up, those of it upside down. The head is linear in
        that mean, so every formula holds for it unchanged.
    """

    network: OpenedNetwork
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    logit: float
    evidence: NDArray[np.float32]
    features: NDArray[np.float32]
