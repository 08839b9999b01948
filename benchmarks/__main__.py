"""Speed and memory against the floor and against textbook code: ``python -m benchmarks``.

``python -m benchmarks overlay``, ``sandbox``, ``engines``, ``localisation`` and ``web`` run the programs that
look at one stage, or at the web application, closely. ``docs/benchmarks.md`` says what each column means.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.inputs import NAMES, REPOSITORY, find
from benchmarks.measure import Pace, Series, Timed

CLOSE_UPS = {
    "engines": "benchmarks.engines",
    "localisation": "benchmarks.localisation",
    "overlay": "benchmarks.overlay_speed",
    "sandbox": "benchmarks.sandbox_overhead",
    "web": "benchmarks.web",
}
"""Programs of their own, by the word that runs them."""

_SCHEMA = "mammolens.benchmark/1"


def _help(options: argparse.Namespace, folder: Path) -> tuple[Any, str]:
    from benchmarks import processes

    result = processes.measure_help(3 if options.quick else 15)
    return result, processes.show_seconds("The command line's help", result)


def _cold(options: argparse.Namespace, folder: Path) -> tuple[Any, str]:
    from benchmarks import processes

    inputs = [given for given in (find(name, folder) for name in options.inputs) if given.dicom]
    result = processes.measure_cold(inputs, folder, 2 if options.quick else 9)
    return result, processes.show_seconds("Cold: `mammolens predict FILE` as a whole process", result)


def _memory(options: argparse.Namespace, folder: Path) -> tuple[Any, str]:
    from benchmarks import processes

    result = processes.measure_memory([find(name, folder) for name in options.inputs], folder)
    return result, processes.show_memory(result)


def _throughput(options: argparse.Namespace, folder: Path) -> tuple[Any, str]:
    from benchmarks import throughput

    inputs = [find(name, folder) for name in options.inputs]
    result = throughput.measure(inputs, 1 if options.quick else 5, 8 if options.quick else None)
    return result, throughput.show(result)


def _single(options: argparse.Namespace, folder: Path) -> tuple[Any, str]:
    from benchmarks import side_by_side

    program = side_by_side.SideBySide(folder)
    rounds = options.rounds or (2 if options.quick else 15)
    results = [program.measure(find(name, folder), rounds) for name in options.inputs]
    return {"inputs": results, "skipped": program.skipped}, side_by_side.show(results, program.skipped)


# Whole processes first: what follows loads TensorFlow, whose threads never rest quite.
SECTIONS: dict[str, Callable[[argparse.Namespace, Path], tuple[Any, str]]] = {
    "help": _help,
    "cold": _cold,
    "memory": _memory,
    "throughput": _throughput,
    "single": _single,
}
"""Parts of the benchmark, in their order; each measures, and gives its record and its Markdown."""


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__.splitlines()[0] if __doc__ else None,
        epilog=f"`python -m benchmarks {{{','.join(CLOSE_UPS)}}}` look at one stage closely.",
    )
    parser.add_argument("--quick", action="store_true", help="few repeats: does it run, and about how fast")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="rounds of the part `single`")
    parser.add_argument(
        "--only", action="append", choices=(*SECTIONS, *NAMES), metavar="NAME", help="part or input; may be repeated"
    )
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "benchmark-output", metavar="DIR", help="folder of results.json"
    )
    options = parser.parse_args(arguments)
    chosen = options.only or []
    options.inputs = [name for name in NAMES if name in chosen] or list(NAMES)
    # An input named without a part is measured alone.
    parts = [name for name in SECTIONS if name in chosen]
    options.parts = parts or (["single"] if chosen else list(SECTIONS))
    return options


def _plain(value: Any) -> Any:
    """Make a record what JSON can hold."""
    if isinstance(value, Series | Timed | Pace):
        return value.record()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def main(arguments: list[str]) -> int:
    """Run what is asked for, print Markdown, write ``results.json``."""
    if arguments and arguments[0] in CLOSE_UPS:
        program = import_module(CLOSE_UPS[arguments[0]])
        sys.argv = [f"python -m benchmarks {arguments[0]}", *arguments[1:]]
        program.main()
        return 0
    options = _parse(arguments)
    from benchmarks import facts

    known = facts.facts()
    print(f"# Benchmark\n\n{facts.show(known)}\n", flush=True)
    record: dict[str, Any] = {"schema": _SCHEMA, "quick": options.quick, "facts": known, "parts": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.parts:
            result, text = SECTIONS[name](options, Path(folder))
            record["parts"][name] = _plain(result)
            print(f"{text}\n", flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, ensure_ascii=False, indent=1)
    (options.output / "results.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
