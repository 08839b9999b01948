"""Pictures to take away, and the entry in the audit log for each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mammolens.errors import ConfigurationError, RequestInvalid
from mammolens.imaging.display import RenderOptions
from mammolens.imaging.png import encode_png
from mammolens.imaging.sandbox import default_pool
from mammolens.web import audit
from mammolens.web.access import Actor
from mammolens.web.database.tables import Image
from mammolens.web.pictures.turns import turn
from mammolens.web.store import Store

if TYPE_CHECKING:
    from mammolens.web.app import Services

ACTION = "picture-exported"


def options_of(bits: str, crop: str, window: str) -> RenderOptions:
    """Read what a request asks of a picture.

    Parameters
    ----------
    bits : str
        ``8`` or ``16``.
    crop : str
        ``1``: show the breast only; empty or ``0``: all.
    window : str
        ``centre,width`` in modality values; empty: as the file says.

    Returns
    -------
    RenderOptions

    Raises
    ------
    RequestInvalid
        If a value does not fit.
    """
    if bits not in ("8", "16"):
        raise RequestInvalid("A picture has 8 or 16 bits.")
    if crop not in ("", "0", "1"):
        raise RequestInvalid("The crop is 0 or 1.")
    try:
        return RenderOptions(bits=int(bits), crop=crop == "1", window=_window(window))
    except ConfigurationError as error:
        raise RequestInvalid(error.message) from error


def whole_png(services: Services, image: Image, options: RenderOptions) -> bytes:
    """Convert an image's file to a PNG without metadata, as ``mammolens preview`` does, in a bounded child process.

    Parameters
    ----------
    services : Services
    image : Image
    options : RenderOptions

    Returns
    -------
    bytes

    Raises
    ------
    InputError
        If the file can't be decoded.
    Overloaded
        If too many others are being decoded.
    """
    with turn():
        return encode_png(default_pool().render(Store(services.folder).path(image.sha256), options), level=1)


def file_name(image: Image, what: str = "") -> str:
    """Name for a picture that is taken away: case number, side and view; nothing that names a woman."""
    parts = (f"A-{image.case.number}", image.laterality or "", image.view or "", what)
    return "-".join(part for part in parts if part) + ".png"


def note(services: Services, asking: Actor, image: Image, what: str) -> None:
    """Write in the audit log that somebody takes a picture away.

    Parameters
    ----------
    services : Services
    asking : Actor
    image : Image
        With its case at hand.
    what : str
        Code: ``picture``, ``overlay``, ``pair``.

    Raises
    ------
    DatabaseUnavailable
        If it can't be written; then the picture is not to be given.
    """
    subject = f"case A-{image.case.number}"
    with services.database.session() as session:
        audit.record(session, asking.name, ACTION, subject, {"image": image.id, "picture": what})


def _window(text: str) -> tuple[float, float] | None:
    if not text:
        return None
    try:
        centre, width = (float(part) for part in text.split(","))
    except ValueError:
        raise RequestInvalid("A window is two numbers: centre,width.") from None
    if not (math.isfinite(centre) and math.isfinite(width)):
        raise RequestInvalid("A window is two numbers: centre,width.")
    return centre, width
