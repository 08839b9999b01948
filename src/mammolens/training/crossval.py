"""A whole training run: every fold, then the model that is shipped, each resumable."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets import DATASETS, CaseTable
from mammolens.errors import ConfigurationError, TrainingError
from mammolens.evaluation.calibration import grouped_folds
from mammolens.training import cache, devices, fit, protocol
from mammolens.training.batches import Images
from mammolens.training.config import TrainingConfig
from mammolens.training.fit import WEIGHTS
from mammolens.training.networks import network
from mammolens.training.pairs import VIEW, PairedImages, pairs_of
from mammolens.training.protocol import FINAL, Split

SCORED = "scored.weights.h5"
"""Weights of the model that is measured, or shipped: those of a fit, or a mean of several."""


_SEEDS_APART = 100
"""Between a fit and the one that it goes on from: else it would see the same pictures in the same order again."""


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes
    ----------
    folder : Path
        Of the run.
    table : CaseTable
        The images that the protocol lets a run use, each with the fold that holds it out.
    rows : ndarray of int64, shape (N,)
        Row in ``table`` of each image that was held out.
    logits : ndarray of float64, shape (N,)
        Out-of-fold: each image scored by the one model that saw none of its woman.
    fitted : ndarray of int64, shape (M,)
        Row in ``table`` of each image that the shipped model was fitted on.
    weights : tuple of Path
        Weights of the shipped model: one file, or one for each network of an ensemble.
    """

    folder: Path
    table: CaseTable
    rows: NDArray[np.int64]
    logits: NDArray[np.float64]
    fitted: NDArray[np.int64]
    weights: tuple[Path, ...]

    @property
    def parts(self) -> NDArray[np.int64]:
        """Part of each held-out image, shape (N,): calibration is judged across parts.

        The folds; where there is one, five drawn from its women.
        """
        cases = [self.table[row] for row in self.rows]
        folds = np.array([case.fold for case in cases], np.int64)
        if len(np.unique(folds)) > 1:
            return folds
        return grouped_folds(np.array([case.woman for case in cases]), np.array([case.malignant for case in cases]))


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
        If the data set is unknown, or the protocol does not go with it.
    TrainingDataError
        If the data are missing or wrong, a part is empty or of one class, or the run
        would fit what it is measured on.
    TrainingError
        If the output folder holds fits of another configuration.
    """
    if config.data.dataset not in DATASETS:
        raise ConfigurationError(f"Unknown data set; known are: {', '.join(sorted(DATASETS))}.")
    whole = DATASETS[config.data.dataset](config.data.folder)
    done = _fits(config, whole, config.fit.seeds, refitted=config.model.refitted)
    logits = np.full(len(done.labels), np.nan)
    for split in done.folds:
        logits[split.watch] = _score(config, done.images, split, alone=len(done.folds) == 1)
    used = [done.final] if config.model.refitted else list(done.folds)
    weights = _shipped(config, used)
    held, fitted = (np.unique(np.concatenate(each)) for each in ([s.watch for s in done.folds], [s.fit for s in used]))
    run = Run(config.output, done.table, done.rows[held], logits[held], done.rows[fitted], weights)
    _write_predictions(run, config.data.folder)
    return run


@dataclass(frozen=True, slots=True)
class _Fits:
    """What the fits of a configuration were made of."""

    table: CaseTable
    images: Images
    rows: NDArray[np.int64]
    labels: NDArray[np.float32]
    folds: tuple[Split, ...]
    final: Split


def _fits(config: TrainingConfig, whole: CaseTable, seeds: Sequence[int], *, refitted: bool) -> _Fits:
    """Do every fit of a configuration, after those of the configuration that it goes on from."""
    if config.after is not None:
        _fits(config.after, whole, seeds, refitted=refitted)
    table, images, rows = _inputs(config, whole)
    cases = [table[row] for row in rows]
    labels = np.array([case.malignant for case in cases], np.float32)
    *folds, final = _splits(config, whole, table, rows)
    devices.spread(config.fit.batch_size)
    for splits in (folds, [final] if refitted else []):
        for seed in seeds:
            for split in splits:
                before = _folder(config.after, split, seed) if config.after is not None else None
                folder, draw = _folder(config, split, seed), seed + _SEEDS_APART * config.generation
                _fit_one(fit.Fit(config, images, labels, split, folder, draw, cases, before))
    return _Fits(table, images, rows, labels, tuple(folds), final)


def _inputs(config: TrainingConfig, whole: CaseTable) -> tuple[CaseTable, Images, NDArray[np.int64]]:
    """Give what may be fitted, its images, and the row of each; of pairs, a row stands for both views."""
    table = protocol.training_part(whole, config.data)
    inputs = cache.prepare(table, config.model.size, config.output / "cache")
    if config.model.views == 1:
        return table, inputs.images, inputs.rows
    # Before the views are one: the check goes by view.
    _splits(config, whole, table, inputs.rows)
    cases = [table[row] for row in inputs.rows]
    pairs = pairs_of(cases)
    made = [replace(cases[a], view=VIEW, malignant=cases[a].malignant or cases[b].malignant) for a, b in pairs]
    return CaseTable(table.name, made), PairedImages(inputs.images, pairs), np.arange(len(pairs))


def _splits(config: TrainingConfig, whole: CaseTable, table: CaseTable, rows: NDArray[np.int64]) -> list[Split]:
    aside = config.fit.stop_share if config.fit.patience else 0.0
    made = protocol.splits(table, rows, stop_share=aside, seed=config.data.fold_seed)
    protocol.check(whole, table, rows, made, clean=config.data.protocol == "patient-clean")
    return made


def _shipped(config: TrainingConfig, used: Sequence[Split]) -> tuple[Path, ...]:
    """Weights of the model that is shipped, made of the fits of some splits."""
    parts = [config.output / split.name / SCORED for split in used] if len(used) > 1 else _parts(config, used[0])
    if config.model.members:
        return tuple(parts)
    average(config, parts, config.output / FINAL / SCORED)
    return (config.output / FINAL / SCORED,)


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
    model = network(config, config.model.size)
    total: list[NDArray[np.float64]] = []
    for path in weights:
        model.load_weights(path)
        values = [value.astype(np.float64) for value in model.get_weights()]
        total = values if not total else [a + b for a, b in zip(total, values, strict=True)]
    model.set_weights([(value / len(weights)).astype(np.float32) for value in total])
    target.parent.mkdir(parents=True, exist_ok=True)
    model.save_weights(target)
    return model


def _parts(config: TrainingConfig, split: Split) -> list[Path]:
    """Weights of a split's fits, one for each seed."""
    return [_folder(config, split, seed) / WEIGHTS for seed in config.fit.seeds]


