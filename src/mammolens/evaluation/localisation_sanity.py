"""Whether a map changes when the model does: rank correlation after shuffling its weights from the head downwards.

A method whose map stays the same while the model forgets all that it learned shows
the picture and not the model.

References
----------
J. Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, arXiv:1810.03292.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.evaluation.localisation_figures import mean_estimate
from mammolens.evaluation.resampling import Estimate
from mammolens.explain.methods import method
from mammolens.explain.passes import OpenedNetwork, Pass
from mammolens.models.bundle import ModelBundle
from mammolens.models.randomised import STAGES, randomised
from mammolens.types import ModelInput

_MOSTLY = 0.5
"""Share of a cell that must be breast for it to be compared."""

Maps = dict[str, list[NDArray[np.float32]]]


def maps_of(passes: Sequence[Pass], methods: Sequence[str]) -> Maps:
    """Give each method's map of each picture, on the method's own grid, signed."""
    return {name: [method(name)(seen) for seen in passes] for name in methods}


def correlations(
    bundle: ModelBundle,
    inputs: Sequence[ModelInput],
    women: Sequence[str],
    methods: Sequence[str],
    threads: int = 0,
    seed: int = 0,
) -> dict[str, dict[str, Estimate]]:
    """Spearman's correlation of each method's maps with those of a model shuffled ever further down.

    Parameters
    ----------
    bundle : ModelBundle
    inputs : sequence of ModelInput
    women : sequence of str
        Of the same pictures.
    methods : sequence of str
        Keys of `mammolens.explain.methods.METHODS`.
    threads : int
        Threads within one forward pass; 0 takes one per core.
    seed : int
        Of the shuffling.

    Returns
    -------
    dict of dict of Estimate
        By method, then by stage (keys of `mammolens.models.randomised.STAGES`): the
        mean over pictures of the correlation over cells that are mostly breast; 1 is
        the same order of cells, 0 none in common.
    """
    original = maps_of(OpenedNetwork(bundle, threads).passes(inputs), methods)
    found: dict[str, dict[str, Estimate]] = {name: {} for name in methods}
    for stage in STAGES:
        network = OpenedNetwork(randomised(bundle, stage, seed), threads)
        for name, maps in maps_of(network.passes(inputs), methods).items():
            values = [
                spearman(before, after, made.mask)
                for before, after, made in zip(original[name], maps, inputs, strict=True)
            ]
            found[name][stage] = mean_estimate(np.array(values), np.asarray(women))
    return found


def spearman(a: NDArray[Any], b: NDArray[Any], mask: NDArray[np.uint8]) -> float:
    """Rank correlation of two maps of one grid over the cells that are mostly breast; 0 where a map is level."""
    down = np.linspace(0, mask.shape[0], a.shape[0] + 1).round().astype(int)
    across = np.linspace(0, mask.shape[1], a.shape[1] + 1).round().astype(int)
    breast = np.add.reduceat(np.add.reduceat((mask > 0).astype(np.float64), down[:-1], 0), across[:-1], 1)
    mostly = breast >= _MOSTLY * np.outer(np.diff(down), np.diff(across))
    x, y = _ranks(a[mostly]), _ranks(b[mostly])
    if x.size == 0 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks from 1, ties sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2.0)[inverse], np.float64)
