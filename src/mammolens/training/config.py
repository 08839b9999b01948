"""A training configuration: one TOML file says all that a run depends on."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mammolens.errors import ConfigurationError
from mammolens.models.architecture import STRIDE, VARIANTS, can_grow
from mammolens.training.sections import DataConfig, FitConfig, ModelConfig

__all__ = ["DataConfig", "FitConfig", "ModelConfig", "TrainingConfig", "load"]

_SECTIONS: dict[str, type[Any]] = {"model": ModelConfig, "data": DataConfig, "fit": FitConfig}

_FILES = ("output", "after")
"""Keys outside the sections: paths."""

_PATHS = (("model", "imagenet"), ("model", "single"), ("data", "folder"))

_FREE = {
    "model": ("name", "version", "final", "looks", "second_size", "imagenet", "single"),
    "data": ("folder",),
    "fit": ("checkpoint_steps", "watch_epochs", "seeds", "checkpointing", "workers"),
}
"""What the weights of one fit do not depend on, or what a fit's folder is named by."""

_FIRST = {
    "model": ("architecture", "size", "frozen"),
    "data": ("dataset",),
    "fit": (
        *("epochs", "batch_size", "low_epochs", "low_size", "learning_rate", "warmup", "weight_decay"),
        *("label_smoothing", "dropout", "probe_penalty"),
    ),
}
"""Keys that stand in every digest; a later one stands in it where it is not as it is without being named."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """A whole run.

    Attributes
    ----------
    model : ModelConfig
    data : DataConfig
    fit : FitConfig
    output : Path
        Folder of the run: cache, checkpoints, logs, predictions and the bundle.
    after : TrainingConfig, optional
        Whose fits these go on from, each from that of the same split and seed.
    """

    model: ModelConfig
    data: DataConfig
    fit: FitConfig
    output: Path = field(default=Path("runs"))
    after: TrainingConfig | None = None

    @property
    def generation(self) -> int:
        """How many runs come before this one."""
        return 0 if self.after is None else self.after.generation + 1

    @property
    def digest(self) -> str:
        """Hash of everything that the weights depend on; a resumed run must have the same.

        Runs that were begun before a key existed can go on, as long as it is left out.
        """
        content = asdict(self)
        content.pop("output")
        content.pop("after")
        for room, cls in _SECTIONS.items():
            usual = {key.name: key.default for key in fields(cls)}
            for name in usual:
                late = name not in _FIRST[room] and content[room][name] == usual[name]
                if late or name in _FREE[room]:
                    content[room].pop(name)
        if self.model.imagenet == "none":
            content["model"]["imagenet"] = "none"
        if self.after is not None:
            content["after"] = self.after.digest
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def load(path: Path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read a configuration; paths in it are relative to its own folder.

    Parameters
    ----------
    path : Path
        TOML.
    overrides : sequence of str
        Each ``section.key=value``, the value as TOML writes it; they win over the file
        and are checked as it is. Paths in them are relative to the current folder.

    Returns
    -------
    TrainingConfig

    Raises
    ------
    ConfigurationError
        If the file is missing, is not TOML, or holds wrong keys or values; or if an
        override does.
    """
    return _load(path, overrides, ())


def _load(path: Path, overrides: Sequence[str], later: tuple[Path, ...]) -> TrainingConfig:
    """Read a configuration that others go on from."""
    if path.resolve() in later:
        raise ConfigurationError("The configuration goes on from itself: after must name an earlier run's.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("The configuration file can't be read.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"The configuration is not valid TOML: {error}.") from error
    base = path.resolve().parent
    _anchor(table, base)
    for text in overrides:
        _override(table, text)
    if unknown := sorted(set(table) - {*_SECTIONS, *_FILES}):
        raise ConfigurationError(f"The configuration holds unknown sections: {', '.join(unknown)}.")
    output = table.get("output", str((base / "../runs" / path.stem).resolve()))
    after = table.get("after")
    if not isinstance(output, str) or not isinstance(after, str | None):
        raise ConfigurationError("output and after must be paths, as text.")
    made = TrainingConfig(
        model=_section("model", table),
        fit=_section("fit", table),
        data=_section("data", table),
        output=Path(output),
        after=_load(Path(after), (), (*later, path.resolve())) if after is not None else None,
    )
    _check(made)
    return made


def _anchor(table: dict[str, Any], base: Path) -> None:
    """Make the paths of a table absolute."""
    for room, key in _PATHS:
        section = table.get(room)
        value = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(value, str) and (key, value) not in _NAMES:
            section[key] = str((base / value).resolve())
    for key in _FILES:
        if isinstance(table.get(key), str):
            table[key] = str((base / table[key]).resolve())


_NAMES = (("imagenet", "imagenet"), ("imagenet", "none"), ("single", "default"))
"""What stands where a path may stand, and is none."""


def _override(table: dict[str, Any], text: str) -> None:
    """Put one ``section.key=value`` into the table."""
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            "--set takes KEY=VALUE with a value as TOML writes it, such as fit.epochs=1 or model.size=[64,48]. "
            "Text needs quotes that the shell leaves: 'model.imagenet=\"none\"'."
        ) from error
    _anchor(parsed, Path.cwd())
    for room, value in parsed.items():
        if room in _SECTIONS and isinstance(value, dict) and isinstance(table.setdefault(room, {}), dict):
            table[room].update(value)
        elif room in _FILES:
            table[room] = value
        else:
            raise ConfigurationError(f"--set knows output, after and keys of the sections {', '.join(_SECTIONS)}.")


