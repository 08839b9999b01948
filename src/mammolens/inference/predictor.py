"""The only road from a mammogram to a prediction."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import (
    BundleError,
    ConfigurationError,
    EngineUnavailable,
    InputError,
    InternalError,
    MammolensError,
    SeveralExaminations,
)
from mammolens.explain.gradcam import heatmap
from mammolens.explain.pair import as_paired
from mammolens.explain.regions import find_regions
from mammolens.imaging import preprocess
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.sandbox import DecodePool, default_pool
from mammolens.inference.engines import Engine
from mammolens.inference.engines.opening import open_equal
from mammolens.inference.examination import Method, is_standard
from mammolens.inference.gathering import exam_of, gather, origin_of
from mammolens.inference.grouping import Origin
from mammolens.inference.pair import PairEngine
from mammolens.models.bundle import ModelBundle, load_bundle
from mammolens.models.importing import cache
from mammolens.types import ExamPrediction, Mammogram, ModelInput, Notice, PairShare, Prediction, RefusedView, Timing

Source = str | Path | bytes | NDArray[Any] | Mammogram
"""What can be predicted: a file's path, its bytes, grey values (H, W), or a mammogram."""

UNCALIBRATED = Notice(
    "uncalibrated",
    "The model was never calibrated: its probability ranks pictures, but is no share of cancers, and its threshold "
    "was never measured.",
)
"""Goes with every answer of a model without calibration."""

_INTERNAL = "Mammolens failed on this file. Run `mammolens --debug predict …` on it and report what it prints."


