"""Bundles: a folder or a ``.zip`` with manifest, graph, weights and model card.

The manifest is validated and every file's hash is checked before any of them is
opened.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BundleError, BundleIncompatible, BundleInvalid, BundleNotFound, BundleTampered, EngineError
from mammolens.imaging import preprocess
from mammolens.models import manifest as manifests
from mammolens.models import session
from mammolens.models.manifest import Manifest
from mammolens.models.network import InputContract
from mammolens.settings import settings
from mammolens.types import ModelIdentity, Notice

BUILT_IN = Path(__file__).with_name("bundles")
"""Folder of the bundles that come with the package."""

DEFAULT = "mammolens-b0"
"""The bundle that the name ``default`` stands for."""

MANIFEST, GRAPH, WEIGHTS, CARD = "manifest.json", "model.onnx", "model.weights.h5", "MODEL_CARD.md"

PAIR = "pair.onnx"
"""Graph of the network of two views, in the bundles that have one."""

_LARGEST_FILE = 1 << 30
_LARGEST_MANIFEST = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """An opened bundle, whole and verified.

    Attributes
    ----------
    manifest : Manifest
    identity : ModelIdentity
        Its hash is the manifest's, which names the hash of every other file.
    graph : bytes
        The ONNX model.
    location : Path
        Folder or ``.zip`` that it came from.
    notices : tuple of Notice
        What must be said with every answer: which stored format stands in for one that
        is not whole.
    pair : bytes or None
        The ONNX model of the network of two views (`mammolens.models.onnx_graph.write_pair`).
    """

    manifest: Manifest
    identity: ModelIdentity
    graph: bytes = field(repr=False)
    location: Path
    notices: tuple[Notice, ...] = ()
    pair: bytes | None = field(default=None, repr=False)

    @property
    def contract(self) -> InputContract:
        """What the model expects of its input."""
        return self.manifest.contract

    def logit(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Uncalibrated logits of inputs in the bundle's own scale, by ONNX Runtime on the CPU.

        Parameters
        ----------
        x : ndarray of float32, shape (N, H, W, C)
            As `mammolens.models.contract.to_input` gives it.

        Returns
        -------
        ndarray of float32, shape (N,)

        Raises
        ------
        EngineError
            If the array has another shape or type, or ONNX Runtime fails.
        BundleInvalid
            If ONNX Runtime can't open the graph.
        """
        contract = self.contract
        shape = (contract.height, contract.width, contract.channels)
        if x.ndim != 4 or x.shape[1:] != shape or x.dtype != np.float32:
            expected = ", ".join(str(side) for side in shape)
            raise EngineError(f"The model takes an array of float32 of shape (N, {expected}), in its own input scale.")
        return session.scores(self.graph, x)[0]

    def read(self, name: str) -> bytes:
        """Read another file of the bundle, its hash checked again.

        Raises
        ------
        BundleInvalid
            If the manifest names no such file.
        BundleTampered
            If it has changed.
        """
        if name not in self.manifest.files:
            raise BundleInvalid("The bundle holds no file of that name.")
        return _checked(self.location, name, self.manifest)


def find(name_or_path: str | Path) -> Path:
    """Place of a bundle: a path, or a name under ``$MAMMOLENS_HOME/models`` or among the built-in ones.

    Raises
    ------
    BundleNotFound
        If there is none; the message lists the names there are.
    """
    path = Path(name_or_path)
    if path.suffix == ".zip" and path.is_file():
        return path
    if (path / MANIFEST).is_file():
        return path
    wanted = DEFAULT if str(name_or_path) == "default" else str(name_or_path)
    for name, place in installed().items():
        if name == wanted:
            return place
    raise BundleNotFound(
        "No model of that name or at that path. Installed are: " + (", ".join(installed()) or "none") + "."
    )


