"""Out-of-fold accuracy through the serving road, and the external check on mini-MIAS.

Run: ``python -m benchmarks.accuracy configs/rsna640-b0.toml``, after ``mammolens train``.

Each image is read from its file and preprocessed as serving does, and scored by ONNX
Runtime with the one fold's network that has seen none of its woman. The figures must
agree with those that training wrote, or training and serving have come apart.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets import DATASETS
from mammolens.evaluation.metrics import bootstrap_auc, by_group
from mammolens.imaging import preprocess
from mammolens.imaging.reading import ReadOptions, read_mammogram
from mammolens.models import onnx_graph
from mammolens.models.bundle import load_bundle
from mammolens.models.efficientnet import build
from mammolens.models.transfer import network_of
from mammolens.training.config import TrainingConfig, load
from mammolens.training.crossval import SCORED
from mammolens.training.fit import WEIGHTS
from mammolens.training.protocol import training_part


def sessions(config: TrainingConfig, folds: tuple[int, ...]) -> dict[int, list[object]]:
    """ONNX Runtime sessions for each fold's networks: one, or as many as are shipped side by side."""
    import onnxruntime

    made: dict[int, list[object]] = {}
    for fold in folds:
        paths = [config.output / f"fold{fold}" / SCORED]
        if config.model.final == "refit-ensemble":
            paths = [config.output / f"fold{fold}-seed{seed}" / WEIGHTS for seed in config.fit.seeds]
        for path in paths:
            model = build(config.model.architecture, config.model.size, folded=True, dropout=0.0)
            model.load_weights(path)
            network = network_of(model, config.model.architecture, config.model.size)
            graph = onnx_graph.write(network, config.model.looks, config.model.looking.second_size)
            session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
            made.setdefault(fold, []).append(session)
    return made


def logit(session: object, image: NDArray[np.uint8]) -> float:
    """Logit of one model input."""
    return float(session.run(["logit"], {"image": image[None, :, :, None].astype(np.float32)})[0][0, 0])  # type: ignore[attr-defined]


def out_of_fold(config: TrainingConfig) -> None:
    """Print out-of-fold AUCs by the serving road."""
    table = training_part(DATASETS[config.data.dataset](config.data.folder), config.data)
    opened = sessions(config, table.folds)
    with (config.output / "out_of_fold.csv").open(encoding="utf-8") as file:
        written = {row["file"]: float(row["logit"]) for row in csv.DictReader(file)}
    options = ReadOptions(min_size=config.model.size)
    rows = []
    for case in table:
        if case.path.relative_to(config.data.folder).as_posix() not in written:
            continue
        made = preprocess.prepare(read_mammogram(case.path, options), config.model.size)
        rows.append((case, float(np.mean([logit(session, made.image) for session in opened[case.fold]]))))
    labels = np.array([case.malignant for case, _ in rows], np.float64)
    women = np.array([case.woman for case, _ in rows])
    breasts = np.array([case.breast for case, _ in rows])
    served = np.array([score for _, score in rows])
    differences = np.abs(
        served - np.array([written[case.path.relative_to(config.data.folder).as_posix()] for case, _ in rows])
    )
    print(
        f"images {len(rows)}; |logit served - logit of training|: "
        f"median {np.median(differences):.2g}, 99 % {np.percentile(differences, 99):.2g}, max {differences.max():.2g}"
    )
    y, mean, first_rows = by_group(labels, served, breasts)
    print(f"image {bootstrap_auc(labels, served, women)}, breast {bootstrap_auc(y, mean, women[first_rows])}")


def external(config: TrainingConfig, folder: Path) -> None:
    """Print the AUC on mini-MIAS (film; never trained, tuned or calibrated on), malignant against the rest."""
    import onnxruntime

    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    bundle = load_bundle(config.output / "bundle" / config.model.name)
    session = onnxruntime.InferenceSession(bundle.graph, providers=["CPUExecutionProvider"])
    scores: dict[str, float] = {}
    for name in sorted({row["file"] for row in rows}):
        made = preprocess.prepare(read_mammogram(folder / name, ReadOptions()), config.model.size)
        scores[name] = logit(session, made.image)
    malignant = {name: any(r["file"] == name and r["pathology"] == "MALIGNANT" for r in rows) for name in scores}
    women = {row["file"]: row["patient_id"] for row in rows}
    labels = np.array([malignant[name] for name in scores], np.float64)
    values, ids = np.array(list(scores.values())), np.array([women[name] for name in scores])
    print(f"mini-MIAS: {len(labels)} images, {int(labels.sum())} malignant: AUC {bootstrap_auc(labels, values, ids)}")


def main() -> None:
    """Run both."""
    config = load(Path(sys.argv[1]))
    out_of_fold(config)
    print(json.dumps(json.loads((config.output / "figures.json").read_text())["calibration"]))
    mias = config.data.folder.parent / "mini-mias"
    if mias.is_dir():
        external(config, mias)
    else:
        print("mini-MIAS: not here, skipped")


if __name__ == "__main__":
    main()
