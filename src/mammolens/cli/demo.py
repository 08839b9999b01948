"""``mammolens demo``: a synthetic examination, or one's own files, from file to report."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mammolens.cli import terminal
from mammolens.errors import FileMissing, InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from mammolens.inference import Predictor
    from mammolens.report import ReportEntry
    from mammolens.types import Prediction


def run_demo(
    source: Path | None = None,
    out: Path = Path("demo-output"),
    *,
    open_predictor: Callable[[], Predictor] | None = None,
    console: Console | None = None,
) -> int:
    """Answer for a synthetic four-view examination, or for one's own files, and write a report.

    Parameters
    ----------
    source : Path, optional
        A file, or a folder that is searched with all its subfolders. Without it the
        phantom examination is written to ``out/examination`` and answered for.
    out : Path
        Gets ``report.html`` and ``pictures/``.
    open_predictor : callable, optional
        Gives the predictor; that of the built-in bundle unless given.
    console : rich.console.Console, optional
        For the table; standard output unless given.

    Returns
    -------
    int
        How many files were refused.

    Raises
    ------
    FileMissing
        If there is no such file or folder, or the folder is empty.
    MammolensError
        If the model can't be opened or a result can't be written.
    """
    from rich.console import Console

    from mammolens.report import ReportModel, write_report

    predictor = (open_predictor or _built_in)()
    found = _examination(out) if source is None else _files(source, out)
    entries, answered = [], []
    with terminal.progress("Answering", len(found)) as done:
        for number, (title, path) in enumerate(found, 1):
            entry = _answer(predictor, title, path, out / "pictures", f"{number:04d}-{path.stem}")
            entries.append(entry)
            if entry.prediction is not None:
                answered.append((entry.prediction, predictor.origin(path, entry.prediction)))
            done()
    exams = predictor.examinations(answered) if answered else []
    report = write_report(out, entries, ReportModel.of(predictor.bundle), exams)
    _print(console or Console(), entries, report, synthetic=source is None)
    return sum(entry.prediction is None for entry in entries)


def _built_in() -> Predictor:
    from mammolens.inference import Predictor

    return Predictor.from_bundle("default")


def _examination(out: Path) -> list[tuple[str, Path]]:
    """Write the phantom examination; titles and paths of its files."""
    from mammolens import phantom
    from mammolens.explain.files import write_file

    folder = out / "examination"
    return [
        (f"synthetic {name}", write_file(folder, f"{name}.dcm", phantom.dicom(view)))
        for name, view in phantom.examination().items()
    ]


def _files(source: Path, out: Path) -> list[tuple[str, Path]]:
    """Titles and paths of a file or of all files of a folder; results of an earlier run are left out."""
    from mammolens.cli.files import find, identity

    if os.path.isfile(source):  # unlike Path.is_file, False where the path can't be looked up
        return [(source.name, source)]
    found = list(find(source, (identity(out),))) if os.path.isdir(source) else []
    if not found:
        raise FileMissing("There is no file at that place. Name a mammogram or a folder that holds some.")
    return [(path.relative_to(source).as_posix(), path) for path in found]


def _answer(predictor: Predictor, title: str, path: Path, folder: Path, stem: str) -> ReportEntry:
    """Answer for one file and write its two pictures."""
    from mammolens.explain.files import safe_stem, write_file
    from mammolens.explain.overlay import overlay, picture
    from mammolens.imaging.png import encode_png
    from mammolens.report import ReportEntry

    try:
        prediction = predictor.predict(path)
    except InputError as error:
        return ReportEntry(title, code=error.code, message=error.message)
    grey = picture(prediction.mammogram, box=prediction.geometry.box)
    name = safe_stem(stem)
    plain = write_file(folder, f"{name}.png", encode_png(grey))
    marked = write_file(folder, f"{name}.overlay.png", encode_png(overlay(prediction)))
    # A folder may hold a thousand files: what the report doesn't need is let go.
    return ReportEntry(title, prediction.without_pixels(), picture=plain, overlay=marked)


def _print(console: Console, entries: list[ReportEntry], report: Path, *, synthetic: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(caption=terminal.NOTE, caption_justify="left", box=None, pad_edge=False)
    table.add_column("File", overflow="fold")
    table.add_column("View")
    table.add_column("Probability", justify="right")
    table.add_column("Threshold", justify="right")
    table.add_column("Answer", no_wrap=True)
    for entry in entries:
        title = Text(terminal.printable(entry.title))
        if entry.prediction is None:
            table.add_row(title, "", "", "", Text(f"refused: {entry.code}"))
        else:
            table.add_row(title, *_row(entry.prediction))
    console.print(table)
    console.print()
    if synthetic:
        console.print(
            "The four pictures are synthetic; their scores say nothing about real mammograms.", soft_wrap=True
        )
    lines = (
        ("Report", terminal.printable(report)),
        ("Your own file", "mammolens predict FILE --out results"),
        ("Your own folder", "make demo INPUT=FOLDER"),
    )
    for heading, value in lines:
        console.print(Text(f"{heading + ':':17}{value}"), soft_wrap=True)


def _row(prediction: Prediction) -> list[str | Text]:
    from rich.text import Text

    mammogram = prediction.mammogram
    view = " ".join(part for part in (mammogram.laterality, mammogram.view) if part)
    return [
        Text(view),
        f"{prediction.probability:.3f}",
        f"{prediction.threshold:.3f}",
        Text(prediction.label, style="bold" if prediction.label == "malignant" else ""),
    ]
