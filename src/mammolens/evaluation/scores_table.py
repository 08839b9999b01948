"""Scores written as a table, and a table of scores given the names of its data set."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from mammolens.datasets import Case
from mammolens.errors import EvaluationError
from mammolens.evaluation.scores import COLUMNS, Scores, of_cases


def to_csv(scores: Scores) -> str:
    """Write scores as `from_csv` reads them, logits and probabilities to nine decimals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    extra = [] if scores.probabilities is None else ["probability"]
    writer.writerow([*COLUMNS, *extra, *scores.strata])
    for row in range(len(scores)):
        writer.writerow(
            [
                scores.files[row],
                scores.women[row],
                scores.breasts[row],
                scores.views[row],
                int(scores.folds[row]) or "",
                int(scores.labels[row]),
                f"{scores.logits[row]:.9f}",
                *([] if scores.probabilities is None else [f"{scores.probabilities[row]:.9f}"]),
                *(values[row] for values in scores.strata.values()),
            ]
        )
    return text.getvalue()


def joined(scores: Scores, cases: Sequence[Case]) -> Scores:
    """Give scores the names and strata of the data set that they are of.

    Parameters
    ----------
    scores : Scores
        Read from a table; its folds stay.
    cases : sequence of Case

    Returns
    -------
    Scores

    Raises
    ------
    EvaluationError
        If a picture is not in the data set, or has another woman or label there; the message names the row.
    """
    named = of_cases(cases, np.zeros(len(cases)))
    places = {str(name): place for place, name in enumerate(named.files)}
    names = Counter(case.path.name for case in cases)
    for place, case in enumerate(cases):
        if names[case.path.name] == 1:
            places.setdefault(case.path.name, place)
    rows = []
    for row, name in enumerate(scores.files):
        # Training names a picture from the data set's folder on, which may lie above the folder of all pictures.
        parts = PurePosixPath(str(name)).parts
        tails = (PurePosixPath(*parts[start:]).as_posix() for start in range(len(parts)))
        found_as = next((tail for tail in tails if tail in places), None)
        if found_as is None:
            raise EvaluationError(f"Row {row + 1} of the table of scores names a picture that the data set lacks.")
        place = places[found_as]
        if named.women[place] != scores.women[row] or named.labels[place] != scores.labels[row]:
            raise EvaluationError(
                f"Row {row + 1} of the table of scores has another woman or label than the data set, which says woman "
                f"{named.women[place]}. Use the scores of this data set."
            )
        rows.append(place)
    found = named.part(np.array(rows, np.intp))
    return replace(found, logits=scores.logits, folds=scores.folds, probabilities=scores.probabilities)
