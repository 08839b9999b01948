"""Whole processes: the cold command line, its help, and the peak memory of one prediction."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mammolens
from benchmarks.inputs import REPOSITORY, Input
from benchmarks.measure import Series, against, table

MOST_COLD_SECONDS, MOST_HELP_SECONDS, MOST_MEGABYTES = 2.0, 0.5, 600.0
"""Targets."""


def _command() -> list[str]:
    """Give the console script of this environment, else the module."""
    script = Path(sys.executable).with_name("mammolens")
    return [str(script)] if script.exists() else [sys.executable, "-m", "mammolens"]


def _environment() -> dict[str, str]:
    """Environment in which a child finds the package that this process uses."""
    places = [str(Path(mammolens.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in places if place)}


def _seconds(arguments: Sequence[str], runs: int) -> Series:
    """Wall-clock seconds of whole processes; the first, which reads the files into memory, is not counted."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run([*_command(), *arguments], check=True, capture_output=True, env=_environment())
        times.append(time.perf_counter() - began)
    return Series(tuple(times[1:]))


def measure_help(runs: int) -> dict[str, Any]:
    """Time ``mammolens --help``."""
    return {"runs": {"mammolens --help": _seconds(["--help"], runs)}, "target_seconds": MOST_HELP_SECONDS}


def measure_cold(inputs: Sequence[Input], folder: Path, runs: int) -> dict[str, Any]:
    """Time ``mammolens predict FILE``, artifacts included."""
    found = {
        given.label: _seconds(["predict", str(given.path), "--out", str(folder / f"cold-{given.name}")], runs)
        for given in inputs
    }
    return {"runs": found, "target_seconds": MOST_COLD_SECONDS}


def show_seconds(title: str, result: dict[str, Any]) -> str:
    """Lay out the table of some whole processes."""
    target = result["target_seconds"]
    rows = [
        [name, f"{series.best:.2f}", series.text(2), against(series.median, "≤", target, unit=" s")]
        for name, series in result["runs"].items()
    ]
    return f"## {title}\n\n" + table(["process", "best, s", "median (quartiles), s", "median"], rows)


def measure_memory(inputs: Sequence[Input], folder: Path) -> dict[str, Any]:
    """Peak memory of ``mammolens predict FILE``, artifacts included, in MB (10**6 bytes)."""
    found = {}
    for given in inputs:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory_probe", str(given.path), str(folder / f"memory-{given.name}")],
            check=True,
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            env=_environment(),
        )
        said = json.loads(done.stdout)
        parent, children = said["parent_kib"] * 1.024e-3, [kib * 1.024e-3 for kib in said["children_kib"]]
        found[given.label] = {"parent": parent, "children": children, "sum": parent + sum(children)}
    return {"megabytes": found, "target_megabytes": MOST_MEGABYTES}


def show_memory(result: dict[str, Any]) -> str:
    """Lay out the table of the peaks."""
    rows = [
        [
            label,
            f"{peak['parent']:.0f}",
            " + ".join(f"{child:.0f}" for child in peak["children"]),
            against(peak["sum"], "≤", result["target_megabytes"], 0, " MB") if peak["sum"] else "not measured here",
        ]
        for label, peak in result["megabytes"].items()
    ]
    head = ["`mammolens predict` on", "parent, MB", "decoding process, MB", "sum"]
    return "## Peak memory of one prediction\n\n" + table(head, rows)
