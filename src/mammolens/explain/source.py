"""A heat map put back on source pixels, or on the source reduced by an integer factor."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.types import CropGeometry


def reduced_shape(rows: int, columns: int, reduction: int) -> tuple[int, int]:
    """Shape ``(h, w)`` of a picture of ``rows`` × ``columns`` reduced by an integer factor, rounded up."""
    return -(-rows // reduction), -(-columns // reduction)


def reduced_box(geometry: CropGeometry, rows: int, columns: int, reduction: int) -> tuple[int, int, int, int]:
    """Pixels of the reduced picture whose centres lie in the crop.

    Parameters
    ----------
    geometry : CropGeometry
    rows, columns : int
        Size of the source picture.
    reduction : int
        1, 2, 3, …

    Returns
    -------
    tuple of int
        ``(x0, y0, x1, y1)``, half open, inside the reduced picture.
    """
    height, width = reduced_shape(rows, columns, reduction)
    fx, fy = columns / width, rows / height
    x0, y0, x1, y1 = geometry.box
    # The small term keeps a whole number that came out of a division a whole number.
    left, right = math.ceil(x0 / fx - 0.5 - 1e-6), math.ceil(x1 / fx - 0.5 - 1e-6)
    top, bottom = math.ceil(y0 / fy - 0.5 - 1e-6), math.ceil(y1 / fy - 0.5 - 1e-6)
    left, top = min(max(left, 0), width), min(max(top, 0), height)
    return left, top, min(max(right, left), width), min(max(bottom, top), height)


def on_source(
    heatmap: NDArray[np.float32], geometry: CropGeometry, rows: int, columns: int, reduction: int = 1
) -> NDArray[np.float32]:
    """Put a heat map back on the source picture.

    Parameters
    ----------
    heatmap : ndarray of float32, shape (H, W)
        On the model's input grid, as ``geometry.size`` states it.
    geometry : CropGeometry
        Way from the input grid to source pixels.
    rows, columns : int
        Size of the source picture, in pixels.
    reduction : int
        By how much the result is smaller than the source: 1, 2, 3, …

    Returns
    -------
    ndarray of float32, shape (ceil(rows / reduction), ceil(columns / reduction))
        The heat map between its pixels' centres (linear) inside the crop, 0 outside.
        A pixel of it covers the same part of the source as a pixel of
        ``Mammogram.pixels`` at that reduction.
    """
    out = np.zeros(reduced_shape(rows, columns, reduction), np.float32)
    left, top, right, bottom = reduced_box(geometry, rows, columns, reduction)
    out[top:bottom, left:right] = on_box(heatmap, geometry, rows, columns, reduction)
    return out


def on_box(
    heatmap: NDArray[np.float32], geometry: CropGeometry, rows: int, columns: int, reduction: int = 1
) -> NDArray[np.float32]:
    """Part of `on_source` inside `reduced_box`; all else of it is 0."""
    height, width = reduced_shape(rows, columns, reduction)
    left, top, right, bottom = reduced_box(geometry, rows, columns, reduction)
    if right <= left or bottom <= top:
        return np.zeros((bottom - top, right - left), np.float32)
    fx, fy = columns / width, rows / height
    edges = (left * fx, top * fy, right * fx, bottom * fy)
    if max(abs(edge - side) for edge, side in zip(edges, geometry.box, strict=True)) < 1e-3:
        # Where the crop's sides are pixel edges, as at the mammogram's own reduction, resizing is the same
        # map at a sixth of the time.
        turned = np.ascontiguousarray(heatmap[:, ::-1]) if geometry.mirrored else heatmap
        return np.asarray(cv2.resize(turned, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR), np.float32)
    placed = cv2.warpAffine(
        heatmap,
        _to_heatmap(geometry, fx, fy, left, top),
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(placed, np.float32)


def _to_heatmap(geometry: CropGeometry, fx: float, fy: float, left: int, top: int) -> NDArray[np.float64]:
    """Matrix (2, 3) from pixel indices of a window at ``(left, top)`` to indices of the heat map.

    Index ``i`` is the position ``i + 0.5``: the half pixels are added before
    the map between positions and taken off after it.
    """
    origin_x, origin_y = geometry.to_input((left + 0.5) * fx, (top + 0.5) * fy)
    next_x, _ = geometry.to_input((left + 1.5) * fx, 0.0)
    _, next_y = geometry.to_input(0.0, (top + 1.5) * fy)
    return np.array([[next_x - origin_x, 0.0, origin_x - 0.5], [0.0, next_y - origin_y, origin_y - 0.5]], np.float64)
