"""Write the report's page."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from mammolens.explain.files import write_file
from mammolens.report import examinations
from mammolens.report.entry import ReportEntry, ReportModel
from mammolens.report.views import Answered, above, bar, text, view_name, views
from mammolens.types import ExamPrediction

_SCREENING = 0.006
"""Cancers per woman screened: 5.1 found and 0.8 missed per 1000 (Lehman et al. 2017, Radiology 283:49)."""


def write_report(
    folder: Path, entries: Sequence[ReportEntry], model: ReportModel, exams: Sequence[ExamPrediction] = ()
) -> Path:
    """Write ``report.html``, a page that needs neither network nor script.

    Parameters
    ----------
    folder : Path
        Made where it is missing. The pictures lie in it and are linked, so the folder
        can be moved as a whole.
    entries : sequence of ReportEntry
        Shown in this order, unless they hang as one examination.
    model : ReportModel
    exams : sequence of ExamPrediction
        That the entries' answers make, as `mammolens.inference.Predictor.examinations` gives them.

    Returns
    -------
    Path
        The page. Equal entries give equal bytes.

    Raises
    ------
    ValueError
        If a picture lies outside the folder or is no PNG.
    OutputError
        If the page can't be written.
    """
    answered = [(entry, entry.prediction) for entry in entries if entry.prediction is not None]
    refused = [entry for entry in entries if entry.prediction is None]
    parts = []
    if answered:
        parts += [*filter(None, [examinations.section(exams)]), _summary(answered), views(folder, answered)]
    if refused:
        parts.append(_refusals(refused))
    if not entries:
        parts.append("<p>No file was given. Name a mammogram (DICOM, PNG or JPEG) or a folder of them.</p>")
    parts.append(_reading(answered, model))
    resources = files("mammolens.report")
    page = Template(resources.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        style=resources.joinpath("style.css").read_text(encoding="utf-8").strip(),
        headline=_headline(answered, refused),
        body="\n".join(parts),
    )
    return write_file(folder, "report.html", page.encode("utf-8"))


def _headline(answered: Answered, refused: list[ReportEntry]) -> str:
    count = sum(above(prediction) for _, prediction in answered)
    words = [_count(len(answered), "picture") + " answered"]
    if answered:
        words.append(f"{count} at or above the threshold")
    if refused:
        words.append(f"{len(refused)} refused")
    return " · ".join(words)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _summary(answered: Answered) -> str:
    rows = []
    for entry, prediction in answered:
        rows.append(
            f'<tr><td>{view_name(prediction)}</td><td class="detail"><bdi>{text(entry.title)}</bdi></td>'
            f'<td class="number">{prediction.probability:.3f}</td><td>{bar(prediction)}</td>'
            f"<td>{text(prediction.label)}</td>"
            f'<td class="number detail">{prediction.confidence:.3f}</td>'
            f'<td class="number detail">{prediction.threshold:.3f}</td></tr>'
        )
    head = (
        '<tr><th>View</th><th class="detail">File</th><th class="number">Probability</th><th></th><th>Label</th>'
        '<th class="number detail">Confidence</th><th class="number detail">Threshold</th></tr>'
    )
    return (
        '<section class="wide summary" aria-label="Scores"><table><thead>'
        f"{head}</thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table></section>"
    )


def _refusals(refused: list[ReportEntry]) -> str:
    rows = "".join(
        f'<tr><td><bdi>{text(entry.title)}</bdi></td><td><p class="refusal">{text(entry.message or "")} '
        f"<code>{text(entry.code or '')}</code></p></td></tr>\n"
        for entry in refused
    )
    return (
        '<section><h2>Refused</h2><div class="wide"><table><thead><tr><th>File</th><th>Why, and what helps</th></tr>'
        f"</thead><tbody>\n{rows}</tbody></table></div></section>"
    )


def _reading(answered: Answered, model: ReportModel) -> str:
    sentences = []
    highest = max((prediction.probability for _, prediction in answered), default=None)
    source = f"calibrated on {text(model.calibrated_on)}" if model.calibrated_on else "calibrated by the model's makers"
    if not model.calibrated:
        sentences.append(
            "The model was never calibrated. A higher number is more suspicious than a lower one of the same model, "
            "but no number here is a share of cancers, and the threshold was never measured."
        )
    elif highest is not None:
        sentences.append(_example(highest, source, model.prevalence))
    if model.sensitivity is not None and model.specificity is not None:
        sentences.append(
            f"In that set {100 * model.sensitivity:.0f} of 100 pictures with cancer reached the threshold, and "
            f"{100 * model.specificity:.0f} of 100 without cancer stayed below it."
        )
    if highest is not None and model.prevalence is not None and 0.0 < model.prevalence < 1.0:
        sentences.append(_projection(highest, model.prevalence))
    sentences.append(
        "The label follows from the threshold alone. “Benign” means below it, which is no promise that nothing is "
        "there. The heat map and the regions show what the score rests on; they don't outline a lesion."
    )
    paragraphs = "".join(f"<p>{sentence}</p>" for sentence in sentences)
    identity = model.identity
    return (
        f'<section><h2>How to read the number</h2><div class="reading">{paragraphs}</div></section>\n'
        f"<section><h2>Model</h2><dl><dt>Name</dt><dd>{text(identity.name)}</dd>"
        f"<dt>Version</dt><dd>{text(identity.version)}</dd>"
        f"<dt>SHA-256</dt><dd><code>{text(identity.sha256)}</code></dd></dl></section>"
    )


def _example(probability: float, source: str, prevalence: float | None) -> str:
    share = "" if prevalence is None else f"; {prevalence * 100:.0f} of 100 pictures in that set did"
    return (
        f"The probability is {source}. The highest here, {probability:.3f}, says: of 1000 pictures with this score in "
        f"that set, about {probability * 1000:.0f} showed cancer{share}."
    )


def _projection(probability: float, prevalence: float) -> str:
    """Carry a probability to another prevalence by its odds (Saerens et al. 2002, Neural Comput. 14:21)."""
    held = min(max(probability, 1e-9), 1.0 - 1e-9)
    odds = held / (1.0 - held) * (_SCREENING / (1.0 - _SCREENING)) / (prevalence / (1.0 - prevalence))
    return (
        f"Cancer is rarer in screening. Where {_SCREENING * 1000:.0f} of 1000 have it, and if the score parts them "
        f"from the others as well as it did there, it stands for about {1000 * odds / (1.0 + odds):.0f} of 1000."
    )
