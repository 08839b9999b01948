"""Import of a model file from one folder of the server, ``$MAMMOLENS_HOME/import``; never by upload.

An import takes up to minutes, so that it runs beside the requests, one at a time; its state is a row of `Choice`.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from sqlalchemy.orm import Session

from mammolens.errors import (
    CaseConflict,
    ConfigurationError,
    InternalError,
    MammolensError,
    OutputError,
    RequestInvalid,
)
from mammolens.models.importing import naming
from mammolens.models.importing.importer import check_free, import_into
from mammolens.models.importing.source import Asked
from mammolens.models.network import InputScale
from mammolens.web import audit
from mammolens.web.app import Services
from mammolens.web.database.columns import new_id, now
from mammolens.web.database.tables import Choice

CHOICE = "model-import"
"""Name of the row of `Choice` that says how the last import stands."""

ARCHITECTURES = ("efficientnet-b0", "efficientnet-b1", "efficientnet-b2", "efficientnet-b3")
SCALES: tuple[str, ...] = get_args(InputScale)
CLASSES = ("benign,malignant", "malignant,benign")

_ENDINGS = (".keras", ".h5", ".hdf5", ".onnx")
_SAVED_MODEL = "saved_model.pb"

_running: set[str] = set()
"""Imports of this process; one that the table calls running and that is not among them was cut off."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class State:
    """How the last import stands.

    Attributes
    ----------
    state : {"running", "done", "failed", "interrupted"}
    name : str
        Of the model.
    code, message : str
        Of the error; empty unless it failed.
    warnings : tuple of str
        What looks wrong with the model although it was imported.
    """

    state: str
    name: str
    code: str = ""
    message: str = ""
    warnings: tuple[str, ...] = ()


def folder(services: Services) -> Path:
    """Folder that model files are laid in for import; made where it is missing."""
    made = services.settings.home / "import"
    made.mkdir(parents=True, exist_ok=True, mode=0o700)
    return made


def candidates(services: Services) -> list[str]:
    """Names of the model files and SavedModel folders that lie ready; links are passed over."""
    return sorted(
        found.name
        for found in folder(services).iterdir()
        if not found.is_symlink()
        and (found.suffix.lower() in _ENDINGS if found.is_file() else (found / _SAVED_MODEL).is_file())
    )


def state(session: Session) -> State | None:
    """Say how the last import stands; None: there was none."""
    row = session.get(Choice, CHOICE)
    if row is None:
        return None
    kept = row.value
    state = "interrupted" if kept["state"] == "running" and kept["run"] not in _running else kept["state"]
    return State(state, kept["name"], kept.get("code", ""), kept.get("message", ""), tuple(kept.get("warnings", ())))


def asked(architecture: str = "", size: str = "", scale: str = "", classes: str = "") -> Asked:
    """Read what the administrator states because a file can't tell; empty: find out.

    Raises
    ------
    RequestInvalid
        If a value is none of those there are.
    """
    if architecture not in ("", *ARCHITECTURES) or scale not in ("", *SCALES) or classes not in ("", *CLASSES):
        raise RequestInvalid("Choose architecture, scale and classes from the lists.")
    sides = [int(side) for side in size.lower().split("x") if side.isascii() and side.isdigit()]
    if size and (
        len(sides) != 2 or size.lower() != f"{sides[0]}x{sides[1]}" or not all(32 <= n <= 4096 for n in sides)
    ):
        raise RequestInvalid("The input size is HEIGHTxWIDTH in pixels, 32 to 4096, for example 384x288.")
    return Asked(
        architecture=architecture or None,
        size=(sides[0], sides[1]) if size else None,
        scale=cast(InputScale, scale) if scale else None,
        classes=cast("tuple[str, str]", tuple(classes.split(","))) if classes else None,
    )


def start(
    services: Services, actor_name: str, file: str, stated: Asked, *, name: str = "", foreign: bool = False
) -> threading.Thread:
    """Begin an import.

    Parameters
    ----------
    services : Services
    actor_name : str
    file : str
        One of `candidates`.
    stated : Asked
    name : str
        Of the model; made of the file's unless given.
    foreign : bool
        Take another network than EfficientNet.

    Returns
    -------
    Thread
        Ends with the import; `state` then says how.

    Raises
    ------
    RequestInvalid
        If there is no such file, the name is no legal one, or it is taken.
    CaseConflict
        If an import is running.
    """
    if file not in candidates(services):
        raise RequestInvalid("There is no such model file in the import folder.")
    try:
        chosen = naming.legal(name) if name else naming.from_stem(file)
        place = services.settings.home / "models" / chosen
        check_free(place)
    except (ConfigurationError, OutputError) as error:
        raise RequestInvalid("The name is taken, or is no name of a model. Choose another one.") from error
    run = new_id()
    with services.database.session() as session:
        before = state(session)
        if before is not None and before.state == "running":
            raise CaseConflict("Another model is being imported. Wait until it is done.")
        _running.add(run)
        _write(session, {"state": "running", "run": run, "name": chosen})
        audit.record(session, actor_name, "model-import-begun", f"model {chosen}", {"foreign": foreign})

    def work() -> None:
        try:
            kept = _import(place, folder(services) / file, stated, chosen, foreign)
            with services.database.session() as session:
                _write(session, {**kept, "run": run, "name": chosen})
                outcome = {"state": kept["state"], "code": kept.get("code", "")}
                audit.record(session, actor_name, "model-import-ended", f"model {chosen}", outcome)
        except MammolensError as error:
            _log.error("The end of an import could not be written down [%s].", error.code)
        finally:
            _running.discard(run)

    thread = threading.Thread(target=work, name="import-model", daemon=True)
    thread.start()
    return thread


def _import(place: Path, file: Path, stated: Asked, name: str, foreign: bool) -> dict[str, Any]:
    """Import, and give how it ended."""
    try:
        made = import_into(place, file, stated, name=name, foreign=foreign)
    except MammolensError as error:
        return {"state": "failed", "code": error.code, "message": error.message}
    except Exception as error:  # a thread has nobody above it: what is unforeseen is told as such
        _log.error("An import failed unforeseen: %s.", type(error).__name__)
        internal = InternalError("The import failed for a reason of Mammolens' own. The server's log names it.")
        return {"state": "failed", "code": internal.code, "message": internal.message}
    return {"state": "done", "warnings": list(made.warnings)}


def _write(session: Session, value: dict[str, Any]) -> None:
    row = session.get(Choice, CHOICE)
    if row is None:
        session.add(Choice(name=CHOICE, value=value))
    else:
        row.value, row.changed = value, now()
