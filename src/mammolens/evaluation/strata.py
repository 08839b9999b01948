"""What divides pictures into groups that figures are given for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets import Abnormality, Case

LESION = ("lesion", "size", "subtlety")
"""Groups by what the lesion is: a picture without a lesion has no value of them."""

AGES = (50, 60, 70)
"""Where the bands of age part, years."""

SIZES = 3
"""Bands of size, of like many lesions."""


def strata_of(cases: Sequence[Case]) -> dict[str, NDArray[np.str_]]:
    """Gather what the cases are divided by.

    Parameters
    ----------
    cases : sequence of Case

    Returns
    -------
    dict of str to ndarray of str, shape (N,)
        The cases' own strata (age in bands), ``density``, and of the lesions ``lesion`` (kinds, joined by ``+``),
        ``size`` (thirds of the largest diameter that a circle or box says, in source pixels) and ``subtlety`` (of the
        one that is easiest to see). An unknown value is empty; what is unknown everywhere is left out.
    """
    names = sorted({name for case in cases for name in case.strata})
    columns: dict[str, list[str]] = {name: [case.strata.get(name, "") for case in cases] for name in names}
    if "age" in columns:
        columns["age"] = [age_band(value) for value in columns["age"]]
    if any(case.density for case in cases):
        columns["density"] = [case.density for case in cases]
    columns["lesion"] = ["+".join(sorted({found.kind for found in _decisive(case)})) for case in cases]
    columns["size"] = _thirds([_diameter(case) for case in cases])
    columns["subtlety"] = [
        str(max((found.subtlety for found in _decisive(case) if found.subtlety), default="")) for case in cases
    ]
    return {name: np.array(values, np.str_) for name, values in columns.items() if any(values)}


def _decisive(case: Case) -> list[Abnormality]:
    """Lesions that decide a case's label: the malignant ones of a malignant case, else all."""
    malignant = [found for found in case.abnormalities if found.pathology == "malignant"]
    return malignant if case.malignant and malignant else list(case.abnormalities)


def age_band(value: str) -> str:
    """Band of an age in years, empty where it is no number.

    Examples
    --------
    >>> age_band("65.0")
    '60–69'
    """
    try:
        age = float(value)
    except ValueError:
        return ""
    if not age < AGES[-1]:
        return f"≥ {AGES[-1]}" if age >= AGES[-1] else ""
    upper = next(limit for limit in AGES if age < limit)
    return f"< {upper}" if upper == AGES[0] else f"{upper - 10}–{upper - 1}"


def _diameter(case: Case) -> float:
    """Largest extent of the deciding lesions, source pixels; NaN where no circle or box says it."""
    found = []
    for lesion in _decisive(case):
        outline = lesion.outline
        if outline is not None and outline.circle is not None:
            found.append(2.0 * outline.circle[2])
        elif outline is not None and outline.box is not None:
            x0, y0, x1, y1 = outline.box
            found.append(max(x1 - x0, y1 - y0))
    return max(found, default=float("nan"))


def _thirds(values: list[float]) -> list[str]:
    """Name the third that each value falls in, with its borders; empty for NaN."""
    known = np.array([value for value in values if value == value])
    if len(known) < SIZES:
        return [""] * len(values)
    low, high = (float(border) for border in np.percentile(known, (100 / 3, 200 / 3)))
    names = (f"1: up to {low:.0f} px", f"2: to {high:.0f} px", f"3: above {high:.0f} px")
    return ["" if value != value else names[int(value > low) + int(value > high)] for value in values]


def contrast(name: str, values: NDArray[np.str_], value: str, labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Pictures that a group's figure is made of.

    Parameters
    ----------
    name : str
        Of what divides them.
    values : ndarray of str, shape (N,)
    value : str
        Of the group.
    labels : ndarray, shape (N,)
        1: malignant.

    Returns
    -------
    ndarray of bool, shape (N,)
        Those of the group. Where the group is a lesion's and some benign pictures have no lesion, all benign pictures
        are taken: a kind of cancer is then told from everything that is none.
    """
    inside: NDArray[np.bool_] = values == value
    benign: NDArray[np.bool_] = np.asarray(labels) < 0.5
    return inside | benign if name in LESION and bool((values[benign] == "").any()) else inside
