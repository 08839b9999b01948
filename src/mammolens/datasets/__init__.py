"""Public data sets: each a function from a folder to a case table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mammolens.datasets import cbis_ddsm, labelled, rsna640
from mammolens.datasets.table import Abnormality, Case, CaseTable, Outline

DATASETS: dict[str, Callable[[Path], CaseTable]] = {
    "cbis-ddsm": cbis_ddsm.load,
    "labelled": labelled.load,
    "rsna-640": rsna640.load,
}
"""Name of a data set and the function that reads it."""

TERMS: dict[str, str] = {
    "cbis-ddsm": cbis_ddsm.TERMS,
    "labelled": labelled.TERMS,
    "rsna-640": rsna640.TERMS,
}
"""Terms of use of each data set; a model trained on it carries them."""

__all__ = ["DATASETS", "TERMS", "Abnormality", "Case", "CaseTable", "Outline"]
