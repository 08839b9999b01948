"""Model files named where a bundle is expected: imported once, kept, opened from there ever after."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from mammolens import __version__
from mammolens.errors import BundleError, ContractUnknown, FileMissing, OutputError
from mammolens.models.bundle import MANIFEST, installed, load_bundle
from mammolens.settings import settings

REVISION = 1
"""Of the importer; a higher one makes every file be imported anew."""

_SAVED_MODEL = "saved_model.pb"

_log = logging.getLogger(__name__)


def folder() -> Path:
    """Folder of the cache; may be deleted at any time."""
    return settings().home / "cache" / "imports"


def is_model_file(name_or_path: str | Path) -> bool:
    """Whether this names a model file rather than a bundle.

    Bundles come first: a file that is called like an installed model has to be named
    with its folder (``./name``).
    """
    path = Path(name_or_path)
    if path.suffix == ".zip" or (path / MANIFEST).is_file():
        return False
    if str(name_or_path) == "default" or str(name_or_path) in installed():
        return False
    return path.is_file() or (path / _SAVED_MODEL).is_file()


def place_of(name_or_path: str | Path, say: Callable[[str], None] | None = None) -> str | Path:
    """Name or place of a bundle, made of a model file where one is named.

    Parameters
    ----------
    name_or_path : str or Path
        What the user calls the model: a bundle, by name or path, or a model file.
    say : callable, optional
        Is told, in words for the user, that an import is made, and what of; the log is
        told unless given.

    Returns
    -------
    str or Path
        What `mammolens.models.load_bundle` opens.

    Raises
    ------
    ModelFileError
        If the file can't be imported.
    OutputError
        If the cache can't be written.
    """
    if not is_model_file(name_or_path):
        return name_or_path
    tell = say or _log.info
    path = Path(name_or_path)
    place = _place(path)
    if place.exists():
        try:
            load_bundle(place)
        except BundleError as error:
            tell(f"The bundle kept of this model file is damaged ({error.code}); the file is imported again.")
            shutil.rmtree(place)
        else:
            tell("The model is a file that was imported before; the bundle made of it then is used.")
            return place
    _import(path, place, tell)
    return place


def _import(path: Path, place: Path, tell: Callable[[str], None]) -> None:
    # The importer brings h5py and the engine along, which a name does not need.
    from mammolens.models.importing.importer import import_into

    tell("The model is a file: it is imported first, once.")
    try:
        # Named for its content, for the same file must give the same answer whatever it is called.
        made = import_into(place, path, name=f"file-{place.name[:12]}")
    except ContractUnknown as error:
        raise ContractUnknown(f"{error.message} Import it first: `mammolens models import` takes this.") from error
    except OutputError:
        if not place.exists():
            raise
        # Another process has imported the same file meanwhile.
        return
    contract = made.plan.contract
    proof = (
        f"logits as the file's own within {made.proof.difference:.0e}"
        if made.proof.difference is not None
        else (f"proven by structure alone, because {made.proof.reason}")
    )
    tell(f"Imported: {made.plan.architecture}, {contract.height} x {contract.width}, {proof}.")
    for warning in made.warnings:
        tell(f"Suspicious: {warning}.")


def _place(path: Path) -> Path:
    question = json.dumps({"revision": REVISION, "mammolens": __version__}, sort_keys=True)
    return folder() / f"{_digest(path)[:32]}-{hashlib.sha256(question.encode()).hexdigest()[:8]}"


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of a SavedModel folder; reads all of it, and understands nothing."""
    try:
        if path.is_dir():
            from mammolens.models.importing import saved_model

            return saved_model.digest(path, saved_model.list_files(path, settings().max_file_bytes))
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileMissing("The model file can't be read. Check its permissions.") from error
