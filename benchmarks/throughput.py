"""A folder of files on all cores: Mammolens against the floor in its best arrangement."""

from __future__ import annotations

import os
import sys
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
from benchmarks.measure import Pace, Series, against, ratio, table
from mammolens.errors import MammolensError
from mammolens.imaging.reading import ReadOptions
from mammolens.imaging.sandbox import default_pool
from mammolens.inference import Predictor

LEAST_OF_FLOOR = 0.8
"""Target: images per second over the floor's, at least."""

FILES = 40
"""Files in the folder of each input; those at hand are taken over and over until there are so many."""

_ARMS = ("mammolens", "floor, threads", "floor, processes")


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
            number = min(FILES, most_files or FILES)
            options = ReadOptions().for_model(predictor.size)
            every = sources(given, default_pool().read(given.path, options).reduction)
            folder = list(islice(cycle(every), number))
            arms: dict[str, Callable[[list[Source]], float]] = {
                "mammolens": lambda some: _predict(predictor, [source.path for source in some], jobs),
                "floor, threads": lambda some: _floor_in_threads(threads, floor, some),
                "floor, processes": lambda some: sum(processes.map(work, some)),
            }
            found[given.label] = {"files": number, "different": min(number, len(every)), **_paces(arms, folder, rounds)}
    return {"cores": jobs, "inputs": found, "target": LEAST_OF_FLOOR}


def _paces(arms: dict[str, Callable[[list[Source]], float]], folder: list[Source], rounds: int) -> dict[str, Any]:
    """Pace of each arm, measured in turns, each round beginning with another one."""
    names = list(arms)
    rates: dict[str, list[float]] = {name: [] for name in names}
    spent: dict[str, list[float]] = {name: [] for name in names}
    for work_on in arms.values():
        work_on(folder[: 2 * cores()])
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            began, here = time.perf_counter(), time.process_time()
            elsewhere = arms[name](folder)
            rates[name].append(len(folder) / (time.perf_counter() - began))
            spent[name].append(1e3 * (time.process_time() - here + elsewhere) / len(folder))
    return {name: Pace(Series(tuple(rates[name])), Series(tuple(spent[name]))) for name in names}


def _predict(predictor: Predictor, paths: list[Path], jobs: int) -> float:
    """Answer for all; processor seconds of the decoding processes."""
    before = _spent(default_pool().process_ids)
    for answer in predictor.predict_many(paths, jobs=jobs):
        if isinstance(answer, MammolensError):
            raise answer
    after = _spent(default_pool().process_ids)
    return sum(seconds - before.get(process, 0.0) for process, seconds in after.items())


def _spent(processes: Iterable[int]) -> dict[int, float]:
    """Processor seconds of processes so far, by the kernel's count; none where it does not say."""
    if sys.platform != "linux":
        return {}
    ticks = os.sysconf("SC_CLK_TCK")
    # User and system time are fields 14 and 15; the name before them, in brackets, may hold blanks.
    fields = {pid: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in processes}
    return {pid: (int(field[11]) + int(field[12])) / ticks for pid, field in fields.items()}


def _floor_in_threads(threads: Executor, floor: Floor, some: list[Source]) -> float:
    with _one_opencv_thread():
        for _ in threads.map(floor.answer, some):
            pass
    return 0.0


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def show(result: dict[str, Any]) -> str:
    """Lay out the tables."""
    rates, processor = [], []
    for label, one in result["inputs"].items():
        paces: dict[str, Pace] = {name: one[name] for name in _ARMS}
        best = max(_ARMS[1:], key=lambda name: paces[name].rate.median)
        reached = ratio(paces["mammolens"].rate, paces[best].rate)["median"]
        files = f"{one['files']} ({one['different']} different)"
        rates.append(
            [label, files, *(paces[name].rate.text(2) for name in _ARMS), against(reached, "≥", result["target"])]
        )
        cheapest = min(_ARMS[1:], key=lambda name: paces[name].processor.median)
        share = ratio(paces[cheapest].processor, paces["mammolens"].processor)["median"]
        processor.append([label, *(paces[name].processor.text() for name in _ARMS), f"{share:.2f}"])
    arms = ["floor in threads", "floor in processes"]
    lines = [
        f"## Throughput of a folder, {result['cores']} cores",
        "",
        table(["folder of", "files", "Mammolens, images/s", *arms, "of the better floor"], rates),
        "",
        "Processor time, milliseconds for each image, all processes together; its ratio is what the throughput's would "
        "be on cores that nothing else uses:",
        "",
        table(["folder of", "Mammolens", *arms, "floor over Mammolens"], processor),
    ]
    return "\n".join(lines)
