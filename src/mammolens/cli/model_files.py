"""``mammolens models import`` and ``doctor``: model files from elsewhere, made into bundles or looked over."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mammolens.cli import terminal
from mammolens.errors import InputError, ModelFileError

if TYPE_CHECKING:
    from mammolens.models.importing.doctor import Findings
    from mammolens.models.importing.importer import Imported
    from mammolens.models.importing.source import Asked, Plan

IMPORT_SCHEMA, DOCTOR_SCHEMA = "mammolens.import/1", "mammolens.model-doctor/1"

SCALES = ("255", "1", "-1..1", "imagenet", "imagenet-bgr")

File = Annotated[Path, typer.Argument(metavar="FILE", help="Model file (.keras, .h5, .onnx) or SavedModel folder.")]
Arch = Annotated[str, typer.Option(metavar="A", help="auto, or efficientnet-b0 to -b3, where the file can't tell.")]
Size = Annotated[
    str | None, typer.Option(metavar="H[xW]", help="Input height and width in pixels, where the file can't tell.")
]
Scale = Annotated[
    str | None, typer.Option(metavar="S", help=f"What the file's own input layer is given: {', '.join(SCALES)}.")
]
Classes = Annotated[
    str | None, typer.Option(metavar="A,B", help="benign,malignant or malignant,benign: the order of the outputs.")
]


class ImportCommand(terminal.Command):
    """A command for which a model file is what others have as input."""

    refusals = (InputError, ModelFileError)


def import_file(
    file: File,
    arch: Arch = "auto",
    size: Size = None,
    scale: Scale = None,
    classes: Classes = None,
    name: Annotated[str | None, typer.Option(metavar="N", help="Name of the model; else made of the file's.")] = None,
    foreign: Annotated[
        bool, typer.Option("--foreign", help="Take another network than EfficientNet, through Keras or ONNX.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a model of this name.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make an installed model of a model file: all of it, or nothing.

    Exit status 3: the file is refused. 2: it can't tell something that an option has to.
    """
    asked = _asked(arch, size, scale, classes)
    from mammolens.models.importing.importer import import_model

    made = import_model(
        file,
        asked,
        name=name,
        foreign=foreign,
        replace=replace,
        progress=lambda step: terminal.say(f"{step} …"),
    )
    if json:
        import json as encoder

        typer.echo(encoder.dumps(import_record(made)))
        return
    _show_fates(made)
    for title, text in _summary(made):
        typer.echo(f"{title:<16}{terminal.printable(text)}")


def doctor(
    file: File,
    arch: Arch = "auto",
    size: Size = None,
    scale: Scale = None,
    classes: Classes = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what a model file holds, what it expects, and whether it would import.

    Exit status 1 where it would not. Nothing is written, and nothing of the file is run.
    """
    from mammolens.models.importing.doctor import examine

    found = examine(file, _asked(arch, size, scale, classes))
    if json:
        import json as encoder

        typer.echo(encoder.dumps(doctor_record(found)))
    else:
        for title, text, good in _diagnosis(found):
            wrong = "FAILED" if title == "imports" else "SUSPECT"
            mark = {True: "ok", False: wrong, None: ""}[good]
            typer.secho(f"{mark:<7} {title:<16}{terminal.printable(text)}".rstrip(), fg=_colour(good, title))
    if not found.road:
        raise typer.Exit(terminal.CHECK_FAILED)


def _asked(arch: str, size: str | None, scale: str | None, classes: str | None) -> Asked:
    """Read the options that state what a file can't tell."""
    from mammolens.models.importing.source import Asked

    if scale is not None and scale not in SCALES:
        raise typer.BadParameter(f"is one of {', '.join(SCALES)}.", param_hint="--scale")
    order: Any = None if classes is None else tuple(part.strip() for part in classes.split(","))
    if order is not None and sorted(order) != ["benign", "malignant"]:
        raise typer.BadParameter("is benign,malignant or malignant,benign.", param_hint="--classes")
    return Asked(
        architecture=None if arch == "auto" else arch,
        size=None if size is None else _size(size),
        scale=scale,  # type: ignore[arg-type] # one of SCALES
        classes=order,
    )


def _size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and 32 <= int(side) <= 4096 for side in sides):
        raise typer.BadParameter("is HEIGHTxWIDTH, or one number for both: pixels, 32 to 4096.", param_hint="--size")
    return int(sides[0]), int(sides[-1])


def import_record(made: Imported) -> dict[str, Any]:
    """Give what an import has made, for programs."""
    return {
        "schema": IMPORT_SCHEMA,
        "status": "ok",
        "name": made.name,
        "path": terminal.unicode_text(made.path),
        "source": {
            "format": str(made.source.format),
            "size": made.source.size,
            "sha256": made.source.sha256,
            "keras_version": made.source.keras_version,
        },
        **_plan_record(made.plan),
        "foreign": made.foreign,
        "proof": {"kind": made.proof.kind, "difference": made.proof.difference, "reason": made.proof.reason},
        "warnings": list(made.warnings),
        "fates": [{"source": fate.source, "target": fate.target, "reason": fate.reason} for fate in made.fates],
    }


