"""Many pictures at a time: each gets its answer or its failure, whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest

from mammolens.errors import (
    BundleInvalid,
    ConfigurationError,
    EngineError,
    EngineUnavailable,
    MammolensError,
    NoBreast,
)
from mammolens.inference import Predictor
from mammolens.inference.engines import Engine
from mammolens.models import golden
from mammolens.types import Mammogram, Prediction, RawScore


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_bundle("default", threads=1)


def mammogram(seed: int) -> Mammogram:
    pixels = golden.picture(seed)
    return Mammogram(pixels=pixels, rows=pixels.shape[0], columns=pixels.shape[1])


class FailingEngine:
    """Fails of what is given for the third picture that it sees; answers for all others."""

    name = "failing"

    def __init__(self, engine: Engine, failure: Exception) -> None:
        self._engine, self._failure = engine, failure
        self._numbers = count(1)
        self.seen = 0

    def run(self, images: np.ndarray) -> list[RawScore]:
        number = next(self._numbers)
        self.seen = max(self.seen, number)
        if number == 3:
            raise self._failure
        return self._engine.run(images)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (EngineError("The engine failed on this input."), "engine-error"),
        (NoBreast("No breast."), "no-breast"),
        (RuntimeError("of a library"), "internal-error"),
        (MemoryError(), "internal-error"),
    ],
)
def test_a_picture_that_fails_in_any_way_costs_the_others_nothing(
    predictor: Predictor, jobs: int, failure: Exception, code: str
) -> None:
    engine = FailingEngine(predictor.engine, failure)
    answers = list(Predictor(predictor.bundle, engine).predict_many(map(mammogram, [1, 2, 3, 4, 1]), jobs=jobs))
    assert engine.seen == 5
    (failed,) = [answer for answer in answers if not isinstance(answer, Prediction)]
    assert isinstance(failed, MammolensError)
    assert failed.code == code
    assert failure in (failed, failed.__cause__)
    assert "of a library" not in failed.message
    alone = {seed: predictor.predict(mammogram(seed)).logit for seed in golden.SEEDS}
    expected = [alone[seed] for seed in (1, 2, 3, 4, 1)]
    found = [answer.logit if isinstance(answer, Prediction) else None for answer in answers]
    assert [a for a, b in zip(found, expected, strict=True) if a != b] == [None]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("kind", [BundleInvalid, ConfigurationError, EngineUnavailable])
def test_what_every_picture_would_fail_of_ends_the_run_at_once(
    predictor: Predictor, jobs: int, kind: type[MammolensError]
) -> None:
    engine = FailingEngine(predictor.engine, kind("Nothing can be done."))
    sources = (mammogram(1) for _ in range(1000))
    with pytest.raises(kind):
        list(Predictor(predictor.bundle, engine).predict_many(sources, jobs=jobs))
    assert engine.seen < 3 + 4 * jobs


def test_sources_are_taken_a_few_ahead_and_no_more(predictor: Predictor) -> None:
    taken: list[int] = []

    def sources() -> Iterator[Mammogram]:
        for seed in golden.SEEDS * 10:
            taken.append(seed)
            yield mammogram(seed)

    answers = predictor.predict_many(sources(), jobs=2)
    next(answers)
    assert len(taken) == 5
    answers.close()
    assert len(taken) == 5
