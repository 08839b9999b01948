"""``mammolens preview``: DICOM, PNG or JPEG to a PNG that can be looked at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mammolens.cli import files, terminal


def preview(
    source: Annotated[Path, typer.Argument(metavar="IN", help="DICOM, PNG or JPEG file.")],
    target: Annotated[Path, typer.Argument(metavar="OUT.png", help="PNG to write; replaced where it exists.")],
    crop: Annotated[bool, typer.Option("--crop", help="Show the breast only.")] = False,
    size: Annotated[int | None, typer.Option(min=1, metavar="N", help="Longest side in pixels.")] = None,
    window: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="C W", help="Window centre and width, instead of the file's own."),
    ] = None,
    bits: Annotated[int, typer.Option(metavar="8|16", help="Bits per pixel.")] = 8,
    frame: Annotated[
        int | None, typer.Option(min=0, help="Frame of a multi-frame file, from 0; else the middle one.")
    ] = None,
) -> None:
    """Turn a DICOM, PNG or JPEG file into a grey PNG.

    The picture is shown as its own window says, and written without metadata. Any picture is taken, a mammogram or
    not.
    """
    _check(source, target)
    from mammolens.imaging.sandbox import default_pool

    pool = default_pool()
    pool.start(1)
    from mammolens.explain.files import write_file
    from mammolens.imaging.display import RenderOptions
    from mammolens.imaging.png import encode_png

    options = RenderOptions(crop=crop, size=size, window=window, bits=bits, frame=frame)
    picture = pool.render(source, options)
    write_file(target.parent, target.name, encode_png(picture, level=6))
    height, width = picture.shape
    terminal.say(f"{terminal.printable(target)}: {width} x {height} pixels, {8 * picture.itemsize} bits")


def _check(source: Path, target: Path) -> None:
    if not os.path.isfile(source):  # unlike Path.is_file, False where the path can't be looked up
        raise typer.BadParameter("is no file, or can't be opened.", param_hint="IN")
    if target.suffix.lower() != ".png" or os.path.isdir(target):
        raise typer.BadParameter("must be a file whose name ends in .png.", param_hint="OUT.png")
    if files.identity(source) == files.identity(target):
        raise typer.BadParameter("is the input, which is never overwritten.", param_hint="OUT.png")
