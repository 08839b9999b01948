"""Scores: what a model gave for each picture of a data set, with its label and its woman."""

from __future__ import annotations

import copy
import csv
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets import Case
from mammolens.errors import EvaluationError, MammolensError
from mammolens.evaluation.calibration import apply
from mammolens.evaluation.strata import strata_of

if TYPE_CHECKING:
    from mammolens.inference import Predictor

COLUMNS = ("file", "woman", "breast", "view", "fold", "malignant", "logit")
"""Columns that a table of scores must have; ``probability`` may follow, every other one divides the pictures."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of pictures, as arrays of equal length, checked when made.

    Attributes
    ----------
    labels : ndarray of bool, shape (N,)
        True: malignant.
    logits : ndarray of float64, shape (N,)
        As the network gives them, not calibrated.
    probabilities : ndarray of float64, shape (N,), or None
        Calibrated, 0 to 1; None where nobody calibrated them.
    women, breasts, views : ndarray of str, shape (N,)
        Identifiers; an empty view is unknown.
    folds : ndarray of int64, shape (N,)
        Fold of the woman, 0 where there is none.
    strata : mapping of str to ndarray of str, shape (N,)
        What divides the pictures into groups; empty values are unknown.
    files : ndarray of str, shape (N,)
        Name of each picture within its data set.
    refused : mapping of str to int
        Pictures without an answer, by the error's code.

    Raises
    ------
    EvaluationError
        If nothing is scored, a length differs, a score is no number, a picture stands twice, a woman is in two
        folds, or a breast belongs to two women; the message names the row or the woman.
    """

    labels: NDArray[np.bool_]
    logits: NDArray[np.float64]
    women: NDArray[np.str_]
    breasts: NDArray[np.str_]
    views: NDArray[np.str_]
    folds: NDArray[np.int64]
    files: NDArray[np.str_]
    probabilities: NDArray[np.float64] | None = None
    strata: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the arrays against each other."""
        count = len(self.labels)
        if not count:
            raise EvaluationError("No picture is scored. Check the data set's folder, or the table of scores.")
        if any(len(column) != count for column in self._columns()):
            raise EvaluationError("Labels, scores and names of the pictures differ in number.")
        if len(bad := np.flatnonzero(~np.isfinite(self.logits))):
            raise EvaluationError(f"Row {bad[0] + 1} has a score that is no number.")
        p = self.probabilities
        if p is not None and len(bad := np.flatnonzero(~((p >= 0.0) & (p <= 1.0)))):
            raise EvaluationError(f"Row {bad[0] + 1} has a probability that is not from 0 to 1.")
        if twice := _first_repeated(self.files):
            raise EvaluationError(f"Row {twice} holds a picture that stands in the scores already.")
        for name, owner, what in (
            ("woman", self.women, self.folds),
            ("breast", self.breasts, self.women),
        ):
            if (found := _first_split(owner, what)) is not None:
                where = "two folds" if name == "woman" else "two women"
                raise EvaluationError(f"{name.capitalize()} {owner[found]} is in {where} (row {found + 1}).")

    def _columns(self) -> list[NDArray[Any]]:
        columns = [self.logits, self.women, self.breasts, self.views, self.folds, self.files, *self.strata.values()]
        return columns if self.probabilities is None else [*columns, self.probabilities]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.labels)

    def part(self, rows: NDArray[Any]) -> Scores:
        """Give some of the pictures: ``rows`` is a mask or indices."""
        names = {f.name for f in fields(self)} - {"strata", "refused", "probabilities"}
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in names},
            probabilities=None if self.probabilities is None else self.probabilities[rows],
            strata={name: values[rows] for name, values in self.strata.items()},
        )

    def needs_both_classes(self, what: str = "The pictures") -> None:
        """Refuse scores of one class.

        Raises
        ------
        EvaluationError
            If all pictures are malignant, or none is.
        """
        malignant = int(self.labels.sum())
        if not 0 < malignant < len(self):
            only = "malignant" if malignant else "benign"
            raise EvaluationError(
                f"{what} are of one class: all {len(self)} are {only}. An evaluation needs both; check the labels."
            )

    def needs_folds(self, folds: Iterable[int]) -> None:
        """Refuse scores of which a fold is missing.

        Parameters
        ----------
        folds : iterable of int
            Those that must occur.

        Raises
        ------
        EvaluationError
            If a fold is empty.
        """
        for fold in folds:
            if not bool((self.folds == fold).any()):
                raise EvaluationError(f"Fold {fold} is empty: no picture of it is scored.")

    @property
    def sha256(self) -> str:
        """Hash of what the figures are made of: names, labels, folds, and scores to six decimals."""
        digest = hashlib.sha256()
        for row in zip(self.files, self.women, self.breasts, self.labels, self.folds, self.logits, strict=True):
            *names, label, fold, logit = row
            digest.update(repr((*map(str, names), bool(label), int(fold), f"{logit:.6f}")).encode())
        return digest.hexdigest()


def _first_repeated(values: NDArray[np.str_]) -> int | None:
    """Row, from 1, of the first value that has stood before."""
    _, first = np.unique(values, return_index=True)
    repeated = np.setdiff1d(np.arange(len(values)), first)
    return int(repeated[0]) + 1 if len(repeated) else None


def _first_split(owners: NDArray[np.str_], values: NDArray[Any]) -> int | None:
    """Index of the first row whose owner has stood with another value; None where each keeps to one."""
    seen: dict[str, Any] = {}
    for row, (owner, value) in enumerate(zip(owners, values, strict=True)):
        if seen.setdefault(owner, value) != value:
            return row
    return None


def from_csv(path: Path) -> Scores:
    """Read the table that training writes as ``out_of_fold.csv``, or one of one's own.

    Parameters
    ----------
    path : Path
        CSV in UTF-8 with the columns of `COLUMNS`; ``probability`` may follow, and each further column divides the
        pictures into groups.

    Returns
    -------
    Scores
        In the order of the table.

    Raises
    ------
    EvaluationError
        If it can't be read, lacks a column, or holds a wrong value; the message names the column or the row.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError("The table of scores can't be read. Save it as CSV in UTF-8.") from error
    if missing := [name for name in COLUMNS if name not in names]:
        raise EvaluationError(f"The table of scores lacks the columns: {', '.join(missing)}.")
    for number, row in enumerate(rows, 1):
        _check(number, row)
    strata = [name for name in names if name not in (*COLUMNS, "probability")]
    return Scores(
        labels=np.array([row["malignant"].strip() == "1" for row in rows], np.bool_),
        logits=np.array([row["logit"] for row in rows], np.float64),
        probabilities=np.array([row["probability"] for row in rows], np.float64) if "probability" in names else None,
        women=_text(row["woman"] for row in rows),
        breasts=_text(row["breast"] for row in rows),
        views=_text(row["view"] for row in rows),
        folds=np.array([row["fold"] or 0 for row in rows], np.int64),
        files=_text(row["file"] for row in rows),
        strata={name: _text(row[name] for row in rows) for name in strata},
    )


