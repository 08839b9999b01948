"""From a finished run of a two-view network to a bundle: the network, put beside one of single pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets import DATASETS
from mammolens.evaluation.card import shown
from mammolens.evaluation.examination import woman_of
from mammolens.evaluation.operating import DEFAULT
from mammolens.evaluation.scores import of_cases
from mammolens.models import pair_bundle
from mammolens.models.bundle import ModelBundle, load_bundle
from mammolens.models.manifest import Calibration, Decision, Level, Metric, OperatingPoint, Training
from mammolens.training import cache, protocol
from mammolens.training.config import TrainingConfig
from mammolens.training.crossval import Run
from mammolens.training.networks import network
from mammolens.training.pairs import pairs_of

_EVIDENCE_PERCENTILE = 99.0


@dataclass(frozen=True, slots=True)
class Findings:
    """What was measured of a run; a picture of its report is a breast.

    Attributes
    ----------
    calibration : Calibration
    points : tuple of OperatingPoint
    training : Training
    metrics : tuple of Metric
    protocol : str
        How the figures came about.
    report : mapping
        As `mammolens.evaluation.report.evaluate` gives it.
    shipped : str
        How the model that is shipped and the figures belong together.
    """

    calibration: Calibration
    points: tuple[OperatingPoint, ...]
    training: Training
    metrics: tuple[Metric, ...]
    protocol: str
    report: Mapping[str, Any]
    shipped: str


def single_of(config: TrainingConfig) -> ModelBundle | None:
    """Open the bundle that a configuration names for its two-view network to be put beside; None: it names none.

    Raises
    ------
    BundleError
        If it can't be opened whole.
    """
    return None if config.model.single is None else load_bundle(config.model.single)


def join(config: TrainingConfig, run: Run, single: ModelBundle, found: Findings) -> Path:
    """Write the bundle: a copy of the single network's, with the two-view network beside it.

    Parameters
    ----------
    config : TrainingConfig
    run : Run
    single : ModelBundle
        As `single_of` gives it.
    found : Findings

    Returns
    -------
    Path
        The bundle's folder.

    Raises
    ------
    BundleInvalid
        If the exported graph does not answer as the network does.
    OutputError
        If it can't be written.
    """
    models = []
    for path in run.weights:
        models.append(network(config, config.model.size))
        models[-1].load_weights(path)
    made = pair_bundle.graph_of(models, config.model.architecture, config.model.looking)
    metrics = tuple(metric for metric in found.metrics if metric.level != "image")
    breast = Decision(
        calibration=found.calibration,
        operating_points=found.points,
        default_operating_point=DEFAULT,
        auc=next((metric for metric in metrics if metric.level == "breast"), None),
    )
    about = pair_bundle.PairDescription(
        name=config.model.name,
        version=config.model.version,
        architecture=config.model.architecture,
        looks=config.model.looking,
        evidence_scale=evidence_scale(config, made.graph),
        breast=breast,
        woman=_woman(run, found.calibration),
        training=found.training,
        metrics=metrics,
        protocol=found.protocol,
        licence="Weights: " + found.training.terms,
        card=card(config, made.shared, found),
    )
    return pair_bundle.join(single, made, about, run.folder / "bundle" / config.model.name)


def _woman(run: Run, calibration: Calibration) -> Level | None:
    scores = of_cases([run.table[row] for row in run.rows], run.logits)
    return woman_of(replace(scores, folds=run.parts), calibration, dataset=run.table.name)


def evidence_scale(config: TrainingConfig, graph: bytes) -> float:
    """Evidence of a strong finding: the 99th percentile of the pictures' highest, each as the view that it is."""
    table = protocol.training_part(DATASETS[config.data.dataset](config.data.folder), config.data)
    inputs = cache.prepare(table, config.model.size, config.output / "cache")
    pairs = pairs_of([table[row] for row in inputs.rows])
    peaks: list[NDArray[np.float32]] = []
    for view, rows in enumerate(pairs.T):
        for start in range(0, len(rows), 16):
            images = np.asarray(inputs.images[rows[start : start + 16]], np.float32)[..., None]
            _, evidence = pair_bundle.scores(graph, images)
            peaks.append(evidence[:, view].max(axis=(1, 2)))
    return float(np.percentile(np.concatenate(peaks), _EVIDENCE_PERCENTILE))


def card(config: TrainingConfig, shared: bool, found: Findings) -> str:
    """Say in the model card what the two-view network is and was measured to do.

    Parameters
    ----------
    config : TrainingConfig
    shared : bool
        Whether one backbone sees both views.
    found : Findings

    Returns
    -------
    str
        Markdown, a section.
    """
    model, training, levels = config.model, found.training, found.report["levels"]
    height, width = model.size
    trunk = "one backbone for both views" if shared else "a backbone for each view"
    calibration, error = found.calibration, levels["breast"]["calibration"]["ece"]
    points = "".join(
        f"| {point.name} | {point.threshold:.3f} | {_share(point.sensitivity)} | {_share(point.specificity)} |\n"
        for point in found.points
    )
    return (
        "## Two views\n"
        f"A second network ({model.architecture}, {trunk}, {height} × {width} pixels) looks at a CC and an MLO view of "
        "a breast together. Where both are given, the breast's score is its; all that stands above is about the "
        "network of single pictures, which scores every other breast.\n\n"
        f"**Trained on** {training.dataset}: {training.images:,} images of {training.women:,} women. Terms: "
        f"{training.terms} These terms bind the weights too. {found.shipped}\n\n"
        f"Measured on {levels['breast']['count']:,} breasts, {levels['breast']['malignant']:,} malignant "
        f"({found.protocol}):\n"
        f"- AUC per breast {shown(levels['breast']['auc'])}, per woman {shown(levels['woman']['auc'])}\n"
        f"- calibrated by {calibration.method} at {100 * calibration.prevalence:.1f} % cancers; calibration error "
        f"{shown(error)}\n\n"
        f"| point | threshold | sensitivity | specificity |\n|---|---|---|---|\n{points}"
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
