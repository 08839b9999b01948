"""``mammolens data``: prepare, show and audit a data set."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mammolens.cli import terminal
from mammolens.errors import ConfigurationError, TrainingDataError

if TYPE_CHECKING:
    from mammolens.datasets import CaseTable
    from mammolens.datasets.audit import Audit
    from mammolens.datasets.prepared import Prepared
    from mammolens.evaluation.leakage import MetadataLeakage

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Prepare, show and audit a data set.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Data set, such as cbis-ddsm, or labelled for one's own.")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Its folder.")]
Size = Annotated[str, typer.Option(metavar="HxW", help="Height and width of the network's input.")]
Jobs = Annotated[int, typer.Option(min=0, metavar="N", help="Threads; 0 takes one per processor.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")]

_SHOWN = 20


@app.callback()
def data() -> None:
    """Prepare, show and audit a data set."""


@app.command(cls=terminal.Command)
def prepare(
    name: Name,
    folder: Folder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the cache; a run's cache/ to train from it.")],
    size: Size = "384x288",
    jobs: Jobs = 0,
) -> None:
    """Preprocess every image once, as the network will see it.

    After an interruption of any kind, run the same command again: it goes on where it stopped.
    """
    height_width = _size(size)
    table = load(name, folder)
    found = _prepared(table, height_width, out, jobs)
    terminal.say(f"{len(found.rows)} of {len(table)} images prepared at {size}")
    for row, code in list(found.refused.items())[:_SHOWN]:
        terminal.say(f"refused [{code}]: {terminal.printable(_place(table, row))}")
    if len(found.refused) > _SHOWN:
        terminal.say(f"and {len(found.refused) - _SHOWN} more")
    if found.refused:
        raise typer.Exit(terminal.REFUSED)


@app.command(cls=terminal.Command)
def show(
    name: Name,
    folder: Folder,
    out: Annotated[Path | None, typer.Argument(metavar="OUT.png", help="PNG of a sample; replaced.")] = None,
    count: Annotated[int, typer.Option(min=1, max=100, metavar="N", help="Mammograms in the sample.")] = 12,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the draw.")] = 0,
    as_json: Json = False,
) -> None:
    """Count what a data set holds, and draw a sample with its lesions' outlines."""
    from dataclasses import asdict

    from mammolens.datasets import TERMS
    from mammolens.datasets.counts import count as counted

    table = load(name, folder)
    figures = {"data_set": name, "terms": TERMS[name], **asdict(counted(table))}
    if out is not None:
        _sample(table, out, count, seed)
    if as_json:
        typer.echo(json.dumps(figures))
        return
    for key, value in figures.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        typer.echo(f"{key.replace('_', ' '):18} {terminal.printable(str(shown))}")


@app.command(cls=terminal.Command)
def audit(
    name: Name,
    folder: Folder,
    protocol: Annotated[str, typer.Option(metavar="official|patient-clean", help="Parts to judge.")] = "official",
    prepared: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Cache of `data prepare`, to read no image twice.")
    ] = None,
    size: Size = "384x288",
    jobs: Jobs = 0,
    tables_only: Annotated[bool, typer.Option("--tables-only", help="Look at no image.")] = False,
    as_json: Json = False,
) -> None:
    """Look for what makes a data set's figures too good: women and pictures in two parts, labels told by metadata.

    A folder that holds the tables alone is judged by the tables alone.
    """
    from mammolens.datasets import audit as auditing
    from mammolens.datasets.splits import by_protocol

    height_width = _size(size)
    whole = load(name, folder)
    table = by_protocol(whole, protocol)
    seen = None
    if not tables_only and any(case.path.is_file() for case in table):
        seen = auditing.see(table, whole, _looked_at(whole, height_width, prepared, jobs))
    pairs, refused = (None, None) if seen is None else (seen.pairs, seen.unreadable)
    found = auditing.audit(table, pairs, refused)
    metadata, why = _metadata(table, None if seen is None else seen.sizes)
    if as_json:
        report = {**found.as_dict(), "metadata": None if metadata is None else metadata.as_dict()}
        typer.echo(json.dumps({**report, "metadata_note": why}))
    else:
        _tell(found, metadata, why)
    if found.leaks:
        raise typer.Exit(terminal.CHECK_FAILED)
    if found.unreadable:
        raise typer.Exit(terminal.REFUSED)


