"""Reading, judging and preparing pictures: from bytes to the model's input."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mammolens.imaging.options import ReadOptions
    from mammolens.imaging.reading import mammogram_from_array, read_mammogram

__all__ = ["ReadOptions", "mammogram_from_array", "read_mammogram"]


def __getattr__(name: str) -> object:
    """Load a public name when it is first used (PEP 562): a decoding process needs the modules beside it sooner."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "ReadOptions":
        from mammolens.imaging.options import ReadOptions

        return ReadOptions
    from mammolens.imaging import reading

    return getattr(reading, name)
