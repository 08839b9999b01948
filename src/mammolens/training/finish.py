"""From a finished run to a bundle: calibration, operating points, figures with intervals, model card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets import TERMS
from mammolens.evaluation import calibration as calibrations
from mammolens.evaluation import card
from mammolens.evaluation.examination import section_of
from mammolens.evaluation.operating import DEFAULT, operating_points
from mammolens.evaluation.protocol import Protocol
from mammolens.evaluation.record import record
from mammolens.evaluation.report import Subject, evaluate, table_sha256
from mammolens.evaluation.scores import of_cases
from mammolens.models import onnx_graph
from mammolens.models.efficientnet import build
from mammolens.models.export import Description, export, export_ensemble
from mammolens.models.manifest import Calibration, Evaluation, Examination, Metric, Training
from mammolens.models.network import Network
from mammolens.models.transfer import network_of
from mammolens.training import cache
from mammolens.training.config import TrainingConfig
from mammolens.training.crossval import Run
from mammolens.training.joining import Findings, join, single_of

_EVIDENCE_PERCENTILE = 99.0
_SHIPPED = {
    "refit": "The model that is shipped was fitted once more, on all women, with the same configuration.",
    "refit-ensemble": "The model that is shipped gives the mean of what its networks answer, each of them fitted once "
    "more on all women with the same configuration and a seed of its own, as the measured ones were.",
    "average": "The model that is shipped is the mean of the cross-validated models' weights; no figure can be "
    "measured on it here, as each woman was seen by most of its parts.",
    "ensemble": "The model that is shipped gives the mean of what the cross-validated models answer, each of them in "
    "the same graph; no figure can be measured on it here, as each woman was seen by most of its parts.",
}


def measured(config: TrainingConfig, run: Run, calibration: Calibration, training: Training) -> dict[str, Any]:
    """Report of a run's out-of-fold scores.

    Parameters
    ----------
    config : TrainingConfig
    run : Run
    calibration : Calibration
        Of the bundle.
    training : Training

    Returns
    -------
    dict
        As `mammolens.evaluation.report.evaluate` gives it: what the manifest, the card and ``figures.json`` say.
    """
    cases = [run.table[row] for row in run.rows]
    scores = of_cases(cases, run.logits)
    subject = Subject(
        model={
            "name": config.model.name,
            "version": config.model.version,
            "architecture": config.model.architecture,
            "size": list(config.model.size),
            "looks": config.model.looks,
            "members": len(run.weights),
            "second_size": list(config.model.looking.second_size or ()) or None,
            "training": training.model_dump(mode="json"),
            "sha256": None,
        },
        dataset=run.table.name,
        terms=training.terms,
        protocol=Protocol.OUT_OF_FOLD if len(run.table.folds) > 1 else Protocol.HELD_OUT_PART,
        calibration=calibration,
        points=operating_points(scores.labels, calibrations.apply(calibration, run.logits)),
        hashes={"case table": table_sha256(cases), "training configuration": config.digest},
    )
    return evaluate(scores, subject)


def figures(report: dict[str, Any]) -> dict[str, Any]:
    """Give the main figures of a report.

    Parameters
    ----------
    report : dict
        As `measured` gives it.

    Returns
    -------
    dict
        AUC with 95 % intervals per image, breast and woman, per fold, view and what else divides the pictures
        (``None`` for parts of fewer than ten women or of one class), and the calibration error. Ready for JSON.
    """

    def auc(estimate: dict[str, Any] | None, **counts: int) -> dict[str, Any]:
        found = estimate or {"value": None, "low": None, "high": None}
        return {"auc": found["value"], "low": found["low"], "high": found["high"], **counts}

    levels = report["levels"]
    strata: dict[str, dict[str, Any]] = {}
    for row in report["subgroups"]["groups"]:
        kept = auc(row["auc"], images=row["images"], malignant=row["malignant"])
        strata.setdefault(row["group"], {})[row["value"]] = kept
    grouped = {
        level: auc(levels[level]["auc"], groups=levels[level]["count"], malignant=levels[level]["malignant"])
        for level in ("breast", "woman")
    }
    image = levels["image"]
    return {
        "image": auc(image["auc"], images=image["count"], malignant=image["malignant"]),
        **grouped,
        "strata": strata,
        "calibration": {
            "expected_calibration_error": image["calibration"]["ece"]["value"],
            "brier": image["calibration"]["brier"]["value"],
        },
    }


def evidence_scale(graph: bytes, images: NDArray[np.uint8]) -> float:
    """Evidence of a strong finding: the 99th percentile of the images' highest evidence."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    peaks = []
    for start in range(0, len(images), 16):
        batch = images[start : start + 16].astype(np.float32)[..., None]
        peaks.append(session.run(["evidence"], {"image": batch})[0].max(axis=(1, 2)))
    return float(np.percentile(np.concatenate(peaks), _EVIDENCE_PERCENTILE))


