"""Examinations made of answers for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mammolens.errors import InputError
from mammolens.inference import examination, grouping
from mammolens.inference.examination import Assembly, Method, Picture
from mammolens.inference.grouping import Origin
from mammolens.types import BreastPrediction, ExamPrediction, Notice, Prediction, RefusedView

if TYPE_CHECKING:
    from mammolens.imaging.options import ReadOptions
    from mammolens.imaging.sandbox import DecodePool

STANDS_ALONE = Notice(
    "stands-alone",
    "Nothing tells which examination the picture belongs to: no study, or no side and view beside its folder.",
)


def origin_of(source: object, prediction: Prediction, pool: DecodePool, options: ReadOptions) -> Origin:
    """Find out where an answered picture comes from.

    Parameters
    ----------
    source : path, bytes, or anything else
        What was answered for; a DICOM file's header is read again, in the bounded child.
    prediction : Prediction
    pool : DecodePool
    options : ReadOptions

    Returns
    -------
    Origin
        Of a file whose header can't be read any more, nothing: then the picture stands alone, and its examination
        says so.
    """
    mammogram, study, folder = prediction.mammogram, None, ""
    if isinstance(source, str | Path):
        source = Path(source)
        folder = str(source.absolute().parent)
    if mammogram.source == "dicom" and isinstance(source, bytes | Path):
        try:
            study = pool.identify(source, options).study_uid
        except InputError:
            return Origin(None)
    return Origin(study, folder, mammogram.laterality, mammogram.view)


def gather(answers: Sequence[tuple[Prediction, Origin]], method: Method) -> list[ExamPrediction]:
    """Make examinations of answers.

    Parameters
    ----------
    answers : sequence of (Prediction, Origin)
        Of one model, in any order.
    method : Method
        Of that model.

    Returns
    -------
    list of ExamPrediction
        By their first picture.
    """
    found = []
    for group in grouping.group([origin for _, origin in answers]):
        predictions = [answers[place][0] for place in group.places]
        found.append(exam_of(predictions, method, notices=(STANDS_ALONE,) if group.alone else ()))
    return found


def exam_of(
    predictions: Sequence[Prediction],
    method: Method,
    *,
    notices: tuple[Notice, ...] = (),
    refused: tuple[RefusedView, ...] = (),
) -> ExamPrediction:
    """Make one examination of the answers for its pictures.

    Parameters
    ----------
    predictions : sequence of Prediction
        At least one, of one model.
    method : Method
        Of that model.
    notices : tuple of Notice
        Go before those that `mammolens.inference.examination.assemble` finds.
    refused : tuple of RefusedView

    Returns
    -------
    ExamPrediction
    """
    assembly = examination.assemble([picture_of(prediction) for prediction in predictions], method)
    return ExamPrediction(
        name=examination.name([prediction.mammogram.sha256 for prediction in predictions]),
        score=assembly.score,
        breasts=_breasts(assembly, predictions),
        missing=assembly.missing,
        doubled=assembly.doubled,
        notices=(*notices, *assembly.notices),
        model=predictions[0].model,
        refused=refused,
    )


def picture_of(prediction: Prediction) -> Picture:
    """Take from an answer what its examination needs."""
    mammogram, pair = prediction.mammogram, prediction.pair
    return Picture(
        mammogram.laterality,
        mammogram.view,
        mammogram.view_modifiers,
        prediction.logit,
        mammogram.sha256,
        None if pair is None else pair.logits,
    )


def _breasts(assembly: Assembly, predictions: Sequence[Prediction]) -> tuple[BreastPrediction, ...]:
    return tuple(
        BreastPrediction(
            laterality=breast.laterality,
            score=breast.score,
            views=tuple(predictions[place] for place in breast.pictures),
            counted=tuple(place in breast.counted for place in breast.pictures),
            pair=breast.pair and (breast.pictures.index(breast.pair[0]), breast.pictures.index(breast.pair[1])),
        )
        for breast in assembly.breasts
    )
