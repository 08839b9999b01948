"""What an answer leaves in the database: its row, and what the picture turned out to be."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from mammolens.types import Prediction
from mammolens.web.cases.summary import refresh
from mammolens.web.database.tables import Image, ImageState, Result


def record(session: Session, image_id: str, prediction: Prediction, extra_ms: Mapping[str, float]) -> None:
    """Write an answer, in the transaction that ends its job.

    A model's answer for an image is written once: where it is there already, it stays.

    Parameters
    ----------
    session : Session
    image_id : str
        Of an image that is there.
    prediction : Prediction
    extra_ms : mapping of str to float
        Milliseconds beside those of the prediction: ``waited`` in the queue, ``pictures`` for writing them.
    """
    image = session.get_one(Image, image_id)
    _describe(image, prediction)
    given = select(Result.id).where(Result.image_id == image_id, Result.model_sha256 == prediction.model.sha256)
    if session.scalar(given) is None:
        session.add(_row(image_id, prediction, extra_ms))
    session.flush()
    refresh(session, image.case_id)


def _describe(image: Image, prediction: Prediction) -> None:
    mammogram = prediction.mammogram
    image.state = ImageState.ANSWERED
    image.error_code = image.error_message = None
    image.rows, image.columns = mammogram.rows, mammogram.columns
    image.kind = mammogram.source
    # What the file does not say may have been told by whoever uploaded it.
    image.laterality = mammogram.laterality or image.laterality
    image.view = mammogram.view or image.view
    image.view_modifiers = list(mammogram.view_modifiers)
    if (spacing := mammogram.pixel_spacing) is not None:
        image.spacing_row_mm, image.spacing_column_mm = spacing.row, spacing.column
        image.spacing_origin = spacing.origin


def _row(image_id: str, prediction: Prediction, extra_ms: Mapping[str, float]) -> Result:
    geometry, timing = prediction.geometry, prediction.timing
    spent = {name: getattr(timing, name) for name in ("read", "preprocess", "infer", "explain", "total")}
    return Result(
        image_id=image_id,
        model_name=prediction.model.name,
        model_version=prediction.model.version,
        model_sha256=prediction.model.sha256,
        probability=float(prediction.probability),
        logit=float(prediction.logit),
        share_cc=None if prediction.pair is None else prediction.pair.logits[0],
        share_mlo=None if prediction.pair is None else prediction.pair.logits[1],
        threshold=float(prediction.threshold),
        label=prediction.label,
        confidence=float(prediction.confidence),
        regions=[
            {
                "box": [int(x) for x in region.box],
                "centre": [int(x) for x in region.centre],
                "score": float(region.score),
            }
            for region in prediction.regions
        ],
        notices=[{"code": notice.code, "message": notice.message} for notice in prediction.notices],
        geometry={
            "box": [float(x) for x in geometry.box],
            "mirrored": bool(geometry.mirrored),
            "size": [int(side) for side in geometry.size],
        },
        timing_ms={name: round(float(value), 1) for name, value in (spent | dict(extra_ms)).items()},
    )
