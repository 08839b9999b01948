"""``auto``: the fastest engine that is equal in result, by one measurement on this machine.

The measurement runs each installed engine in a process of its own (so that none
disturbs another, and none's failure ends this program), compares what they give for
golden inputs, and is kept under ``$MAMMOLENS_HOME/engines`` until the model, an
engine's version, the processor or the number of threads changes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import mammolens
from mammolens.models import stand_in
from mammolens.models.bundle import ModelBundle
from mammolens.settings import settings

DEFAULT = "onnxruntime"
"""The engine that every installation has; the others are compared with it."""

MEASURE_FROM = 500
"""Pictures to answer from which on the measurement is made without being asked for."""

GAIN = 0.9
"""Share of the default engine's time that another one must stay below to be chosen."""

STEADY = 1.25
"""Most that an engine's slower round may take, as a multiple of the faster one."""

_MANY = 10_000
_ROUNDS = 2
_UNASKED = ("onnxruntime", "openvino")
_TRIAL_SECONDS = 180.0
_HEAT = 1e-3

_log = logging.getLogger(__name__)


class Trial(BaseModel):
    """What the measurement found of one engine.

    Attributes
    ----------
    engine : str
    state : {"equal", "other-result", "failed"}
        Compared with the default engine: logits within `mammolens.models.stand_in.EQUAL`,
        heat maps within a thousandth of their height.
    start_seconds : float or None
        From the first import of the engine to the end of its first answer.
    picture_seconds : float or None
        One forward pass, the best of several.
    difference : float or None
        Largest of a logit.
    spread : float or None
        How many times as long a forward pass took in the slower round as in the faster.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    engine: str
    state: Literal["equal", "other-result", "failed"]
    start_seconds: float | None = Field(default=None, gt=0)
    picture_seconds: float | None = Field(default=None, gt=0)
    difference: float | None = None
    spread: float | None = Field(default=None, ge=1)


class Measurement(BaseModel):
    """All engines on one machine with one model.

    Attributes
    ----------
    facts : dict of str to str
        What it holds for: model, versions, processor, cores, threads.
    trials : tuple of Trial
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    facts: dict[str, str]
    trials: tuple[Trial, ...]

    @property
    def steady(self) -> bool:
        """Whether every engine took about as long in both rounds; else the machine was busy with something else."""
        return all(trial.spread is None or trial.spread <= STEADY for trial in self.trials)

    def best(self, pictures: int | None = None) -> str:
        """Name of the engine that has answered for so many pictures first; None: for many.

        The default engine where the times are not steady: they say nothing.
        """
        if not self.steady:
            return DEFAULT
        count = _MANY if pictures is None else pictures
        costs = {
            trial.engine: trial.start_seconds + count * trial.picture_seconds
            for trial in self.trials
            if trial.state == "equal" and trial.start_seconds is not None and trial.picture_seconds is not None
        }
        usual = costs.get(DEFAULT, float("inf"))
        fastest = min(costs, key=lambda name: costs[name], default=DEFAULT)
        return fastest if costs.get(fastest, usual) < GAIN * usual else DEFAULT


def installed() -> dict[str, str]:
    """Engines whose library is installed, and its version."""
    from mammolens.inference.engines import ENGINES

    return {name: _version(name) for name in ENGINES if find_spec(name) is not None}


def choose(bundle: ModelBundle, threads: int = 0, pictures: int | None = None) -> str:
    """Choose the engine for ``auto``.

    With a measurement: the one that is through first, its start included. Without:
    ONNX Runtime, unless there are `MEASURE_FROM` pictures or more, which are worth
    measuring for.

    Parameters
    ----------
    bundle : ModelBundle
    threads : int
        Threads within one forward pass; 0 takes one per core.
    pictures : int, optional
        How many are going to be answered; None: many, but don't measure.

    Returns
    -------
    str
        A key of `mammolens.inference.engines.ENGINES`.
    """
    if pictures == 1:
        # Every millisecond of looking things up would cost more than it could win.
        return DEFAULT
    found = cached(bundle, threads)
    if found is None and pictures is not None and pictures >= MEASURE_FROM:
        found = measure(bundle, threads, _UNASKED)
    return DEFAULT if found is None else found.best(pictures)


