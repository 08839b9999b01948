"""One engine with one bundle in a process of its own: ``python -m benchmarks.engine_probe ENGINE BUNDLE RUNS``.

Prints one JSON object. A process of its own, because neither a peak of memory nor the
first import of a library can be had twice.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.facts import cores
from benchmarks.memory_probe import peak
from mammolens.inference.engines import open_engine
from mammolens.models import golden
from mammolens.models.bundle import load_bundle
from mammolens.models.contract import to_input

_MOST_SECONDS = 20.0
_BATCH = 8


def _milliseconds(work: Any, runs: int, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Time so many runs, fewer if they take long, after two that are not counted; by the wall clock unless said."""
    work()
    work()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < runs and (len(times) < 3 or time.perf_counter() - began < _MOST_SECONDS):
        before = clock()
        work()
        times.append(1e3 * (clock() - before))
    return times


def _processor(name: str, place: str, image: NDArray[np.uint8], runs: int) -> list[float]:
    """Processor milliseconds of a picture with one thread, which another program's load hardly changes.

    Keras' number of threads can't be set once it runs; all of its threads are counted.
    """
    engine = open_engine(name, load_bundle(place), 1)
    return _milliseconds(lambda: engine.run(image), runs, time.process_time)


def _throughput(name: str, place: str, image: NDArray[np.uint8], runs: int) -> float:
    """Pictures per second on all cores: as many jobs as cores with a thread each; Keras, which can't, in batches."""
    bundle = load_bundle(place)
    if name == "keras":
        engine, batch, rounds = open_engine(name, bundle), np.repeat(image, _BATCH, axis=0), max(1, runs // 4)
        times = _milliseconds(lambda: engine.run(batch), rounds)
        return 1e3 * _BATCH / min(times)
    engine, jobs = open_engine(name, bundle, 1), cores()
    with ThreadPoolExecutor(jobs) as pool:
        # Each thread warms up.
        list(pool.map(engine.run, [image] * 2 * jobs))
        count = jobs * max(4, runs)
        began = time.perf_counter()
        list(pool.map(engine.run, [image] * count))
        return count / (time.perf_counter() - began)


def _keras_predict(engine: Any, image: NDArray[np.uint8], place: str, runs: int) -> dict[str, list[float]]:
    """Milliseconds of what tutorials call, ``model.predict`` on a batch of one: wall clock, and processor time."""
    batch = to_input(image, load_bundle(place).contract)
    clocks = {"predict_ms": time.perf_counter, "predict_processor_ms": time.process_time}
    return {
        name: _milliseconds(lambda: engine._network.predict(batch, verbose=0), runs, clock)
        for name, clock in clocks.items()
    }


def main(name: str, place: str, runs: int) -> dict[str, Any]:
    """Measure."""
    bundle = load_bundle(place)
    image = golden.model_input(golden.SEEDS[0], (bundle.contract.height, bundle.contract.width)).image[None]
    before, began = peak("self"), time.perf_counter()
    engine = open_engine(name, bundle)
    (score,) = engine.run(image)
    start = time.perf_counter() - began
    times = _milliseconds(lambda: engine.run(image), runs)
    memory = peak("self")
    return {
        "start_s": start,
        "latency_ms": times,
        "processor_ms": _processor(name, place, image, runs),
        "before_kib": before,
        "peak_kib": memory,
        "logit": score.logit,
        "pictures_per_s": _throughput(name, place, image, runs),
        **(_keras_predict(engine, image, place, runs) if name == "keras" else {}),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
