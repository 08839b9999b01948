"""Pictures for the report: a heat map on its mammogram, with the lesions' outlines."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.evaluation.localisation_outlines import Place
from mammolens.explain import drawing
from mammolens.explain.overlay import display_reduction, picture
from mammolens.explain.source import on_source
from mammolens.imaging.png import encode_png
from mammolens.types import CropGeometry, Mammogram

_LONGEST = 768
_OUTLINE: drawing.Colour = (90, 220, 255)
_PEAK: drawing.Colour = (255, 255, 255)


def example(mammogram: Mammogram, geometry: CropGeometry, heat: NDArray[np.float32], places: Sequence[Place]) -> bytes:
    """Draw a heat map with outlines and peak.

    Parameters
    ----------
    mammogram : Mammogram
    geometry : CropGeometry
    heat : ndarray of float32, shape (H, W)
        On the model's input grid, 0 to 1.
    places : sequence of Place
        Drawn in light blue; the map's peak is a white cross.

    Returns
    -------
    bytes
        PNG, RGB, its longest side at most 768 pixels.
    """
    grey = picture(mammogram, _LONGEST, geometry.box)
    height, width = grey.shape
    shown = on_source(heat, geometry, mammogram.rows, mammogram.columns, display_reduction(mammogram, _LONGEST))
    canvas = np.repeat(grey[..., None], 3, axis=2)
    drawing.tint(canvas, grey, np.rint(shown * 255.0).astype(np.uint8), "inferno")
    for place in places:
        inside = cv2.resize(place.inside.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        lines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.polylines(canvas, lines, True, _OUTLINE, 2, cv2.LINE_AA)
    if shown.max(initial=0.0) > 0.0:
        y, x = np.unravel_index(int(shown.argmax()), shown.shape)
        cv2.drawMarker(canvas, (int(x), int(y)), _PEAK, cv2.MARKER_CROSS, 24, 2)
    return encode_png(canvas)
