"""What a case table holds, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from mammolens.datasets.splits import shared_women
from mammolens.datasets.table import Case


@dataclass(frozen=True, slots=True)
class Counts:
    """Figures of a case table.

    Attributes
    ----------
    images, malignant_images, women : int
    parts : dict of str to int
        Images of each official part; empty where there is none.
    views : int
        Distinct views (woman, side, view) within their part.
    twice : int
        Images of a view that an earlier image of the same part shows too: ``images - views``.
    abnormalities : int
    pathologies : dict of str to int
        Abnormalities by pathology.
    shared : int
        Women in both official parts.
    shared_within : dict of str to int
        The same within each lesion type alone, where the data set has such parts.
    """

    images: int
    malignant_images: int
    women: int
    parts: dict[str, int]
    views: int
    twice: int
    abnormalities: int
    pathologies: dict[str, int]
    shared: int
    shared_within: dict[str, int]


def count(cases: Iterable[Case]) -> Counts:
    """Count what a case table holds.

    Parameters
    ----------
    cases : iterable of Case

    Returns
    -------
    Counts
    """
    held = list(cases)
    views = {(case.split, case.woman, case.laterality, case.view) for case in held}
    kinds = sorted({case.strata["lesion"] for case in held if "lesion" in case.strata})
    lesions = [abnormality for case in held for abnormality in case.abnormalities]
    return Counts(
        images=len(held),
        malignant_images=sum(case.malignant for case in held),
        women=len({case.woman for case in held}),
        parts=dict(sorted(Counter(case.split for case in held if case.split).items())),
        views=len(views),
        twice=len(held) - len(views),
        abnormalities=len(lesions),
        pathologies=dict(sorted(Counter(lesion.pathology for lesion in lesions if lesion.pathology).items())),
        shared=len(shared_women(held)),
        shared_within={
            kind: len(shared_women(case for case in held if case.strata.get("lesion") == kind)) for kind in kinds
        },
    )
