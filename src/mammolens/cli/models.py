"""``mammolens models``: the installed bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammolens.cli import model_files, optimise, terminal
from mammolens.cli.checks import Check, golden_checks, verdict
from mammolens.errors import BundleError, BundleNotFound

if TYPE_CHECKING:
    from mammolens.models.bundle import ModelBundle
    from mammolens.models.manifest import Manifest

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Import, list, describe and verify models.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Installed model, bundle folder or .zip.")]


app.command("import", cls=model_files.ImportCommand)(model_files.import_file)
app.command("doctor", cls=model_files.ImportCommand)(model_files.doctor)


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
    manifest, training, contract = bundle.manifest, bundle.manifest.training, bundle.contract
    members = manifest.members
    lines = [
        ("name", f"{manifest.name}, version {manifest.version}"),
        ("sha256", bundle.identity.sha256),
        ("place", str(bundle.location)),
        ("architecture", manifest.architecture + (f", {members} networks averaged" if members > 1 else "")),
        ("input", f"{contract.height} x {contract.width} pixels (height x width)"),
        ("input scale", f"{contract.scale}, {'grey' if contract.channels == 1 else 'grey three times'}"),
        ("preprocessing", f"version {manifest.preprocessing.version}"),
    ]
    if training is None:
        lines.append(("trained on", "unknown"))
    else:
        lines.append(("trained on", f"{training.dataset}: {training.images} images of {training.women} women"))
        lines.append(("terms of data", training.terms))
    lines.append(("licence", manifest.licence))
    return [*lines, *_origin(manifest), *_measured(manifest), *_two_views(manifest), *_files(manifest)]


def _origin(manifest: Manifest) -> list[tuple[str, str]]:
    """Lines on what an imported model was made from."""
    source = manifest.source
    if source is None:
        return []
    by = f" by Keras {source.keras_version}" if source.keras_version else ""
    proofs = {
        "parity": f"parity: logits differ from the source's by at most {source.parity or 0.0:.1e}",
        "structure": "structure: every tensor has its place; the source itself could not be run",
    }
    lines = [
        ("imported from", f"{source.format}{by}, sha256 {source.sha256}"),
        ("found", source.architecture_found),
        ("proof", proofs[source.proof]),
        ("terms", source.terms),
    ]
    return [*lines, *(("assumed", text) for text in source.assumptions)]


def _measured(manifest: Manifest) -> list[tuple[str, str]]:
    """Lines on calibration, operating points and figures."""
    calibration = manifest.calibration
    lines = [("calibration", "none: the probability is the sigmoid of the model's score")]
    if calibration is not None:
        on = calibration.on
        whose = "" if on is None else f", by {on.by} on {on.images} images of {on.women} women ({on.dataset})"
        lines = [("calibration", f"{calibration.method}, at a prevalence of {calibration.prevalence:.3f}{whose}")]
    for point in manifest.operating_points:
        default = " (default)" if point.name == manifest.default_operating_point else ""
        figures = "never measured"
        if point.sensitivity is not None and point.specificity is not None:
            figures = f"sensitivity {point.sensitivity:.3f}, specificity {point.specificity:.3f}"
        lines.append(("threshold", f"{point.threshold:.4f} {point.name}{default}: {figures}"))
    for metric in manifest.metrics:
        interval = f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"
        lines.append(("measured", f"{metric.name} per {metric.level} {interval}, {metric.protocol}"))
    return lines


def _two_views(manifest: Manifest) -> list[tuple[str, str]]:
    """Lines on the network of two views."""
    pair = manifest.pair
    if pair is None:
        return []
    height, width = pair.size
    members = f", {pair.members} networks averaged" if pair.members > 1 else ""
    lines = [
        ("two views", f"{pair.architecture}, {pair.trunk} trunk{members}, input {height} x {width} pixels"),
        ("", f"trained on {pair.training.dataset}: {pair.training.images} images of {pair.training.women} women"),
        ("", f"calibration {pair.breast.calibration.method}, threshold {pair.breast.threshold:.4f} of a breast"),
    ]
    for metric in pair.metrics:
        interval = f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"
        lines.append(("", f"{metric.name} per {metric.level} {interval}, {metric.protocol}"))
    return lines


def _files(manifest: Manifest) -> list[tuple[str, str]]:
    return [("file", f"{name} {digest}") for name, digest in sorted(manifest.files.items())]


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


app.command("optimise", cls=terminal.Command)(optimise.optimise)
