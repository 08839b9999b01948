"""The four inputs of the benchmark: real files where the shared folder is there, else look-alikes.

A look-alike is a generated mammogram (`mammolens.phantom`) of the same size, depth
and encoding.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1

from mammolens import phantom
from mammolens.imaging.png import encode_png

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Input:
    """One file to measure with.

    Attributes
    ----------
    name : str
        For ``--only`` and for programs.
    label : str
        For people.
    dicom : bool
    paths : tuple of Path
        The first is measured alone; all of them make up the folder of the throughput.
    real : bool
        Whether they come from the shared folder.
    """

    name: str
    label: str
    dicom: bool
    paths: tuple[Path, ...]
    real: bool

    @property
    def path(self) -> Path:
        """The file that is measured alone."""
        return self.paths[0]

    @property
    def origin(self) -> str:
        """Where the files come from, for people."""
        return "real" if self.real else "look-alike"


def _rsna(seed: int) -> bytes:
    made = phantom.make(rows=5355, columns=4915, seed=seed)
    return phantom.dicom(made, transfer_syntax=JPEG2000Lossless, photometric="MONOCHROME1", voi="sigmoid")


def _ge(seed: int) -> bytes:
    made = phantom.make(rows=3062, columns=2394, seed=seed)
    return phantom.dicom(made, transfer_syntax=JPEGLosslessSV1, voi="sigmoid")


def _cbis(seed: int) -> bytes:
    return encode_png((phantom.make("CC", rows=1152, columns=896, seed=seed).pixels << 4).astype(np.uint16))


def _jpeg(seed: int) -> bytes:
    picture = phantom.make(rows=2294, columns=1914, seed=seed).pixels
    # As in the real set: stretched to a square, three equal channels.
    square = (cv2.resize(picture, (640, 640), interpolation=cv2.INTER_AREA) >> 4).astype(np.uint8)
    return cv2.imencode(".jpg", cv2.cvtColor(square, cv2.COLOR_GRAY2BGR))[1].tobytes()


_Row = tuple[str, bool, str, Callable[[int], bytes], str]

_TABLE: dict[str, _Row] = {
    "jpeg-2000": ("RSNA DICOM, JPEG 2000, 5355 × 4915, 16 bits", True, "dicom/mg/rsna_*.dcm", _rsna, ".dcm"),
    "jpeg-lossless": ("GE DICOM, JPEG lossless, 3062 × 2394, 12 bits", True, "dicom/mg/*GH133*.dcm", _ge, ".dcm"),
    "png-16": ("CBIS PNG, 1152 × 896, 16 bits", False, "cbis-ddsm/images/Calc-Test*.png", _cbis, ".png"),
    "jpeg-640": ("RSNA JPEG, 640 × 640, 8 bits", False, "rsna-640/images/*.jpg", _jpeg, ".jpg"),
}

NAMES = tuple(_TABLE)
"""Names of the inputs."""

_MOST_FILES = 96


def find(name: str, folder: Path) -> Input:
    """Find the files of one input, or make one into ``folder``."""
    label, dicom, pattern, make, suffix = _TABLE[name]
    shared = Path(os.environ.get("MAMMOLENS_SHARED", REPOSITORY.parent / "shared")) / "data"
    files = tuple(sorted(shared.glob(pattern))[:_MOST_FILES])
    if files:
        return Input(name, label, dicom, files, True)
    made = folder / f"{name}{suffix}"
    if not made.exists():
        made.write_bytes(make(0))
    return Input(name, label, dicom, (made,), False)
