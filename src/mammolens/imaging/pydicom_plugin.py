"""imagecodecs as pydicom's preferred decoder, for code that asks pydicom for pixels.

`mammolens.imaging.dicom_pixels` calls the codecs itself; this is for the rooms that
use ``Dataset.pixel_array`` (result objects, de-identification), so that they decode
what reading decodes. Frames are checked as there before a decoder sees them.
"""

from __future__ import annotations

import numpy as np
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder
from pydicom.uid import UID

from mammolens.errors import MalformedFile
from mammolens.imaging.codecs import decode_stream, stream_info
from mammolens.imaging.codestream import StreamInfo
from mammolens.imaging.dicom_file import HTJ2K_SYNTAXES, JPEG_2000_SYNTAXES, JPEG_LS_SYNTAXES, JPEG_SYNTAXES
from mammolens.imaging.limits import Limits

LABEL = "mammolens-imagecodecs"

DECODER_DEPENDENCIES = {
    UID(syntax): ("imagecodecs>=2026.3.6",)
    for syntax in sorted(JPEG_SYNTAXES | JPEG_LS_SYNTAXES | JPEG_2000_SYNTAXES | HTJ2K_SYNTAXES)
}
"""What pydicom names where a plugin is missing; a plugin must have it."""


def is_available(uid: str) -> bool:
    """Whether frames of a transfer syntax can be decoded here; pydicom asks."""
    return UID(uid) in DECODER_DEPENDENCIES


def register() -> tuple[str, ...]:
    """Put this plugin before pydicom's own, for every transfer syntax that pydicom lets plugins decode.

    Returns
    -------
    tuple of str
        UIDs of these transfer syntaxes. Registering again changes nothing.
    """
    registered = []
    for uid in DECODER_DEPENDENCIES:
        try:
            decoder = get_decoder(uid)
        except NotImplementedError:
            # pydicom knows no decoder for the retired JPEG processes; our own reading does.
            continue
        registered.append(str(uid))
        if LABEL in decoder.available_plugins:
            continue
        decoder.add_plugin(LABEL, (__name__, "decode_frame"))
        # pydicom tries plugins in the order in which they came; the table is the only place that keeps it.
        table = decoder._available
        table.update({label: table.pop(label) for label in [name for name in table if name != LABEL]})
    return tuple(registered)


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame for pydicom.

    Parameters
    ----------
    frame : bytes
    runner : DecodeRunner
        pydicom's description of the image; told of the size of the values returned.

    Returns
    -------
    bytes
        Values row by row, colour by pixel, little endian.

    Raises
    ------
    InputError
    """
    limits = Limits.from_settings()
    info = stream_info(frame, str(runner.transfer_syntax))
    limits.check_picture(info.rows, info.columns, info.components, 16)
    if (info.rows, info.columns, info.components) != (runner.rows, runner.columns, runner.samples_per_pixel):
        raise MalformedFile("The compressed picture is not of the size that the header declares. Export it again.")
    array = decode_stream(frame, info)
    runner.set_option("bits_allocated", 8 * array.dtype.itemsize)
    if info.components > 1:
        runner.set_option("planar_configuration", 0)
        _tell_colour(runner, info)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def _tell_colour(runner: DecodeRunner, info: StreamInfo) -> None:
    """JPEG 2000's colour transformation has been undone by the decoder."""
    if info.coding == "jpeg-2000" and runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):
        runner.set_option("photometric_interpretation", "RGB")
