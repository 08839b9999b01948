"""The generator of CBIS-DDSM trees, which is a script and in no package."""

from __future__ import annotations

import importlib.util
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType

SCRIPT = Path(__file__).parents[2] / "scripts" / "cbis_tree.py"


@lru_cache(maxsize=1)
def generator() -> ModuleType:
    """Load the script as a module."""
    spec = importlib.util.spec_from_file_location("cbis_tree", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cbis_tree"] = module
    spec.loader.exec_module(module)
    return module