def installed() -> dict[str, Path]:
    """Names and places of the bundles that can be opened by name; a user's hides a built-in one of the same name."""
    found: dict[str, Path] = {}
    for root in (settings().home / "models", BUILT_IN):
        if root.is_dir():
            for place in sorted(root.iterdir()):
                if (place / MANIFEST).is_file() or (place.suffix == ".zip" and place.is_file()):
                    found.setdefault(place.name.removesuffix(".zip"), place)
    return found


def load_bundle(name_or_path: str | Path = "default", *, stand_in: bool = False) -> ModelBundle:
    """Open a bundle.

    Parameters
    ----------
    name_or_path : str or Path
        ``"default"``, a name that `installed` lists, a folder or a ``.zip``.
    stand_in : bool
        Whether, of graph and weights file, one that is whole may stand in for one that is
        not (see `mammolens.models.stand_in`). The bundle then holds a notice.

    Returns
    -------
    ModelBundle

    Raises
    ------
    BundleNotFound
        If there is no such bundle.
    BundleInvalid
        If the manifest is not valid or a file is missing.
    BundleTampered
        If a file's hash differs from the manifest's.
    BundleIncompatible
        If it asks for another version of the preprocessing.
    """
    location = find(name_or_path)
    content = _read(location, MANIFEST, _LARGEST_MANIFEST)
    manifest = manifests.parse(content)
    needed = [manifest.preprocessing, *([] if manifest.pair is None else [manifest.pair.preprocessing])]
    for part in needed:
        if part.version != preprocess.VERSION:
            raise BundleIncompatible(
                f"The model needs preprocessing version {part.version}; "
                f"this Mammolens implements version {preprocess.VERSION}. Use a matching release."
            )
    if missing := {GRAPH, CARD} - set(manifest.files):
        raise BundleInvalid(f"The manifest does not name {', '.join(sorted(missing))}.")
    if (PAIR in manifest.files) != (manifest.pair is not None):
        raise BundleInvalid(f"The manifest names {PAIR} or describes its network, but not both.")
    if unsafe := [name for name in manifest.files if Path(name).name != name]:
        raise BundleInvalid(f"The manifest names {len(unsafe)} files outside the bundle.")
    contents: dict[str, bytes] = {}
    damage: dict[str, BundleError] = {}
    for name in manifest.files:
        try:
            contents[name] = _checked(location, name, manifest)
        except BundleError as error:
            if not (stand_in and name in (GRAPH, WEIGHTS)):
                raise
            damage[name] = error
    notices = _mended(manifest, contents, damage) if damage else ()
    digest = hashlib.sha256(content).hexdigest()
    identity = ModelIdentity(name=manifest.name, version=manifest.version, sha256=digest)
    return ModelBundle(manifest, identity, contents[GRAPH], location, notices, contents.get(PAIR))


def _mended(manifest: Manifest, contents: dict[str, bytes], damage: dict[str, BundleError]) -> tuple[Notice, ...]:
    """Put what is equal in the place of what is damaged; the notices."""
    from mammolens.models import stand_in

    if GRAPH not in damage:
        return (stand_in.without_weights(damage[WEIGHTS]),)
    contents[GRAPH], notice = stand_in.without_graph(manifest, contents.get(WEIGHTS), damage[GRAPH])
    return (notice,)


def _checked(location: Path, name: str, manifest: Manifest) -> bytes:
    content = _read(location, name, _LARGEST_FILE)
    if hashlib.sha256(content).hexdigest() != manifest.files[name]:
        raise BundleTampered(f"{name} of the model differs from its manifest. Install the model again.")
    return content


def _read(location: Path, name: str, limit: int) -> bytes:
    try:
        if location.is_dir():
            path = location / name
            if path.stat().st_size > limit:
                raise BundleInvalid(f"{name} of the model is larger than {limit >> 20} MiB.")
            return path.read_bytes()
        with zipfile.ZipFile(location) as archive:
            inside = archive.getinfo(name)
            if inside.file_size > limit:
                raise BundleInvalid(f"{name} of the model is larger than {limit >> 20} MiB.")
            with archive.open(inside) as file:
                return file.read(limit)
    except (OSError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise BundleInvalid(f"{name} of the model is missing or can't be read.") from error
