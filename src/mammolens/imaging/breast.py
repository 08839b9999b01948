"""Find the breast in a mammogram: polarity, mask, chest-wall side and bounding box.

Everything works on pixel values alone. Nothing here knows the label, the file
name or the vendor, and every step commutes with mirroring the picture and (but
for interpolation) with stretching it.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.imaging.percentiles import percentiles
from mammolens.types import Breast

THUMBNAIL = 256
"""Side of the square thumbnail on which the breast is searched, in pixels."""

REFINED = 512
"""Side of the square on which the outline is refined, in pixels."""

_EDGE_MARGIN = 0.04
_BETWEEN = 0.37 / 255.0
_NEGATIVE_MARGIN = 0.015
_RIM_LENGTH = 0.25

_DIAMOND = np.array([[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]], np.uint8)
_FLAT_CROSS = np.array([[0, 0, 0, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 0, 0, 0]], np.uint8)
_DISC_PARTS = {
    3: (cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)),),
    5: (_FLAT_CROSS, _DIAMOND, np.ones((5, 1), np.uint8)),
}
"""Elements whose Minkowski sum is OpenCV's ellipse of a radius; three small ones are faster than one of 89 pixels."""


def _constant_margins(pixels: NDArray[Any]) -> tuple[int, int, int, int]:
    """Half-open box ``(x0, y0, x1, y1)`` left when border lines of one single value are cut away."""
    x0, y0, x1, y1 = 0, 0, pixels.shape[1], pixels.shape[0]
    rows = pixels.max(axis=1) != pixels.min(axis=1)
    if not rows.any():
        return 0, 0, x1, y1
    y0, y1 = int(rows.argmax()), int(len(rows) - rows[::-1].argmax())
    kept = pixels[y0:y1]
    columns = kept.max(axis=0) != kept.min(axis=0)
    if columns.any():
        x0, x1 = int(columns.argmax()), int(len(columns) - columns[::-1].argmax())
    return x0, y0, x1, y1


def _shrink(pixels: NDArray[Any], size: int) -> NDArray[np.float32]:
    """Resize to ``size`` × ``size``, averaging, as float32."""
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)


