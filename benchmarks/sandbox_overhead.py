"""What the bounded child costs: pooled and in-process reads side by side.

Run ``python benchmarks/sandbox_overhead.py [--repeats N]``. For each kind of file it
prints the median milliseconds of a read in this process and through a warm pool, their
difference and ratio, and the difference of the fastest reads, which a busy machine blurs
less; then how long a cold pool takes to its first answer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mammolens.imaging.png import encode_png
from mammolens.imaging.reading import ReadOptions, read_mammogram
from mammolens.imaging.sandbox import DecodePool

REPOSITORY = Path(__file__).resolve().parents[1]
OPTIONS = ReadOptions(any_modality=True)
REDUCED = ReadOptions(any_modality=True, min_size=(512, 384))


def look_alike(height: int, width: int) -> np.ndarray:
    """Half an ellipse of smooth tissue with noise at the left edge, 12 bits in 16."""
    rows, columns = np.mgrid[:height, :width]
    inside = ((rows / height - 0.5) / 0.42) ** 2 + (columns / width / 0.7) ** 2 < 1.0
    noise = cv2.GaussianBlur(np.random.default_rng(1).normal(0, 1, (height, width)), (0, 0), 4)
    return np.where(inside, 1800 + 4000 * noise, 40).clip(0, 4095).astype(np.uint16)


def inputs() -> dict[str, tuple[Path | bytes, ReadOptions]]:
    """Real files where the shared folder is there, else look-alikes."""
    shared = Path(os.environ.get("MAMMOLENS_SHARED", REPOSITORY.parent / "shared")) / "data"
    eight = (look_alike(640, 640) >> 4).astype(np.uint8)
    found: dict[str, tuple[Path | bytes, ReadOptions]] = {
        "640 x 640 JPEG": (cv2.imencode(".jpg", eight)[1].tobytes(), OPTIONS),
        "1339 x 1229 16-bit PNG": (encode_png(look_alike(1339, 1229)), OPTIONS),
    }
    for name, pattern, options in (
        ("640 x 640 JPEG", "rsna-640/images/*.jpg", OPTIONS),
        ("CBIS 16-bit PNG", "cbis-ddsm/images/*.png", OPTIONS),
        ("GE JPEG lossless", "dicom/mg/*GH133*", OPTIONS),
        ("RSNA JPEG 2000, reduced", "dicom/mg/rsna*", REDUCED),
    ):
        files = sorted(shared.glob(pattern))
        if files:
            found[name] = files[0], options
    return found


def alternating(
    first: Callable[[], object], second: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Milliseconds of two functions, measured in turns so that both see the same machine."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for function, times in zip((first, second), taken, strict=True):
            began = time.perf_counter()
            function()
            times.append(1000 * (time.perf_counter() - began))
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=30, help="reads of each kind and way")
    repeats: int = parser.parse_args().repeats
    print(
        f"{'median ms of ' + str(repeats):<26}{'in process':>12}{'pooled':>10}{'added':>9}{'ratio':>8}{'fastest':>12}"
    )
    with DecodePool(1) as pool:
        for name, (source, options) in inputs().items():
            expected = read_mammogram(source, options)
            assert np.array_equal(pool.read(source, options).pixels, expected.pixels)

            def here(source: Path | bytes = source, options: ReadOptions = options) -> object:
                return read_mammogram(source, options)

            def there(source: Path | bytes = source, options: ReadOptions = options) -> object:
                return pool.read(source, options)

            taken = alternating(here, there, repeats)
            own, pooled = (statistics.median(times) for times in taken)
            fastest = min(taken[1]) - min(taken[0])
            print(f"{name:<26}{own:>12.2f}{pooled:>10.2f}{pooled - own:>9.2f}{pooled / own:>8.2f}{fastest:>+12.2f}")
    for name, (source, options) in inputs().items():
        began = time.perf_counter()
        with DecodePool(1) as pool:
            pool.read(source, options)
            answered = time.perf_counter() - began
        print(f"cold pool to first answer, {name}: {1000 * answered:.0f} ms")


if __name__ == "__main__":
    main()
