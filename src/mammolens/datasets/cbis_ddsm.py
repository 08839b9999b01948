"""CBIS-DDSM: film mammograms with lesions, their pathology and outlines; CC BY 3.0.

Read in the archive's DICOM tree, in the JPEG re-release with ``dicom_info.csv`` and in
the PNG mirror; a folder that holds the tables alone gives the same cases, whose files
are then missing.
"""

from __future__ import annotations

from pathlib import Path

from mammolens.datasets import cbis_files, two_valued
from mammolens.datasets.cbis_tables import Finding, Picture, pictures
from mammolens.datasets.table import Abnormality, Case, CaseTable, Outline

TERMS = "CBIS-DDSM (doi:10.7937/K9/TCIA.2016.7O02S9CY), CC BY 3.0; cite doi:10.1038/sdata.2017.177."


def load(folder: Path) -> CaseTable:
    """Read CBIS-DDSM in the layout that is there.

    Parameters
    ----------
    folder : Path
        Holds the four case description tables (in ``csv/`` or beside the pictures) and,
        anywhere up to three folders deeper, the pictures.

    Returns
    -------
    CaseTable
        One case per full mammogram, malignant if any of its abnormalities is. The parts
        are the official ones as published: pooled, masses and calcifications share 31
        women (`mammolens.datasets.splits.patient_clean` takes them out of training).
        Strata ``lesion``, ``density`` and ``view``. Which file is an abnormality's mask
        is told by content; where there is none its outline is ``None``. A mask's size may
        differ from the picture's (`mammolens.datasets.outlines` fits it).

    Raises
    ------
    TrainingDataError
        If a table is missing, lacks a column or holds a wrong value.
    """
    found, files = pictures(folder), cbis_files.find(folder)
    names = [finding.folder for picture in found for finding in picture.findings]
    # The full pictures of a folder with more than one file have to be told from what else lies there.
    names += [picture.folder for picture in found if len(files.named.get(picture.folder, ())) > 1]
    asked = sorted({path for name in names for path in files.named.get(name, ())})
    masks = two_valued.masks_among(asked, folder)
    return CaseTable("cbis-ddsm", [_case(files, masks, picture) for picture in found], published=True)


def _case(files: cbis_files.Files, masks: set[Path], picture: Picture) -> Case:
    first = picture.findings[0]
    return Case(
        path=_full(files, masks, picture),
        woman=picture.woman,
        laterality=picture.laterality,
        view=picture.view,
        malignant=picture.malignant,
        strata={"lesion": first.kind, "density": picture.density, "view": picture.view},
        # DDSM holds one examination of each woman.
        study=picture.woman,
        split=picture.split,
        density=picture.density,
        abnormalities=tuple(_abnormality(files, masks, finding) for finding in picture.findings),
        provenance=first.place,
    )


def _full(files: cbis_files.Files, masks: set[Path], picture: Picture) -> Path:
    held = [path for path in files.named.get(picture.folder, ()) if path not in masks]
    if len(held) > 1:
        return max(held, key=lambda path: path.stat().st_size)
    # Without a file, where the archive's tree would have it: whoever opens it is told that it is missing.
    return held[0] if held else files.root / picture.path


def _abnormality(files: cbis_files.Files, masks: set[Path], finding: Finding) -> Abnormality:
    held = [path for path in files.named.get(finding.folder, ()) if path in masks]
    # Two that look like masks: the mask is of the whole picture's size, a cut-out is smaller.
    outline = Outline(mask=max(held, key=lambda path: path.stat().st_size)) if held else None
    return Abnormality(finding.kind, finding.pathology, finding.birads, finding.subtlety, outline)
