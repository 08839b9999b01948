"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real images that developers and CI have beside the checkout; skips where it is missing."""
    folder = Path(os.environ.get("MAMMOLENS_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("the shared images are not on this machine (set MAMMOLENS_SHARED)")
    return folder
