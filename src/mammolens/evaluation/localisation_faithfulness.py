"""Deletion and insertion over many pictures: what needs no outline, and so may choose a default method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from mammolens.datasets.table import Case
from mammolens.errors import InputError, TrainingDataError
from mammolens.evaluation.localisation_baselines import BASELINES
from mammolens.evaluation.localisation_figures import mean_estimate
from mammolens.evaluation.resampling import Estimate
from mammolens.explain.faithfulness import Kind, curves
from mammolens.explain.gradcam import grown
from mammolens.explain.methods import METHODS, method
from mammolens.explain.passes import OpenedNetwork
from mammolens.imaging import preprocess
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.sandbox import default_pool
from mammolens.inference.predictor import Predictor

KINDS: tuple[Kind, ...] = ("deletion", "insertion")


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """How much of the logit goes and comes back with what a map shows.

    Attributes
    ----------
    pictures, women : int
    advantage : dict of str to dict of str to Estimate
        By map, then ``deletion``, ``insertion`` and ``both`` (their mean): mean area, in
        logits, by which the map's order is better than random orders.
    against : dict of str to Estimate
        Of each other map: its ``both`` less that of the first one, paired.
    refused : dict of str to int
        Pictures without an answer, by the error's code.
    """

    pictures: int
    women: int
    advantage: Mapping[str, Mapping[str, Estimate]]
    against: Mapping[str, Estimate]
    refused: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Give plain values, ready for JSON."""
        return {
            "pictures": self.pictures,
            "women": self.women,
            "advantage": {
                name: {kind: value.as_dict() for kind, value in kinds.items()} for name, kinds in self.advantage.items()
            },
            "against": {name: value.as_dict() for name, value in self.against.items()},
            "refused": dict(self.refused),
        }


def measure(
    cases: Sequence[Case],
    predictor: Predictor,
    methods: Sequence[str] = tuple(METHODS),
    *,
    threads: int = 0,
    steps: int = 10,
    orders: int = 2,
    seed: int = 0,
) -> Faithfulness:
    """Delete and insert pictures in the order of each method's map and of each baseline's.

    Parameters
    ----------
    cases : sequence of Case
        Their labels are not looked at.
    predictor : Predictor
    methods : sequence of str
        Keys of `mammolens.explain.methods.METHODS`.
    threads : int
        Threads within one forward pass; 0 takes one per core.
    steps, orders : int
        Equal parts that each picture goes in, and random orders for each.
    seed : int

    Returns
    -------
    Faithfulness

    Raises
    ------
    ConfigurationError
        If there is no method of a name.
    TrainingDataError
        If no picture gets an answer.
    """
    for name in methods:
        method(name)
    network = OpenedNetwork(predictor.bundle, threads)
    options = ReadOptions().for_model(predictor.size)
    names = (*methods, *BASELINES)
    advantages: list[list[list[float]]] = []
    women: list[str] = []
    refused: dict[str, int] = {}
    for number, case in enumerate(
        track(cases, description="deletion and insertion", transient=True, console=Console(stderr=True))
    ):
        try:
            made = preprocess.prepare(default_pool().read(case.path, options), predictor.size)
        except InputError as error:
            refused[error.code] = refused.get(error.code, 0) + 1
            continue
        (seen,) = network.passes([made])
        heats = [grown(METHODS[name](seen), made.mask) for name in methods]
        heats += [make(made) for make in BASELINES.values()]
        found = [
            curves(kind, network.logits, made.image, heats, steps=steps, orders=orders, seed=seed + number)
            for kind in KINDS
        ]
        advantages.append([[curve.advantage for curve in each] for each in found])
        women.append(case.woman)
    if not women:
        raise TrainingDataError("No picture of the table gets an answer; there is nothing to measure.")
    return _summed(names, np.array(advantages), np.asarray(women), refused, seed)


def _summed(names: Sequence[str], advantages: Any, women: Any, refused: dict[str, int], seed: int) -> Faithfulness:
    """Sum up areas of shape (pictures, kinds, maps)."""
    both = advantages.mean(axis=1)
    advantage = {
        name: {kind: mean_estimate(advantages[:, k, m], women, seed=seed) for k, kind in enumerate(KINDS)}
        | {"both": mean_estimate(both[:, m], women, seed=seed)}
        for m, name in enumerate(names)
    }
    against = {name: mean_estimate(both[:, m] - both[:, 0], women, seed=seed) for m, name in enumerate(names) if m > 0}
    return Faithfulness(len(women), len(np.unique(women)), advantage, against, refused)


def table(found: Faithfulness) -> str:
    """Write the figures as Markdown.

    Parameters
    ----------
    found : Faithfulness

    Returns
    -------
    str
    """
    first = next(iter(found.advantage))
    lines = [
        f"{found.pictures} pictures of {found.women} women; areas in logits, above 0 is better than random orders.",
        "",
        f"| map | deletion | insertion | both | both, less {first} |",
        "|---|---|---|---|---|",
    ]
    for name, kinds in found.advantage.items():
        compared = _signed(found.against[name]) if name in found.against else "–"
        lines.append(f"| {name} | {' | '.join(map(_signed, kinds.values()))} | {compared} |")
    return "\n".join(lines)


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"
