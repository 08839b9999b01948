"""Generate a CBIS-DDSM tree from its case description tables, with drawn breasts for pixels.

Every row, the right folder names and UIDs, in any of the three layouts in the wild, so
that all that reads the real collection can be tried before its 163 GB are there. As in
the real one, crop and mask are exchanged in part of the data, some studies and series
carry descriptive names (with blanks, or with underscores for them), some descriptions
are empty and some masks have another size than their picture. Nothing in it comes
from a patient, and no figure measured on it says anything of mammograms.

Run: python scripts/cbis_tree.py CSV OUT [--layout archive|jpeg|png] [--jobs N]
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian, SecondaryCaptureImageStorage

from mammolens.datasets.cbis_tables import TABLES, Picture, find_tables, pictures

LAYOUTS = ("archive", "jpeg", "png")
ROWS, COLUMNS = 176, 144
INFO = (
    "file_path",
    "image_path",
    "BitsAllocated",
    "Columns",
    "Laterality",
    "Modality",
    "PatientID",
    "PatientOrientation",
    "Rows",
    "SeriesDescription",
    "SeriesInstanceUID",
    "StudyInstanceUID",
)
"""Columns of the JPEG re-release's ``dicom_info.csv`` that are written."""

_DESCRIPTIONS = {"full": "full mammogram images", "crop": "cropped images", "mask": "ROI mask images"}
Pixels = NDArray[np.generic]


@dataclass(frozen=True)
class File:
    """One file of the tree: where the tables say it is, what it shows and of which kind that is."""

    path: str
    kind: str
    pixels: Pixels

    @property
    def parts(self) -> tuple[str, str, str]:
        """Folder, study and series."""
        folder, study, series, *_ = self.path.replace("\\", "/").split("/")
        return folder, study, series

    @property
    def number(self) -> int:
        """0 for ``000000.dcm``."""
        return int(self.path.rsplit("/", 1)[1].split(".")[0])


def one_in(name: str, every: int, what: str) -> bool:
    """Whether a thing is one of ``every``: by its name, so that each run and machine agrees."""
    return zlib.crc32(f"{what} {name}".encode()) % every == 0


def draw(picture: Picture) -> tuple[NDArray[np.uint16], list[tuple[float, float, float]]]:
    """Draw a picture, and say where each of its abnormalities lies: ``(x, y, radius)`` in pixels.

    A half ellipse of clouded tissue against the chest wall, in a malignant picture with a
    dense mass for each malignant row: enough for the quality gate and for a network to
    learn from, in a thousandth of the time that `mammolens.phantom` takes.
    """
    seed = int(picture.woman.rsplit("_", 1)[1])
    # The two files of a view that stands in both lesion types' tables show the same tissue.
    rng = np.random.default_rng([seed, "LR".index(picture.laterality), ("CC", "MLO").index(picture.view)])
    rows = ROWS + 8 * (seed % 4)
    reach, half = COLUMNS * rng.uniform(0.55, 0.75), rows * rng.uniform(0.36, 0.44)
    middle = rows / 2
    y, x = np.mgrid[0:rows, 0:COLUMNS].astype(np.float32)
    depth = 1.0 - (x / reach) ** 2 - ((y - middle) / half) ** 2
    clouds = np.zeros((rows, COLUMNS), np.float32)
    for cells, weight in ((5, 0.5), (11, 0.3), (29, 0.2)):
        grid = rng.random((cells, cells), dtype=np.float32)
        clouds += weight * cv2.resize(grid, (COLUMNS, rows), interpolation=cv2.INTER_CUBIC)
    tissue = np.where(depth > 0, 0.22 + 0.45 * np.sqrt(np.clip(depth, 0, 1)) * clouds, 0.0).astype(np.float32)
    places = []
    for finding in picture.findings:
        angle, away = rng.uniform(-1.1, 1.1), rng.uniform(0.25, 0.65)
        spot = (
            float(away * reach * np.cos(angle)),
            float(middle + away * half * np.sin(angle)),
            rng.uniform(7.0, 11.0),
        )
        places.append(spot)
        if finding.pathology == "malignant":
            blob = np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * (0.5 * spot[2]) ** 2))
            tissue += np.where(depth > 0, 0.4 * blob, 0.0).astype(np.float32)
    pixels = np.clip(tissue * 52000 + rng.normal(0.0, 120.0, tissue.shape), 0, 65535).astype(np.uint16)
    if picture.laterality == "R":
        return np.ascontiguousarray(pixels[:, ::-1]), [(COLUMNS - 1 - a, b, r) for a, b, r in places]
    return pixels, places


