"""Mammograms in; a probability, a heat map and the suspicious region out.

The public names, each loaded when it is first used, so that ``import mammolens`` stays quick::

    from mammolens import Predictor

    prediction = Predictor.from_bundle("default").predict("my.dcm")
    print(prediction.probability, prediction.label, prediction.regions)

For research and teaching only: Mammolens is no medical device and must not guide care.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mammolens.imaging import read_mammogram
    from mammolens.inference import Predictor
    from mammolens.models import ModelBundle
    from mammolens.types import ExamPrediction, Mammogram, Prediction

__version__ = "0.1.0"

__all__ = ["ExamPrediction", "Mammogram", "ModelBundle", "Prediction", "Predictor", "__version__", "read_mammogram"]

_HOMES = {
    "ExamPrediction": "mammolens.types",
    "Mammogram": "mammolens.types",
    "ModelBundle": "mammolens.models",
    "Prediction": "mammolens.types",
    "Predictor": "mammolens.inference",
    "read_mammogram": "mammolens.imaging",
}


def __getattr__(name: str) -> object:
    """Load a public name from the room that it lives in (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
