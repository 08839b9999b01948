"""A predictor that answers by a file's first word, and a program that runs the command line with it.

=================  ==========================================================
content            what becomes of the file
=================  ==========================================================
``ok 0.25``        an answer with that probability
``slow 0.25``      the same, after a tenth of a second
``asleep``         an answer that takes a minute
``blank``          refused with ``blank-image``
``engine``         the engine fails
``broken``         a bug of ours: a RuntimeError with a secret in its text
``nan``            an answer that JSON can't hold
=================  ==========================================================
"""

from __future__ import annotations

import hashlib
import math
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from mammolens.errors import BlankImage, BundleNotFound, EngineError, EngineUnavailable, FileMissing
from mammolens.imaging.sandbox import DecodePool
from mammolens.inference import Predictor
from mammolens.types import (
    CropGeometry,
    Mammogram,
    ModelIdentity,
    Notice,
    PixelSpacing,
    Prediction,
    Region,
    Timing,
)

SECRET = "Doe^Jane"
MODEL = ModelIdentity("fake", "1", "f" * 64)
OPENED: list[dict[str, Any]] = []
"""How the predictor was opened, and with which options it was asked."""


def prediction(probability: float, content: bytes, rows: int = 80, columns: int = 60) -> Prediction:
    """An answer on an empty picture."""
    malignant = probability >= 0.31
    return Prediction(
        probability=probability,
        logit=0.0,
        threshold=0.31,
        label="malignant" if malignant else "benign",
        confidence=probability if malignant else 1.0 - probability,
        mammogram=Mammogram(
            pixels=np.zeros((rows, columns), np.uint8),
            rows=rows,
            columns=columns,
            sha256=hashlib.sha256(content).hexdigest(),
            source="png",
            laterality="L",
            view="MLO",
            pixel_spacing=PixelSpacing(0.1, 0.2, "imager"),
        ),
        heatmap=np.zeros((16, 12), np.float32),
        geometry=CropGeometry(box=(0.0, 0.0, float(columns), float(rows)), mirrored=False, size=(16, 12)),
        regions=(Region(box=(10, 20, 30, 40), centre=(20, 31), score=0.912345),),
        notices=(Notice("low-resolution", "The picture has few pixels."),),
        model=MODEL,
        timing=Timing(read=1.04, preprocess=2.0, infer=3.0, explain=4.0, total=10.04),
    )


class FakePredictor(Predictor):
    """Answers by the file's first word; everything else is the real one."""

    def __init__(self) -> None:
        self.bundle = SimpleNamespace(identity=MODEL)

    def predict(self, source: Any, options: Any = None) -> Prediction:
        OPENED[-1]["options"] = options
        try:
            content = Path(source).read_bytes()
        except OSError as error:
            raise FileMissing("There is no such file.") from error
        word, _, number = content.decode("utf-8", "replace").partition(" ")
        if word in ("ok", "slow", "asleep"):
            time.sleep({"ok": 0.0, "slow": 0.1, "asleep": 60.0}[word])
            return prediction(float(number.split()[0]) if number else 0.5, content)
        if word == "nan":
            return prediction(math.nan, content)
        if word == "engine":
            raise EngineError("The engine failed on this input.")
        if word == "broken":
            raise RuntimeError(f"bad value in the header of {SECRET}")
        raise BlankImage("The picture is blank.")


def from_bundle(
    name_or_path: Any = "default",
    *,
    engine: str = "auto",
    threads: int = 0,
    pool: Any = None,
    pictures: int | None = None,
) -> Any:
    """Stands in for `Predictor.from_bundle`."""
    if str(name_or_path) not in ("default", "fake"):
        raise BundleNotFound("No model of that name.")
    if engine not in ("auto", "onnxruntime"):
        raise EngineUnavailable("Unknown engine.")
    OPENED.append({"threads": threads})
    return FakePredictor()


def start(pool: DecodePool, count: int | None = None) -> None:
    """Stands in for `DecodePool.start`: no decoding process is needed."""


if __name__ == "__main__":
    from mammolens.cli.main import app_entry

    Predictor.from_bundle = from_bundle  # type: ignore[method-assign,assignment]
    DecodePool.start = start  # type: ignore[method-assign]
    sys.argv[0] = "mammolens"
    app_entry()
