"""The model card, written from the report's data and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

_LOOKS = {1: "one look at the picture", 2: "two looks, at the picture and at it upside down, averaged"}

_FIGURES = (
    ("ROC AUC", "auc"),
    ("partial AUC at specificity ≥ 0.9 (McClish)", "partial_auc"),
    ("PR AUC", "pr_auc"),
    ("sensitivity at specificity 0.889", "sensitivity_at_0.889"),
    ("sensitivity at specificity 0.96", "sensitivity_at_0.96"),
    ("specificity at sensitivity 0.869", "specificity_at_0.869"),
)
_CALIBRATION = (("Brier score", "brier"), ("calibration slope", "calibration_slope"), ("calibration error", "ece"))
_LEVELS = ("image", "breast", "woman")
_STANDING = {
    "acceptable": "yes, over the whole interval",
    "possibly": "possibly",
    "no": "no",
    "unknown": "no interval",
}


def _looks(looks: int, second_size: Sequence[int] | None) -> str:
    """How the model looks at a picture, in words."""
    if second_size is None:
        return _LOOKS[looks]
    return f"{_LOOKS[looks]}, and the same at {second_size[0]} × {second_size[1]} pixels, averaged"


def _networks(architecture: str, members: int) -> str:
    """Say what the model is made of."""
    return architecture if members == 1 else f"{members} networks {architecture} side by side, their answers averaged"


def write(report: Mapping[str, Any], shipped: str = "") -> str:
    """Write the card.

    Parameters
    ----------
    report : mapping
        As `mammolens.evaluation.report.evaluate` gives it.
    shipped : str
        How the model that is shipped and the figures belong together, one sentence; empty where they are its own.

    Returns
    -------
    str
        Markdown. Equal reports give equal cards.
    """
    model, data, levels = report["model"], report["data"], report["levels"]
    rows = [
        f"| {name} | " + " | ".join(shown(levels[level][key]) for level in _LEVELS) + " |" for name, key in _FIGURES
    ]
    rows += [
        f"| {name} | " + " | ".join(shown(levels[level]["calibration"].get(key)) for level in _LEVELS) + " |"
        for name, key in _CALIBRATION
    ]
    readers = report["bcsc"]["woman"]
    points = [
        f"| {point['name']} | {point['threshold']:.3f} | {shown(point['sensitivity'])} | "
        f"{shown(point['specificity'])} | {_STANDING[point['standing']]} |"
        for point in readers["points"]
    ]
    parts = [
        f"| {row['group']} {row['value']} | {row['images']} | {row['malignant']} | "
        f"{shown(row['auc']) if row['auc'] is not None else 'too few women, or one class'} |"
        for row in report["subgroups"]["groups"]
    ]
    template = Template(Path(__file__).with_name("model_card.md").read_text(encoding="utf-8"))
    return template.substitute(
        name=model["name"],
        version=model["version"],
        networks=_networks(model["architecture"], model.get("members", 1)),
        height=model["size"][0],
        width=model["size"][1],
        looks=_looks(model["looks"], model.get("second_size")),
        training=_training(model["training"]),
        dataset=data["dataset"],
        images=f"{data['images']:,}",
        women=f"{data['women']:,}",
        malignant=f"{data['malignant']:,}",
        sick=f"{data['women_with_cancer']:,}",
        protocol="\n".join(report["protocol"]["words"]),
        shipped=f"{shipped}\n" if shipped else "",
        figures="\n".join(rows),
        reader_sensitivity=f"{readers['benchmark']['sensitivity']:.3f}",
        reader_specificity=f"{readers['benchmark']['specificity']:.3f}",
        points="\n".join(points),
        parts="\n".join(parts) or "| – | | | |",
        note=report["subgroups"]["note"],
        limits="\n".join(f"- {sentence}" for sentence in report["limits"]),
        localisation=_localisation(report["localisation"]),
        again=_again(report["reproduce"]),
    )


def shown(estimate: Mapping[str, float | None] | None) -> str:
    """Write a figure with its interval: ``0.712 (0.690–0.735)``; a dash where it is not known."""
    if estimate is None or estimate["value"] is None:
        return "–"
    if estimate["low"] is None or estimate["high"] is None:
        return f"{estimate['value']:.3f}"
    joint = " to " if estimate["low"] < 0 else "–"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f}{joint}{estimate['high']:.3f})"


def _training(training: Mapping[str, Any] | None) -> str:
    if training is None:
        return "**Trained on** what is not known."
    return (
        f"**Trained on** {training['dataset']}: {training['images']:,} images of {training['women']:,} women. Terms: "
        f"{training['terms']} These terms bind the weights too."
    )


def _localisation(found: Mapping[str, Any] | None) -> str:
    """Say how often a map's peak lies at a lesion; empty where nobody measured it."""
    if found is None:
        return ""
    rows = "\n".join(
        f"| {name} | {shown(each['near'])} | {shown(each['energy'])} |"
        for part in ("methods", "baselines")
        for name, each in found[part].items()
    )
    return (
        f"\n## Where the map points\n{found['with_lesion']} pictures with an outlined lesion.\n\n"
        f"| map | peak within 1.25 radii | energy inside |\n|---|---|---|\n{rows}\n"
    )


def _again(found: Mapping[str, Any]) -> str:
    lines = [f"    {found['command']}\n"] if found["command"] else []
    lines.append(f"- Mammolens {found['mammolens']}")
    lines += [f"- {name}: `{value}`" for name, value in sorted(found["hashes"].items())]
    return "\n".join(lines)