class Predictor:
    """Answers for mammograms with one model. Thread-safe; open it once and keep it.

    Parameters
    ----------
    bundle : ModelBundle
    engine : Engine
    pool : DecodePool, optional
        Decodes files in bounded child processes; the process-wide pool unless given.
    notices : tuple of Notice
        Go with every answer, after the bundle's own.
    threads : int
        Of the network of two views, where the bundle has one; 0 takes one per core.

    Examples
    --------
    >>> predictor = Predictor.from_bundle("default")  # doctest: +SKIP
    >>> predictor.predict("my.dcm").probability  # doctest: +SKIP
    0.1234
    """

    def __init__(
        self,
        bundle: ModelBundle,
        engine: Engine,
        pool: DecodePool | None = None,
        notices: tuple[Notice, ...] = (),
        threads: int = 0,
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self.notices = (*bundle.notices, *notices)
        self._pool = pool
        manifest = bundle.manifest
        self.size = (manifest.preprocessing.height, manifest.preprocessing.width)
        self._pair = None if manifest.pair is None else PairEngine(bundle, threads)
        sizes = [self.size, *([] if self._pair is None else [self._pair.size])]
        self._least = (max(height for height, _ in sizes), max(width for _, width in sizes))

    @classmethod
    def from_bundle(
        cls,
        name_or_path: str | Path = "default",
        *,
        engine: str = "auto",
        threads: int = 0,
        pool: DecodePool | None = None,
        pictures: int | None = None,
    ) -> Predictor:
        """Open a bundle and an engine, or what is equal to them in result.

        Where the bundle's graph or weights file is not whole, or the engine is missing,
        the next that gives the same answers is taken (see ``docs/engines.md``), and a
        notice goes with every answer.

        Parameters
        ----------
        name_or_path : str or Path
            ``"default"`` is the built-in bundle. A model file (``.keras``, ``.h5``, …) is
            imported into a cache first (see `mammolens.models.importing.cache`).
        engine : str
            ``auto`` or a key of `mammolens.inference.engines.ENGINES`.
        threads : int
            Threads within one forward pass; 0 takes one per core.
        pool : DecodePool, optional
        pictures : int, optional
            How many are going to be answered, which ``auto`` goes by; None: many.

        Returns
        -------
        Predictor

        Raises
        ------
        BundleError
            If the bundle can't be opened whole, and nothing equal is left of it.
        ModelFileError
            If a model file is named that can't be imported.
        EngineUnavailable
            If the engine is unknown, or is not installed and none can stand in for it.
        """
        bundle = load_bundle(cache.place_of(name_or_path), stand_in=True)
        opened = open_equal(engine, bundle, threads, pictures)
        return cls(bundle, opened.engine, pool, opened.notices, threads)

    def predict(self, source: Source, options: ReadOptions | None = None) -> Prediction:
        """Answer for one mammogram.

        Parameters
        ----------
        source : path, bytes, ndarray of shape (H, W), or Mammogram
            An array is taken as bright = dense unless it looks like a negative.
        options : ReadOptions, optional
            How a file is read; its ``min_size`` is set to what the model needs.

        Returns
        -------
        Prediction

        Raises
        ------
        InputError
            If the input gets no answer; see the tree in `mammolens.errors`.
        EngineError
            If the engine fails.
        """
        began = time.perf_counter()
        mammogram = self._read(source, options)
        read = time.perf_counter()
        made = preprocess.prepare(mammogram, self.size)
        prepared = time.perf_counter()
        raw = self.engine.run(made.image[None])[0]
        pair = self._share(mammogram, made)
        inferred = time.perf_counter()
        manifest = self.bundle.manifest
        logit = manifest.calibrated(raw.logit)
        probability = 1.0 / (1.0 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1.0 + math.exp(logit))
        malignant = probability >= manifest.threshold
        heat = heatmap(raw.evidence, made.mask, manifest.evidence_scale)
        regions = find_regions(heat, made.geometry, (mammogram.rows, mammogram.columns))
        ended = time.perf_counter()
        return Prediction(
            probability=probability,
            logit=logit,
            threshold=manifest.threshold,
            label="malignant" if malignant else "benign",
            confidence=probability if malignant else 1.0 - probability,
            mammogram=mammogram,
            heatmap=heat,
            geometry=made.geometry,
            regions=regions,
            notices=(*mammogram.notices, *self._notices(mammogram)),
            model=self.bundle.identity,
            timing=Timing(
                read=1e3 * (read - began),
                preprocess=1e3 * (prepared - read),
                infer=1e3 * (inferred - prepared),
                explain=1e3 * (ended - inferred),
                total=1e3 * (ended - began),
            ),
            pair=pair,
        )

    def predict_many(
        self, sources: Iterable[Source], *, options: ReadOptions | None = None, jobs: int = 1
    ) -> Iterator[Prediction | MammolensError]:
        """Answer for many mammograms, in their order, several at a time.

        Parameters
        ----------
        sources : iterable of sources
            Read lazily, a few ahead of what has been answered.
        options : ReadOptions, optional
        jobs : int
            Files in work at a time; above 1, another one is begun meanwhile. As many as
            there are cores, with one engine thread each, is fastest.

        Yields
        ------
        Prediction or MammolensError
            One for each source: a source that fails does not end the rest, whatever it
            failed of. What is no error of ours comes as an `InternalError` with its cause.

        Raises
        ------
        BundleError, ConfigurationError, EngineUnavailable
            At once, because the next source would fail of them too.
        """
        if jobs <= 1:
            for source in sources:
                yield self._answer(source, options)
            return
        waiting: deque[Future[Prediction | MammolensError]] = deque()
        # One more than are worked on: whoever waits for a decoding process leaves its core to another.
        with ThreadPoolExecutor(jobs + 1) as threads:
            try:
                for source in sources:
                    waiting.append(threads.submit(self._answer, source, options))
                    if len(waiting) > 2 * jobs:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def predict_exam(
        self, sources: Iterable[Source], *, options: ReadOptions | None = None, jobs: int = 1
    ) -> ExamPrediction:
        """Answer for one examination.

        Parameters
        ----------
        sources : iterable of sources
            Its pictures, in any order. What names no study (a photograph, a `Mammogram`) is taken to belong to it.
        options : ReadOptions, optional
        jobs : int
            As `predict_many` takes it.

        Returns
        -------
        ExamPrediction
            Pictures without an answer stand in ``refused``.

        Raises
        ------
        SeveralExaminations
            If the files name more than one study; `predict_exams` parts them.
        InputError
            If there is no picture, or none gets an answer: then that of the first.
        """
        given = list(sources)
        answers: list[tuple[Prediction, Origin]] = []
        refused: list[tuple[int, MammolensError]] = []
        for place, result in enumerate(self.predict_many(given, options=options, jobs=jobs)):
            if isinstance(result, MammolensError):
                refused.append((place, result))
            else:
                answers.append((result, self.origin(given[place], result, options)))
        if not answers:
            raise refused[0][1] if refused else InputError("No picture was given. Name those of one examination.")
        if len({origin.study for _, origin in answers if origin.study}) > 1:
            raise SeveralExaminations("The files are of several examinations. Give those of one, or ask for all.")
        return exam_of(
            [prediction for prediction, _ in answers],
            self.method,
            refused=tuple(RefusedView(place, error.code, error.message) for place, error in refused),
        )

    def predict_exams(
        self, sources: Iterable[Source], *, options: ReadOptions | None = None, jobs: int = 1
    ) -> list[ExamPrediction]:
        """Answer for the examinations that pictures make; see `mammolens.inference.grouping` for which belong together.

        Parameters
        ----------
        sources : iterable of sources
        options : ReadOptions, optional
        jobs : int
            As `predict_many` takes it.

        Returns
        -------
        list of ExamPrediction
            By their first answered picture; heat maps and pixels are let go, for there may be thousands.
        """
        given = list(sources)
        answers = [
            (result.without_pixels(), self.origin(source, result, options))
            for source, result in zip(given, self.predict_many(given, options=options, jobs=jobs), strict=True)
            if isinstance(result, Prediction)
        ]
        return self.examinations(answers)

    def examinations(self, answers: Sequence[tuple[Prediction, Origin]]) -> list[ExamPrediction]:
        """Make examinations of answers that this predictor gave, each with what `origin` says of it."""
        return gather(answers, self.method)

    def origin(self, source: Source, prediction: Prediction, options: ReadOptions | None = None) -> Origin:
        """Find out where an answered picture comes from; see `mammolens.inference.gathering.origin_of`."""
        return origin_of(source, prediction, self._decoders, options or ReadOptions())

    def paired(self, prediction: Prediction) -> Prediction | None:
        """Give an answer with what the network of two views rests on; see `mammolens.explain.pair.as_paired`."""
        section = self.bundle.manifest.pair
        return None if section is None else as_paired(prediction, section.evidence_scale)

    @property
    def method(self) -> Method:
        """How this model's answers for pictures become those for breasts and examinations."""
        return Method.of(self.bundle.manifest)

    @property
    def _decoders(self) -> DecodePool:
        return self._pool if self._pool is not None else default_pool()

    def _answer(self, source: Source, options: ReadOptions | None) -> Prediction | MammolensError:
        """Answer for one of many: a failure that is the source's own is given back."""
        try:
            return self.predict(source, options)
        except (BundleError, ConfigurationError, EngineUnavailable):
            raise
        except MammolensError as error:
            return error
        except Exception as error:
            # The fence between one file and the rest; the caller gets what it was.
            failure = InternalError(_INTERNAL)
            failure.__cause__ = error
            return failure

    def _share(self, mammogram: Mammogram, made: ModelInput) -> PairShare | None:
        """Ask the network of two views, of a picture that is or may turn out to be a view that it looks at."""
        if self._pair is None or not is_standard(mammogram.view, mammogram.view_modifiers):
            return None
        return self._pair.share(
            made if self._pair.size == self.size else preprocess.prepare(mammogram, self._pair.size)
        )

    def _read(self, source: Source, options: ReadOptions | None) -> Mammogram:
        if isinstance(source, Mammogram):
            return source
        if isinstance(source, np.ndarray):
            # It brings the decoders along, which else only the decoding processes need.
            from mammolens.imaging.reading import mammogram_from_array

            return mammogram_from_array(source, min_size=self._least)
        wanted = (options or ReadOptions()).for_model(self._least)
        return self._decoders.read(Path(source) if isinstance(source, str) else source, wanted)

    def _notices(self, mammogram: Mammogram) -> tuple[Notice, ...]:
        notices = [*self.notices]
        if self.bundle.manifest.calibration is None:
            notices.append(UNCALIBRATED)
        height, width = self.size
        if mammogram.rows < height or mammogram.columns < width:
            message = "The picture has fewer pixels than the model's input; fine detail is missing."
            notices.append(Notice("low-resolution", message))
        return tuple(notices)
