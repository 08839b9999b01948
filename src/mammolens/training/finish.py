"""From a finished run to a bundle: calibration, operating points, figures with intervals, model card."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets import TERMS
from mammolens.evaluation import calibration as calibrations
from mammolens.evaluation.metrics import bootstrap_auc, by_group
from mammolens.evaluation.operating import DEFAULT, operating_points
from mammolens.evaluation.record import record
from mammolens.models import onnx_graph
from mammolens.models.efficientnet import build
from mammolens.models.export import Description, export, export_ensemble
from mammolens.models.manifest import Calibration, Evaluation, Metric, OperatingPoint, Training
from mammolens.models.network import Network
from mammolens.models.transfer import network_of
from mammolens.training import cache
from mammolens.training.config import ModelConfig, TrainingConfig
from mammolens.training.crossval import Run

_EVIDENCE_PERCENTILE = 99.0
_FEWEST_WOMEN = 10
_SHIPPED = {
    "refit": "The model that is shipped was fitted once more, on all women, with the same configuration.",
    "average": "The model that is shipped is the mean of the cross-validated models' weights; no figure can be "
    "measured on it here, as each woman was seen by most of its parts.",
    "ensemble": "The model that is shipped gives the mean of what the cross-validated models answer, each of them in "
    "the same graph; no figure can be measured on it here, as each woman was seen by most of its parts.",
}
_LOOKS = {1: "one look at the picture", 2: "two looks, at the picture and at it upside down, averaged"}


def figures(run: Run) -> dict[str, Any]:
    """Out-of-fold figures of a run.

    Parameters
    ----------
    run : Run

    Returns
    -------
    dict
        AUC with 95 % intervals per image, breast and woman, per fold, view and
        machine (``None`` for parts of fewer than ten women or of one class), and the
        calibration error. Plain values, ready for JSON.
    """
    cases = [run.table[row] for row in run.rows]
    labels = np.array([case.malignant for case in cases], np.float64)
    women = np.array([case.woman for case in cases])
    folds = np.array([case.fold for case in cases])
    breasts = np.array([case.breast for case in cases])
    probabilities = calibrations.cross_fitted(labels, run.logits, run.parts)
    by_breast = by_group(labels, run.logits, breasts)
    by_woman = by_group(labels, run.logits, women)

    def part(chosen: NDArray[np.bool_]) -> dict[str, Any]:
        counts = {"images": int(chosen.sum()), "malignant": int(labels[chosen].sum())}
        if len(np.unique(women[chosen])) < _FEWEST_WOMEN or not 0 < counts["malignant"] < counts["images"]:
            return {"auc": None, "low": None, "high": None, **counts}
        estimate = bootstrap_auc(labels[chosen], run.logits[chosen], women[chosen])
        return {"auc": estimate.value, "low": estimate.low, "high": estimate.high, **counts}

    def level(group: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]) -> dict[str, Any]:
        estimate = bootstrap_auc(group[0], group[1], women[group[2]])
        counts = {"groups": len(group[0]), "malignant": int(group[0].sum())}
        return {"auc": estimate.value, "low": estimate.low, "high": estimate.high, **counts}

    everything = np.ones(len(labels), bool)
    strata: dict[str, NDArray[Any]] = {
        "fold": folds,
        "view": np.array([case.view for case in cases]),
        "machine_id": np.array([case.strata.get("machine_id", "") for case in cases]),
    }
    return {
        "image": part(everything),
        "breast": level(by_breast),
        "woman": level(by_woman),
        "strata": {
            name: {str(value): part(values == value) for value in np.unique(values)} for name, values in strata.items()
        },
        "calibration": {
            "expected_calibration_error": calibrations.expected_calibration_error(labels, probabilities),
            "brier": float(np.mean((probabilities - labels) ** 2)),
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
    """Write ``figures.json`` and the bundle into the run's folder.

    A network of two views gets no bundle yet: nothing serves it.

    Parameters
    ----------
    config : TrainingConfig
    run : Run
        As `mammolens.training.crossval.train` returned it.

    Returns
    -------
    Path
        The bundle's folder; the weights' file of a network of two views.

    Raises
    ------
    BundleInvalid
        If the exported graph does not answer as the network does.
    """
    measured = figures(run)
    (run.folder / "figures.json").write_text(json.dumps(measured, indent=1, allow_nan=False), encoding="utf-8")
    if config.model.views == 2:
        return run.weights[0]
    labels = np.array([run.table[row].malignant for row in run.rows], np.float64)
    calibration = calibrations.platt(labels, run.logits)
    points = operating_points(labels, calibrations.apply(calibration, run.logits))
    training = Training(
        dataset=run.table.name,
        images=len(run.fitted),
        women=len({run.table[row].woman for row in run.fitted}),
        terms=TERMS[config.data.dataset],
        configuration_sha256=config.digest,
    )
    networks = [_network(config, path) for path in run.weights]
    inputs = cache.prepare(run.table, config.model.size, config.output / "cache")
    images = inputs.images[: len(inputs.rows)]
    graph = onnx_graph.write_ensemble(networks, looks=config.model.looks)
    about = Description(
        name=config.model.name,
        version=config.model.version,
        architecture=config.model.architecture,
        size=config.model.size,
        looks=config.model.looks,
        calibration=calibration,
        operating_points=points,
        default_operating_point=DEFAULT,
        evidence_scale=evidence_scale(graph, images),
        training=training,
        metrics=_metrics(measured, _protocol(config, run)),
        evaluation=evaluated(config, run, calibration, measured),
        licence="Weights: " + training.terms,
        card=_card(config.model, training, calibration, points[0], measured, _shipped(config, run)),
    )
    place = run.folder / "bundle" / config.model.name
    if config.model.final == "ensemble":
        return export_ensemble(networks, about, place)
    return export(_model(config, run.weights[0]), about, place)


def _shipped(config: TrainingConfig, run: Run) -> str:
    """How the shipped model and the figures belong together."""
    if len(run.table.folds) == 1 and config.model.final != "refit":
        return "The model that is shipped is the one that was measured; the held-out women had no part in it."
    return _SHIPPED[config.model.final]


def _model(config: TrainingConfig, weights: Path) -> Any:
    """Folded Keras network with the weights of a file."""
    model = build(config.model.architecture, config.model.size, folded=True, dropout=0.0)
    model.load_weights(weights)
    return model


def _network(config: TrainingConfig, weights: Path) -> Network:
    return network_of(_model(config, weights), config.model.architecture, config.model.size)


def evaluated(config: TrainingConfig, run: Run, calibration: Calibration, measured: dict[str, Any]) -> Evaluation:
    """Give what the manifest keeps of the evaluation.

    Parameters
    ----------
    config : TrainingConfig
    run : Run
    calibration : Calibration
        Of the bundle.
    measured : dict
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
        strata=measured["strata"],
        protocol=_protocol(config, run),
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


