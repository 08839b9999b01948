"""Which engine answers: the one asked for, the fastest, or one that is equal in result."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from mammolens.errors import BundleError, EngineError, EngineUnavailable
from mammolens.inference.engines import ENGINES, Engine, open_engine
from mammolens.inference.engines.choice import choose
from mammolens.models import golden, stand_in
from mammolens.models.bundle import ModelBundle
from mammolens.types import Notice

CODE = "engine-fallback"
"""Code of the notice that goes with every answer."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """An engine, and what must be said with its answers.

    Attributes
    ----------
    engine : Engine
    notices : tuple of Notice
        Empty unless another engine stands in for the one asked for.
    """

    engine: Engine
    notices: tuple[Notice, ...] = ()


def open_equal(name: str, bundle: ModelBundle, threads: int = 0, pictures: int | None = None) -> Opened:
    """Open an engine, or else the next one that is equal in result.

    An engine that stands in for another one has given the bundle's golden inputs the
    logits that the manifest records.

    Parameters
    ----------
    name : str
        ``auto`` (see `mammolens.inference.engines.choice.choose`) or a key of `ENGINES`.
    bundle : ModelBundle
    threads : int
        Threads within one forward pass; 0 takes one per core.
    pictures : int, optional
        How many are going to be answered; None: many.

    Returns
    -------
    Opened

    Raises
    ------
    EngineUnavailable
        If no engine has this name; or, with nothing to stand in for it, if it is not
        installed.
    BundleError
        If the engine can't open the bundle, and nothing can stand in for it.
    """
    first = choose(bundle, threads, pictures) if name == "auto" else name
    try:
        return Opened(open_engine(first, bundle, threads))
    except (BundleError, EngineUnavailable) as error:
        if first not in ENGINES:
            raise
        problem = error
    for other in ENGINES:
        engine = None if other == first else _opened_equal(other, bundle, threads)
        if engine is not None:
            notice = Notice(CODE, f"{problem.message} The engine {other}, which is equal in result, answers.")
            _log.warning("%s: %s", notice.code, notice.message)
            return Opened(engine, (notice,))
    raise problem


def _opened_equal(name: str, bundle: ModelBundle, threads: int) -> Engine | None:
    """Open an engine that gives the golden inputs their logits; None where it does not."""
    recorded = bundle.manifest.golden[:2]
    if not recorded:
        _log.info("No engine can stand in: the manifest records no golden inputs to compare with.")
        return None
    size = (bundle.contract.height, bundle.contract.width)
    try:
        engine = open_engine(name, bundle, threads)
        images = np.stack([golden.model_input(entry.seed, size).image for entry in recorded])
        scores = engine.run(images)
    except (BundleError, EngineError) as error:
        _log.info("The engine %s can't stand in: %s", name, error)
        return None
    logits = np.array([score.logit for score in scores])
    if not stand_in.equal(logits, np.array([entry.logit for entry in recorded])):
        _log.warning("The engine %s can't stand in: it gives a golden input another logit.", name)
        return None
    return engine
