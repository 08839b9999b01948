"""From a model file to a bundle: opened, recognised, matched, proven, written; all of it or nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mammolens.errors import OutputError
from mammolens.models import onnx_graph
from mammolens.models.imported import ImportDescription, export_graph
from mammolens.models.importing import naming
from mammolens.models.importing.container import open_source
from mammolens.models.importing.health import suspicions
from mammolens.models.importing.match import assemble
from mammolens.models.importing.proof import Proof, prove
from mammolens.models.importing.recognise import plan as recognise
from mammolens.models.importing.source import Asked, Fate, Plan, Source
from mammolens.models.manifest import ImportedFrom
from mammolens.models.network import Network
from mammolens.settings import settings

STEPS = ("Opening the file", "Recognising the model", "Taking the weights", "Proving the import", "Writing the model")
"""What an import does, as its progress callback is told, one after the other."""

FOREIGN_STEP = "Converting the model"
"""What stands for all but the first and the last of them on the second road."""

Progress = Callable[[str], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import has made.

    Attributes
    ----------
    path : Path
        Folder of the bundle.
    name : str
        Under which it can be opened.
    source : Source
        The file.
    plan : Plan
        What it was recognised as: architecture, input contract, head, assumptions.
    fates : tuple of Fate
        What became of every tensor, and of every layer without a part in the answer.
    proof : Proof
    warnings : tuple of str
        What looks wrong with the model although it could be imported.
    foreign : bool
        Whether it came by the second road.
    """

    path: Path
    name: str
    source: Source
    plan: Plan
    fates: tuple[Fate, ...]
    proof: Proof
    warnings: tuple[str, ...]
    foreign: bool


def models_folder() -> Path:
    """Folder of the user's models."""
    return settings().home / "models"


def import_model(
    path: Path,
    asked: Asked | None = None,
    *,
    name: str | None = None,
    foreign: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
) -> Imported:
    """Make an installed bundle of a model file.

    Parameters
    ----------
    path : Path
        File or SavedModel folder.
    asked : Asked, optional
        What the user states because the file can't tell.
    name : str, optional
        Of the bundle; made of the file's name unless given.
    foreign : bool
        Take the second road: Keras opens the file in a bounded process and the graph is
        converted.
    replace : bool
        Whether an installed model of this name may be replaced.
    progress : callable, optional
        Is told each of `STEPS` as it begins.

    Returns
    -------
    Imported

    Raises
    ------
    ModelFileError
        If the file can't be imported; see the tree in `mammolens.errors`. Nothing has been
        written then.
    FileMissing
        If there is no such file.
    ConfigurationError
        If the name is no legal one, or a library is missing.
    OutputError
        If a model of this name exists already, or the bundle can't be written.
    """
    chosen = naming.from_stem(path.name) if name is None else naming.legal(name)
    folder = models_folder() / chosen
    if not replace:
        check_free(folder)
    return import_into(folder, path, asked, name=chosen, foreign=foreign, replace=replace, progress=progress)


def check_free(folder: Path) -> None:
    """Refuse a name that is taken.

    Raises
    ------
    OutputError
    """
    if folder.exists() or folder.is_symlink() or folder.with_name(folder.name + ".zip").exists():
        raise OutputError("There is a model of this name. Give another one with --name, or replace it with --replace.")


def import_into(
    folder: Path,
    path: Path,
    asked: Asked | None = None,
    *,
    name: str,
    foreign: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
) -> Imported:
    """Make a bundle of a model file in a folder of its own; takes what `import_model` takes, and raises it.

    Parameters
    ----------
    folder : Path
        The bundle's folder; must not exist unless ``replace`` is set.
    path, asked, foreign, replace, progress
        As `import_model`.
    name : str
        Of the bundle.
    """
    tell = progress or _log.debug
    tell(STEPS[0])
    source = open_source(path)
    made = (_foreign if foreign else _own)(path, source, asked or Asked(), tell)
    tell(STEPS[4])
    if not replace:
        # Others may have come first meanwhile.
        check_free(folder)
    about = ImportDescription(name=name, source=_origin(source, made, foreign), explanation=made.explanation)
    export_graph(
        made.graph, made.plan.contract, about, folder, architecture=made.plan.architecture, network=made.network
    )
    return Imported(folder, name, source, made.plan, made.fates, made.proof, made.warnings, foreign)


@dataclass(frozen=True, slots=True)
class _Made:
    """What has become of a file, ready to be written."""

    plan: Plan
    network: Network | None
    graph: bytes
    fates: tuple[Fate, ...]
    proof: Proof
    warnings: tuple[str, ...]
    explanation: Literal["linear", "gradient"] = "linear"


def _own(path: Path, source: Source, asked: Asked, tell: Progress) -> _Made:
    """Take the first road: one of our own networks with the file's weights."""
    tell(STEPS[1])
    plan = recognise(source, asked)
    tell(STEPS[2])
    network, fates = assemble(source, plan)
    graph = onnx_graph.write(network)
    tell(STEPS[3])
    proof = prove(path, source, plan, network, graph)
    return _Made(plan, network, graph, fates, proof, suspicions(source, network, fates).lines())


def _foreign(path: Path, source: Source, asked: Asked, tell: Progress) -> _Made:
    """Take the second road: the file's own network, converted to a graph, with its proof."""
    from mammolens.models.importing.foreign import convert

    tell(FOREIGN_STEP)
    found = convert(path, source, asked)
    plan = Plan(found.architecture, found.contract, found.head, (), found.assumptions, {}, ())
    fates = tuple(Fate(tensor.path, "graph") for tensor in source.tensors)
    return _Made(plan, None, found.graph, fates, Proof("parity", found.parity), (), found.explanation)


def _origin(source: Source, made: _Made, foreign: bool) -> ImportedFrom:
    """Say in the manifest what the file was; suspicions and a missing parity too, for later nothing else tells them."""
    not_run = (f"the file's network answers the same, though it was not run: {made.proof.reason}",)
    return ImportedFrom(
        format=str(source.format),
        sha256=source.sha256,
        keras_version=source.keras_version,
        architecture_found=made.plan.architecture,
        assumptions=(
            *made.plan.assumed,
            *(f"this is as it should be: {warning}" for warning in made.warnings),
            *(not_run if made.proof.reason else ()),
        ),
        proof=made.proof.kind,
        parity=made.proof.difference,
        foreign=foreign,
    )
