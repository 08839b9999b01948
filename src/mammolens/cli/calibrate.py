"""``mammolens calibrate``: a model and a site's own cases in, a bundle that is calibrated for them out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammolens.cli import terminal
from mammolens.cli.evaluate import Bundle, Folder, Jobs, Name, table_of

if TYPE_CHECKING:
    from mammolens.evaluation.site import Fitted


def calibrate(
    bundle: Bundle,
    name: Name,
    folder: Folder,
    by: Annotated[str, typer.Option(metavar="WHO", help="Who calibrates, for the manifest.")] = "not stated",
    jobs: Jobs = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The new bundle; by default an installed model.")
    ] = None,
) -> None:
    """Calibrate a model on a site's own cases and write a new bundle.

    The weights stay as they are; probabilities and thresholds become the site's.
    """
    table = table_of(name, folder)
    from mammolens.evaluation import site
    from mammolens.evaluation.kept import KeptScores
    from mammolens.evaluation.run import refuse_seen
    from mammolens.evaluation.scores import by_predictor
    from mammolens.inference import Predictor
    from mammolens.settings import settings

    working = jobs or terminal.processors()
    predictor = Predictor.from_bundle(bundle, threads=1 if working > 1 else 0)
    original = predictor.bundle
    refuse_seen(original.manifest, table)
    place = out or settings().home / "models" / f"{original.manifest.name}-site"
    kept = KeptScores(settings().home / "cache" / "calibrate", original.identity.sha256)
    with kept, terminal.progress("Scoring", len(table)) as advance:
        scores = by_predictor(table, predictor, kept=kept, jobs=working, advance=advance)
    fitted = site.fit(scores, table.name, by)
    made = site.write(original, scores, fitted, place)
    for line in outcome(fitted):
        typer.echo(terminal.printable(line))
    if scores.refused:
        codes = ", ".join(f"{code} {count}" for code, count in scores.refused.items())
        terminal.say(f"{sum(scores.refused.values())} pictures were refused ({codes}) and are left out.")
    typer.echo(terminal.printable(made))


def outcome(fitted: Fitted) -> list[str]:
    """Lines that say what was fitted, and how surely."""
    calibration = fitted.calibration
    losses = ", ".join(f"{name} {loss:.4f}" for name, loss in fitted.choice.losses.items())
    lines = [
        f"method         {calibration.method} (cross-validated log loss: {losses})",
        f"slope          {fitted.slope}",
        f"intercept      {fitted.intercept}",
    ]
    before = "never calibrated" if fitted.error_before is None else str(fitted.error_before)
    lines += [f"error before   {before}", f"error after    {fitted.error_after}, judged across folds"]
    lines += [
        f"{point.name:<14} threshold {fitted.thresholds[point.name]}, sensitivity {point.sensitivity:.3f}, "
        f"specificity {point.specificity:.3f} on these cases"
        for point in fitted.points
    ]
    return lines
