"""A training configuration: one TOML file says all that a run depends on."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from mammolens.errors import ConfigurationError

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
"""What `FitConfig.precision` may be."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What is trained.

    Attributes
    ----------
    name, version : str
        Of the bundle that the run makes.
    architecture : str
        A key of `mammolens.models.efficientnet.VARIANTS`.
    size : tuple of int
        ``(height, width)`` of the input, pixels.
    imagenet : Path or str
        ``.weights.h5`` of ``keras.applications`` (without top) to start from;
        ``"imagenet"``: the same file from the network.
    frozen : tuple of str
        Prefixes of the layers that stay as ImageNet left them.
    looks : int
        1, or 2: the picture and the picture upside down, whose features are averaged.
    final : {"refit", "average"}
        How the shipped model comes about: fitted once more on all women, or the mean
        of the folds' weights.
    """

    name: str
    architecture: str
    size: tuple[int, int]
    imagenet: Path | Literal["imagenet"]
    version: str = "1"
    frozen: tuple[str, ...] = ()
    looks: int = 1
    final: str = "refit"


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What it is trained on: a key of `mammolens.datasets.DATASETS` and its folder."""

    dataset: str
    folder: Path


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How it is trained.

    Attributes
    ----------
    epochs, batch_size : int
        Epochs of each fit.
    low_epochs : int
        How many of the first epochs are done at ``low_size``: coarse features are
        learned as well from smaller pictures, in less time.
    low_size : tuple of int
        ``(height, width)`` of these epochs.
    learning_rate : float
        Peak of the schedule.
    warmup : float
        Share of the steps over which the rate rises linearly.
    weight_decay, label_smoothing, dropout : float
    probe_penalty : float
        Ridge penalty of the linear probe that starts the head (phase one), per image.
    seeds : tuple of int
        Independent fits of each split; a split's model is the mean of their weights.
    checkpoint_steps : int
        Steps between two checkpoints.
    watch_epochs : int
        Epochs between two looks at the held-out women (and once at the end); they
        are reported, nothing is chosen by them.
    precision : {"float32", "mixed_float16", "mixed_bfloat16"}
        Of the convolutions while training; see `mammolens.models.efficientnet.Economy`.
        With float16 the loss is scaled.
    checkpointing : bool
        Whether blocks are computed again for their gradient, to save memory.
    """

    epochs: int
    batch_size: int = 16
    low_epochs: int = 0
    low_size: tuple[int, int] = (0, 0)
    learning_rate: float = 2e-4
    warmup: float = 0.1
    weight_decay: float = 0.02
    label_smoothing: float = 0.02
    dropout: float = 0.3
    probe_penalty: float = 1.0
    seeds: tuple[int, ...] = (1,)
    checkpoint_steps: int = 50
    watch_epochs: int = 1
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    checkpointing: bool = False


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
    """

    model: ModelConfig
    data: DataConfig
    fit: FitConfig
    output: Path = field(default=Path("runs"))

    @property
    def digest(self) -> str:
        """Hash of everything that the weights depend on; a resumed run must have the same."""
        content = asdict(self)
        content.pop("output")
        for room, name in (("model", "imagenet"), ("data", "folder")):
            content[room].pop(name)
        for name in ("name", "version", "final", "looks"):
            content["model"].pop(name)
        for name in ("checkpoint_steps", "watch_epochs", "seeds", "checkpointing"):
            content["fit"].pop(name)
        if self.fit.precision == "float32":
            # As before there was a choice, so that runs begun then can go on.
            content["fit"].pop("precision")
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _section(cls: type[Any], table: dict[str, Any], name: str, base: Path) -> Any:
    values = table.get(name)
    if not isinstance(values, dict):
        raise ConfigurationError(f"The configuration lacks the section [{name}].")
    known = {f.name: f for f in fields(cls)}
    if unknown := sorted(set(values) - set(known)):
        raise ConfigurationError(f"[{name}] holds unknown keys: {', '.join(unknown)}.")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    for key in ("imagenet", "folder"):
        if key in values and (key, values[key]) != ("imagenet", "imagenet"):
            values[key] = (base / str(values[key])).resolve()
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigurationError(f"[{name}] lacks a required key.") from error


def load(path: Path) -> TrainingConfig:
    """Read a configuration; paths in it are relative to its own folder.

    Raises
    ------
    ConfigurationError
        If the file is missing, is not TOML, or holds wrong keys.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError("The configuration file can't be read.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"The configuration is not valid TOML: {error}.") from error
    base = path.resolve().parent
    if unknown := sorted(set(table) - {"model", "data", "fit", "output"}):
        raise ConfigurationError(f"The configuration holds unknown sections: {', '.join(unknown)}.")
    model, fit = _section(ModelConfig, table, "model", base), _section(FitConfig, table, "fit", base)
    if model.final not in ("refit", "average"):
        raise ConfigurationError('[model] final must be "refit" or "average".')
    if model.looks not in (1, 2):
        raise ConfigurationError("[model] looks must be 1 or 2.")
    if fit.precision not in PRECISIONS:
        raise ConfigurationError('[fit] precision must be "float32", "mixed_float16" or "mixed_bfloat16".')
    if fit.low_epochs and min(fit.low_size) < 1:
        raise ConfigurationError("[fit] low_epochs needs low_size, the height and width of these epochs.")
    return TrainingConfig(
        model=model,
        data=_section(DataConfig, table, "data", base),
        fit=fit,
        output=(base / str(table.get("output", "../runs/" + path.stem))).resolve(),
    )
