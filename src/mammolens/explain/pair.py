"""What a network of two views rests on in one picture."""

from __future__ import annotations

from dataclasses import replace

from mammolens.explain.gradcam import heatmap
from mammolens.explain.regions import find_regions
from mammolens.types import Prediction

VIEWS = ("CC", "MLO")
"""In the order of `mammolens.types.PairShare.evidence`."""


def as_paired(prediction: Prediction, scale: float) -> Prediction | None:
    """Give an answer with the heat map and the regions of the network of two views in place of its own.

    Parameters
    ----------
    prediction : Prediction
        With its pixels.
    scale : float
        Evidence of a strong finding (`mammolens.models.manifest.Pair.evidence_scale`).

    Returns
    -------
    Prediction or None
        The map is exact, and is that of the view that the picture shows, whatever the other picture of the breast is.
        None where the network did not look at it, or nothing tells whether it is a CC or an MLO view. Probability and
        label stay those of the picture alone: the network of two views has none for a single picture.
    """
    pair, mammogram = prediction.pair, prediction.mammogram
    if pair is None or mammogram.view not in VIEWS:
        return None
    heat = heatmap(pair.evidence[VIEWS.index(mammogram.view)], pair.mask, scale)
    regions = find_regions(heat, pair.geometry, (mammogram.rows, mammogram.columns))
    return replace(prediction, heatmap=heat, geometry=pair.geometry, regions=regions)
