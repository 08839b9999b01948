"""Bundles are written whole or not at all."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from mammolens.errors import OutputError
from mammolens.models.bundle import MANIFEST, ModelBundle
from mammolens.models.manifest import Manifest, parse


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


def rewrite_bundle(bundle: ModelBundle, folder: Path, changes: Mapping[str, object]) -> Path:
    """Write a bundle anew with another manifest; its other files stay as they are.

    Parameters
    ----------
    bundle : ModelBundle
    folder : Path
        Where the new one goes; may be the bundle's own.
    changes : mapping of str to object
        Fields of the manifest.

    Returns
    -------
    Path
        ``folder``.

    Raises
    ------
    BundleInvalid
        If the changed manifest breaks a rule; the message names the fields.
    OutputError
        If it can't be written there.
    """
    contents = {name: bundle.read(name) for name in bundle.manifest.files}

    def fill(made: Path) -> None:
        for name, content in contents.items():
            (made / name).write_bytes(content)

    def describe(hashes: dict[str, str]) -> Manifest:
        changed = bundle.manifest.model_copy(update={**changes, "files": hashes})
        return parse(changed.model_dump_json(by_alias=True).encode())

    return write_bundle(folder, fill, describe)
