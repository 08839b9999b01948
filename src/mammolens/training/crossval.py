"""A whole training run: every fold, then the model that is shipped, each resumable."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets import DATASETS, CaseTable
from mammolens.errors import ConfigurationError
from mammolens.training import cache, fit
from mammolens.training.config import TrainingConfig

FINAL = "final"
"""Name of the model that is shipped: refitted on all women, or the mean of the folds."""

WEIGHTS = "model.weights.h5"
"""Weights at the end of a fit."""

SCORED = "scored.weights.h5"
"""Weights of the model that is measured, or shipped: those of a fit, or a mean of several."""


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes
    ----------
    folder : Path
        Of the run.
    table : CaseTable
    rows : ndarray of int64, shape (N,)
        Row in ``table`` of each image that was used.
    logits : ndarray of float64, shape (N,)
        Out-of-fold: each image scored by the one model that saw none of its woman.
    """

    folder: Path
    table: CaseTable
    rows: NDArray[np.int64]
    logits: NDArray[np.float64]


def halves(table: CaseTable, rows: NDArray[np.int64], config: TrainingConfig) -> list[fit.Split]:
    """Shared fits: one on each half of the folds, or none."""
    if config.fit.shared_epochs == 0:
        return []
    folds = np.array([table[row].fold for row in rows])
    middle = len(table.folds) // 2
    every = np.arange(len(rows))
    return [
        fit.Split(
            "half" + "".join(str(fold) for fold in half),
            every[np.isin(folds, half)],
            every[~np.isin(folds, half)],
            epochs=config.fit.shared_epochs,
            low_epochs=config.fit.low_epochs,
            floor=config.fit.shared_floor,
        )
        for half in (table.folds[:middle], table.folds[middle:])
    ]


def splits(table: CaseTable, rows: NDArray[np.int64], config: TrainingConfig) -> list[fit.Split]:
    """One split a fold of the table, then the final one on everything.

    A fold starts from the half that has seen none of its women.
    """
    folds = np.array([table[row].fold for row in rows])
    every = np.arange(len(rows))
    shared = halves(table, rows, config)

    def begin(watch: NDArray[np.int64]) -> Path | None:
        apart = [half for half in shared if not np.isin(watch, half.fit).any()]
        return config.output / apart[0].name / WEIGHTS if apart and len(watch) else None

    def split(name: str, fitted: NDArray[np.int64], watch: NDArray[np.int64], start: Path | None) -> fit.Split:
        low = 0 if shared else config.fit.low_epochs
        return fit.Split(name, fitted, watch, config.fit.epochs, low, frozen=config.model.frozen, begin=start)

    made = [split(f"fold{k}", every[folds != k], every[folds == k], begin(every[folds == k])) for k in table.folds]
    start = config.output / shared[-1].name / WEIGHTS if shared else None
    return [*made, split(FINAL, every, every[:0], start)]


def train(config: TrainingConfig) -> Run:
    """Run a configuration to its end; call again after an interruption and it goes on.

    Parameters
    ----------
    config : TrainingConfig

    Returns
    -------
    Run

    Raises
    ------
    ConfigurationError
        If the data set is unknown or has no folds.
    TrainingDataError
        If the data are missing or wrong.
    """
    if config.data.dataset not in DATASETS:
        raise ConfigurationError(f"Unknown data set; known are: {', '.join(sorted(DATASETS))}.")
    table = DATASETS[config.data.dataset](config.data.folder)
    if not table.folds:
        raise ConfigurationError("This data set has no cross-validation folds.")
    inputs = cache.prepare(table, config.model.size, config.output / "cache")
    labels = np.array([table[row].malignant for row in inputs.rows], np.float32)
    *folds, final = splits(table, inputs.rows, config)
    for split in [*halves(table, inputs.rows, config), *folds]:
        _fit_one(config, inputs.images, labels, split)
    logits = np.full(len(labels), np.nan)
    for split in folds:
        logits[split.watch] = _score(config, inputs.images, split)
    if config.model.final == "refit":
        _fit_one(config, inputs.images, labels, final)
        average(config, _parts(config, final), config.output / FINAL / SCORED)
    else:
        average(config, [config.output / split.name / SCORED for split in folds], config.output / FINAL / SCORED)
    run = Run(config.output, table, inputs.rows, logits)
    _write_predictions(run)
    return run


def average(config: TrainingConfig, weights: Sequence[Path], target: Path) -> Any:
    """Write the mean of several models' weights.

    Models fitted from the same start stay in one basin, so their mean is a model too,
    and often a steadier one.

    Parameters
    ----------
    config : TrainingConfig
    weights : sequence of Path
    target : Path
        The file that is written.

    Returns
    -------
    keras.Model
        With the mean's weights.

    References
    ----------
    M. Wortsman et al., "Model soups", ICML 2022, arXiv:2203.05482.
    """
    from mammolens.models.efficientnet import build

    model = build(config.model.architecture, config.model.size, folded=True, dropout=0.0)
    total: list[NDArray[np.float64]] = []
    for path in weights:
        model.load_weights(path)
        values = [value.astype(np.float64) for value in model.get_weights()]
        total = values if not total else [a + b for a, b in zip(total, values, strict=True)]
    model.set_weights([(value / len(weights)).astype(np.float32) for value in total])
    target.parent.mkdir(parents=True, exist_ok=True)
    model.save_weights(target)
    return model


def _parts(config: TrainingConfig, split: fit.Split) -> list[Path]:
    """Weights that a split's model is the mean of: its own, and those it began with if so configured."""
    own = config.output / split.name / WEIGHTS
    return [split.begin, own] if config.model.average_phases and split.begin is not None else [own]


def _score(config: TrainingConfig, images: NDArray[np.uint8], split: fit.Split) -> NDArray[np.float32]:
    """Logits of the images that a fold holds out, shape (len(split.watch),); kept in ``logits.npy``."""
    path = config.output / split.name / "logits.npy"
    if not path.exists():
        model = average(config, _parts(config, split), config.output / split.name / SCORED)
        np.save(path, fit.predict(model, images, split.watch, looks=config.model.looks))
    logits: NDArray[np.float32] = np.load(path)
    return logits


def _fit_one(config: TrainingConfig, images: NDArray[np.uint8], labels: NDArray[np.float32], split: fit.Split) -> None:
    """Fit one split unless that is done; leaves its weights."""
    import keras

    folder = config.output / split.name
    if (folder / "done.json").exists():
        return
    keras.utils.clear_session()
    model = fit.run(config, images, labels, split, folder)
    model.save_weights(folder / WEIGHTS)
    state = {"digest": config.digest, "images": len(split.fit), "watched": len(split.watch)}
    (folder / "done.json").write_text(json.dumps(state), encoding="utf-8")


def _write_predictions(run: Run) -> None:
    """Write ``out_of_fold.csv``: one line per image, with the fold that scored it."""
    with (run.folder / "out_of_fold.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "woman", "breast", "view", "fold", "malignant", "logit"])
        for row, logit in zip(run.rows, run.logits, strict=True):
            case = run.table[row]
            writer.writerow(
                [case.path.name, case.woman, case.breast, case.view, case.fold, int(case.malignant), f"{logit:.6f}"]
            )
