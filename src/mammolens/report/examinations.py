"""The examinations of a report: what their pictures say together."""

from __future__ import annotations

from collections.abc import Sequence

from mammolens.inference.gathering import STANDS_ALONE
from mammolens.report.views import text
from mammolens.types import ExamPrediction, Score


def section(exams: Sequence[ExamPrediction]) -> str:
    """Give the table of examinations.

    Parameters
    ----------
    exams : sequence of ExamPrediction

    Returns
    -------
    str
        A section of HTML; empty where no picture belongs to any other or to a known breast.
    """
    shown = [exam for exam in exams if STANDS_ALONE not in exam.notices]
    if not shown:
        return ""
    head = (
        '<tr><th>Examination</th><th class="number">Right breast</th><th class="number">Left breast</th>'
        '<th class="number">Probability</th><th>Label</th><th class="number detail">Threshold</th>'
        '<th class="detail">Pictures</th></tr>'
    )
    rows = "\n".join(_row(exam) for exam in shown)
    notices = dict.fromkeys(notice for exam in shown for notice in exam.notices)
    items = "".join(f"<li>{text(notice.message)} <code>{text(notice.code)}</code></li>" for notice in notices)
    listed = f'<ul class="notices small">{items}</ul>' if items else ""
    return (
        f'<section class="wide summary" aria-label="Examinations"><table><thead>{head}</thead><tbody>\n{rows}\n'
        f"</tbody></table>{listed}</section>"
    )


def _row(exam: ExamPrediction) -> str:
    sides = {breast.laterality: breast.score for breast in exam.breasts}
    pictures = sum(len(breast.views) for breast in exam.breasts)
    return (
        f'<tr><td><code>{text(exam.name)}</code></td><td class="number">{_figure(sides.get("R"))}</td>'
        f'<td class="number">{_figure(sides.get("L"))}</td><td class="number">{exam.score.probability:.3f}</td>'
        f'<td>{text(exam.score.label)}</td><td class="number detail">{exam.score.threshold:.3f}</td>'
        f'<td class="detail">{pictures}{_lacking(exam)}</td></tr>'
    )


def _figure(score: Score | None) -> str:
    return "–" if score is None else f"{score.probability:.3f}"


def _lacking(exam: ExamPrediction) -> str:
    named = {"missing": exam.missing, "doubled": exam.doubled}
    parts = [f"{what} {', '.join(' '.join(place) for place in places)}" for what, places in named.items() if places]
    return text(f" ({'; '.join(parts)})") if parts else ""
