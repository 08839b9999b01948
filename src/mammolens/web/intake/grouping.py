"""Which images belong to one examination."""

from __future__ import annotations

from pathlib import Path

from mammolens.web.security.keys import application_key, derive

_STUDY = "examination by study"
_FOLDER = "examination by folder"


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
    key = application_key(home)
    # Lengths are fixed before the last part, so that no two lists of parts give one text.
    if study_uid:
        return derive(key, _STUDY, f"{owner_id}\0{study_uid}".encode()).hex()
    return derive(key, _FOLDER, f"{owner_id}\0{batch_id}\0{folder}".encode()).hex()
