"""A folder of files on all cores: Mammolens against the floor in its best arrangement."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2

from benchmarks.facts import cores
from benchmarks.floor import Floor, Source, sources, start_worker, work
from benchmarks.inputs import Input
from benchmarks.measure import Series, against, table
from mammolens.errors import InputError
from mammolens.imaging.reading import ReadOptions
from mammolens.imaging.sandbox import default_pool
from mammolens.inference import Predictor

LEAST_OF_FLOOR = 0.8
"""Target: images per second over the floor's, at least."""

FILES = {"jpeg-2000": 24, "jpeg-lossless": 24, "png-16": 48, "jpeg-640": 96}
"""Files in the folder of each input; those at hand are taken over and over until there are so many."""


def measure(inputs: Sequence[Input], rounds: int, most_files: int | None = None) -> dict[str, Any]:
    """Images per second of each input, Mammolens and both arrangements of the floor in turns."""
    jobs = cores()
    predictor = Predictor.from_bundle("default", threads=1)
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(jobs))
        processes = stack.enter_context(
            ProcessPoolExecutor(jobs, get_context("spawn"), initializer=start_worker, initargs=(predictor.size,))
        )
        floor = Floor(predictor.size, threads=1)
        for given in inputs:
            number = min(FILES[given.name], most_files or FILES[given.name])
            options = ReadOptions().for_model(predictor.size)
            every = sources(given, default_pool().read(given.path, options).reduction)
            folder = list(islice(cycle(every), number))
            arms: dict[str, Callable[[list[Source]], None]] = {
                "mammolens": lambda some: _predict(predictor, [source.path for source in some], jobs),
                "floor, threads": lambda some: _floor_in_threads(threads, floor, some),
                "floor, processes": lambda some: _drain(processes.map(work, some)),
            }
            found[given.label] = {"files": number, "rates": _rates(arms, folder, rounds)}
    return {"cores": jobs, "inputs": found, "target": LEAST_OF_FLOOR}


def _rates(arms: dict[str, Callable[[list[Source]], None]], folder: list[Source], rounds: int) -> dict[str, Series]:
    """Files per second of each arm, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for work_on in arms.values():
        work_on(folder[: 2 * cores()])
    for _ in range(rounds):
        for name, work_on in arms.items():
            began = time.perf_counter()
            work_on(folder)
            taken[name].append(len(folder) / (time.perf_counter() - began))
    return {name: Series(tuple(values)) for name, values in taken.items()}


def _predict(predictor: Predictor, paths: list[Path], jobs: int) -> None:
    for answer in predictor.predict_many(paths, jobs=jobs):
        if isinstance(answer, InputError):
            raise answer


def _floor_in_threads(threads: Executor, floor: Floor, some: list[Source]) -> None:
    with _one_opencv_thread():
        _drain(threads.map(floor.answer, some))


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _drain(results: Iterable[object]) -> None:
    for _ in results:
        pass


def show(result: dict[str, Any]) -> str:
    """Lay out the table."""
    rows = []
    for label, one in result["inputs"].items():
        rates = one["rates"]
        best = max(("floor, threads", "floor, processes"), key=lambda name: rates[name].median)
        rows.append(
            [
                label,
                str(one["files"]),
                *(rates[name].text(2) for name in ("mammolens", "floor, threads", "floor, processes")),
                against(rates["mammolens"].median / rates[best].median, "≥", result["target"]),
            ]
        )
    head = [
        "folder of",
        "files",
        "Mammolens, images/s",
        "floor in threads",
        "floor in processes",
        "of the better floor",
    ]
    return f"## Throughput of a folder, {result['cores']} cores\n\n" + table(head, rows)