def files_of(picture: Picture) -> Iterator[File]:
    """Files of a picture: itself, and for each abnormality cut-out and mask, exchanged in part of the data."""
    pixels, places = draw(picture)
    yield File(picture.path, "full", pixels)
    for finding, (x, y, radius) in zip(picture.findings, places, strict=True):
        rows, columns = pixels.shape
        y0, x0 = int(np.clip(y - 16, 0, rows - 32)), int(np.clip(x - 16, 0, columns - 32))
        mask = np.zeros((rows, columns), np.uint8)
        cv2.circle(mask, (round(x), round(y)), round(radius), 255, cv2.FILLED)
        if one_in(finding.folder, 9, "size"):
            mask = np.asarray(cv2.resize(mask, (columns + 12, rows + 16), interpolation=cv2.INTER_NEAREST))
        crop = pixels[y0 : y0 + 32, x0 : x0 + 32]
        swapped = one_in(finding.folder, 5, "swap")
        yield File(finding.mask if swapped else finding.crop, "crop", crop)
        yield File(finding.crop if swapped else finding.mask, "mask", mask)


def encode(file: File) -> Dataset:
    """Make the DICOM object of a file, with a header as the collection's have it."""
    folder, study, series = file.parts
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = f"{series}.{file.number + 1}"[:64].rstrip(".")
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, data.file_meta.MediaStorageSOPInstanceUID
    data.Modality, data.PatientID = "MG", folder
    data.StudyInstanceUID, data.SeriesInstanceUID = study, series
    data.SeriesDescription = "" if one_in(file.path, 36, "description") else _DESCRIPTIONS[file.kind]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = file.pixels.shape
    bits = file.pixels.dtype.itemsize * 8
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = bits, bits, bits - 1, 0
    data.PixelData = np.ascontiguousarray(file.pixels).tobytes()
    return data


def eight_bits(pixels: Pixels) -> NDArray[np.uint8]:
    """Give what an 8-bit export shows."""
    return np.asarray(pixels >> np.uint16(8) if pixels.dtype == np.uint16 else pixels).astype(np.uint8)


def place(file: File) -> Path:
    """Folder of a file in the archive's layout: UIDs, or descriptive names with blanks or underscores."""
    folder, study, series = file.parts
    if not one_in(folder, 7, "descriptive"):
        return Path(folder, study, series)
    digits = zlib.crc32(study.encode())
    # The name of the series says what the table says, not what lies in it.
    described = f"1-{_DESCRIPTIONS['full' if file.kind == 'full' else 'mask']}-{digits % 100000:05d}"
    described = described.replace(" ", "_") if digits % 2 else described
    return Path(folder, f"10-04-2016-DDSM-{digits // 7 % 100000:05d}", described)


