"""Which model answers: the one in use, those before it, and those that could be.

Pictures are answered by the model in use at the moment they are answered; workers ask `current` before each job, so
a switch needs no restart. What was answered before keeps the name and the hash of the model that answered.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from mammolens.errors import BundleError, BundleInvalid, BundleNotFound, BundleTampered, CaseConflict
from mammolens.models import manifest as manifests
from mammolens.models.bundle import DEFAULT, MANIFEST, ModelBundle, find, installed, load_bundle
from mammolens.models.manifest import Manifest
from mammolens.web.database.columns import now
from mammolens.web.database.tables import ModelUse

SYSTEM = "system"
"""Who chose the first model."""

_LARGEST_MANIFEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Use:
    """A model that answers, or did.

    Attributes
    ----------
    place : str
        What `mammolens.models.bundle.load_bundle` opens.
    name, version, sha256 : str
        Of its manifest.
    """

    place: str
    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Installed:
    """A bundle that could be used.

    Attributes
    ----------
    place : str
        Its name in the list of installed bundles.
    sha256 : str
        Of its manifest; empty where it can't be read.
    manifest : Manifest or None
    error : BundleError or None
        Why it can't be used; one of this and ``manifest`` is None.
    """

    place: str
    sha256: str
    manifest: Manifest | None
    error: BundleError | None


def current(session: Session) -> Use:
    """Give the model in use: the last one chosen, else the one that comes with the package.

    Raises
    ------
    BundleError
        If none was chosen yet and the package's own can't be read.
    """
    row = _last(session)
    return _first() if row is None else Use(row.place, row.model_name, row.model_version, row.model_sha256)


def open_bundle(use: Use) -> ModelBundle:
    """Open the bundle of a model in use, all hashes checked.

    Raises
    ------
    BundleTampered
        If another bundle stands in its place than the one that was chosen, or a file has changed.
    BundleNotFound, BundleInvalid, BundleIncompatible
        As `mammolens.models.bundle.load_bundle` raises them.
    """
    bundle = load_bundle(use.place)
    if bundle.identity.sha256 != use.sha256:
        raise BundleTampered("The model in use has changed since it was chosen. Choose it again under Models.")
    return bundle


def manifest_of(use: Use) -> Manifest | None:
    """Give the manifest of a model in use; None where its bundle is gone or is another one now."""
    found = next((one for one in available() if one.place == use.place), None)
    return found.manifest if found is not None and found.sha256 == use.sha256 else None


def installed_manifests() -> dict[str, Manifest]:
    """Give the manifests of the installed models by their hash."""
    return {found.sha256: found.manifest for found in available() if found.manifest is not None}


def available() -> list[Installed]:
    """List the bundles that can be opened by name; only their manifests are read."""
    return [_looked_at(name, place) for name, place in installed().items()]


def history(session: Session, most: int = 50) -> list[ModelUse]:
    """Give what was in use, newest first."""
    return list(session.scalars(select(ModelUse).order_by(ModelUse.since.desc(), ModelUse.id).limit(most)))


def switch(session: Session, place: str, chosen_by: str) -> Use:
    """Put a model in use; the bundle is opened whole and its hashes are checked first.

    Parameters
    ----------
    session : Session
        A transaction.
    place : str
        A name that `available` lists.
    chosen_by : str
        The administrator's name.

    Returns
    -------
    Use

    Raises
    ------
    BundleError
        If it can't be opened.
    CaseConflict
        If it is in use already.
    """
    if place not in installed():
        raise BundleNotFound("No model of that name is installed. Import it first.")
    identity = load_bundle(place).identity
    before = current(session)
    if before.sha256 == identity.sha256:
        raise CaseConflict("This model is in use already.")
    last = _last(session)
    if last is None:
        last = _add(session, before, SYSTEM, None)
    use = Use(place, identity.name, identity.version, identity.sha256)
    _add(session, use, chosen_by, last)
    return use


def roll_back(session: Session, chosen_by: str) -> Use:
    """Put the model in use that was before the present one; the pair of calls gives back the first state.

    Raises
    ------
    CaseConflict
        If there was none before.
    BundleError
        If it can't be opened any more.
    """
    used = history(session, 2)
    if len(used) < 2:
        raise CaseConflict("No other model was in use before this one.")
    present, before = used
    use = Use(before.place, before.model_name, before.model_version, before.model_sha256)
    open_bundle(use)
    _add(session, use, chosen_by, present)
    return use


def _last(session: Session) -> ModelUse | None:
    return next(iter(history(session, 1)), None)


def _add(session: Session, use: Use, chosen_by: str, after: ModelUse | None) -> ModelUse:
    """Write a use; later than the one before by at least the clock's step, so that their order is never open."""
    since = now() if after is None else max(now(), after.since + timedelta(microseconds=1))
    row = ModelUse(
        since=since,
        place=use.place,
        model_name=use.name,
        model_version=use.version,
        model_sha256=use.sha256,
        chosen_by=chosen_by,
    )
    session.add(row)
    session.flush()
    return row


def _first() -> Use:
    content = _manifest_bytes(find(DEFAULT))
    manifest = manifests.parse(content)
    return Use(DEFAULT, manifest.name, manifest.version, hashlib.sha256(content).hexdigest())


def _looked_at(name: str, place: Path) -> Installed:
    try:
        content = _manifest_bytes(place)
        return Installed(name, hashlib.sha256(content).hexdigest(), manifests.parse(content), None)
    except BundleError as error:
        return Installed(name, "", None, error)


def _manifest_bytes(place: Path) -> bytes:
    try:
        if place.is_dir():
            return (place / MANIFEST).read_bytes()
        with zipfile.ZipFile(place) as archive, archive.open(MANIFEST) as file:
            content = file.read(_LARGEST_MANIFEST + 1)
    except (OSError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise BundleInvalid("The model's manifest is missing or can't be read. Install the model again.") from error
    if len(content) > _LARGEST_MANIFEST:
        raise BundleInvalid("The model's manifest is far too large. Install the model again.")
    return content