def cached(bundle: ModelBundle, threads: int = 0) -> Measurement | None:
    """Give the measurement that holds for this model on this machine, if there is one."""
    facts = _facts(bundle, threads)
    try:
        found = Measurement.model_validate_json(_place(facts).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        _log.warning("The measurement of the engines can't be read; `mammolens models optimise` makes a new one.")
        return None
    return found if found.facts == facts else None


def measure(bundle: ModelBundle, threads: int = 0, engines: tuple[str, ...] | None = None) -> Measurement:
    """Measure the installed engines in two rounds, and keep the result if it is steady.

    Parameters
    ----------
    bundle : ModelBundle
    threads : int
        Threads within one forward pass; 0 takes one per core.
    engines : tuple of str, optional
        Names; all that are installed unless given.

    Returns
    -------
    Measurement
    """
    facts = _facts(bundle, threads)
    names = [name for name in installed() if engines is None or name in engines]
    with tempfile.TemporaryDirectory() as folder:
        # In turns, so that all engines see the same machine.
        rounds = [{name: _run(name, bundle, threads, Path(folder)) for name in names} for _ in range(_ROUNDS)]
    usual = rounds[0].get(DEFAULT)
    trials = tuple(_judged(name, [made[name] for made in rounds], usual) for name in names)
    found = Measurement(facts=facts, trials=trials)
    if found.steady:
        _keep(found)
    else:
        _log.warning("The machine was busy while the engines were measured; nothing is kept. Repeat when it is idle.")
    return found


class _Output(BaseModel):
    """What `mammolens.inference.engines.trial` prints."""

    model_config = ConfigDict(allow_inf_nan=False)

    start_seconds: float = Field(gt=0)
    picture_seconds: float = Field(gt=0)
    logits: list[float] = Field(min_length=1)
    heat: list[float]


def _run(name: str, bundle: ModelBundle, threads: int, folder: Path) -> _Output | None:
    """Run one engine in a process of its own; None if it fails."""
    (folder / "model.onnx").write_bytes(bundle.graph)
    places = [str(Path(mammolens.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    program = [sys.executable, "-P", "-m", "mammolens.inference.engines.trial"]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            [*program, name, str(bundle.location), str(threads), str(folder / "model.onnx")],
            capture_output=True,
            check=True,
            timeout=_TRIAL_SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(place for place in places if place)},
        )
        return _Output.model_validate_json(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, IndexError, ValidationError) as error:
        _log.warning("The engine %s could not be measured (%s).", name, type(error).__name__)
        return None


def _judged(name: str, outputs: list[_Output | None], usual: _Output | None) -> Trial:
    """Compare an engine with the default one; every round must give a result, and the same."""
    made = [output for output in outputs if output is not None]
    if len(made) < len(outputs):
        return Trial(engine=name, state="failed")
    times = [output.picture_seconds for output in made]
    differences = [_difference(output, usual) for output in made]
    # Without the default engine there is nothing to be equal to.
    known = [difference for difference in differences if difference is not None]
    equal = len(known) == len(made) and all(same for _, same in known)
    return Trial(
        engine=name,
        state="equal" if equal else "other-result",
        start_seconds=min(output.start_seconds for output in made),
        picture_seconds=min(times),
        difference=max((distance for distance, _ in known), default=None),
        spread=max(times) / min(times),
    )


def _difference(output: _Output, usual: _Output | None) -> tuple[float, bool] | None:
    """Largest difference of a logit, and whether logits and heat maps are equal; None where they can't be compared."""
    if usual is None or len(output.logits) != len(usual.logits) or len(output.heat) != len(usual.heat):
        return None
    logits, expected = np.array(output.logits), np.array(usual.logits)
    heat = np.abs(np.array(output.heat) - np.array(usual.heat))
    same = stand_in.equal(logits, expected) and bool(np.all(heat <= _HEAT))
    return float(np.abs(logits - expected).max()), same


def _facts(bundle: ModelBundle, threads: int) -> dict[str, str]:
    return {
        "model": bundle.identity.sha256,
        "mammolens": mammolens.__version__,
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1),
        "threads": str(threads),
        **installed(),
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        # A build of its own, under another distribution's name.
        return "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _place(facts: dict[str, str]) -> Path:
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    return settings().home / "engines" / f"{key}.json"


def _keep(found: Measurement) -> None:
    """Write a measurement, all of it or nothing."""
    place = _place(found.facts)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            written = Path(folder) / place.name
            written.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
            written.replace(place)
    except OSError:
        # The measurement is good for this process all the same.
        _log.warning("The measurement of the engines can't be kept: MAMMOLENS_HOME is not writable.")
