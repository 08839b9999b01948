"""The bundle of a variant: the original's manifest and card, its own graph, and what was measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TypeVar

import numpy as np

from mammolens.evaluation.differences import Differences, Limits
from mammolens.models import golden, session
from mammolens.models.bundle import CARD, GRAPH, PAIR, ModelBundle
from mammolens.models.contract import to_input
from mammolens.models.manifest import Evaluation, Manifest, Metric
from mammolens.models.writing import write_bundle
from mammolens.settings import settings

KINDS = ("float16", "int8")
"""Variants: weights stored in 16 bits; large convolutions computed in 8 bits."""

RECORD = "optimisation.json"
"""File of a variant's bundle that holds what was measured."""

_Measured = TypeVar("_Measured", Metric, Evaluation)

ENGINE = "onnxruntime"
"""Engine that variants are measured with."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one variant.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    size, size_original : int
        Bytes of the graphs.
    differences : Differences
    misses : tuple of str
        Limits that were not kept, in words.
    bundle : Path or None
        Where the variant lies; None if it missed a limit.
    """

    kind: str
    size: int
    size_original: int
    differences: Differences
    misses: tuple[str, ...]
    bundle: Path | None


def install(bundle: ModelBundle, graph: bytes, outcome: Outcome, limits: Limits, dataset: str) -> Path:
    """Write the bundle of a variant that is within the limits; all of it or nothing.

    Parameters
    ----------
    bundle : ModelBundle
        The original.
    graph : bytes
        The variant's.
    outcome : Outcome
        What was measured, without a miss.
    limits : Limits
        What it was held against.
    dataset : str
        What it was measured on.

    Returns
    -------
    Path
        Its folder under ``$MAMMOLENS_HOME/models``.

    Raises
    ------
    OutputError
        If it can't be written there.
    """
    base = bundle.manifest
    name = f"{base.name}-{outcome.kind}"
    size = (bundle.contract.height, bundle.contract.width)
    images = np.stack([golden.model_input(recorded.seed, size).image for recorded in base.golden])
    logits, _ = session.scores(graph, to_input(images, bundle.contract))
    goldens = tuple(
        recorded.model_copy(update={"logit": float(logit)}) for recorded, logit in zip(base.golden, logits, strict=True)
    )
    record = {
        "schema": "mammolens.optimisation/1",
        "kind": outcome.kind,
        "original": {"name": base.name, "version": base.version, "sha256": bundle.identity.sha256},
        "dataset": dataset,
        "engine": ENGINE,
        "size": outcome.size,
        "size_original": outcome.size_original,
        "differences": outcome.differences.record(),
        "limits": dataclasses.asdict(limits),
    }

    def fill(place: Path) -> None:
        (place / GRAPH).write_bytes(graph)
        if bundle.pair is not None:
            (place / PAIR).write_bytes(bundle.pair)
        (place / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        card = bundle.read(CARD).decode("utf-8").rstrip()
        (place / CARD).write_text(f"{card}\n\n{_section(bundle, outcome, dataset)}", encoding="utf-8")

    def describe(hashes: dict[str, str]) -> Manifest:
        metrics = (*(_of_the_original(metric) for metric in base.metrics), _loss(outcome.differences, dataset))
        changes: dict[str, object] = {"name": name, "golden": goldens, "metrics": metrics, "files": hashes}
        if base.evaluation is not None:
            changes["evaluation"] = _of_the_original(base.evaluation)
        return Manifest.model_validate(base.model_copy(update=changes).model_dump(by_alias=True))

    return write_bundle(settings().home / "models" / name, fill, describe)


def _of_the_original(measured: _Measured) -> _Measured:
    return measured.model_copy(update={"protocol": f"the original model; {measured.protocol}"})


def _loss(found: Differences, dataset: str) -> Metric:
    protocol = (
        f"{found.pictures} pictures of {found.women} women of {dataset}, which the model may know from its training; "
        "95 % interval by paired bootstrap over women"
    )
    loss = found.auc_loss
    name = "AUC of the original less this variant's"
    return Metric(name=name, level="image", value=loss.value, low=loss.low, high=loss.high, protocol=protocol)


_FORMS = {
    "float16": "Its weights are stored in 16 bits and computed with in 32.",
    "int8": "Its larger pointwise convolutions are computed in 8 bits.",
}


def _section(bundle: ModelBundle, outcome: Outcome, dataset: str) -> str:
    """Say in the card what a variant is."""
    found = outcome.differences
    return (
        "## Variant\n"
        f"This is the {outcome.kind} variant of {bundle.identity.name} {bundle.identity.version} "
        f"(SHA-256 `{bundle.identity.sha256}`). {_FORMS[outcome.kind]} "
        "All figures above are the original's.\n\n"
        f"Held against the original on {found.pictures} pictures of {found.women} women ({dataset}; {found.malignant} "
        "malignant), which the model may know from its training:\n"
        f"- AUC {found.auc:.4f}, original {found.auc_original:.4f}; loss {found.auc_loss.value:.4f} "
        f"({found.auc_loss.low:.4f} to {found.auc_loss.high:.4f})\n"
        f"- calibration error {found.calibration_error:.4f}, original {found.calibration_error_original:.4f}\n"
        f"- the same label for {100 * found.labels:.1f} % of the pictures\n"
        f"- logit apart by {found.logit_median:.4f} (median) and {found.logit_largest:.4f} (largest)\n"
        f"- heat maps: correlation {found.correlation:.4f} (5th percentile {found.correlation_low:.4f}), the hottest "
        f"place the same or next to it in {100 * found.pointing:.1f} %\n"
        f"- time of a forward pass {found.speed:.2f} of the original's, graph {outcome.size / 1e6:.1f} of "
        f"{outcome.size_original / 1e6:.1f} MB\n"
    )