def _folder(config: TrainingConfig, split: Split, seed: int) -> Path:
    return config.output / f"{split.name}-seed{seed}"


def _score(config: TrainingConfig, images: Images, split: Split, *, alone: bool) -> NDArray[np.float32]:
    """Logits of the images that a split holds out, shape (len(split.watch),); kept beside its weights.

    They are those of the mean of its fits' weights; where an ensemble of the fits is
    shipped, the mean of their logits, as the ensemble will give it.
    """
    looks, final = config.model.looking, config.model.final
    apart = final == "refit-ensemble" or (alone and final == "ensemble")
    again = "-{}x{}".format(*looks.second_size) if looks.second_size else ""
    seeds = "-".join(map(str, config.fit.seeds))
    name = f"logits-{'ensemble-' if apart else ''}looks{config.model.looks}{again}-seeds{seeds}.npy"
    path = config.output / split.name / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        parts = _parts(config, split)
        groups = [[part] for part in parts] if apart else [parts]
        models = (average(config, group, path.with_name(SCORED)) for group in groups)
        at = partial(network, config)
        np.save(path, np.mean([fit.predict(model, images, split.watch, looks, at) for model in models], axis=0))
    logits: NDArray[np.float32] = np.load(path)
    return logits


def _fit_one(asked: fit.Fit) -> None:
    """Fit one split with one seed unless that is done; leaves its weights."""
    import keras

    digest, split = asked.config.digest, asked.split
    done = asked.folder / "done.json"
    if done.exists():
        if json.loads(done.read_text(encoding="utf-8"))["digest"] != digest:
            raise TrainingError("The run folder holds fits of another configuration; give another output.")
        return
    keras.utils.clear_session()
    model = fit.run(asked)
    model.save_weights(asked.folder / WEIGHTS)
    state = {"digest": digest, "seed": asked.seed, "images": len(split.fit), "watched": len(split.watch)}
    done.write_text(json.dumps(state), encoding="utf-8")


def _write_predictions(run: Run, folder: Path) -> None:
    """Write ``out_of_fold.csv``: one line per held-out image, with the fold that scored it and its strata."""
    cases = [run.table[row] for row in run.rows]
    strata = sorted({name for case in cases for name in case.strata})
    with (run.folder / "out_of_fold.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "woman", "breast", "view", "fold", "malignant", "logit", *strata])
        for case, logit in zip(cases, run.logits, strict=True):
            # A name alone need not be unique: whole archives are named 1-1.dcm.
            inside = case.path.is_relative_to(folder)
            name = case.path.relative_to(folder).as_posix() if inside else case.path.name
            row = [name, case.woman, case.breast, case.view, case.fold, int(case.malignant), f"{logit:.6f}"]
            writer.writerow([*row, *(case.strata.get(stratum, "") for stratum in strata)])
