"""Images with answers, made without a network."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import func, select

from mammolens.explain.gradcam import heatmap
from mammolens.explain.regions import find_regions
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.preprocess import prepare
from mammolens.imaging.reading import read_mammogram
from mammolens.types import ModelIdentity, Prediction, Timing
from mammolens.web.app import Services
from mammolens.web.database.tables import Case, Image, ImageState, Result, Role, User
from mammolens.web.pictures import rendering
from mammolens.web.store import Store

SIZE = (256, 192)
MODEL = "5" * 64


@pytest.fixture
def keep() -> Callable[..., Image]:
    """Keep a file in the store, with a case and an image: services, bytes, user's id (a new user's unless given), …."""

    def make(services: Services, data: bytes, owner: str | None = None, **columns: object) -> Image:
        store = Store(services.folder)
        arrived = store.take(io.BytesIO(data), lambda _head: 1 << 30)
        with store.adding(), services.database.session() as session:
            store.keep(arrived)
            if owner is None:
                user = User(name=f"u{arrived.sha256[:8]}", password_hash="x", role=Role.READER)
                session.add(user)
                session.flush()
                owner = user.id
            number = 1043 + (session.scalar(select(func.count()).select_from(Case)) or 0)
            case = Case(owner_id=owner, number=number, examination=arrived.sha256)
            session.add(case)
            session.flush()
            given = {"state": ImageState.ANSWERED, "kind": "dicom", **columns}
            image = Image(case_id=case.id, sha256=arrived.sha256, bytes=arrived.size, **given)
            session.add(image)
        return image

    return make


@pytest.fixture
def predicted() -> Callable[..., Prediction]:
    """Answer for a file with evidence of full height in one cell of 32 pixels ``(row, column)`` of the input grid."""

    def make(data: bytes, cell: tuple[int, int] = (4, 1)) -> Prediction:
        mammogram = read_mammogram(data, ReadOptions(min_size=SIZE))
        prepared = prepare(mammogram, SIZE)
        evidence = np.zeros((SIZE[0] // 32, SIZE[1] // 32), np.float32)
        evidence[cell] = 1.0
        heat = heatmap(evidence, prepared.mask, 1.0)
        return Prediction(
            probability=0.7,
            logit=0.8472978603872037,  # of 0.7
            threshold=0.5,
            label="malignant",
            confidence=0.7,
            mammogram=mammogram,
            heatmap=heat,
            geometry=prepared.geometry,
            regions=find_regions(heat, prepared.geometry, (mammogram.rows, mammogram.columns)),
            notices=(),
            model=ModelIdentity("test", "1", MODEL),
            timing=Timing(0.0, 0.0, 0.0, 0.0, 0.0),
        )

    return make


@pytest.fixture
def answered(keep: Callable[..., Image], predicted: Callable[..., Prediction]) -> Callable[..., tuple[Image, Result]]:
    """Keep a file and write an answer for it, pictures and row: services, bytes, user's id."""

    def make(services: Services, data: bytes, owner: str | None = None) -> tuple[Image, Result]:
        answer = predicted(data)
        mammogram, geometry = answer.mammogram, answer.geometry
        image = keep(
            services,
            data,
            owner,
            rows=mammogram.rows,
            columns=mammogram.columns,
            laterality=mammogram.laterality,
            view=mammogram.view,
        )
        rendering.write_answer(services, image.id, answer)
        with services.database.session() as session:
            result = Result(
                image_id=image.id,
                model_name="test",
                model_version="1",
                model_sha256=MODEL,
                probability=answer.probability,
                logit=answer.logit,
                threshold=answer.threshold,
                label=answer.label,
                confidence=answer.confidence,
                regions=[{"box": list(r.box), "centre": list(r.centre), "score": r.score} for r in answer.regions],
                notices=[],
                geometry={"box": list(geometry.box), "mirrored": geometry.mirrored, "size": list(geometry.size)},
                timing_ms={},
            )
            session.add(result)
        return image, result

    return make
