"""Engines side by side: EfficientNet B0–B3 at several input sizes.

Run: ``python -m benchmarks engines [--quick] [--only efficientnet-b0] [--size 512x384]``.

For each network and size an untrained bundle is made, and each engine runs it in a
process of its own. ``docs/engines.md`` says what each column means.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import mammolens
from benchmarks import facts
from benchmarks.inputs import REPOSITORY
from benchmarks.measure import Series, table
from benchmarks.networks import random_network
from mammolens.models.efficientnet import VARIANTS
from mammolens.models.export import ImportDescription, export_network
from mammolens.models.manifest import ImportedFrom

ENGINES = ("onnxruntime", "openvino", "keras")
MAMMOGRAPHIC = ((512, 384), (1024, 768))
"""Input sizes that every network is measured at, beside its own."""

_HEAD = (
    "network",
    "input",
    "engine",
    "latency, ms",
    "processor, ms",
    "pictures/s",
    "start, s",
    "peak, MB",
    "Keras `predict` / it",
    "the same, processor",
    "it / floor",
    "Δ logit",
)
_GEMM_SIDE = 2048
_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Network:
    """One row's network: a key of `VARIANTS` and ``(height, width)``."""

    architecture: str
    size: tuple[int, int]

    @property
    def text(self) -> str:
        """``512 × 384``."""
        return f"{self.size[0]} × {self.size[1]}"


def multiply_adds(graph: bytes) -> int:
    """Multiply-adds of all convolutions of a graph for one picture.

    Parameters
    ----------
    graph : bytes
        ONNX.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph))
    kernels = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    shapes = {
        value.name: [place.dim_value for place in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.output)
    }
    # The kernel's second axis is the channels of one group, so this holds for depthwise ones too.
    return sum(
        math.prod(kernels[node.input[1]]) * math.prod(shapes[node.output[0]][2:])
        for node in model.graph.node
        if node.op_type == "Conv"
    )


def multiply_adds_per_second(rounds: int = 12) -> float:
    """Multiply-adds in a second of one core's processor time: the best of some large float32 matrix products."""
    random = np.random.default_rng(0)
    a, b = (random.random((_GEMM_SIDE, _GEMM_SIDE), np.float32) for _ in range(2))
    best = math.inf
    for _ in range(rounds):
        began = time.process_time()
        a @ b
        best = min(best, time.process_time() - began)
    return _GEMM_SIDE**3 / best


def _probe(engine: str, place: Path, runs: int) -> dict[str, Any]:
    places = [str(Path(mammolens.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.engine_probe", engine, str(place), str(runs)],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        timeout=_SECONDS,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(place for place in places if place),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(network: Network, engines: tuple[str, ...], runs: int, rate: float, folder: Path) -> dict[str, Any]:
    """Measure one network at one size with every engine.

    Parameters
    ----------
    network : Network
    engines : tuple of str
    runs : int
        Forward passes that are timed.
    rate : float
        Multiply-adds in a second of processor time.
    folder : Path
        For the bundle.

    Returns
    -------
    dict
    """
    place = folder / f"{network.architecture}-{network.size[0]}x{network.size[1]}"
    source = ImportedFrom(format="none", sha256="0" * 64, keras_version="", architecture_found="", proof="structure")
    about = ImportDescription(name=place.name, source=source)
    export_network(random_network(network.architecture, network.size), about, place)
    work = multiply_adds((place / "model.onnx").read_bytes())
    return {
        "architecture": network.architecture,
        "size": list(network.size),
        "multiply_adds": work,
        "floor_ms": 1e3 * work / rate,
        "engines": {engine: _probe(engine, place, runs) for engine in engines},
    }


def rows(result: dict[str, Any]) -> list[list[str]]:
    """Rows of the table for one network at one size."""
    found = result["engines"]
    keras = found.get("keras")
    usual = found.get("onnxruntime", {}).get("logit")
    made = []
    for engine, one in found.items():
        latency, processor = Series(tuple(one["latency_ms"])), Series(tuple(one["processor_ms"]))
        made.append(
            [
                result["architecture"],
                f"{result['size'][0]} × {result['size'][1]}",
                "keras (tensorflow)" if engine == "keras" else engine,
                f"{latency.best:.1f}; {latency.text()}",
                f"{processor.best:.1f}",
                f"{one['pictures_per_s']:.1f}",
                f"{one['start_s']:.2f}",
                f"{one['peak_kib'] * 1.024e-3:.0f}",
                "-" if keras is None else f"{min(keras['predict_ms']) / latency.best:.1f}",
                "-" if keras is None else f"{min(keras['predict_processor_ms']) / processor.best:.1f}",
                f"{processor.best / result['floor_ms']:.1f}",
                "-" if usual is None else f"{abs(one['logit'] - usual):.0e}",
            ]
        )
    return made


def _sizes(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks engines", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repeats, and the networks' own sizes only")
    parser.add_argument("--only", action="append", choices=tuple(VARIANTS), metavar="NETWORK", help="may be repeated")
    parser.add_argument("--size", action="append", type=_sizes, metavar="HxW", help="instead of all; may be repeated")
    parser.add_argument("--engine", action="append", choices=ENGINES, metavar="NAME", help="may be repeated")
    parser.add_argument("--runs", type=int, default=0, metavar="N", help="forward passes that are timed")
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "benchmark-output", metavar="DIR", help="folder of engines.json"
    )
    return parser.parse_args()


def main() -> None:
    """Measure what is asked for, print Markdown as it comes, write ``engines.json``."""
    options = _parse()
    runs = options.runs or (3 if options.quick else 20)
    engines = tuple(name for name in options.engine or ENGINES if find_spec(name) is not None)
    networks = [
        Network(architecture, size)
        for architecture in options.only or VARIANTS
        for size in options.size or ((VARIANTS[architecture].size,) * 2, *(() if options.quick else MAMMOGRAPHIC))
    ]
    known, rate = facts.facts(), multiply_adds_per_second(3 if options.quick else 12)
    print(f"# Engines\n\n{facts.show(known)}")
    print(f"- floor: {rate / 1e9:.1f} thousand million multiply-adds in a second of one core\n")
    print(table(_HEAD, []), flush=True)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for network in networks:
            results.append(measure(network, engines, runs, rate, Path(folder)))
            for row in rows(results[-1]):
                print("| " + " | ".join(row) + " |", flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    record = {"facts": known, "multiply_adds_per_s": rate, "runs": runs, "results": results}
    (options.output / "engines.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
