"""The only road from a mammogram to a prediction."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import InputError
from mammolens.explain.gradcam import heatmap
from mammolens.explain.regions import find_regions
from mammolens.imaging import preprocess
from mammolens.imaging.reading import ReadOptions, mammogram_from_array
from mammolens.imaging.sandbox import DecodePool, default_pool
from mammolens.inference.engines import Engine, open_engine
from mammolens.models.bundle import ModelBundle, load_bundle
from mammolens.types import Mammogram, Notice, Prediction, Timing

Source = str | Path | bytes | NDArray[Any] | Mammogram
"""What can be predicted: a file's path, its bytes, grey values (H, W), or a mammogram."""


class Predictor:
    """Answers for mammograms with one model. Thread-safe; open it once and keep it.

    Parameters
    ----------
    bundle : ModelBundle
    engine : Engine
    pool : DecodePool, optional
        Decodes files in bounded child processes; the process-wide pool unless given.

    Examples
    --------
    >>> predictor = Predictor.from_bundle("default")  # doctest: +SKIP
    >>> predictor.predict("my.dcm").probability  # doctest: +SKIP
    0.1234
    """

    def __init__(self, bundle: ModelBundle, engine: Engine, pool: DecodePool | None = None) -> None:
        self.bundle = bundle
        self.engine = engine
        self._pool = pool
        manifest = bundle.manifest
        self.size = (manifest.preprocessing.height, manifest.preprocessing.width)

    @classmethod
    def from_bundle(
        cls,
        name_or_path: str | Path = "default",
        *,
        engine: str = "auto",
        threads: int = 0,
        pool: DecodePool | None = None,
    ) -> Predictor:
        """Open a bundle and an engine.

        Parameters
        ----------
        name_or_path : str or Path
            ``"default"`` is the built-in bundle.
        engine : str
            ``auto`` or a key of `mammolens.inference.engines.ENGINES`.
        threads : int
            Threads within one forward pass; 0 takes one per core.
        pool : DecodePool, optional

        Returns
        -------
        Predictor

        Raises
        ------
        BundleError
            If the bundle can't be opened whole.
        EngineUnavailable
            If the engine is unknown or not installed.
        """
        bundle = load_bundle(name_or_path)
        return cls(bundle, open_engine(engine, bundle, threads), pool)

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
        inferred = time.perf_counter()
        manifest = self.bundle.manifest
        logit = manifest.calibration.slope * raw.logit + manifest.calibration.intercept
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
        )

    def predict_many(
        self, sources: Iterable[Source], *, options: ReadOptions | None = None, jobs: int = 1
    ) -> Iterator[Prediction | InputError]:
        """Answer for many mammograms, in their order, several at a time.

        Parameters
        ----------
        sources : iterable of sources
            Read lazily, a few ahead of what has been answered.
        options : ReadOptions, optional
        jobs : int
            Files in work at a time.

        Yields
        ------
        Prediction or InputError
            One for each source; a refusal does not end the rest.
        """

        def answer(source: Source) -> Prediction | InputError:
            try:
                return self.predict(source, options)
            except InputError as error:
                return error

        if jobs <= 1:
            yield from map(answer, sources)
            return
        waiting: deque[Future[Prediction | InputError]] = deque()
        with ThreadPoolExecutor(jobs) as threads:
            try:
                for source in sources:
                    waiting.append(threads.submit(answer, source))
                    if len(waiting) > 2 * jobs:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _read(self, source: Source, options: ReadOptions | None) -> Mammogram:
        if isinstance(source, Mammogram):
            return source
        if isinstance(source, np.ndarray):
            return mammogram_from_array(source, min_size=self.size)
        wanted = (options or ReadOptions()).for_model(self.size)
        pool = self._pool if self._pool is not None else default_pool()
        return pool.read(Path(source) if isinstance(source, str) else source, wanted)

    def _notices(self, mammogram: Mammogram) -> tuple[Notice, ...]:
        height, width = self.size
        if mammogram.rows < height or mammogram.columns < width:
            message = "The picture has fewer pixels than the model's input; fine detail is missing."
            return (Notice("low-resolution", message),)
        return ()
