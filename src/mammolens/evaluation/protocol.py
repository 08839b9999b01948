"""Where scores come from, in words, and what the data can't tell."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np

from mammolens.evaluation.scores import Scores
from mammolens.models.manifest import Calibration

FEW_CANCERS = 50
"""Women with cancer below whom intervals are too wide to choose a model by."""


class Protocol(Enum):
    """Where scores come from.

    ``OUT_OF_FOLD``: cross-validation. ``HELD_OUT``: the bundle, on women it was not trained on. ``HELD_OUT_PART``: a
    model in training, on its fixed validation part, which the bundle's calibration is fitted to. ``UNKNOWN``: the
    bundle, on women of whom it is not recorded. ``SEEN``: the bundle, on women it was trained on.
    """

    OUT_OF_FOLD = "out-of-fold"
    HELD_OUT = "held-out"
    HELD_OUT_PART = "held-out-part"
    UNKNOWN = "unknown-training"
    SEEN = "seen-in-training"


OF_DATASETS: Mapping[str, tuple[str, ...]] = {
    "rsna-640": (
        "Cancers were sampled far above their share in screening, and the 640 × 640 export has lost fine detail.",
        "Labels are per breast: each view of a breast with cancer counts as malignant, whether or not it shows there.",
        "Machine and age alone predict part of the label (AUC about 0.56 and 0.65); see the figures per machine.",
    ),
    "rsna-2022": (
        "Labels are per breast: each view of a breast with cancer counts as malignant, whether or not it shows there.",
        "Machine and age alone predict part of the label; see the figures per machine.",
    ),
    "cbis-ddsm": (
        "Every woman was biopsied or recalled: there are no normal women, and benign means a finding proven benign.",
        "Digitised film; digital mammography looks otherwise.",
        "The official mass and calcification parts share 31 women when pooled.",
    ),
    "mini-mias": (
        "Digitised film at 200 µm of 1994; the side of a picture is uncertain in the data set's own table.",
        "Cancers are far more frequent than in screening, and few: intervals are wide.",
    ),
    "inbreast": ("One centre and one machine; malignancy is partly taken from BI-RADS.",),
    "vindr-mammo": ("Malignancy is taken from BI-RADS, not from pathology.",),
    "cmmd": ("Every woman has a finding proven by biopsy; there are no normal women.",),
    "labelled": ("Labels and women are the site's own; nothing here has checked them.",),
}
"""What each data set can't tell, beyond what holds for all."""


def words(
    protocol: Protocol,
    scores: Scores,
    draws: int,
    calibration: Calibration | None,
    used: Calibration | Mapping[int, Calibration] | None,
) -> list[str]:
    """Say how the figures came about, one sentence each.

    Parameters
    ----------
    protocol : Protocol
    scores : Scores
    draws : int
        Bootstrap samples.
    calibration : Calibration or None
        Of the bundle.
    used : Calibration, mapping or None
        What the probabilities were made with.

    Returns
    -------
    list of str
    """
    folds = len(np.unique(scores.folds))
    source = {
        Protocol.OUT_OF_FOLD: f"Out of fold: each of {folds} models scored the women that it had not been fitted to, "
        "and every woman is in one fold.",
        Protocol.HELD_OUT: "The bundle itself scored the pictures, by the road that serves; by their names, no woman "
        "here was among those it was trained on.",
        Protocol.HELD_OUT_PART: "One model scored the women of a part that it had not been fitted to; the calibration "
        "was fitted to this part, so that probabilities are made across five parts of it.",
        Protocol.SEEN: "THE MODEL WAS TRAINED ON THESE WOMEN. No figure here says how it does on others.",
        Protocol.UNKNOWN: "The bundle itself scored the pictures, by the road that serves. WHETHER IT WAS TRAINED ON "
        "THESE WOMEN IS NOT RECORDED: if it was, no figure here says how it does on others.",
    }[protocol]
    if isinstance(used, Mapping):
        chosen = sorted({own.method for own in used.values()})
        probabilities = (
            "Probabilities of each fold are by the calibration of the other folds "
            f"({', '.join(chosen)}), so that none is judged on what it was fitted to."
        )
    elif calibration is None:
        probabilities = "Nobody has calibrated the model: its probability is the sigmoid of its score."
    else:
        probabilities = f"Probabilities are the bundle's own ({calibration.method})."
    return [
        source,
        "A breast or a woman has the mean of her pictures' logits, calibrated like a picture's, and counts as "
        "malignant if one picture does.",
        probabilities,
        f"Intervals are 95 %, percentiles of {draws:,} bootstrap samples of women, each with all her pictures.",
    ]


def limits(dataset: str, data: Mapping[str, Any], protocol: Protocol) -> list[str]:
    """Say what the data can't tell, one sentence each.

    Parameters
    ----------
    dataset : str
    data : mapping
        ``data`` of the report.
    protocol : Protocol
    """
    found = []
    if protocol is Protocol.SEEN:
        found.append("The model was trained on these women: every figure is too good by an unknown amount.")
    found.append(
        f"{100 * data['prevalence']:.1f} % of these pictures are malignant; in screening about 6 of 1,000 women have a "
        "cancer. Recall rate, detection rate and predictive values can't be read from these data; they are projected."
    )
    if data["women_with_cancer"] < FEW_CANCERS:
        found.append(f"Only {data['women_with_cancer']} women have a cancer: intervals are wide, parts wider.")
    if data["refused"]:
        count = sum(data["refused"].values())
        codes = ", ".join(f"{code} {number}" for code, number in data["refused"].items())
        found.append(f"{count} pictures got no answer and are left out ({codes}).")
    return [*found, *OF_DATASETS.get(dataset, ())]
