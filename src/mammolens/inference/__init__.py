"""From a mammogram to a defended answer: engines and the `Predictor`."""

from __future__ import annotations

from mammolens.inference.predictor import Predictor

__all__ = ["Predictor"]
