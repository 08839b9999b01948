"""Under which name pictures that belong together are kept; what belongs together, `inference.grouping` decides."""

from __future__ import annotations

from pathlib import Path

from mammolens.inference.grouping import FOLDER, STUDY, Origin
from mammolens.web.security.keys import application_key, derive

_PURPOSES = {STUDY: "examination by study", FOLDER: "examination by folder"}


def examination(home: Path, owner_id: str, study_uid: str | None, batch_id: str, folder: str) -> str:
    """Name of the examination that a picture belongs to; tells nothing of the study to who has not the key.

    Parameters
    ----------
    home : Path
        The application's folder, which holds its key.
    owner_id : str
        Who uploads: the same study from two people is two cases, so that nobody adds to another's.
    study_uid : str or None
        StudyInstanceUID, where the file has one.
    batch_id, folder : str
        What stands for the study otherwise: files that came together, from the same folder.

    Returns
    -------
    str
        64 hexadecimal digits: HMAC-SHA-256 by a key derived from the application's own.
    """
    kind, value = Origin(study_uid, f"{batch_id}\0{folder}").key
    # Lengths are fixed before the last part, so that no two lists of parts give one text.
    return derive(application_key(home), _PURPOSES[kind], f"{owner_id}\0{value}".encode()).hex()
