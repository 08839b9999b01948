"""Which women a run may fit, and which it holds out: the protocol as code, and the refusals that keep it.

``folds``
    Cross-validation over all women of a data set that has no test part.
``official``
    The data set's own training part. Its test part is never opened here: it belongs to
    ``mammolens evaluate``. As published, but for pictures that stand in both parts.
``patient-clean``
    The same, without every woman of whom the test part holds a picture too.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets import Case, CaseTable
from mammolens.datasets.splits import patient_clean, shared_women
from mammolens.errors import ConfigurationError, TrainingDataError
from mammolens.training.grouping import folds_by_woman, set_aside
from mammolens.training.sections import DataConfig

_log = logging.getLogger(__name__)

FINAL = "final"
"""Name of the model that is shipped: refitted on all women, or made of the folds' models."""

_NOBODY = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Split:
    """Images to fit and images to watch, as indices into the inputs.

    Attributes
    ----------
    name : str
        For example ``fold1`` or ``final``.
    fit, watch : ndarray of int64
        ``watch`` may be empty; nothing is chosen by it, it is only reported.
    stop : ndarray of int64
        Taken from those to fit, and not fitted: their AUC says when to stop. Empty
        where a fit runs to its last epoch.
    """

    name: str
    fit: NDArray[np.int64]
    watch: NDArray[np.int64]
    stop: NDArray[np.int64] = field(default_factory=lambda: _NOBODY)


def training_part(table: CaseTable, data: DataConfig) -> CaseTable:
    """Images that a run may use, each with the fold that holds it out (None: none does).

    Parameters
    ----------
    table : CaseTable
        The whole data set.
    data : DataConfig

    Returns
    -------
    CaseTable

    Raises
    ------
    ConfigurationError
        If the protocol does not go with the data set.
    TrainingDataError
        If a class is missing, or there are too few women.
    """
    cases = list(table)
    if data.protocol == "folds":
        if tested := [case for case in cases if case.split == "test"]:
            raise ConfigurationError(
                f"This data set has an official test part (woman {tested[0].woman} is in it), which is not trained on. "
                'Set [data] protocol to "official" or "patient-clean".'
            )
        if not data.folds and not table.folds:
            raise ConfigurationError("This data set has no cross-validation folds. Set [data] folds, such as 5.")
    else:
        cases = _without_test(table, data.protocol == "patient-clean")
    _both_classes(cases, "The data set")
    women = [case.woman for case in cases]
    malignant = np.array([case.malignant for case in cases])
    if data.folds:
        folds = folds_by_woman(women, malignant, data.folds, data.fold_seed).tolist()
    elif data.protocol == "folds":
        folds = [case.fold for case in cases]
    else:
        held = set_aside(women, malignant, data.held_out, data.fold_seed)
        folds = [1 if each else None for each in held]
    return CaseTable(table.name, [replace(case, fold=fold) for case, fold in zip(cases, folds, strict=True)])


def _without_test(table: CaseTable, clean: bool) -> list[Case]:
    """Training part of a data set with official parts, without what the test part holds too."""
    fitted, tested = ([case for case in table if case.split == part] for part in ("train", "test"))
    if not fitted or not tested:
        raise ConfigurationError(
            'This data set has no official training and test part. Set [data] protocol to "folds".'
        )
    if clean:
        _log.info("%d women are in both parts; none of them is fitted.", len(shared_women(table)))
        return [case for case in patient_clean(table) if case.split == "train"]
    views = {_view(case) for case in tested}
    kept = [case for case in fitted if _view(case) not in views]
    _log.info("%d images that stand in the test part too were taken from the training part.", len(fitted) - len(kept))
    return kept


def _view(case: Case) -> tuple[str, ...]:
    """Name the view of a breast; a picture of which that is not known is a view of its own."""
    return (case.woman, case.laterality, case.view) if case.laterality and case.view else (str(case.path),)


def splits(table: CaseTable, rows: NDArray[np.int64], *, stop_share: float = 0.0, seed: int = 1) -> list[Split]:
    """One split a fold of the table, its women held out, then the final one on everything.

    Parameters
    ----------
    table : CaseTable
        As `training_part` gives it.
    rows : ndarray of int64, shape (N,)
        Row in ``table`` of each image.
    stop_share : float
        Share of the women of each split that is set aside to say when to stop; 0: none.
    seed : int
        Of their draw.

    Returns
    -------
    list of Split

    Raises
    ------
    TrainingDataError
        If a part is empty, or there are too few women to set any aside.
    """
    folds = np.array([-1 if (fold := table[row].fold) is None else fold for row in rows])
    every = np.arange(len(rows))
    made = [Split(f"fold{k}", every[folds != k], every[folds == k]) for k in table.folds]
    made.append(Split(FINAL, every, every[:0]))
    return [_with_stop(table, rows, split, stop_share, seed) for split in made] if stop_share else made


def _with_stop(table: CaseTable, rows: NDArray[np.int64], split: Split, share: float, seed: int) -> Split:
    cases = [table[row] for row in rows[split.fit]]
    malignant = np.array([case.malignant for case in cases])
    aside = set_aside([case.woman for case in cases], malignant, share, seed)
    return replace(split, fit=split.fit[~aside], stop=split.fit[aside])


def check(whole: CaseTable, table: CaseTable, rows: NDArray[np.int64], made: Sequence[Split], *, clean: bool) -> None:
    """Refuse a run that would fit what it is measured on, or could measure nothing.

    Parameters
    ----------
    whole : CaseTable
        The data set with its test part.
    table : CaseTable
        What is fitted.
    rows : ndarray of int64, shape (N,)
        Row in ``table`` of each image.
    made : sequence of Split
    clean : bool
        Whether a fitted woman may not be in the test part with another picture either.

    Raises
    ------
    TrainingDataError
        If a part is empty or of one class, or a woman is in two parts; the message
        names her, or the part.
    """
    tested = [case for case in whole if case.split == "test"]
    paths, views = {case.path for case in tested}, {_view(case) for case in tested}
    women = {case.woman for case in tested}
    for case in (table[row] for row in rows):
        if case.split == "test" or case.path in paths or (tested and _view(case) in views):
            raise TrainingDataError(
                f"An image of woman {case.woman}{_place(case)} is in the fitted part and in the official test part."
            )
        if clean and case.woman in women:
            raise TrainingDataError(f"Woman {case.woman}{_place(case)} is in the fitted part and in the test part.")
    for split in made:
        parts = {"fitted": split.fit, "held-out": split.watch, "stopping": split.stop}
        seen: dict[str, str] = {}
        for name, indices in parts.items():
            cases = [table[row] for row in rows[indices]]
            if (not cases and name == "stopping") or (not cases and name == "held-out" and split.name == FINAL):
                continue
            _both_classes(cases, f"The {name} part of {split.name}")
            for case in cases:
                if seen.setdefault(case.woman, name) != name:
                    raise TrainingDataError(
                        f"Woman {case.woman}{_place(case)} is in the {seen[case.woman]} and in the {name} part of "
                        f"{split.name}. Split by woman, not by image."
                    )


def _both_classes(cases: Sequence[Case], part: str) -> None:
    if not cases:
        raise TrainingDataError(f"{part} holds no image.")
    if len({case.malignant for case in cases}) == 1:
        kind, first = "malignant" if cases[0].malignant else "benign", cases[0]
        raise TrainingDataError(
            f"{part} holds {kind} images alone, the first of them of woman {first.woman}{_place(first)}. "
            "Nothing can be learned or measured there."
        )


def _place(case: Case) -> str:
    return f" ({case.provenance})" if case.provenance else ""