def load(name: str, folder: Path) -> CaseTable:
    """Read a data set by its name.

    Raises
    ------
    ConfigurationError
        If there is no such data set.
    TrainingDataError
        If the folder is missing, or not what the data set should be.
    """
    from mammolens.datasets import DATASETS

    if name not in DATASETS:
        raise ConfigurationError(f"Unknown data set; known are: {', '.join(sorted(DATASETS))}.")
    if not folder.is_dir():
        raise TrainingDataError("The data set's folder is missing, or is no folder.")
    return DATASETS[name](folder)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isascii() and height.isdigit() and width.isascii() and width.isdigit()):
        raise typer.BadParameter("is height and width, such as 384x288.", param_hint="--size")
    if not 32 <= min(int(height), int(width)) <= max(int(height), int(width)) <= 8192:
        raise typer.BadParameter("has sides from 32 to 8192.", param_hint="--size")
    return int(height), int(width)


def _prepared(table: CaseTable, size: tuple[int, int], out: Path, jobs: int) -> Prepared:
    from mammolens.datasets import prepared

    with terminal.progress("preparing", len(table)) as advance:

        def several(rows: int) -> None:
            for _ in range(rows):
                advance()

        return prepared.prepare(table, size, out, jobs=jobs or terminal.processors(), advance=several)


def _looked_at(table: CaseTable, size: tuple[int, int], cache: Path | None, jobs: int) -> Prepared:
    if cache is not None:
        return _prepared(table, size, cache, jobs)
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="mammolens-audit-") as folder:
        return _prepared(table, size, Path(folder), jobs)


def _metadata(table: CaseTable, sizes: Mapping[int, tuple[int, int]] | None) -> tuple[MetadataLeakage | None, str]:
    from mammolens.evaluation.leakage import metadata_leakage

    try:
        return metadata_leakage(table, sizes), ""
    except TrainingDataError as error:
        return None, error.message


def _sample(table: CaseTable, out: Path, count: int, seed: int) -> None:
    from mammolens.datasets import sample
    from mammolens.explain.files import write_file
    from mammolens.imaging.png import encode_png

    if out.suffix.lower() != ".png" or os.path.isdir(out):
        raise typer.BadParameter("must be a file whose name ends in .png.", param_hint="OUT.png")
    cases = sample.choose(table, count, seed)
    if not cases:
        raise TrainingDataError("None of the data set's pictures is there; nothing can be drawn.")
    write_file(out.parent, out.name, encode_png(sample.grid(cases), level=6))
    terminal.say(f"{terminal.printable(out)}: {len(cases)} mammograms")


def _place(table: CaseTable, row: int) -> str:
    from mammolens.datasets.table import place

    return place(table[row], row + 1)


def _tell(found: Audit, metadata: MetadataLeakage | None, why: str) -> None:
    report: dict[str, Any] = found.as_dict()
    typer.echo(f"{report['images']} images of {report['women']} women")
    if not found.pictures:
        typer.echo("Only the tables were looked at, no image.")
    women = ", ".join(found.women)
    typer.echo(terminal.printable(f"women in both parts          {len(found.women)}{': ' if women else ''}{women}"))
    for key, words in (
        ("same_picture_across", "same picture in two parts"),
        ("same_picture_within", "same picture twice"),
    ):
        if found.pictures:
            typer.echo(f"{words:28} {len(report[key])}")
            _listed([f"{' = '.join(pair['rows'])} (correlation {pair['correlation']:.3f})" for pair in report[key]])
    typer.echo(f"label conflicts              {len(found.conflicts)}")
    _listed([f"{' / '.join(conflict['rows'])} ({conflict['why']})" for conflict in report["label_conflicts"]])
    if found.pictures:
        typer.echo(f"unreadable                   {len(found.unreadable)}")
        _listed([f"{refusal['row']} ({refusal['code']})" for refusal in report["unreadable"]])
    if metadata is None:
        typer.echo(f"label by metadata alone      not measured: {why}")
        return
    typer.echo(f"label by metadata alone      AUC {metadata.auc:.3f} ({metadata.low:.3f}–{metadata.high:.3f})")
    _listed([f"{name} alone {value:.3f}" for name, value in metadata.alone.items()])


def _listed(lines: list[str]) -> None:
    for line in lines[:_SHOWN]:
        typer.echo(f"  {terminal.printable(line)}")
    if len(lines) > _SHOWN:
        typer.echo(f"  and {len(lines) - _SHOWN} more")
