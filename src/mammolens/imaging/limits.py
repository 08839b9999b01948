"""Limits that a file is held to before anything is allocated for it."""

from __future__ import annotations

from dataclasses import dataclass

from mammolens.errors import MalformedFile, TooLarge
from mammolens.settings import settings

EXPANSION_FREE_BYTES = 64 << 20
"""Decoded sizes up to this many bytes are never called a bomb for their expansion alone."""

MOST_EXPANSION = 200
"""Decoded bytes per compressed byte above which a large picture is taken for a decompression bomb.

Lossless mammograms shrink three- to tenfold, blank phantoms of the usual size stay below
`EXPANSION_FREE_BYTES`.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may ask for.

    Attributes
    ----------
    max_file_bytes : int
        Size of the file.
    max_pixels : int
        Rows times columns of one frame.
    max_decoded_bytes : int
        Decoded bytes of all frames together.
    """

    max_file_bytes: int = 1 << 30
    max_pixels: int = 120_000_000
    max_decoded_bytes: int = 1 << 30

    @classmethod
    def from_settings(cls) -> Limits:
        """Limits that this process is configured for."""
        table = settings()
        return cls(table.max_file_bytes, table.max_pixels, table.max_decoded_bytes)

    def check_file(self, size: int) -> None:
        """Refuse a file of ``size`` bytes that is over the limit.

        Raises
        ------
        TooLarge
        """
        if size > self.max_file_bytes:
            raise TooLarge(
                f"The file is larger than the limit of {self.max_file_bytes} bytes. Give a single image, or raise "
                "MAMMOLENS_MAX_FILE_BYTES."
            )

    def check_picture(self, rows: int, columns: int, samples: int = 1, bits: int = 8, frames: int = 1) -> None:
        """Refuse a picture whose header declares more than the limits allow.

        Parameters
        ----------
        rows, columns : int
            Size of one frame, pixels.
        samples : int
            Values per pixel.
        bits : int
            Bits that one value takes when decoded.
        frames : int

        Raises
        ------
        MalformedFile
            If a figure is not positive.
        TooLarge
            If the frame or all frames together are over a limit.
        """
        if min(rows, columns, samples, bits, frames) < 1:
            raise MalformedFile("The header declares a picture without pixels. Export the file again.")
        if rows * columns > self.max_pixels:
            raise TooLarge(
                f"The header declares {columns} x {rows} pixels; the limit is {self.max_pixels} pixels. If the picture "
                "is genuine, raise MAMMOLENS_MAX_PIXELS."
            )
        if rows * columns * samples * frames * bits > 8 * self.max_decoded_bytes:
            raise TooLarge(
                f"The header declares {frames} frames of {columns} x {rows} pixels, which decode to more than the "
                f"limit of {self.max_decoded_bytes} bytes. If the file is genuine, raise MAMMOLENS_MAX_DECODED_BYTES."
            )

    def check_expansion(self, compressed: int, decoded: int) -> None:
        """Refuse data that grow beyond what any real picture does.

        Parameters
        ----------
        compressed, decoded : int
            Bytes before and after.

        Raises
        ------
        TooLarge
        """
        if decoded > EXPANSION_FREE_BYTES and decoded > MOST_EXPANSION * max(compressed, 1):
            raise TooLarge(
                "The data would grow more than two-hundredfold when decoded, which no real picture does. "
                "Export the image again without compression."
            )
