"""``mammolens models``: the installed bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammolens.cli import terminal
from mammolens.cli.checks import Check, golden_checks, verdict
from mammolens.errors import BundleError, BundleNotFound

if TYPE_CHECKING:
    from mammolens.models.bundle import ModelBundle

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, describe and verify models.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Installed model, bundle folder or .zip.")]


@app.command("list", cls=terminal.Command)
def list_models() -> None:
    """List the installed models."""
    from mammolens.models.bundle import DEFAULT, installed, load_bundle

    typer.echo(f"{'name':<24}  {'version':<10}  {'architecture':<16}  {'input':<9}  state")
    for name, place in installed().items():
        state = "default" if name == DEFAULT else ""
        try:
            manifest = load_bundle(place).manifest
        except BundleError as error:
            typer.echo(f"{terminal.printable(name):<24}  {'-':<10}  {'-':<16}  {'-':<9}  broken [{error.code}]")
            continue
        size = f"{manifest.preprocessing.height}x{manifest.preprocessing.width}"
        columns = (f"{terminal.printable(name):<24}", f"{manifest.version:<10}", f"{manifest.architecture:<16}")
        typer.echo("  ".join((*columns, f"{size:<9}", state)).rstrip())


@app.command(cls=terminal.Command)
def info(
    name: Name = "default",
    json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Say what a model is, was trained on and has been measured to do."""
    from mammolens.models.bundle import load_bundle

    bundle = load_bundle(name)
    if json:
        typer.echo(bundle.manifest.model_dump_json(by_alias=True, indent=1))
        return
    for title, text in _description(bundle):
        typer.echo(f"{title:<16}{terminal.printable(text)}")


def _description(bundle: ModelBundle) -> list[tuple[str, str]]:
    manifest, calibration, training = bundle.manifest, bundle.manifest.calibration, bundle.manifest.training
    lines = [
        ("name", f"{manifest.name}, version {manifest.version}"),
        ("sha256", bundle.identity.sha256),
        ("place", str(bundle.location)),
        ("architecture", manifest.architecture),
        ("input", f"{manifest.preprocessing.height} x {manifest.preprocessing.width} pixels (height x width)"),
        ("preprocessing", f"version {manifest.preprocessing.version}"),
        ("trained on", f"{training.dataset}: {training.images} images of {training.women} women"),
        ("terms of data", training.terms),
        ("licence", manifest.licence),
        ("calibration", f"{calibration.method}, at a prevalence of {calibration.prevalence:.3f}"),
    ]
    for point in manifest.operating_points:
        default = " (default)" if point.name == manifest.default_operating_point else ""
        figures = f"sensitivity {point.sensitivity:.3f}, specificity {point.specificity:.3f}"
        lines.append(("threshold", f"{point.threshold:.4f} {point.name}{default}: {figures}"))
    for metric in manifest.metrics:
        interval = f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"
        lines.append(("measured", f"{metric.name} per {metric.level} {interval}, {metric.protocol}"))
    return [*lines, *(("file", f"{name} {digest}") for name, digest in sorted(manifest.files.items()))]


@app.command(cls=terminal.Command)
def verify(
    name: Name = "default",
    engine: Annotated[str, typer.Option(metavar="NAME", help="auto, or one that `mammolens doctor` lists.")] = "auto",
) -> None:
    """Check a model's hashes, and repeat its golden inputs and their logits.

    Exit status 1 where a check fails.
    """
    checks = _verification(name, engine)
    for check in checks:
        typer.echo(check.line())
    if not verdict(checks):
        raise typer.Exit(terminal.CHECK_FAILED)


def _verification(name: str | Path, engine: str) -> list[Check]:
    from mammolens.inference.engines import open_engine
    from mammolens.models.bundle import load_bundle

    try:
        bundle = load_bundle(name)
    except BundleNotFound:
        raise
    except BundleError as error:
        return [Check("files", False, f"{error.message} [{error.code}]")]
    checks = [Check("files", True, f"{len(bundle.manifest.files)} files have the hashes of the manifest")]
    try:
        return checks + golden_checks(bundle, open_engine(engine, bundle))
    except BundleError as error:
        return [*checks, Check("engine", False, f"{error.message} [{error.code}]")]
