"""What is drawn over and beside a mammogram: tint, contours, numbered boxes, colour bar."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.explain.colours import table

Colour = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_PIXELS = 22.0
"""Height of a capital letter of `_FONT` at scale 1."""

_TINT_FROM, _TINT_MOST = 0.12, 0.62
_TISSUE = 96
_CAPTION = "evidence"
_INK: Colour = (255, 255, 255)
_SHADOW: Colour = (0, 0, 0)
_QUIET_INK: Colour = (190, 190, 190)


def tint_shares() -> NDArray[np.float64]:
    """Share that the tint takes of a pixel, for each of the heat map's 256 values; shape (256,), 0 to 1, rising."""
    value = np.linspace(0.0, 1.0, 256)
    rise = np.clip((value - _TINT_FROM) / (1.0 - _TINT_FROM), 0.0, 1.0)
    return np.asarray(_TINT_MOST * rise**0.75)


@lru_cache(maxsize=8)
def _blending(name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Tables over the heat map's value: share left to the grey (256,), colour times its share (256, 1, 3)."""
    share = tint_shares()
    tint = np.rint(table(name) * share[:, None]).astype(np.uint8)
    return np.rint((1.0 - share) * 255.0).astype(np.uint8), np.ascontiguousarray(tint[:, None, :])


def tint(canvas: NDArray[np.uint8], grey: NDArray[np.uint8], heat: NDArray[np.uint8], name: str) -> None:
    """Blend a heat map over a grey picture; low values leave the grey as it is.

    Parameters
    ----------
    canvas : ndarray of uint8, shape (h, w, 3)
        RGB; where there is evidence it is overwritten.
    grey, heat : ndarray of uint8, shape (h, w)
    name : str
        Colour map.
    """
    left_to_grey, colours = _blending(name)
    faint = int(np.argmax(left_to_grey < 255)) - 1
    x, y, width, height = cv2.boundingRect(cv2.threshold(heat, faint, 255, cv2.THRESH_BINARY)[1])
    if not width:
        return
    window = np.s_[y : y + height, x : x + width]
    kept = cv2.multiply(grey[window], cv2.LUT(heat[window], left_to_grey), scale=1.0 / 255.0)
    canvas[window] = cv2.add(cv2.cvtColor(kept, cv2.COLOR_GRAY2RGB), cv2.applyColorMap(heat[window], colours))


def contour(canvas: NDArray[np.uint8], heat: NDArray[np.uint8], level: int, offset: tuple[int, int]) -> None:
    """Draw the line where a heat map reaches a level.

    Parameters
    ----------
    canvas : ndarray of uint8, shape (h, w, 3)
    heat : ndarray of uint8, shape (h', w')
    level : int
        1 to 255.
    offset : tuple of int
        ``(x, y)`` of the heat map's first pixel on the canvas.
    """
    above = cv2.threshold(heat, level - 1, 255, cv2.THRESH_BINARY)[1]
    lines, _ = cv2.findContours(above, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=offset)
    cv2.polylines(canvas, lines, True, _INK, _stroke(canvas), cv2.LINE_AA)


def _stroke(canvas: NDArray[np.uint8]) -> int:
    return max(1, round(float(max(canvas.shape[:2])) / 500))


def letter_size(longest: int) -> int:
    """Height of a capital letter, in pixels, for a picture whose longest side is ``longest``."""
    return max(8, round(longest / 75))


def write(canvas: NDArray[np.uint8], text: str, origin: tuple[int, int], size: int, ink: Colour) -> None:
    """Write ``text``, capitals ``size`` pixels high, from its lower left corner."""
    cv2.putText(canvas, text, origin, _FONT, size / _FONT_PIXELS, ink, max(1, round(size / 14)), cv2.LINE_AA)


def text_width(text: str, size: int) -> int:
    """Width of ``text`` as `write` writes it, in pixels."""
    (width, _), _ = cv2.getTextSize(text, _FONT, size / _FONT_PIXELS, max(1, round(size / 14)))
    return int(width)


def boxes(canvas: NDArray[np.uint8], places: Sequence[tuple[int, int, int, int]]) -> None:
    """Draw numbered boxes.

    Parameters
    ----------
    canvas : ndarray of uint8, shape (h, w, 3)
    places : sequence of tuple of int
        ``(x0, y0, x1, y1)`` on the canvas, half open; numbered from 1 in their order.
    """
    stroke, size = _stroke(canvas), letter_size(max(canvas.shape))
    for x0, y0, x1, y1 in places:
        # The shadow lies outside the line, so the box covers no more of what it shows than the line does.
        cv2.rectangle(canvas, (x0 - stroke, y0 - stroke), (x1 - 1 + stroke, y1 - 1 + stroke), _SHADOW, stroke)
        cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), _INK, stroke)
    for number, (x0, y0, _, _) in enumerate(places, 1):
        text = str(number)
        pad = max(2, size // 3)
        wide, tall = text_width(text, size) + 2 * pad, size + 2 * pad
        # Above the box; where the picture ends there, inside its upper corner.
        left = min(max(x0, 0), max(canvas.shape[1] - wide, 0))
        top = y0 - tall if y0 >= tall else min(y0, max(canvas.shape[0] - tall, 0))
        cv2.rectangle(canvas, (left, top), (left + wide - 1, top + tall - 1), _INK, cv2.FILLED)
        write(canvas, text, (left + pad, top + tall - pad), size, _SHADOW)


@lru_cache(maxsize=32)
def colour_bar(height: int, longest: int, name: str, threshold: float) -> NDArray[np.uint8]:
    """Colour bar with its numbers, to stand beside a picture.

    The colours are shown as they look on tissue of a middle grey, which is how
    they are seen in the picture.

    Parameters
    ----------
    height : int
        Of the picture beside it.
    longest : int
        Longest side of that picture; sets the size of the letters.
    name : str
        Colour map.
    threshold : float
        Where the contour lies, 0 to 1; marked on the bar.

    Returns
    -------
    ndarray of uint8, shape (height, w, 3)
        RGB, read-only.
    """
    size = letter_size(longest)
    margin, bar = round(1.2 * size), round(1.6 * size)
    width = 2 * margin + max(bar + size + text_width("0.00", size), text_width(_CAPTION, size))
    strip = np.zeros((height, width, 3), np.uint8)
    length = max(2, min(round(0.5 * height), 30 * size, height - 6 * size))
    top = max(0, (height - length) // 2)
    ramp = np.repeat(np.rint(np.linspace(255, 0, length)).astype(np.uint8)[:, None], bar, axis=1)
    scale = np.full((length, bar, 3), _TISSUE, np.uint8)
    tint(scale, np.full_like(ramp, _TISSUE), ramp, name)
    part = strip[top : top + length, margin : margin + bar]
    part[:] = scale[: part.shape[0], : part.shape[1]]
    for value, text in ((1.0, "1"), (threshold, f"{threshold:.2f}"), (0.0, "0")):
        y = top + round((1.0 - value) * (length - 1))
        cv2.line(strip, (margin, y), (margin + bar + size // 3, y), _INK, max(1, size // 12), cv2.LINE_8)
        write(strip, text, (margin + bar + size, y + size // 2), size, _INK)
    write(strip, _CAPTION, (margin, top - round(1.6 * size)), size, _QUIET_INK)
    strip.flags.writeable = False
    return strip
