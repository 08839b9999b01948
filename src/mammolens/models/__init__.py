"""EfficientNets, bundles, and the served graph."""

from __future__ import annotations

from mammolens.models.bundle import ModelBundle, installed, load_bundle

__all__ = ["ModelBundle", "installed", "load_bundle"]
