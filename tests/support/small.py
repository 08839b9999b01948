"""A network of a few thousand weights in the place of EfficientNet-B0."""

from __future__ import annotations

import pytest

from mammolens.models import architecture
from mammolens.models.architecture import Scaling, Stage


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put it there: five halvings as in every variant, and one block between two of them."""
    stages = (
        *(Stage(3, 1, 32, 16, 1, 2), Stage(3, 1, 16, 24, 2, 2)),
        *(Stage(3, 1, 24, 32, 2, 2), Stage(3, 1, 32, 40, 2, 2)),
    )
    monkeypatch.setattr(architecture, "STAGES", stages)
    monkeypatch.setitem(architecture.VARIANTS, "efficientnet-b0", Scaling(0.25, 1.0, 64, 0.2))