def _section(name: str, table: Mapping[str, Any]) -> Any:
    cls, values = _SECTIONS[name], table.get(name)
    if not isinstance(values, dict):
        raise ConfigurationError(f"The configuration lacks the section [{name}].")
    known = {f.name: f for f in fields(cls)}
    if unknown := sorted(set(values) - set(known)):
        raise ConfigurationError(f"[{name}] holds unknown keys: {', '.join(unknown)}.")
    if missing := [key for key, f in known.items() if f.default is MISSING and key not in values]:
        raise ConfigurationError(f"[{name}] lacks a required key: {', '.join(missing)}.")
    try:
        # By way of JSON, whose lists pass for tuples and whose text passes for paths, and nothing else for anything.
        return TypeAdapter(cls).validate_json(json.dumps(values, default=repr), strict=True)
    except ValidationError as error:
        wrong = sorted({str(problem["loc"][0]) for problem in error.errors() if problem["loc"]})
        raise ConfigurationError(
            f"[{name}] holds values of a wrong kind or out of range: {', '.join(wrong)}. See docs/training.md."
        ) from error


def _check(config: TrainingConfig) -> None:
    """Hold keys against each other."""
    model, data, fit = config.model, config.data, config.fit
    if fit.low_epochs and min(fit.low_size) < 1:
        raise ConfigurationError("[fit] low_epochs needs low_size, the height and width of these epochs.")
    if model.single is not None and model.views == 1:
        raise ConfigurationError("[model] single is the bundle that a network of two views is put beside: views = 2.")
    searched = fit.lesion_size if min(fit.lesion_size) else model.size
    if fit.lesion_epochs and any(side % STRIDE for side in searched):
        raise ConfigurationError(f"[fit] lesion_epochs needs lesion_size in multiples of {STRIDE}, such as [256, 192].")
    if data.folds == 1:
        raise ConfigurationError("[data] folds must be 0 or at least 2.")
    if model.architecture not in VARIANTS:
        raise ConfigurationError(f"[model] architecture must be one of {', '.join(VARIANTS)}.")
    if model.grown_from is not None:
        _check_growth(model)
    if config.after is not None:
        _check_after(config, config.after)


def _check_growth(model: ModelConfig) -> None:
    small = model.grown_from
    if small not in VARIANTS or small == model.architecture or not can_grow(small, model.architecture):
        raise ConfigurationError("[model] grown_from must name an architecture that is smaller than the network's own.")
    if model.imagenet == "none":
        raise ConfigurationError('[model] grown_from needs weights: imagenet is a file or "imagenet".')


def _check_after(config: TrainingConfig, before: TrainingConfig) -> None:
    """Whether a run's fits can go on from another's: the same women held out, the same layers."""
    ours, theirs = asdict(config.data), asdict(before.data)
    wrong = [f"[data] {key}" for key in ours if ours[key] != theirs[key]]
    wrong += [f"[model] {key}" for key in ("architecture", "views") if _differ(config.model, before.model, key)]
    wrong += [f"[fit] {key}" for key in ("side_tasks",) if _differ(config.fit, before.fit, key)]
    if wrong:
        raise ConfigurationError(f"A run goes on from one that is alike in {', '.join(wrong)}.")
    if config.fit.patience or before.fit.patience:
        # The women who stop a fit are drawn from those to fit, and one run's need not be the other's.
        raise ConfigurationError("[fit] patience does not go with a run that goes on from another.")
    if config.fit.lesion_epochs or config.fit.patch_epochs:
        raise ConfigurationError(
            "Warm-ups belong to the run that comes first: leave out lesion_epochs and patch_epochs."
        )


def _differ(one: Any, other: Any, key: str) -> bool:
    return bool(getattr(one, key) != getattr(other, key))
