"""What a bundle's explanations show: against outlines of lesions, and by deletion and insertion.

Run: ``python -m benchmarks localisation [BUNDLE] --outlines mini-mias FOLDER --curves rsna-640 FOLDER``.
Either part may be left out. Prints Markdown; with ``--output`` also writes the figures
as JSON and the examples as PNG.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from mammolens.datasets import DATASETS
from mammolens.datasets.table import Case
from mammolens.evaluation import localisation, localisation_faithfulness
from mammolens.explain.methods import METHODS
from mammolens.inference.predictor import Predictor


def sample(cases: list[Case], wanted: int, seed: int) -> list[Case]:
    """One picture of each of as many women as are wanted, every second one malignant, drawn by chance."""
    order = np.random.default_rng(seed).permutation(len(cases))
    women: set[str] = set()
    taken: dict[bool, list[Case]] = {False: [], True: []}
    for case in (cases[i] for i in order):
        if case.woman not in women and len(taken[case.malignant]) < (wanted + case.malignant) // 2:
            women.add(case.woman)
            taken[case.malignant].append(case)
    return taken[True] + taken[False]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks localisation", description=__doc__)
    parser.add_argument("bundle", nargs="?", default="default")
    parser.add_argument("--outlines", nargs=2, metavar=("NAME", "FOLDER"), help="data set with outlined lesions")
    parser.add_argument("--curves", nargs=2, metavar=("NAME", "FOLDER"), help="data set for deletion and insertion")
    parser.add_argument("--pictures", type=int, default=100, help="for deletion and insertion")
    parser.add_argument("--steps", type=int, default=10, help="of a deletion or insertion")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--output", type=Path, metavar="DIR")
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    options = _parse()
    predictor = Predictor.from_bundle(options.bundle)
    record: dict[str, Any] = {"model": predictor.bundle.identity.sha256}
    pictures: tuple[tuple[str, bytes], ...] = ()
    if options.outlines:
        name, folder = options.outlines
        plan = localisation.Plan(threads=options.threads)
        found = localisation.measure(DATASETS[name](Path(folder)), predictor, options.methods, plan)
        record["localisation"], pictures = found.as_dict(), found.examples
        print(f"## {name}, {predictor.bundle.identity.name}\n\n{localisation.table(found)}\n", flush=True)
    if options.curves:
        name, folder = options.curves
        chosen = sample(list(DATASETS[name](Path(folder))), options.pictures, 0)
        curves = localisation_faithfulness.measure(
            chosen, predictor, options.methods, threads=options.threads, steps=options.steps
        )
        record["faithfulness"] = curves.as_dict()
        print(f"## Deletion and insertion on {name}\n\n{localisation_faithfulness.table(curves)}\n", flush=True)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "localisation.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        for number, (caption, png) in enumerate(pictures, 1):
            (options.output / f"example-{number}.png").write_bytes(png)
            print(f"example-{number}.png: {caption}")


if __name__ == "__main__":
    main()