def _check(number: int, row: dict[str, Any]) -> None:
    """Refuse a row that is no row of scores."""
    if None in row or None in row.values():
        raise EvaluationError(f"Row {number} of the table of scores has more or fewer values than columns.")
    if not row["woman"] or not row["breast"] or not row["file"]:
        raise EvaluationError(f"Row {number} of the table of scores names no file, woman or breast.")
    if row["malignant"].strip() not in ("0", "1"):
        raise EvaluationError(f"Row {number} of the table of scores: malignant is neither 0 nor 1.")
    for name, kind in (("logit", float), ("fold", int), ("probability", float)):
        if name == "fold" and not row[name]:
            continue
        try:
            kind(row.get(name, "0"))
        except ValueError:
            raise EvaluationError(f"Row {number} of the table of scores: {name} is no number.") from None


def _text(values: Any) -> NDArray[np.str_]:
    return np.array(list(values), np.str_)


class Kept(Protocol):
    """Where scores are kept between runs; see `mammolens.evaluation.kept.KeptScores`."""

    def get(self, case: Case) -> float | None:
        """Logit; None where it is not known."""

    def put(self, case: Case, found: float) -> None:
        """Keep a logit."""


def by_predictor(
    table: Sequence[Case],
    predictor: Predictor,
    *,
    kept: Kept | None = None,
    jobs: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> Scores:
    """Score the pictures of a data set by the road that serves.

    Parameters
    ----------
    table : sequence of Case
        A case table, or some of its cases.
    predictor : Predictor
    kept : Kept, optional
        Scores of an earlier run: what it holds is not computed again.
    jobs : int
        Pictures in work at a time.
    advance : callable
        Called after each picture.

    Returns
    -------
    Scores
        Without the pictures that got no answer; they are counted in ``refused``. Logits are the network's own;
        probabilities are by the bundle's calibration, None where it has none.

    Raises
    ------
    BundleError, ConfigurationError, EngineUnavailable
        If nothing can be scored at all.
    EvaluationError
        If every picture was refused; the message has the codes.
    """
    found: dict[int, float | str] = {}
    for row, case in enumerate(table):
        if kept is not None and (known := kept.get(case)) is not None:
            found[row] = known
            advance()
    missing = [row for row in range(len(table)) if row not in found]
    answers = _uncalibrated(predictor).predict_many((table[row].path for row in missing), jobs=jobs)
    for row, answer in zip(missing, answers, strict=True):
        found[row] = answer.code if isinstance(answer, MammolensError) else answer.logit
        if kept is not None and not isinstance(answer, MammolensError):
            kept.put(table[row], answer.logit)
        advance()
    rows = [row for row in range(len(table)) if not isinstance(found[row], str)]
    refused = Counter(value for value in found.values() if isinstance(value, str))
    if not rows:
        codes = ", ".join(f"{code} {count}" for code, count in sorted(refused.items()))
        raise EvaluationError(f"No picture of the data set got an answer ({codes}).")
    scores = of_cases([table[row] for row in rows], np.array([found[row] for row in rows], np.float64))
    calibration = predictor.bundle.manifest.calibration
    probabilities = None if calibration is None else apply(calibration, scores.logits)
    return replace(scores, probabilities=probabilities, refused=dict(sorted(refused.items())))


def _uncalibrated(predictor: Predictor) -> Predictor:
    """Give the same predictor without its calibration, so that it answers with the network's own logit."""
    bare = copy.copy(predictor)
    manifest = predictor.bundle.manifest.model_copy(update={"calibration": None})
    bare.bundle = replace(predictor.bundle, manifest=manifest)
    return bare


def of_cases(cases: Sequence[Case], logits: NDArray[np.float64]) -> Scores:
    """Scores of cases whose logits are known, not calibrated.

    Parameters
    ----------
    cases : sequence of Case
    logits : ndarray of float64, shape (N,)

    Returns
    -------
    Scores
        Files are named relative to the deepest folder that holds them all.
    """
    base = os.path.commonpath([case.path.parent for case in cases]) if cases else ""
    return Scores(
        labels=np.array([case.malignant for case in cases], np.bool_),
        logits=np.asarray(logits, np.float64),
        women=_text(case.woman for case in cases),
        breasts=_text(case.breast for case in cases),
        views=_text(case.view for case in cases),
        folds=np.array([case.fold or 0 for case in cases], np.int64),
        files=_text(case.path.relative_to(base).as_posix() for case in cases),
        strata=strata_of(cases),
    )