def _metrics(measured: dict[str, Any], protocol: str) -> tuple[Metric, ...]:
    """AUCs as the manifest states them, per image, breast and woman."""
    return tuple(
        Metric(
            name="AUC",
            level=level,
            value=measured[level]["auc"],
            low=measured[level]["low"],
            high=measured[level]["high"],
            protocol=protocol,
        )
        for level in ("image", "breast", "woman")
        # Too few women give no figure.
        if measured[level]["auc"] is not None
    )


def _card(
    model: ModelConfig,
    training: Training,
    calibration: Calibration,
    point: OperatingPoint,
    measured: dict[str, Any],
    shipped: str,
) -> str:
    """Fill the model card's template."""
    template = Template(Path(__file__).with_name("model_card.md").read_text(encoding="utf-8"))

    def shown(figure: dict[str, Any]) -> str:
        if figure["auc"] is None:
            return "too few women, or one class"
        return f"{figure['auc']:.3f} ({figure['low']:.3f}–{figure['high']:.3f})"

    rows = [
        f"| {name} {value} | {figure['images']} | {figure['malignant']} | {shown(figure)} |"
        for name, group in measured["strata"].items()
        for value, figure in group.items()
    ]
    return template.substitute(
        name=model.name,
        version=model.version,
        shipped=shipped,
        looks=_LOOKS[model.looks],
        architecture=model.architecture,
        height=model.size[0],
        width=model.size[1],
        dataset=training.dataset,
        images=training.images,
        women=training.women,
        terms=training.terms,
        prevalence=f"{100 * calibration.prevalence:.0f}",
        image=shown(measured["image"]),
        breast=shown(measured["breast"]),
        woman=shown(measured["woman"]),
        error=f"{measured['calibration']['expected_calibration_error']:.3f}",
        threshold=f"{point.threshold:.3f}",
        sensitivity=f"{point.sensitivity:.3f}",
        specificity=f"{point.specificity:.3f}",
        strata="\n".join(rows),
    )
