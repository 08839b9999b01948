"""Time of the overlay and the files beside it, against encoding the overlay's PNG alone.

Run from the repository's root: ``python benchmarks/overlay_speed.py [--rounds N]``.
The pictures are generated; OpenCV and the encoder run on one thread. Printed are the
fastest of N rounds, in milliseconds, and the ratio of all that `write_artifacts`
does to the encoding alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mammolens.explain.gradcam import heatmap
from mammolens.explain.overlay import overlay, write_artifacts
from mammolens.explain.regions import find_regions
from mammolens.imaging.png import encode_png
from mammolens.imaging.preprocess import prepare
from mammolens.types import Mammogram, ModelIdentity, Prediction, Timing

SIZE = (512, 384)

CASES = {
    "640 × 640, 8 bits": (640, 640, 1, "uint8"),
    "1339 × 1229, 16 bits (5355 × 4915 at 1/4)": (5355, 4915, 4, "uint16"),
}


def mammogram(rows: int, columns: int, reduction: int, dtype: str) -> Mammogram:
    """Make a half ellipse with smooth texture and the grain of a detector."""
    height, width = -(-rows // reduction), -(-columns // reduction)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    generator = np.random.default_rng(0)
    inside = (x / (0.6 * width)) ** 2 + ((y - height / 2) / (0.42 * height)) ** 2 < 1.0
    coarse = generator.normal(0.0, 25.0, (height // 8 + 1, width // 8 + 1)).astype(np.float32)
    texture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = cv2.GaussianBlur(generator.normal(0.0, 12.0, (height, width)).astype(np.float32), (0, 0), 1.0)
    values = np.where(inside, np.clip(110.0 + texture + grain, 30.0, 250.0), 0.0)
    factor = 1.0 if dtype == "uint8" else 64.0
    return Mammogram(pixels=(values * factor).astype(dtype), rows=rows, columns=columns, reduction=reduction)


def prediction(picture: Mammogram) -> tuple[Prediction, Callable[[], object]]:
    """Make an answer with two findings, and a function that makes its heat map and regions once more."""
    prepared = prepare(picture, SIZE)
    evidence = np.random.default_rng(1).normal(0.0, 0.05, (SIZE[0] // 32, SIZE[1] // 32)).astype(np.float32)
    evidence[7, 5], evidence[4, 3] = 1.2, 0.7
    shape = (picture.rows, picture.columns)

    def explain() -> object:
        return find_regions(heatmap(evidence, prepared.mask, 1.0), prepared.geometry, shape)

    heat = heatmap(evidence, prepared.mask, 1.0)
    answer = Prediction(
        probability=0.7,
        logit=0.85,
        threshold=0.5,
        label="malignant",
        confidence=0.7,
        mammogram=picture,
        heatmap=heat,
        geometry=prepared.geometry,
        regions=find_regions(heat, prepared.geometry, shape),
        notices=(),
        model=ModelIdentity("benchmark", "1", "0" * 64),
        timing=Timing(0.0, 0.0, 0.0, 0.0, 0.0),
    )
    return answer, explain


def fastest(work: Callable[[], object], rounds: int) -> float:
    """Milliseconds of the fastest of some rounds, after one that warms the caches."""
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    cv2.setNumThreads(1)
    print(f"{'picture':44}{'map+regions':>12}{'overlay':>9}{'encode':>8}{'all files':>10}{'all / encode':>14}")
    for name, case in CASES.items():
        answer, explain = prediction(mammogram(*case))
        canvas = overlay(answer)
        with tempfile.TemporaryDirectory() as folder:
            # A new name each time, as in use: replacing a file makes some file systems flush it first.
            stems = iter(range(10**9))
            whole = fastest(lambda a=answer, f=Path(folder), s=stems: write_artifacts(a, f, str(next(s))), rounds)
        encode = fastest(lambda c=canvas: encode_png(c, level=1), rounds)
        drawn = fastest(lambda a=answer: overlay(a), rounds)
        thought = fastest(explain, rounds)
        print(f"{name:44}{thought:12.2f}{drawn:9.2f}{encode:8.2f}{whole:10.2f}{whole / encode:14.2f}")


if __name__ == "__main__":
    main()