def finish(config: TrainingConfig, run: Run) -> Path:
    """Write ``report.json``, ``figures.json`` and the bundle into the run's folder.

    A network of two views is put beside the network of single pictures that the configuration names, in a copy of
    that one's bundle; where it names none, there is no bundle.

    Parameters
    ----------
    config : TrainingConfig
    run : Run
        As `mammolens.training.crossval.train` returned it.

    Returns
    -------
    Path
        The bundle's folder; the weights' file of a network of two views that is put beside no other.

    Raises
    ------
    BundleError
        If the exported graph does not answer as the network does, or the bundle named can't be opened.
    """
    labels = np.array([run.table[row].malignant for row in run.rows], np.float64)
    choice = calibrations.choose(labels, run.logits, run.parts)
    calibration = calibrations.METHODS[choice.method](labels, run.logits)
    points = operating_points(labels, calibrations.apply(calibration, run.logits))
    training = Training(
        dataset=run.table.name,
        images=config.model.views * len(run.fitted),
        women=len({run.table[row].woman for row in run.fitted}),
        terms=TERMS[config.data.dataset],
        configuration_sha256=config.digest,
    )
    report = measured(config, run, calibration, training)
    summary = figures(report)
    for name, content in (("report.json", report), ("figures.json", summary)):
        (run.folder / name).write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
    if config.model.views == 2:
        metrics, protocol = _metrics(summary, _protocol(config, run)), _protocol(config, run)
        found = Findings(calibration, points, training, metrics, protocol, report, _shipped(config, run))
        single = single_of(config)
        return run.weights[0] if single is None else join(config, run, single, found)
    networks = [_network(config, path) for path in run.weights]
    inputs = cache.prepare(run.table, config.model.size, config.output / "cache")
    images = inputs.images[: len(inputs.rows)]
    graph = onnx_graph.write_ensemble(networks, config.model.looks, config.model.looking.second_size)
    about = Description(
        name=config.model.name,
        version=config.model.version,
        architecture=config.model.architecture,
        size=config.model.size,
        looks=config.model.looks,
        second_size=config.model.looking.second_size,
        calibration=calibration,
        operating_points=points,
        default_operating_point=DEFAULT,
        evidence_scale=evidence_scale(graph, images),
        training=training,
        metrics=_metrics(summary, _protocol(config, run)),
        evaluation=evaluated(config, run, calibration, summary),
        examination=examined(run, calibration),
        licence="Weights: " + training.terms,
        card=card.write(report, _shipped(config, run)),
    )
    place = run.folder / "bundle" / config.model.name
    if config.model.members:
        return export_ensemble(networks, about, place)
    return export(_model(config, run.weights[0]), about, place)


def examined(run: Run, calibration: Calibration) -> Examination | None:
    """Give what the manifest keeps of breasts and examinations; None where the run is too small to fit it on.

    Parameters
    ----------
    run : Run
    calibration : Calibration
        Of the bundle.

    Returns
    -------
    Examination or None
    """
    scores = of_cases([run.table[row] for row in run.rows], run.logits)
    return section_of(replace(scores, folds=run.parts), calibration, dataset=run.table.name)


def _shipped(config: TrainingConfig, run: Run) -> str:
    """How the shipped model and the figures belong together."""
    if len(run.table.folds) == 1 and not config.model.refitted:
        return "The model that is shipped is the one that was measured; the held-out women had no part in it."
    return _SHIPPED[config.model.final]


def _model(config: TrainingConfig, weights: Path) -> Any:
    """Folded Keras network with the weights of a file."""
    model = build(config.model.architecture, config.model.size, folded=True, dropout=0.0)
    model.load_weights(weights)
    return model


def _network(config: TrainingConfig, weights: Path) -> Network:
    return network_of(_model(config, weights), config.model.architecture, config.model.size)


def evaluated(config: TrainingConfig, run: Run, calibration: Calibration, summary: dict[str, Any]) -> Evaluation:
    """Give what the manifest keeps of the evaluation.

    Parameters
    ----------
    config : TrainingConfig
    run : Run
    calibration : Calibration
        Of the bundle.
    summary : dict
        As `figures` gives it.

    Returns
    -------
    Evaluation
    """
    cases = [run.table[row] for row in run.rows]
    return record(
        np.array([case.malignant for case in cases], np.float64),
        run.logits,
        run.parts,
        np.array([case.woman for case in cases]),
        calibration=calibration,
        strata=summary["strata"],
        protocol=_protocol(config, run),
        method=None if len(np.unique(run.parts)) > 2 else "platt",
    )


_PARTS = {
    "folds": "",
    "official": " of the official training part",
    "patient-clean": " of the official training part without the women of the test part",
}


def _protocol(config: TrainingConfig, run: Run) -> str:
    """How the figures came about, in words."""
    folds = len(run.table.folds)
    parts = f"out of fold, {folds} folds by woman" if folds > 1 else "held-out women"
    return f"{parts}{_PARTS[config.data.protocol]}, 95 % interval by bootstrap over women"


def _metrics(summary: dict[str, Any], protocol: str) -> tuple[Metric, ...]:
    """AUCs as the manifest states them, per image, breast and woman."""
    return tuple(
        Metric(
            name="AUC",
            level=level,
            value=summary[level]["auc"],
            low=summary[level]["low"],
            high=summary[level]["high"],
            protocol=protocol,
        )
        for level in ("image", "breast", "woman")
        # Too few women give no figure, or none with an interval.
        if summary[level]["low"] is not None
    )