def thumbnail(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Shrink a picture to 256 × 256 by averaging.

    Parameters
    ----------
    pixels : ndarray, shape (H, W)

    Returns
    -------
    ndarray of float32, shape (256, 256)
        Grey values unchanged.
    """
    factor = min(pixels.shape) // (2 * THUMBNAIL)
    if factor > 1:
        # Whole blocks first, up to a few lines at the far border: several times faster, and nothing is measured here.
        height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
        blocks = pixels[: height * factor, : width * factor]
        pixels = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_AREA)
    return _shrink(pixels, THUMBNAIL)


def stretched(thumb: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale linearly so that the 0.1 and 99.9 percentiles become 0 and 1.

    Parameters
    ----------
    thumb : ndarray of float32

    Returns
    -------
    ndarray of float32, same shape
        In [0, 1].
    """
    # float64: the quotient is to round as it did when the models were trained.
    low, high = (np.float64(value) for value in percentiles(thumb, (0.1, 99.9)))
    scaled: NDArray[np.float32] = np.clip((thumb - low) / max(float(high - low), 1e-6), 0.0, 1.0).astype(np.float32)
    return scaled


def is_negative(pixels: NDArray[Any]) -> bool:
    """Say whether the picture is a negative: dark tissue on a bright ground.

    The air around a breast is the flattest part of a mammogram. It is dark in a
    positive and bright in a negative, whatever the window was.

    Parameters
    ----------
    pixels : ndarray, shape (H, W)
        Grey values of any integer or float type.

    Returns
    -------
    bool
    """
    return is_negative_thumbnail(stretched(thumbnail(pixels)))


def is_negative_thumbnail(thumb: NDArray[np.float32]) -> bool:
    """Answer `is_negative` for a picture of which the stretched thumbnail is at hand.

    Parameters
    ----------
    thumb : ndarray of float32, shape (256, 256)
        From `stretched`.

    Returns
    -------
    bool
    """
    gradient = np.abs(cv2.Laplacian(cv2.GaussianBlur(thumb, (0, 0), 1.0), cv2.CV_32F))
    flat = gradient < 0.004
    bright, dark = flat & (thumb > 0.94), flat & (thumb < 0.06)
    return float(bright.mean()) - float(dark.mean()) > _NEGATIVE_MARGIN


def _threshold(thumb: NDArray[np.float32]) -> float:
    """Grey value that parts the air from the breast in a stretched thumbnail."""
    eight = (thumb * 255).astype(np.uint8)
    histogram = np.bincount(eight.ravel(), minlength=256).astype(np.float64)
    smooth = np.convolve(histogram, np.ones(5) / 5, mode="same")
    ground = int(smooth[:110].argmax())
    dark = thumb[thumb <= (ground + 8) / 255.0]
    spread = float(np.median(np.abs(dark - ground / 255.0))) if dark.size else 0.0
    otsu, _ = cv2.threshold(eight, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    low = ground / 255.0 + max(_EDGE_MARGIN, 5.0 * spread)
    # Between two grey levels, never on one: a picture and its turned negative must part alike.
    return float(min(low, max(otsu / 255.0, ground / 255.0 + 0.015))) + _BETWEEN


def _level(raw: NDArray[np.float32], low: float, high: float) -> float:
    """Grey value that parts the air from the breast, for a thumbnail whose grey scale runs from ``low`` to ``high``."""
    scale = max(high - low, 1e-6)
    return _threshold(np.clip((raw - np.float32(low)) / np.float32(scale), 0.0, 1.0)) * scale + low


def _largest(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Largest 4-connected component of a mask, its holes filled."""
    count, labels = cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_16U)
    if count > 2:
        sizes = cv2.calcHist([labels], [0], None, [count], [0, count])
        best = 1 + int(sizes.ravel()[1:].argmax())
        mask = np.asarray(cv2.inRange(labels, best, best), np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    kept = np.zeros_like(mask)
    cv2.drawContours(kept, contours, -1, 255, thickness=cv2.FILLED)
    return kept


def _opened(mask: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Mask opened with OpenCV's ellipse of a radius of `_DISC_PARTS`, beyond the border as at it."""
    opened: NDArray[Any] = cv2.copyMakeBorder(mask, radius, radius, radius, radius, cv2.BORDER_REPLICATE)
    for sweep in (cv2.erode, cv2.dilate):
        for part in _DISC_PARTS[radius]:
            opened = sweep(opened, part)
    return opened[radius:-radius, radius:-radius]


def _has_rim(mask: NDArray[np.uint8], depth: int) -> bool:
    """Whether something thin runs along the top, the bottom or the side away from the chest wall."""
    left, right = int(np.count_nonzero(mask[:, 0])), int(np.count_nonzero(mask[:, -1]))
    lines = [(mask[0], mask[depth]), (mask[-1], mask[-1 - depth])]
    lines += [(mask[:, -1], mask[:, -1 - depth])] if left >= right else [(mask[:, 0], mask[:, depth])]
    return any(float(np.mean((edge > 0) & (inner == 0))) > _RIM_LENGTH for edge, inner in lines)


def _without_rim(mask: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Mask without the film frames and strips of tape that run along the picture's border.

    Such a strip is thinner than ``2 * radius`` and longer than `_RIM_LENGTH` of a side, and it
    does not lie on the side of the chest wall alone, where a breast itself ends thinly.
    Masks without one come back unchanged.
    """
    if not _has_rim(mask, 2 * radius + 2):
        return mask
    size = mask.shape[0]
    padded = cv2.copyMakeBorder(mask, 2 * radius, 2 * radius, 2 * radius, 2 * radius, cv2.BORDER_CONSTANT, value=0)
    core: NDArray[Any] = _swept(_swept(padded, radius, np.minimum), radius, np.maximum)
    inner = slice(2 * radius, -2 * radius)
    core, thick = core[inner, inner], _swept(core, radius + 3, np.maximum)[inner, inner]
    rest = cv2.bitwise_and(mask, cv2.bitwise_not(thick))
    # Named, because OpenCV's own choice takes three times as long with some pictures.
    count, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(rest, 8, cv2.CV_32S, cv2.CCL_BBDT)
    wall_left = np.count_nonzero(core[:, 0]) >= np.count_nonzero(core[:, -1])
    kept = mask.copy()
    for index in range(1, count):
        x, y, width, height, area = (int(v) for v in stats[index])
        along = y <= 1 or y + height >= size - 1 or (x + width >= size - 1 if wall_left else x <= 1)
        if along and max(width, height) > _RIM_LENGTH * size and area <= 2 * radius * (width + height):
            kept[labels == index] = 0
    return kept


def _swept(mask: NDArray[Any], radius: int, combine: np.ufunc) -> NDArray[np.uint8]:
    """Erosion (``np.minimum``) or dilation (``np.maximum``) by OpenCV's ellipse of a radius, several times sooner.

    From the ellipse's top to its middle the rows grow longer: a run of that length ending in
    each pixel grows with them, and every row costs two passes instead of one for each pixel.

    Parameters
    ----------
    mask : ndarray of uint8, shape (H, W)
        0 within ``radius`` of its border, so that what runs over a line's end meets nothing.
    radius : int
    combine : ufunc

    Returns
    -------
    ndarray of uint8, shape (H, W)
    """
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    run, spare = mask.ravel().copy(), np.zeros(mask.size, np.uint8)
    out = np.full(mask.size, 255 if combine is np.minimum else 0, np.uint8)
    reach = 0
    for row, wanted in enumerate(disc[: radius + 1].sum(axis=1, dtype=int) // 2):
        while reach < wanted:
            step = min(max(reach, 1), wanted - reach)
            combine(run[2 * step :], run[: -2 * step], out=spare[step:-step])
            if not reach:
                combine(spare, run, out=spare)
            run, spare, reach = spare, run, reach + step
        shift = (radius - row) * mask.shape[1]
        combine(out[shift:], run[: run.size - shift], out=out[shift:])
        combine(out[: out.size - shift], run[shift:], out=out[: out.size - shift])
    return out.reshape(mask.shape)


def _extent(mask: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(mask)
    return x, y, x + width, y + height


def _above(values: NDArray[np.float32], level: float) -> NDArray[np.uint8]:
    return (values > level).view(np.uint8) * np.uint8(255)


def find_breast(pixels: NDArray[Any]) -> Breast | None:
    """Find the breast in a positive picture (bright = dense).

    Constant margins are cut first, so black padding changes nothing. The breast
    is the largest bright component of a square thumbnail; its outline is then
    refined on a finer grid around it, so that what else lies on the film
    (markers, labels) hardly moves the box.

    Parameters
    ----------
    pixels : ndarray, shape (H, W)
        Grey values, bright = dense.

    Returns
    -------
    Breast or None
        ``None`` where no component covers at least 1 % of the picture.
    """
    px0, py0, px1, py1 = _constant_margins(pixels)
    inner = pixels[py0:py1, px0:px1]
    height, width = inner.shape
    if min(height, width) < 16:
        return None
    raw = _shrink(inner, THUMBNAIL)
    # From zero, so that an offset of the grey values does not even change how a sum is rounded.
    darkest = np.float32(raw.min())
    raw -= darkest
    low, high = percentiles(raw, (0.1, 99.9))
    level = _level(raw, low, high)
    coarse = _largest(_without_rim(_opened(_above(raw, level), 3), 8))
    if not coarse.any():
        return None
    # Once more by the breast alone: a marker brighter than the breast must not move its outline.
    level = _level(raw, low, percentiles(raw[coarse > 0], (99.9,))[0])
    bx0, by0, bx1, by1 = _extent(coarse)
    margin = 4
    fx, fy = width / THUMBNAIL, height / THUMBNAIL
    x0, y0 = max(0, int(np.floor((bx0 - margin) * fx))), max(0, int(np.floor((by0 - margin) * fy)))
    x1, y1 = min(width, int(np.ceil((bx1 + margin) * fx))), min(height, int(np.ceil((by1 + margin) * fy)))
    window = inner[y0:y1, x0:x1]
    # Where OpenCV has to enlarge, it looks from the left: the chest wall goes there, that mirrored pictures part alike.
    turned = min(window.shape) < REFINED and _chest_wall(coarse) == "right"
    window = _shrink(window[:, ::-1] if turned else window, REFINED) - darkest
    fine = _largest(_without_rim(_opened(_above(window, level), 5), 16))
    if not fine.any():
        return None
    if turned:
        fine = np.ascontiguousarray(fine[:, ::-1])
    mx0, my0, mx1, my1 = _extent(fine)
    sx, sy = (x1 - x0) / REFINED, (y1 - y0) / REFINED
    box = (px0 + x0 + mx0 * sx, py0 + y0 + my0 * sy, px0 + x0 + mx1 * sx, py0 + y0 + my1 * sy)
    mask = np.ascontiguousarray(fine[my0:my1, mx0:mx1])
    area = cv2.countNonZero(mask) / mask.size * (box[2] - box[0]) * (box[3] - box[1]) / pixels.size
    if area < 0.01:
        return None
    return Breast(box=box, chest_wall=_chest_wall(mask), mask=mask, area=area)


def _chest_wall(mask: NDArray[np.uint8]) -> str:
    """Side of the box on which the breast is tallest: that is where it is cut off.

    Where it is tall on neither side, film shows something beyond the wall; the bulkier
    half of the box then tells.
    """
    strip = max(1, mask.shape[1] // 8)
    left, right = int((mask[:, :strip] > 0).sum()), int((mask[:, -strip:] > 0).sum())
    if 2 * max(left, right) < strip * mask.shape[0]:
        half = mask.shape[1] // 2
        left, right = int((mask[:, :half] > 0).sum()), int((mask[:, -half:] > 0).sum())
    return "left" if left >= right else "right"
