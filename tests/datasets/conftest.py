"""The generator of CBIS-DDSM trees."""

from __future__ import annotations

from types import ModuleType

import pytest

from support import cbis


@pytest.fixture(scope="session")
def cbis_tree() -> ModuleType:
    """Tables that are made up, and trees of them in every layout."""
    return cbis.generator()