def write(out: Path, layout: str, picture: Picture) -> list[dict[str, Any]]:
    """Write the files of a picture; in the JPEG layout, give their rows of ``dicom_info.csv``."""
    rows = []
    taken: set[Path] = set()
    for file in files_of(picture):
        name = f"1-{file.number + 1}"
        if layout == "archive":
            descriptive = place(file) != Path(*file.parts)
            path = out / place(file) / (f"{file.number:06d}.dcm" if descriptive else f"{name}.dcm")
            path = path.with_name(f"{file.number + 1:06d}.dcm") if path in taken else path
        elif layout == "png":
            path = out.joinpath(*file.parts, f"{name}.png")
        else:
            series = file.parts[2]
            path = out / "jpeg" / series / f"1-{zlib.crc32(file.path.encode()) % 240 + 1 + file.number:03d}.jpg"
            rows.append(_info(file, path.relative_to(out)))
        taken.add(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if layout == "archive":
            encode(file).save_as(path, enforce_file_format=True)
        elif not cv2.imwrite(str(path), eight_bits(file.pixels)):
            raise OSError("A picture could not be written.")
    return rows


def _info(file: File, path: Path) -> dict[str, Any]:
    folder, study, series = file.parts
    values = {
        "file_path": f"CBIS-DDSM/dicom/{series}/{path.stem}.dcm",
        "image_path": f"CBIS-DDSM/{path.as_posix()}",
        "BitsAllocated": file.pixels.dtype.itemsize * 8,
        "Columns": file.pixels.shape[1],
        "Laterality": folder.split("_")[3][0],
        "Modality": "MG",
        "PatientID": folder,
        "PatientOrientation": folder.split("_")[4],
        "Rows": file.pixels.shape[0],
        "SeriesDescription": "" if one_in(file.path, 36, "description") else _DESCRIPTIONS[file.kind],
        "SeriesInstanceUID": series,
        "StudyInstanceUID": study,
    }
    return {name: values[name] for name in INFO}


def generate(tables: Path, out: Path, layout: str = "archive", jobs: int = 1) -> int:
    """Write the tree.

    Parameters
    ----------
    tables : Path
        Folder with the four tables.
    out : Path
        Gets ``csv/`` and the pictures.
    layout : {"archive", "jpeg", "png"}
    jobs : int
        Processes.

    Returns
    -------
    int
        Files written.
    """
    found = pictures(tables)
    (out / "csv").mkdir(parents=True, exist_ok=True)
    for name, path in find_tables(tables).items():
        shutil.copyfile(path, out / "csv" / name)
    work = partial(write, out / "CBIS-DDSM" if layout != "jpeg" else out, layout)
    if jobs > 1:
        with ProcessPoolExecutor(jobs) as pool:
            rows = [row for part in pool.map(work, found, chunksize=32) for row in part]
    else:
        rows = [row for picture in found for row in work(picture)]
    if layout == "jpeg":
        with (out / "csv" / "dicom_info.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, INFO)
            writer.writeheader()
            writer.writerows(rows)
    return sum(1 + 2 * len(picture.findings) for picture in found)


def made_tables(folder: Path, women: int = 24) -> Path:
    """Write small tables that are made up, faithful to the real ones in form.

    Masses and calcifications, both parts, several abnormalities in a picture, every
    twelfth woman in both parts, trailing line breaks, crops and masks in
    either order or in two series.

    Parameters
    ----------
    folder : Path
    women : int

    Returns
    -------
    Path
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(women)
    tables: dict[str, list[list[str]]] = {name: [] for name in TABLES}
    for woman in range(1, women + 1):
        parts = [("mass", "test")] if woman % 5 == 0 else [("mass", "train"), ("calc", "train")][: 1 + woman % 2]
        if woman % 12 == 4:
            parts = [("mass", "train"), ("calc", "test")]
        malignant = bool(rng.random() < 0.5)
        for kind, part in parts:
            for view in ("CC", "MLO"):
                for number in range(1, 2 + (woman % 6 == 1)):
                    pathology = "MALIGNANT" if malignant and number == 1 + (woman % 6 == 1) else "BENIGN"
                    pathology = "BENIGN_WITHOUT_CALLBACK" if not malignant and woman % 3 == 0 else pathology
                    row = _made_row(kind, part, woman, view, number, pathology)
                    tables[f"{kind}_case_description_{part}_set.csv"].append(row)
    for name, rows in tables.items():
        density = "breast_density" if name.startswith("mass") else "breast density"
        words = ("mass shape", "mass margins") if name.startswith("mass") else ("calc type", "calc distribution")
        header = ["patient_id", density, "left or right breast", "image view", "abnormality id", "abnormality type"]
        paths = ["image file path", "cropped image file path", "ROI mask file path"]
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([[*header, *words, "assessment", "pathology", "subtlety", *paths], *rows])
    return folder


def _made_row(kind: str, part: str, woman: int, view: str, number: int, pathology: str) -> list[str]:
    def uid(what: str) -> str:
        return f"1.3.6.1.4.1.9590.100.1.2.{zlib.crc32(what.encode())}{woman:03d}"

    side = "LEFT" if woman % 3 else "RIGHT"
    word = f"{kind.title()}-{'Training' if part == 'train' else 'Test'}"
    full = f"{word}_P_{woman:05d}_{side}_{view}"
    lesion = f"{full}_{number}"
    series = f"{lesion}/{uid(lesion)}/{uid(lesion + 'series')}"
    other = f"{lesion}/{uid(lesion + 'other')}/{uid(lesion + 'other series')}"
    crop, mask = [("000000", "000001"), ("000001", "000000"), ("000000", "000000")][woman % 3]
    return [
        f"P_{woman:05d}",
        str(1 + woman % 4),
        side,
        view,
        str(number),
        "mass" if kind == "mass" else "calcification",
        "OVAL" if kind == "mass" else "PLEOMORPHIC",
        "OBSCURED" if kind == "mass" else "CLUSTERED",
        "4",
        pathology,
        str(1 + woman % 5),
        f"{full}/{uid(full)}/{uid(full + 'series')}/000000.dcm",
        f"{series}/{crop}.dcm" + ("\n" if kind == "calc" else ""),
        f"{other if crop == mask else series}/{mask}.dcm" + ("\n" if kind == "mass" else ""),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("csv", type=Path, help=f"folder with {', '.join(TABLES)}; with --made they are written there")
    parser.add_argument("out", type=Path, help="folder for the tree")
    parser.add_argument("--layout", choices=LAYOUTS, default="archive")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--made", type=int, metavar="WOMEN", help="make up small tables first")
    given = parser.parse_args(arguments)
    if given.made:
        made_tables(given.csv, given.made)
    written = generate(given.csv, given.out, given.layout, given.jobs)
    print(f"{written} files in the layout {given.layout}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
