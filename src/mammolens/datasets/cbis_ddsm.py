"""CBIS-DDSM: film mammograms with lesions, their pathology and outlines; CC BY 3.0."""

from __future__ import annotations

from pathlib import Path

from mammolens.datasets.cbis_tables import Picture, pictures
from mammolens.datasets.table import Abnormality, Case, CaseTable

TERMS = "CBIS-DDSM (doi:10.7937/K9/TCIA.2016.7O02S9CY), CC BY 3.0; cite doi:10.1038/sdata.2017.177."


def load(folder: Path) -> CaseTable:
    """Read CBIS-DDSM in the layout that is there.

    Parameters
    ----------
    folder : Path
        Holds the four case description tables (in ``csv/`` or beside the pictures).

    Returns
    -------
    CaseTable
        One case per full mammogram, malignant if any of its abnormalities is. The parts
        are the official ones as published: pooled, masses and calcifications share 31
        women (`mammolens.datasets.splits.patient_clean` takes them out of training).
        Strata ``lesion``, ``density``, ``view``, ``subtlety`` and ``birads``.

    Raises
    ------
    TrainingDataError
        If a table is missing, lacks a column or holds a wrong value.
    """
    return CaseTable("cbis-ddsm", [_case(folder, picture) for picture in pictures(folder)], published=True)


def _case(folder: Path, picture: Picture) -> Case:
    first = picture.findings[0]
    return Case(
        path=folder / picture.path,
        woman=picture.woman,
        laterality=picture.laterality,
        view=picture.view,
        malignant=picture.malignant,
        strata={"lesion": first.kind, "density": picture.density, "view": picture.view},
        # DDSM holds one examination of each woman.
        study=picture.woman,
        split=picture.split,
        density=picture.density,
        abnormalities=tuple(
            Abnormality(found.kind, found.pathology, found.birads, found.subtlety) for found in picture.findings
        ),
        provenance=first.place,
    )