def doctor_record(found: Findings) -> dict[str, Any]:
    """Give what was found in a model file, for programs."""
    refusal = found.refusal
    return {
        "schema": DOCTOR_SCHEMA,
        "format": found.format,
        "size": found.size,
        "sha256": found.sha256,
        "keras_version": found.keras_version,
        "compiled": found.compiled,
        "tensors": found.tensors,
        "parameters": found.parameters,
        **_plan_record(found.plan),
        "double_rescale": found.suspicions.double_rescale,
        "dead": list(found.dead),
        "not_finite": list(found.not_finite),
        "untrained": list(found.suspicions.untrained),
        "importable": found.road == "own",
        "importable_with_foreign": found.road == "foreign",
        "error": None if refusal is None else {"code": refusal.code, "message": refusal.message},
        "explanation": found.explanation,
    }


def _plan_record(plan: Plan | None) -> dict[str, Any]:
    if plan is None:
        return {"architecture": None, "input": None, "head": None, "assumptions": []}
    contract, head = plan.contract, plan.head
    return {
        "architecture": plan.architecture,
        "input": {
            "height": contract.height,
            "width": contract.width,
            "channels": contract.channels,
            "scale": contract.scale,
            "inside": list(plan.inside),
        },
        "head": {"kind": head.kind, "units": head.units, "malignant": head.malignant},
        "assumptions": list(plan.assumed),
    }


def _described(plan: Plan) -> list[tuple[str, str]]:
    """Lines on what a file was recognised as."""
    contract, head = plan.contract, plan.head
    inside = f"; scaled inside by {', '.join(plan.inside)}" if plan.inside else ""
    seen = "one grey channel" if contract.channels == 1 else "grey three times"
    meaning = (
        f"output {head.malignant} is malignant"
        if head.units == 2
        else ("its high end is malignant" if head.malignant else "its low end is malignant")
    )
    return [
        ("architecture", plan.architecture),
        ("input", f"{contract.height} x {contract.width} pixels (height x width), {seen}"),
        ("input scale", f"{contract.scale}{inside}"),
        ("head", f"{head.kind} of {head.units}; {meaning}"),
        *(("assumed", text) for text in plan.assumed),
    ]


def _summary(made: Imported) -> list[tuple[str, str]]:
    if made.proof.difference is None:
        proof = f"structure: every tensor has its place; the file's network was not run, because {made.proof.reason}"
    else:
        proof = f"parity: on 16 pictures the logits are the file's own within {made.proof.difference:.1e}"
    return [
        *_described(made.plan),
        ("proof", proof),
        *(("SUSPICIOUS", text) for text in made.warnings),
        ("name", made.name),
        ("place", str(made.path)),
        ("next", f"mammolens predict --model {made.name} PATH"),
    ]


def _diagnosis(found: Findings) -> list[tuple[str, str, bool | None]]:
    """Lines for people: title, text, and whether it is as it should be (None: only told)."""
    lines: list[tuple[str, str, bool | None]] = []
    if found.format:
        by = f", written by Keras {found.keras_version}" if found.keras_version else ""
        holds = "with" if found.compiled else "without"
        lines = [
            ("format", f"{found.format}{by}, {holds} training state", None),
            ("size", f"{found.size} bytes, {found.tensors} tensors, {found.parameters} parameters", None),
            ("sha256", found.sha256, None),
        ]
    if found.plan is not None:
        lines += [(title, text, None) for title, text in _described(found.plan)]
    lines += [("numbers", f"{path} holds values that are no numbers", False) for path in found.not_finite]
    lines += [("dead", f"{path} holds one single value", False) for path in found.dead]
    lines += [("untrained", text, False) for text in found.suspicions.untrained]
    if found.suspicions.double_rescale:
        lines.append(("double rescale", found.suspicions.double_rescale, False))
    if found.explanation:
        lines.append(("explained", found.explanation, None))
    refusal = found.refusal
    verdict = "yes"
    if refusal is not None:
        verdict = "with --foreign, not without: " if found.road else "no: "
        verdict += f"{refusal.message} [{refusal.code}]"
    return [*lines, ("imports", verdict, bool(found.road))]


def _show_fates(made: Imported) -> None:
    """Print what became of every layer: a table on a terminal, columns of text elsewhere."""
    rows = _rows(made)
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table("layer", "tensors", "fate", box=None, pad_edge=False)
        for layer, tensors, fate, used in rows:
            style = "" if used else "yellow"
            table.add_row(*(Text(terminal.printable(part), style) for part in (layer, tensors, fate)))
        Console().print(table)
        return
    for layer, tensors, fate, _ in rows:
        typer.echo("  ".join(terminal.printable(part) for part in (layer, tensors, fate) if part))


def _rows(made: Imported) -> list[tuple[str, str, str, bool]]:
    """Layer of the file, its tensors, what became of them, and whether they are used.

    Layers without weights share one row for each thing that became of them.
    """
    held = {tensor.path for tensor in made.source.tensors}
    grouped: dict[tuple[str, str, bool], list[str]] = {}
    for fate in made.fates:
        target, _, role = fate.target.partition(" ")
        if fate.source in held:
            layer, _, tensor = fate.source.rpartition("/")
            became = f"used as {target}" if target else f"ignored: {fate.reason}"
            grouped.setdefault((layer.removesuffix("/vars"), became, bool(target)), []).append(role or tensor)
        else:
            became = f"used as {fate.target}" if target else f"ignored: {fate.reason}"
            grouped.setdefault(("", became, bool(target)), []).append(fate.source)
    return [
        (layer or ", ".join(names), ", ".join(names) if layer else "", became, used)
        for (layer, became, used), names in grouped.items()
    ]


def _colour(good: bool | None, title: str) -> str | None:
    if good is False:
        return "red" if title == "imports" else "yellow"
    return None
