"""The picture a reader sees, and the files written beside an answer."""

from __future__ import annotations

import io
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.explain import drawing
from mammolens.explain.files import safe_stem, write_file
from mammolens.explain.regions import REGION_THRESHOLD
from mammolens.explain.source import on_box, reduced_box, reduced_shape
from mammolens.imaging.breast import find_breast
from mammolens.imaging.png import encode_png
from mammolens.types import CropGeometry, Mammogram, Prediction, Region

LONGEST = 2048
"""Longest side of a picture made for display, in pixels."""

_LOW, _HIGH = 0.5, 99.8
_MIDDLE = 0.42
_GAMMA_LIMITS = (0.5, 2.0)
_SAMPLE = 128

_WIDE_TABLES = int(cv2.__version__.partition(".")[0]) >= 5
"""OpenCV looks up 16-bit values since version 5, three times sooner than NumPy."""


def display_reduction(mammogram: Mammogram, longest: int = LONGEST) -> int:
    """By how much the display picture is smaller than the source.

    Parameters
    ----------
    mammogram : Mammogram
    longest : int
        Longest side allowed, in pixels.

    Returns
    -------
    int
        The smallest multiple of the mammogram's own reduction that fits.
    """
    have = mammogram.reduction
    side = max(reduced_shape(mammogram.rows, mammogram.columns, have))
    return have * max(1, -(-side // longest))


def picture(
    mammogram: Mammogram, longest: int = LONGEST, box: tuple[float, float, float, float] | None = None
) -> NDArray[np.uint8]:
    """Grey picture for display, stretched by the breast alone.

    Parameters
    ----------
    mammogram : Mammogram
    longest : int
        Longest side allowed, in pixels.
    box : tuple of float, optional
        ``(x0, y0, x1, y1)`` around the breast in source pixels, where it is known
        (``Prediction.geometry.box``); else the breast is searched.

    Returns
    -------
    ndarray of uint8, shape (ceil(rows / n), ceil(columns / n))
        Bright = dense; ``n`` as `display_reduction` gives it.
    """
    pixels: NDArray[Any] = mammogram.pixels
    low, high, gamma = stretch(mammogram, box)
    factor = display_reduction(mammogram, longest) // mammogram.reduction
    if factor > 1:
        height, width = reduced_shape(pixels.shape[0], pixels.shape[1], factor)
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    if pixels.dtype in (np.uint8, np.uint16):
        # One table for all pixels: a power for each of them would cost more than all the rest.
        curve = np.zeros(1 << 8 * pixels.itemsize, np.uint8)
        used = int(cv2.minMaxLoc(pixels)[1]) + 1
        curve[:used] = _display(np.arange(used, dtype=np.float32), low, high, gamma)
        return _looked_up(pixels, curve)
    return _display(pixels.astype(np.float32), low, high, gamma)


def stretch(mammogram: Mammogram, box: tuple[float, float, float, float] | None = None) -> tuple[float, float, float]:
    """How `picture` shows a mammogram.

    Parameters
    ----------
    mammogram : Mammogram
    box : tuple of float, optional
        As for `picture`.

    Returns
    -------
    tuple of float
        ``(low, high, gamma)``: a grey value v is shown as ((v - low) / (high - low)) ** gamma, held to 0 and 1.
    """
    return _stretch(_sample(mammogram, box))


def _looked_up(pixels: NDArray[Any], curve: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Entry of a table for each value that the pixels' type can hold."""
    if pixels.itemsize == 1 or _WIDE_TABLES:
        return np.asarray(cv2.LUT(pixels, curve), np.uint8)
    return np.asarray(curve.take(pixels, mode="clip"), np.uint8)


def _sample(mammogram: Mammogram, box: tuple[float, float, float, float] | None) -> NDArray[np.float32]:
    """Evenly spaced pixels of the crop around the breast."""
    pixels = mammogram.pixels
    height, width = pixels.shape
    if box is None:
        breast = find_breast(pixels)
        x0, y0, x1, y1 = breast.box if breast else (0.0, 0.0, float(width), float(height))
    else:
        fx, fy = mammogram.columns / width, mammogram.rows / height
        x0, y0, x1, y1 = box[0] / fx, box[1] / fy, box[2] / fx, box[3] / fy
    crop = pixels[int(y0) : max(int(y1), int(y0) + 1), int(x0) : max(int(x1), int(x0) + 1)]
    crop = crop if crop.size else pixels
    step_y, step_x = (-(-side // _SAMPLE) for side in crop.shape)
    return np.asarray(crop[step_y // 2 :: step_y, step_x // 2 :: step_x], np.float32)


def _stretch(sample: NDArray[np.float32]) -> tuple[float, float, float]:
    """Grey values shown as black and as white, and the exponent that puts the breast's median in the middle."""
    ordered = np.sort(sample, axis=None)
    low, high = (float(ordered[round(share / 100.0 * (ordered.size - 1))]) for share in (_LOW, _HIGH))
    span = max(high - low, 1e-6)
    breast = ordered[np.searchsorted(ordered, low + 0.06 * span) :]
    middle = (float(breast[breast.size // 2]) - low) / span if breast.size else 0.5
    gamma = float(np.log(_MIDDLE) / np.log(min(max(middle, 0.01), 0.99)))
    return low, low + span, min(max(gamma, _GAMMA_LIMITS[0]), _GAMMA_LIMITS[1])


def _display(values: NDArray[np.float32], low: float, high: float, gamma: float) -> NDArray[np.uint8]:
    scaled = np.clip((values - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return np.asarray(np.rint(np.power(scaled, np.float32(gamma)) * 255.0), np.uint8)


def overlay(
    prediction: Prediction,
    colours: str = "inferno",
    longest: int = LONGEST,
    threshold: float = REGION_THRESHOLD,
    colour_bar: bool = True,
) -> NDArray[np.uint8]:
    """Show on the mammogram what the score rests on.

    Parameters
    ----------
    prediction : Prediction
    colours : {"inferno", "cividis"}
        Colour map.
    longest : int
        Longest side of the picture, in pixels.
    threshold : float
        Where the contour is drawn, 0 to 1.
    colour_bar : bool
        Whether to append the colour bar.

    Returns
    -------
    ndarray of uint8, shape (h, w, 3)
        RGB. The picture is ``[:h, :w0]`` with ``(h, w0)`` as `picture` gives it:
        its pixel (0, 0) is the result's pixel (0, 0). The colour bar stands to the
        right of column ``w0``, so it never covers the breast.
    """
    window, place, _ = _heat(prediction, longest)
    return _drawn(prediction, window, place, colours, longest, threshold, colour_bar)


def _heat(
    prediction: Prediction, longest: int
) -> tuple[NDArray[np.float32], tuple[int, int, int, int], tuple[int, int]]:
    """Heat map inside the crop, the crop's box, and the shape of the display picture."""
    mammogram, geometry = prediction.mammogram, prediction.geometry
    reduction = display_reduction(mammogram, longest)
    size = (mammogram.rows, mammogram.columns, reduction)
    return on_box(prediction.heatmap, geometry, *size), reduced_box(geometry, *size), reduced_shape(*size)


def _eight_bits(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(cv2.convertScaleAbs(heat, alpha=255.0), np.uint8) if heat.size else heat.astype(np.uint8)


def _halves(heat: NDArray[np.float32]) -> NDArray[np.float16]:
    """Values of at least 0 as float16, as numpy rounds them, in a fraction of its time.

    The factor turns float32's exponent into float16's; what is added before the
    last bits are cut off rounds to the nearest, ties to even.
    """
    bits = np.multiply(heat, np.float32(2.0**-112)).view(np.uint32)
    bits += ((bits >> np.uint32(13)) & np.uint32(1)) + np.uint32((1 << 12) - 1)
    bits >>= np.uint32(13)
    return bits.astype(np.uint16).view(np.float16)


def _drawn(
    prediction: Prediction,
    heat: NDArray[np.float32],
    place: tuple[int, int, int, int],
    colours: str,
    longest: int,
    threshold: float,
    colour_bar: bool,
) -> NDArray[np.uint8]:
    mammogram = prediction.mammogram
    grey = picture(mammogram, longest, prediction.geometry.box)
    shape = mammogram.rows, mammogram.columns
    return _on_grey(grey, heat, place, prediction.regions, shape, colours, threshold, colour_bar)


def overlay_on(
    grey: NDArray[np.uint8],
    heatmap: NDArray[np.float32],
    geometry: CropGeometry,
    regions: tuple[Region, ...],
    shape: tuple[int, int],
    colours: str = "inferno",
    threshold: float = REGION_THRESHOLD,
) -> NDArray[np.uint8]:
    """Show on a picture that was made before what a score rests on: `overlay` without the prediction.

    Parameters
    ----------
    grey : ndarray of uint8, shape (h, w)
        From `picture`.
    heatmap : ndarray of float32, shape (H, W)
        On the model's input grid, 0 to 1.
    geometry : CropGeometry
    regions : tuple of Region
    shape : tuple of int
        ``(rows, columns)`` of the source.
    colours : {"inferno", "cividis"}
    threshold : float
        Where the contour is drawn, 0 to 1.

    Returns
    -------
    ndarray of uint8, shape (h, w', 3)
        RGB, with the colour bar to the right.
    """
    reduction = next(n for n in range(1, max(shape) + 1) if reduced_shape(*shape, n) == grey.shape)
    heat, place = on_box(heatmap, geometry, *shape, reduction), reduced_box(geometry, *shape, reduction)
    return _on_grey(grey, heat, place, regions, shape, colours, threshold, True)


def _on_grey(
    grey: NDArray[np.uint8],
    heat: NDArray[np.float32],
    place: tuple[int, int, int, int],
    regions: tuple[Region, ...],
    shape: tuple[int, int],
    colours: str,
    threshold: float,
    colour_bar: bool,
) -> NDArray[np.uint8]:
    height, width = grey.shape
    strip = drawing.colour_bar(height, max(height, width), colours, threshold) if colour_bar else None
    canvas = np.empty((height, width + (0 if strip is None else strip.shape[1]), 3), np.uint8)
    image = canvas[:, :width]
    cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB, dst=image)
    if strip is not None:
        canvas[:, width:] = strip
    left, top, right, bottom = place
    if heat.size:
        eight = _eight_bits(heat)
        drawing.tint(image[top:bottom, left:right], grey[top:bottom, left:right], eight, colours)
        drawing.contour(image, eight, max(1, round(threshold * 255)), (left, top))
    fx, fy = shape[1] / width, shape[0] / height
    drawing.boxes(image, [_scaled(region.box, fx, fy) for region in regions])
    return canvas


def _scaled(box: tuple[int, int, int, int], fx: float, fy: float) -> tuple[int, int, int, int]:
    """Box on the picture that is ``fx`` and ``fy`` times smaller than the source; at least one pixel."""
    x0, y0 = int(box[0] / fx), int(box[1] / fy)
    return x0, y0, max(math.ceil(box[2] / fx), x0 + 1), max(math.ceil(box[3] / fy), y0 + 1)


def write_artifacts(prediction: Prediction, folder: Path, stem: str, kind: str = "") -> dict[str, str]:
    """Write the overlay and the bare heat map.

    Parameters
    ----------
    prediction : Prediction
    folder : Path
        Made where it is missing. Nothing is written outside it.
    stem : str
        What the files' names begin with; see `mammolens.explain.files.safe_stem`.
    kind : str
        Tells maps of another network apart: with ``pair``, the keys below are ``pair_overlay`` and so on and the names
        ``<stem>.pair-overlay.png`` and so on.

    Returns
    -------
    dict of str to str
        Paths: ``overlay`` (``<stem>.overlay.png``, RGB), ``heatmap``
        (``<stem>.heatmap.png``, 8-bit grey, 255 = 1.0) and ``heatmap_array``
        (``<stem>.heatmap.npy``, float16, 0 to 1). All three lie on the same pixels:
        the source reduced by `display_reduction`, the overlay with its colour bar to
        the right. Equal predictions give equal bytes.

    Raises
    ------
    OutputError
        If a file can't be written. Each file appears whole or not at all.
    """
    heat, place, shape = _heat(prediction, LONGEST)
    name = f"{safe_stem(stem)}.{kind}-" if kind else f"{safe_stem(stem)}."
    # Beside one another: what takes the time, compressing and writing, needs no interpreter.
    with ThreadPoolExecutor(1) as beside:
        bare = beside.submit(_write_heat, heat, place, shape, folder, name)
        canvas = _drawn(prediction, heat, place, "inferno", LONGEST, REGION_THRESHOLD, True)
        shown = write_file(folder, f"{name}overlay.png", encode_png(canvas, level=1))
        found = {"overlay": str(shown), **bare.result()}
    return {f"{kind}_{what}": path for what, path in found.items()} if kind else found


def _write_heat(
    heat: NDArray[np.float32], place: tuple[int, int, int, int], shape: tuple[int, int], folder: Path, name: str
) -> dict[str, str]:
    """Write the bare heat map on the whole picture, both files; their paths by what they are."""
    left, top, right, bottom = place
    grey, array = np.zeros(shape, np.uint8), np.zeros(shape, np.float16)
    grey[top:bottom, left:right] = _eight_bits(heat)
    array[top:bottom, left:right] = _halves(heat)
    head = io.BytesIO()
    # Not np.save, which would copy the array once more.
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    picture = write_file(folder, f"{name}heatmap.png", encode_png(grey, level=1))
    numbers = write_file(folder, f"{name}heatmap.npy", head.getvalue(), array.data.cast("B"))
    return {"heatmap": str(picture), "heatmap_array": str(numbers)}
