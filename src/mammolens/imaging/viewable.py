"""A whole picture for a viewer: 16-bit grey values, what they mean, and the windows that its file suggests.

Also how it passes between a decoding process and its parent, which believes nothing of what arrives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.imaging.channel import Header
from mammolens.imaging.wire import describe_array

MOST_PRESETS = 16
"""Windows and tables that are taken from a file; real ones have up to three."""

TABLE_SAMPLES = 256

_LARGEST = 1e9
_NAME = re.compile(r"[a-z]{0,16}")
_FUNCTIONS = ("LINEAR_EXACT", "SIGMOID", "TABLE")


@dataclass(frozen=True, slots=True)
class Preset:
    """A way to show a picture that its file suggests, in terms of its grey values; dense is always bright.

    Attributes
    ----------
    name : str
        Code: ``normal``, ``harder``, ``softer``, or empty.
    function : {"LINEAR_EXACT", "SIGMOID", "TABLE"}
        Formulas of PS3.3 C.11.2.1.3; ``TABLE`` stands for a VOI LUT.
    centre, width : float
        In grey values; 0 and 1 for a table.
    shown : tuple of float or None
        ``(centre, width)`` as the file says them, in modality values.
    values : tuple of int
        Of a table: what is shown, 0 to 255, at `TABLE_SAMPLES` grey values evenly from the picture's smallest to its
        largest; else empty.
    """

    name: str
    function: str
    centre: float = 0.0
    width: float = 1.0
    shown: tuple[float, float] | None = None
    values: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no viewer could apply."""
        if self.function not in _FUNCTIONS or _NAME.fullmatch(self.name) is None:
            raise ValueError("no such preset")
        if not abs(self.centre) <= _LARGEST or not 0.0 < self.width <= _LARGEST:
            raise ValueError("a window out of range")
        if len(self.values) != (TABLE_SAMPLES if self.function == "TABLE" else 0):
            raise ValueError("a table of another length")
        if not all(0 <= value <= 255 for value in self.values):
            raise ValueError("a table out of range")
        if self.shown is not None and not all(abs(value) <= _LARGEST for value in self.shown):
            raise ValueError("a window out of range")


@dataclass(frozen=True, slots=True, eq=False)
class Viewable:
    """A picture at its full resolution.

    Attributes
    ----------
    pixels : ndarray of uint16, shape (rows, columns)
        Bright = dense, linear in the stored values.
    modality : tuple of float or None
        ``(slope, intercept)``: modality value = slope · grey value + intercept; None where it has no meaning.
    presets : tuple of Preset
        The file's windows in its order, then its VOI LUTs.
    negative : bool
        Whether the picture was a negative and has been turned.
    """

    pixels: NDArray[np.uint16]
    modality: tuple[float, float] | None
    presets: tuple[Preset, ...]
    negative: bool


def describe_viewable(viewable: Viewable) -> Header:
    """Put everything but the pixels in a JSON object, as `viewable_from` expects it."""
    return {
        **describe_array(viewable.pixels),
        "modality": None if viewable.modality is None else list(viewable.modality),
        "presets": [describe_preset(preset) for preset in viewable.presets],
        "negative": viewable.negative,
    }


def describe_preset(preset: Preset) -> dict[str, Any]:
    """Make a JSON object of a preset."""
    return {
        "name": preset.name,
        "function": preset.function,
        "centre": preset.centre,
        "width": preset.width,
        "shown": None if preset.shown is None else list(preset.shown),
        "values": list(preset.values),
    }


def viewable_from(header: Header, pixels: NDArray[Any], trailer: bytes) -> Viewable:
    """Make a viewable picture of what arrived, believing nothing.

    Parameters
    ----------
    header : dict
        From `describe_viewable`, or from a decoder that went astray.
    pixels : ndarray, shape (h, w)
        As `mammolens.imaging.wire.array_from` made it from the same header.
    trailer : bytes
        Empty.

    Returns
    -------
    Viewable

    Raises
    ------
    ValueError
        If a field has another type or a value that no picture has.
    """
    presets, negative = header.get("presets"), header.get("negative")
    if pixels.dtype != np.uint16 or trailer or not isinstance(negative, bool):
        raise ValueError("no viewable picture")
    if not isinstance(presets, list) or len(presets) > MOST_PRESETS:
        raise ValueError("no short list")
    return Viewable(pixels, _pair(header.get("modality")), tuple(_preset(value) for value in presets), negative)


def _preset(value: object) -> Preset:
    if not isinstance(value, dict):
        raise ValueError("no preset")
    name, function, values = value.get("name"), value.get("function"), value.get("values")
    if not isinstance(name, str) or not isinstance(function, str) or not isinstance(values, list):
        raise ValueError("no preset")
    if len(values) > TABLE_SAMPLES or not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
        raise ValueError("no table")
    centre, width = _number(value.get("centre")), _number(value.get("width"))
    return Preset(name, function, centre, width, _pair(value.get("shown")), tuple(values))


def _pair(value: object) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("no pair")
    return _number(value[0]), _number(value[1])


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST:
        raise ValueError("no number")
    return float(value)
