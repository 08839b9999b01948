"""How a file is to be read.

Apart from the reading itself, because who only asks for it (a decoding child does the
work) needs none of the decoders.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mammolens.imaging.limits import Limits


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a file is read.

    Attributes
    ----------
    any_modality : bool
        Skip the quality gate: whatever can be decoded is read.
    frame : int or None
        Frame of a multi-frame file, from 0; the central one where ``None``.
    min_size : tuple of int or None
        ``(height, width)`` of the model input that the picture is for. The picture is
        then halved as often as that allows (`mammolens.imaging.resolution`); JPEG 2000 is
        decoded so.
    limits : Limits
        What the file may ask for.
    """

    any_modality: bool = False
    frame: int | None = None
    min_size: tuple[int, int] | None = None
    limits: Limits = field(default_factory=Limits.from_settings)

    def for_model(self, size: tuple[int, int]) -> ReadOptions:
        """Return the same options for a model input of ``size`` (height, width)."""
        return replace(self, min_size=size)
