"""``mammolens evaluate``: a model and a data set in, a report that a reviewer can check out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mammolens.cli import terminal

if TYPE_CHECKING:
    from mammolens.datasets import CaseTable

Bundle = Annotated[str, typer.Argument(metavar="BUNDLE", help="Installed model, bundle folder or .zip.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the data set.")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Its folder.")]
Jobs = Annotated[int | None, typer.Option(min=1, metavar="N", help="Pictures in work at a time; as many as cores.")]


def evaluate(
    bundle: Bundle,
    name: Name,
    folder: Folder,
    scores: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Out-of-fold scores to measure instead of the bundle's own.")
    ] = None,
    compare: Annotated[str | None, typer.Option(metavar="OTHER", help="Another model, or a CSV of its scores.")] = None,
    prevalence: Annotated[
        float | None, typer.Option(metavar="P", help="Cancers per woman to project to; the BCSC's by default.")
    ] = None,
    most: Annotated[int | None, typer.Option(min=1, metavar="N", help="Most pictures, by whole women.")] = None,
    localise: Annotated[
        bool, typer.Option("--localise", help="Measure heat maps against the outlines of lesions too.")
    ] = False,
    seen: Annotated[
        bool, typer.Option("--seen", help="Measure even on women of the training, with every page marked.")
    ] = False,
    jobs: Jobs = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the report.")] = Path("evaluation"),
) -> None:
    """Measure a model on a data set and write the report.

    After an interruption, run the same command again: scores that are there are kept.
    """
    table = table_of(name, folder)
    from mammolens.evaluation import bcsc, card
    from mammolens.evaluation.run import Request, opened, pictures, run
    from mammolens.evaluation.scores_table import to_csv
    from mammolens.explain.files import write_file
    from mammolens.report.evaluation import write_page

    request = Request(
        bundle=bundle,
        table=table,
        folder=folder,
        scores=scores,
        compare=compare,
        prevalence=bcsc.BENCHMARK.prevalence if prevalence is None else prevalence,
        most=most,
        localise=localise,
        seen=seen,
        jobs=jobs or terminal.processors(),
    )
    with terminal.progress("Scoring", pictures(request, opened(bundle).manifest)) as advance:
        found, report, examples = run(request, out, advance=advance)
    write_file(out, "scores.csv", to_csv(found).encode("utf-8"))
    write_file(out, "report.json", encoded(report))
    write_file(out, "MODEL_CARD.md", card.write(report).encode("utf-8"))
    page = write_page(out, report, examples)
    for line in outcome(report):
        typer.echo(line)
    typer.echo(terminal.printable(page))


def table_of(name: str, folder: Path) -> CaseTable:
    """Read a data set by its name."""
    from mammolens.datasets import DATASETS

    if name not in DATASETS:
        raise typer.BadParameter(f"is one of {', '.join(sorted(DATASETS))}.", param_hint="NAME")
    return DATASETS[name](folder)


def encoded(report: dict[str, Any]) -> bytes:
    """Encode a report as JSON; equal reports give equal bytes."""
    return (json.dumps(report, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode("utf-8")


def outcome(report: dict[str, Any]) -> list[str]:
    """Lines that say the main figures."""
    lines = []
    for level, found in report["levels"].items():
        auc, error = found["auc"], found["calibration"]["ece"]["value"]
        width = "" if auc["low"] is None else f" ({auc['low']:.3f} to {auc['high']:.3f})"
        lines.append(
            f"{level:<7} {found['count']:>6} of which {found['malignant']} malignant: AUC {auc['value']:.3f}{width}, "
            f"calibration error {error:.3f}"
        )
    if report["protocol"]["kind"] in ("seen-in-training", "unknown-training"):
        lines.append(report["protocol"]["words"][0])
    return lines
