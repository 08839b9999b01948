"""``mammolens models optimise``: measure the engines, make smaller variants that are proven first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mammolens.cli import terminal

if TYPE_CHECKING:
    from mammolens.datasets import CaseTable
    from mammolens.evaluation.optimise import Report
    from mammolens.evaluation.variant_bundle import Outcome

SCHEMA = "mammolens.optimise/1"


def optimise(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Installed model, bundle folder or .zip.")] = "default",
    variant: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="float16 or int8; may be given twice.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Labelled pictures that variants are measured on.")
    ] = None,
    dataset: Annotated[str, typer.Option(metavar="D", help="What lies there: labelled or rsna-640.")] = "labelled",
    calibration: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Training pictures that 8-bit ranges are taken from.")
    ] = None,
    most: Annotated[int, typer.Option(min=100, metavar="N", help="Most pictures to measure variants on.")] = 600,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find the fastest engine for a model here, and make smaller variants of it.

    A variant is installed only if its answers on real, labelled pictures stay within
    the limits. Exit status 1 where one does not.
    """
    table = None if data is None else _table(dataset, data)
    from mammolens.evaluation.optimise import optimise as measure

    kinds = tuple(variant or ())
    with terminal.progress("Measuring", min(most, len(table)) if table is not None and kinds else 0) as advance:
        report = measure(name, kinds, table, calibration=calibration, most=most, advance=advance)
    if json:
        import json as encoder

        typer.echo(encoder.dumps(_record(report)))
    else:
        _show(report)
    if any(outcome.misses for outcome in report.variants):
        raise typer.Exit(terminal.CHECK_FAILED)


def _table(dataset: str, folder: Path) -> CaseTable:
    from mammolens.datasets import DATASETS

    if dataset not in DATASETS:
        raise typer.BadParameter(f"is one of {', '.join(DATASETS)}.", param_hint="--dataset")
    return DATASETS[dataset](folder)


def _record(report: Report) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "engine": report.engines.best(),
        "engines": [trial.model_dump() for trial in report.engines.trials],
        "variants": [
            {
                "kind": outcome.kind,
                "size": outcome.size,
                "size_original": outcome.size_original,
                "differences": outcome.differences.record(),
                "misses": list(outcome.misses),
                "name": None if outcome.bundle is None else outcome.bundle.name,
            }
            for outcome in report.variants
        ],
    }


def _show(report: Report) -> None:
    typer.echo(f"{'engine':<14}  {'start s':>8}  {'picture ms':>10}  {'logit apart':>11}  state")
    best = report.engines.best()
    for trial in report.engines.trials:
        start = "-" if trial.start_seconds is None else f"{trial.start_seconds:.2f}"
        each = "-" if trial.picture_seconds is None else f"{1e3 * trial.picture_seconds:.1f}"
        apart = "-" if trial.difference is None else f"{trial.difference:.1e}"
        state = f"{trial.state}, taken by auto" if trial.engine == best else trial.state
        typer.echo(f"{trial.engine:<14}  {start:>8}  {each:>10}  {apart:>11}  {state}")
    if not report.engines.steady:
        typer.echo("The machine was busy: two rounds took different times. Nothing is kept; repeat when it is idle.")
    for outcome in report.variants:
        for line in _lines(outcome):
            typer.echo(line)


def _lines(outcome: Outcome) -> list[str]:
    found = outcome.differences
    loss = found.auc_loss
    interval = f"{loss.value:.4f} [{loss.low:.4f}, {loss.high:.4f}]"
    lines = [
        f"{outcome.kind}: {outcome.size / 1e6:.1f} of {outcome.size_original / 1e6:.1f} MB, "
        f"{found.speed:.2f} of the time, on {found.pictures} pictures of {found.women} women",
        f"  AUC {found.auc:.4f} (original {found.auc_original:.4f}), loss {interval}",
        f"  calibration error {found.calibration_error:.4f} (original {found.calibration_error_original:.4f}), "
        f"labels the same {100 * found.labels:.1f} %",
        f"  heat maps: correlation {found.correlation:.4f}, same place {100 * found.pointing:.1f} %",
        *(f"  over the limit: {miss}" for miss in outcome.misses),
    ]
    kept = "not installed" if outcome.bundle is None else f"installed as {outcome.bundle.name}"
    return [*lines, f"  {kept}"]
