"""A picture of a sample: mammograms side by side with their lesions' outlines and labels."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.datasets import outlines
from mammolens.datasets.table import Case, CaseTable
from mammolens.errors import InputError
from mammolens.imaging.display import render

CELL = 360
"""Longest side of one mammogram in the picture, pixels."""

_CAPTION = 40
_COLOURS = {True: (255, 96, 80), False: (96, 200, 255)}
_INK = (235, 235, 235)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def choose(table: CaseTable, most: int, seed: int = 0) -> list[Case]:
    """Draw cases at random, as many malignant as others while there are both; those with outlines first.

    Parameters
    ----------
    table : CaseTable
    most : int
    seed : int

    Returns
    -------
    list of Case
        Whose files are there, in the order of the table.
    """
    rng = np.random.default_rng(seed)
    there = [row for row, case in enumerate(table) if case.path.is_file()]
    parts = [[row for row in there if table[row].malignant == malignant] for malignant in (True, False)]
    drawn: list[list[int]] = []
    for part in parts:
        mixed = [part[i] for i in rng.permutation(len(part))]
        drawn.append(sorted(mixed, key=lambda row: not any(a.outline for a in table[row].abnormalities)))
    half = max(most // 2, most - len(drawn[1]))
    chosen = drawn[0][:half]
    chosen += drawn[1][: most - len(chosen)]
    return [table[row] for row in sorted(chosen)]


def grid(cases: Sequence[Case]) -> NDArray[np.uint8]:
    """Draw cases beside each other.

    Parameters
    ----------
    cases : sequence of Case
        At least one.

    Returns
    -------
    ndarray of uint8, shape (h, w, 3)
        RGB. Outlines of malignant lesions are red, others blue; below each mammogram stand
        the woman's pseudonym, side, view, part and label, or the error's code where it
        can't be read.
    """
    across = int(np.ceil(np.sqrt(len(cases))))
    canvas = np.full((-(-len(cases) // across) * (CELL + _CAPTION), across * CELL, 3), 16, np.uint8)
    for number, case in enumerate(cases):
        top, left = number // across * (CELL + _CAPTION), number % across * CELL
        _draw(canvas[top : top + CELL + _CAPTION, left : left + CELL], case)
    return canvas


def _draw(cell: NDArray[np.uint8], case: Case) -> None:
    words = "malignant" if case.malignant else "not malignant"
    try:
        picture = _picture(case)
    except InputError as error:
        words = error.code
    else:
        cell[: picture.shape[0], : picture.shape[1]] = picture
    _write(cell, " ".join(filter(None, (case.woman, case.laterality, case.view, case.split))), CELL + 16)
    _write(cell, words, CELL + 33)


def _picture(case: Case) -> NDArray[np.uint8]:
    rendered = render(case.path)
    rows, columns = rendered.shape
    scale = CELL / max(rows, columns)
    shape = max(1, round(rows * scale)), max(1, round(columns * scale))
    grey = cv2.resize(rendered, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    for abnormality in case.abnormalities:
        if abnormality.outline is None:
            continue
        inside = outlines.inside(abnormality.outline, rows, columns, shape)
        lines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        malignant = abnormality.pathology == "malignant" or (not abnormality.pathology and case.malignant)
        cv2.polylines(picture, lines, True, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.polylines(picture, lines, True, _COLOURS[malignant], 1, cv2.LINE_AA)
    return np.asarray(picture, np.uint8)


def _write(cell: NDArray[np.uint8], text: str, baseline: int) -> None:
    shown = text.encode("ascii", "replace").decode()
    cv2.putText(cell, shown, (6, baseline), _FONT, 0.42, _INK, 1, cv2.LINE_AA)
