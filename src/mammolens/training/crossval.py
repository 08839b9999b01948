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
from mammolens.errors import ConfigurationError, TrainingError
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


def splits(table: CaseTable, rows: NDArray[np.int64]) -> list[fit.Split]:
    """One split a fold of the table, its women held out, then the final one on everything.

    Parameters
    ----------
    table : CaseTable
    rows : ndarray of int64, shape (N,)
        Row in ``table`` of each image.

    Returns
    -------
    list of Split
    """
    folds = np.array([table[row].fold for row in rows])
    every = np.arange(len(rows))
    made = [fit.Split(f"fold{k}", every[folds != k], every[folds == k]) for k in table.folds]
    return [*made, fit.Split(FINAL, every, every[:0])]


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
    TrainingError
        If the output folder holds fits of another configuration.
    """
    if config.data.dataset not in DATASETS:
        raise ConfigurationError(f"Unknown data set; known are: {', '.join(sorted(DATASETS))}.")
    table = DATASETS[config.data.dataset](config.data.folder)
    if not table.folds:
        raise ConfigurationError("This data set has no cross-validation folds.")
    inputs = cache.prepare(table, config.model.size, config.output / "cache")
    labels = np.array([table[row].malignant for row in inputs.rows], np.float32)
    *folds, final = splits(table, inputs.rows)
    for seed in config.fit.seeds:
        for split in folds:
            _fit_one(config, inputs.images, labels, split, seed)
    logits = np.full(len(labels), np.nan)
    for split in folds:
        logits[split.watch] = _score(config, inputs.images, split)
    if config.model.final == "refit":
        for seed in config.fit.seeds:
            _fit_one(config, inputs.images, labels, final, seed)
        parts = _parts(config, final)
    else:
        parts = [config.output / split.name / SCORED for split in folds]
    average(config, parts, config.output / FINAL / SCORED)
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
    """Weights of a split's fits, one for each seed."""
    return [_folder(config, split, seed) / WEIGHTS for seed in config.fit.seeds]


def _folder(config: TrainingConfig, split: fit.Split, seed: int) -> Path:
    return config.output / f"{split.name}-seed{seed}"


def _score(config: TrainingConfig, images: NDArray[np.uint8], split: fit.Split) -> NDArray[np.float32]:
    """Logits of the images that a fold holds out, shape (len(split.watch),); kept in ``logits.npy``."""
    path = config.output / split.name / "logits.npy"
    if not path.exists():
        model = average(config, _parts(config, split), path.with_name(SCORED))
        np.save(path, fit.predict(model, images, split.watch, looks=config.model.looks))
    logits: NDArray[np.float32] = np.load(path)
    return logits


def _fit_one(
    config: TrainingConfig, images: NDArray[np.uint8], labels: NDArray[np.float32], split: fit.Split, seed: int
) -> None:
    """Fit one split with one seed unless that is done; leaves its weights."""
    import keras

    folder = _folder(config, split, seed)
    done = folder / "done.json"
    if done.exists():
        if json.loads(done.read_text(encoding="utf-8"))["digest"] != config.digest:
            raise TrainingError("The run folder holds fits of another configuration; give another output.")
        return
    keras.utils.clear_session()
    model = fit.run(config, images, labels, split, folder, seed)
    model.save_weights(folder / WEIGHTS)
    state = {"digest": config.digest, "seed": seed, "images": len(split.fit), "watched": len(split.watch)}
    done.write_text(json.dumps(state), encoding="utf-8")


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
