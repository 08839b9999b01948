"""The network of two views at work on one picture at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BundleInvalid
from mammolens.models import session
from mammolens.models.bundle import ModelBundle
from mammolens.types import ModelInput, PairShare


class PairEngine:
    """Gives what a picture adds to the logit of its breast, by ONNX Runtime whatever engine answers for the picture.

    Safe to call from several threads.

    Parameters
    ----------
    bundle : ModelBundle
        With a network of two views.
    threads : int
        Threads within one run; 0 takes one per core.

    Attributes
    ----------
    size : tuple of int
        ``(height, width)`` of its input.

    Raises
    ------
    BundleInvalid
        If the bundle has none, or ONNX Runtime can't open it.
    EngineUnavailable
        If ONNX Runtime is not installed.
    """

    def __init__(self, bundle: ModelBundle, threads: int = 0) -> None:
        section = bundle.manifest.pair
        if bundle.pair is None or section is None:
            raise BundleInvalid("The model has no network of two views.")
        self._session = session.open_session(bundle.pair, threads)
        self.size = section.size

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Look at a batch.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, height, width)

        Returns
        -------
        shares : ndarray of float32, shape (N, 2)
            As CC and as MLO.
        evidence : ndarray of float32, shape (N, 2, h, w)
            Whose sums they are.

        Raises
        ------
        EngineError
            If ONNX Runtime fails.
        """
        shares, evidence = session.run(self._session, images.astype(np.float32)[..., None], session.PAIR_OUTPUTS)
        return shares, evidence

    def share(self, made: ModelInput) -> PairShare:
        """Give what one picture adds, as either view; ``made`` is of ``size``."""
        shares, evidence = self.run(made.image[None])
        return PairShare((float(shares[0, 0]), float(shares[0, 1])), evidence[0], made.mask, made.geometry)
