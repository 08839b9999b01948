"""What each architecture costs: parameters, multiply-adds and processor time by ONNX Runtime.

Run: ``python -m benchmarks.architectures`` (``--quick``: the default sizes, few repeats). It prints
the table of ``docs/architectures.md``. The weights are random: the cost does not depend on them.
Time is the processor's, of one thread, so that a busy machine does not spoil it much.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from benchmarks.measure import Series
from benchmarks.networks import random_network
from mammolens.models import onnx_graph, session
from mammolens.models.architecture import VARIANTS, multiply_adds, parameters

SIZES = ((512, 384), (1024, 768))
"""Mammographic sizes, height and width, beside each variant's own."""


def measure(architecture: str, size: tuple[int, int], repeats: int) -> Series:
    """Processor milliseconds of one picture's forward pass, after one that is not counted."""
    opened = session.open_session(onnx_graph.write(random_network(architecture, size)), threads=1)
    picture = np.random.default_rng(0).integers(0, 256, (1, *size, 1)).astype(np.float32)
    values = []
    for _ in range(repeats + 1):
        began = time.process_time()
        session.run(opened, picture, ("logit", "evidence"))
        values.append(1e3 * (time.process_time() - began))
    return Series(tuple(values[1:]))


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.architectures", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the default sizes, few repeats")
    options = parser.parse_args(arguments)
    print("ONNX Runtime, one thread, one picture at a time; median (quartiles) of the processor's milliseconds.\n")
    print("| architecture | parameters | input | multiply-adds | milliseconds | multiply-adds a second |")
    print("|---|---|---|---|---|---|")
    for architecture, scaling in VARIANTS.items():
        for size in ((scaling.size, scaling.size), *(() if options.quick else SIZES)):
            work = multiply_adds(architecture, size)
            series = measure(architecture, size, 3 if options.quick else 9)
            cells = (
                architecture,
                f"{parameters(architecture) / 1e6:.1f} M",
                f"{size[0]} × {size[1]}",
                f"{work / 1e9:.2f} G",
                series.text(),
                f"{work / 1e6 / series.median:.0f} G",
            )
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
