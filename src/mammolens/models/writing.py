"""Bundles are written whole or not at all."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from mammolens.errors import OutputError
from mammolens.models.bundle import MANIFEST
from mammolens.models.manifest import Manifest


def write_bundle(folder: Path, fill: Callable[[Path], None], describe: Callable[[dict[str, str]], Manifest]) -> Path:
    """Write a bundle; all of it or nothing.

    Parameters
    ----------
    folder : Path
        The bundle's folder; what was there is replaced once the new one is whole.
    fill : callable
        Writes all files but the manifest into the folder that it is given.
    describe : callable
        Makes the manifest from the files' SHA-256.

    Returns
    -------
    Path
        ``folder``.

    Raises
    ------
    OutputError
        If it can't be written there.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as temporary:
            made, before = Path(temporary) / "bundle", Path(temporary) / "before"
            made.mkdir()
            fill(made)
            hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(made.iterdir())}
            manifest = describe(hashes)
            (made / MANIFEST).write_text(manifest.model_dump_json(indent=1, by_alias=True) + "\n", encoding="utf-8")
            if folder.exists():
                folder.rename(before)
            made.rename(folder)
    except OSError as error:
        raise OutputError("The bundle can't be written there. Check the folder, its rights and its space.") from error
    return folder
