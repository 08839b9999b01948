"""Official parts of a case table: as published, and without the women that both parts hold."""

from __future__ import annotations

from collections.abc import Iterable

from mammolens.datasets.table import Case, CaseTable
from mammolens.errors import TrainingDataError

PROTOCOLS = ("official", "patient-clean")
"""``official``: the parts as published. ``patient-clean``: women of the test part are not trained on."""


def shared_women(cases: Iterable[Case]) -> tuple[str, ...]:
    """Women who stand in the training part and in the test part.

    Parameters
    ----------
    cases : iterable of Case

    Returns
    -------
    tuple of str
        Sorted.
    """
    parts: dict[str, set[str]] = {"train": set(), "test": set(), "": set()}
    for case in cases:
        parts[case.split].add(case.woman)
    return tuple(sorted(parts["train"] & parts["test"]))


def patient_clean(table: CaseTable) -> CaseTable:
    """Take the women that both parts share out of the training part; the test part stays whole.

    Parameters
    ----------
    table : CaseTable

    Returns
    -------
    CaseTable
        In the same order; checked to hold no woman in both parts.

    Raises
    ------
    TrainingDataError
        If the data set has no official parts, or none is left to train on.
    """
    if not any(case.split == "train" for case in table):
        raise TrainingDataError("This data set has no official training part, so there is nothing to make clean.")
    shared = set(shared_women(table))
    kept = [case for case in table if case.split != "train" or case.woman not in shared]
    if not any(case.split == "train" for case in kept):
        raise TrainingDataError("Every woman of the training part is in the test part too; none is left to train on.")
    return CaseTable(table.name, kept)


def by_protocol(table: CaseTable, protocol: str) -> CaseTable:
    """Give the table of a protocol.

    Parameters
    ----------
    table : CaseTable
    protocol : {"official", "patient-clean"}

    Returns
    -------
    CaseTable

    Raises
    ------
    TrainingDataError
        If there is no such protocol, or the table can't be made.
    """
    if protocol not in PROTOCOLS:
        raise TrainingDataError(f"Unknown protocol; known are: {', '.join(PROTOCOLS)}.")
    return table if protocol == "official" else patient_clean(table)
