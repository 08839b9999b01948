"""JPEG Lossless for pydicom by imagecodecs, for the textbook program.

What ``pip install pydicom`` offers for JPEG Lossless is GPL (pylibjpeg-libjpeg) or has an
open vulnerability (GDCM); neither is installed here. So the textbook program gets this
decoder, which is the faster one, and the comparison is kinder to it than life is.
"""

from __future__ import annotations

import imagecodecs
import numpy as np
from pydicom.pixels.decoders import JPEGLosslessDecoder, JPEGLosslessSV1Decoder
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import JPEGLossless, JPEGLosslessSV1

DECODER_DEPENDENCIES = {JPEGLossless: ("imagecodecs",), JPEGLosslessSV1: ("imagecodecs",)}
"""What pydicom reads to know what this plugin needs."""

_LABEL = "imagecodecs"


def is_available(uid: str) -> bool:
    """Tell pydicom whether the plugin can decode a transfer syntax."""
    return uid in DECODER_DEPENDENCIES


def decode(source: bytes, runner: DecodeRunner) -> bytearray:
    """Decode one frame at full resolution; called by pydicom."""
    array = np.ascontiguousarray(imagecodecs.jpeg8_decode(source))
    runner.set_option("bits_allocated", 8 * array.itemsize)
    return bytearray(array)


def register() -> bool:
    """Add the plugin where pydicom has no decoder of its own; say whether it is the one that will be used."""
    for decoder in (JPEGLosslessDecoder, JPEGLosslessSV1Decoder):
        if not decoder.is_available:
            decoder.add_plugin(_LABEL, (__name__, "decode"))
    return JPEGLosslessSV1Decoder.available_plugins == (_LABEL,)
