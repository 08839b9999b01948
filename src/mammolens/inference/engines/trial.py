"""One engine in a process of its own, timed: ``python -m mammolens.inference.engines.trial``.

Takes the engine's name, the bundle's place, the number of threads, and a file with
the graph (which may stand in for a damaged one of the bundle); prints one JSON object.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path

import numpy as np

from mammolens.inference.engines import open_engine
from mammolens.models import golden
from mammolens.models.bundle import load_bundle

_RUNS, _SECONDS = 12, 4.0
"""Most forward passes that are timed, and how long they may take together."""


def main(name: str, place: str, threads: int, graph: Path) -> dict[str, object]:
    """Open an engine, run the golden inputs, and time it."""
    bundle = dataclasses.replace(load_bundle(place, stand_in=True), graph=graph.read_bytes())
    size = (bundle.contract.height, bundle.contract.width)
    images = np.stack([golden.model_input(seed, size).image for seed in golden.SEEDS[:2]])
    began = time.perf_counter()
    engine = open_engine(name, bundle, threads)
    scores = engine.run(images[:1])
    started = time.perf_counter()
    scores += engine.run(images[1:])
    times: list[float] = []
    while len(times) < _RUNS and time.perf_counter() - started < _SECONDS:
        before = time.perf_counter()
        engine.run(images[:1])
        times.append(time.perf_counter() - before)
    heat = np.concatenate([score.evidence.ravel() for score in scores]) / bundle.manifest.evidence_scale
    return {
        "start_seconds": started - began,
        "picture_seconds": min(times),
        "logits": [score.logit for score in scores],
        "heat": [float(value) for value in heat],
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))))
