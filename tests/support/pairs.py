"""Two-view networks of random weights, and a bundle that has one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mammolens.models import pair_bundle, two_view
from mammolens.models.bundle import load_bundle
from mammolens.models.looks import Looks
from mammolens.models.manifest import Calibration, Decision, Level, Metric, OperatingPoint, Training
from mammolens.models.network import Network, PairNetwork

POINT = OperatingPoint(name="balanced", threshold=0.4, sensitivity=0.7, specificity=0.8)
CALIBRATION = Calibration(slope=0.5, intercept=-0.25, prevalence=0.3)


def stirred(
    random_network: Callable[..., Network], size: tuple[int, int], *, trunk: Any = "shared", seed: int = 0
) -> Any:
    """Make a folded two-view network whose weights let pictures, and views, differ at its end."""
    model = two_view.build("efficientnet-b0", size, trunk=trunk, folded=True, dropout=0.0)
    one, other = (random_network(size=size, seed=seed + add) for add in (0, 0 if trunk == "shared" else 10))
    two_view.take(model, PairNetwork(one, other, 0.0))
    kernel = (
        np.random.default_rng(seed + 5)
        .normal(0, 0.2, model.get_layer("logit").get_weights()[0].shape)
        .astype(np.float32)
    )
    model.get_layer("logit").set_weights([kernel, np.array([0.25], np.float32)])
    return model


def joined(
    random_network: Callable[..., Network],
    folder: Path,
    size: tuple[int, int],
    *,
    woman: Level | None = None,
    base: str | Path = "default",
) -> Path:
    """Write the built-in bundle with a pair of random weights beside its own network."""
    looks = Looks(size, upside_down=True)
    made = pair_bundle.graph_of([stirred(random_network, size)], "efficientnet-b0", looks)
    about = pair_bundle.PairDescription(
        name="tiny",
        version="1",
        architecture="efficientnet-b0",
        looks=looks,
        evidence_scale=0.5,
        breast=Decision(calibration=CALIBRATION, operating_points=(POINT,), default_operating_point="balanced"),
        woman=woman,
        training=Training(dataset="t", images=8, women=4, terms="made", configuration_sha256="0" * 16),
        metrics=(Metric(name="AUC", level="breast", value=0.8, low=0.7, high=0.9, protocol="by hand"),),
        protocol="by hand",
        licence="Weights: made",
        card="Two views.",
    )
    return pair_bundle.join(load_bundle(base), made, about, folder)
