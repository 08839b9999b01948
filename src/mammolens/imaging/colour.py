"""Make grey of colour: RGB, YBR and palettes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.errors import MalformedFile, UnsupportedEncoding

_WEIGHTS = (0.299, 0.587, 0.114)
_BAD_PALETTE = "The colour palette of this DICOM file is damaged or missing. Give a grey image."
_MOST_ENTRIES = 1 << 16


def luminance(rgb: NDArray[Any]) -> NDArray[Any]:
    """Luma of an RGB picture (ITU-R BT.601, as PS3.3 C.7.6.3.1.2 uses it).

    Parameters
    ----------
    rgb : ndarray of uint8, uint16 or uint32, shape (h, w, 3)

    Returns
    -------
    ndarray of uint8 or uint16 (float32 for uint32), shape (h, w)
        Where the three values are equal, just that value.
    """
    if rgb.dtype in (np.uint8, np.uint16):
        grey: NDArray[Any] = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
        return grey
    weighted: NDArray[np.float32] = (rgb.astype(np.float64) @ np.array(_WEIGHTS)).astype(np.float32)
    return weighted


def grey_palette(
    channels: list[bytes], descriptor: tuple[int, int, int], *, segmented: bool = False, big_endian: bool = False
) -> NDArray[np.uint16]:
    """Luma of a palette's entries; PS3.3 C.7.6.3.1.5 and C.7.9.2.

    Parameters
    ----------
    channels : list of bytes
        Red, green and blue palette data.
    descriptor : tuple of int
        Number of entries (0 means 65536), first stored value, bits per entry.
    segmented : bool
        Whether the data are in the segmented form.
    big_endian : bool
        Byte order of 16-bit words.

    Returns
    -------
    ndarray of uint16, shape (entries,)

    Raises
    ------
    MalformedFile, UnsupportedEncoding
    """
    count, bits = descriptor[0] or _MOST_ENTRIES, descriptor[2]
    if bits not in (8, 16) or not 0 < count <= _MOST_ENTRIES:
        raise UnsupportedEncoding(_BAD_PALETTE)
    word = ">u2" if big_endian else "<u2"
    planes: list[NDArray[np.uint16]] = []
    for data in channels:
        if segmented:
            words = np.frombuffer(data[: len(data) // 2 * 2], word) if bits == 16 else np.frombuffer(data, "u1")
            values = _expanded(words.tolist(), count)
        else:
            wide = len(data) >= 2 * count
            values = np.frombuffer(data[: len(data) // 2 * 2] if wide else data, word if wide else "u1")
        if len(values) < count:
            raise MalformedFile(_BAD_PALETTE)
        planes.append(values[:count].astype(np.uint16))
    if len(planes) != 3:
        raise MalformedFile(_BAD_PALETTE)
    table: NDArray[np.uint16] = luminance(np.stack(planes, axis=-1)[None])[0].astype(np.uint16)
    return table


def _expanded(words: list[int], count: int) -> NDArray[np.uint16]:
    """Entries of a segmented palette: discrete and linear segments of C.7.9.2.

    Indirect segments, which repeat others, are refused: no mammograph is known to
    write them.
    """
    out: list[int] = []
    position = 0
    while position + 2 <= len(words) and len(out) < count:
        kind, length = words[position], words[position + 1]
        if kind == 0:
            out += words[position + 2 : position + 2 + length]
            position += 2 + length
        elif kind == 1 and out and position + 3 <= len(words):
            out += [round(v) for v in np.linspace(out[-1], words[position + 2], length + 1)[1:]]
            position += 3
        else:
            raise UnsupportedEncoding(_BAD_PALETTE)
    return np.asarray(out[:count], dtype=np.uint16)
