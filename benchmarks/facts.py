"""What the figures were measured on and with."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import mammolens
from mammolens.models.bundle import load_bundle

_PACKAGES = (
    "imagecodecs",
    "keras",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "openvino",
    "pillow",
    "pydicom",
    "tensorflow",
    "tensorflow-cpu",
)


def facts() -> dict[str, Any]:
    """Processor, cores, memory, load, versions and model; no name of a machine, a person or a place."""
    bundle = load_bundle("default")
    size = bundle.manifest.preprocessing
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": _memory(),
        "load_average": [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else [],
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), "mammolens": mammolens.__version__, **_versions()},
        "model": {
            "name": bundle.identity.name,
            "version": bundle.identity.version,
            "sha256": bundle.identity.sha256,
            "input": [size.height, size.width],
        },
    }


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or "unknown"


def _memory() -> float:
    if sys.platform != "linux":
        return 0.0
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def show(known: dict[str, Any]) -> str:
    """Give the facts as a Markdown list."""
    model = known["model"]
    height, width = model["input"]
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    load = ", ".join(f"{value:g}" for value in known["load_average"]) or "unknown"
    return "\n".join(
        (
            f"- {known['processor']}, {known['cores']} cores, {known['memory_gib']:g} GiB, {known['system']}; "
            f"load average at the start {load}",
            f"- {versions}",
            f"- model {model['name']} {model['version']} ({model['sha256'][:12]}), input {height} × {width}",
        )
    )
