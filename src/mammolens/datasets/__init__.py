"""Public data sets: each a function from a folder to a case table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mammolens.datasets import cbis_ddsm, cmmd, inbreast, labelled, mini_mias, rsna640, rsna2022, vindr_mammo
from mammolens.datasets.table import Abnormality, Case, CaseTable, Outline

_SETS: dict[str, tuple[Callable[[Path], CaseTable], str]] = {
    "cbis-ddsm": (cbis_ddsm.load, cbis_ddsm.TERMS),
    "cmmd": (cmmd.load, cmmd.TERMS),
    "inbreast": (inbreast.load, inbreast.TERMS),
    "labelled": (labelled.load, labelled.TERMS),
    "mini-mias": (mini_mias.load, mini_mias.TERMS),
    "rsna-2022": (rsna2022.load, rsna2022.TERMS),
    "rsna-640": (rsna640.load, rsna640.TERMS),
    "vindr-mammo": (vindr_mammo.load, vindr_mammo.TERMS),
}

DATASETS: dict[str, Callable[[Path], CaseTable]] = {name: load for name, (load, _) in _SETS.items()}
"""Name of a data set and the function that reads it."""

TERMS: dict[str, str] = {name: terms for name, (_, terms) in _SETS.items()}
"""Terms of use of each data set; a model trained on it carries them."""

__all__ = ["DATASETS", "TERMS", "Abnormality", "Case", "CaseTable", "Outline"]
