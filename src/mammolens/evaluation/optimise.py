"""What ``mammolens models optimise`` does: measure the engines, and make smaller variants that are proven first.

A variant answers a little otherwise than its original, so it is a model of its own: a
bundle with its own name and hash, whose file ``optimisation.json`` holds what was
measured. It is written only if the differences on real, labelled pictures are within
the limits; there is no way to have one that was not measured.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets import Case, CaseTable
from mammolens.errors import ConfigurationError, InputError, TrainingDataError
from mammolens.evaluation.differences import Answers, Limits, compare
from mammolens.evaluation.variant_bundle import ENGINE, KINDS, RECORD, Outcome, install
from mammolens.imaging import preprocess
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.sandbox import default_pool
from mammolens.inference.engines import Engine, open_engine
from mammolens.inference.engines.choice import Measurement, measure
from mammolens.models import variants
from mammolens.models.bundle import ModelBundle, load_bundle
from mammolens.phantom import make
from mammolens.settings import settings
from mammolens.types import Mammogram

_LEAST, _LEAST_OF_EACH = 100, 20
_CALIBRATION_PICTURES = 32
_PHANTOM_SIZE = (1147, 957)

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What was measured, and what was made.

    Attributes
    ----------
    engines : Measurement
        Kept, for ``auto`` to go by.
    variants : tuple of Outcome
    """

    engines: Measurement
    variants: tuple[Outcome, ...]


def optimise(
    name_or_path: str | Path = "default",
    kinds: Sequence[str] = (),
    table: CaseTable | None = None,
    *,
    calibration: Path | None = None,
    limits: Limits | None = None,
    most: int = 600,
    advance: Callable[[], None] = lambda: None,
) -> Report:
    """Measure the engines on this machine; make, measure and install variants.

    Parameters
    ----------
    name_or_path : str or Path
        The original, as `mammolens.models.bundle.load_bundle` takes it.
    kinds : sequence of str
        Of `KINDS`; none by default.
    table : CaseTable, optional
        Labelled pictures to measure variants on; needed for them.
    calibration : Path, optional
        Folder of training pictures that 8-bit ranges are taken from, which are not
        measured on; generated pictures unless given.
    limits : Limits, optional
    most : int
        Most pictures to measure on, taken by whole women.
    advance : callable
        Called after each picture.

    Returns
    -------
    Report

    Raises
    ------
    BundleError
        If the original can't be opened whole.
    ConfigurationError
        If a kind is unknown, has no pictures to be measured on, or the model is a
        variant itself.
    TrainingDataError
        If there are fewer than 100 pictures that can be read, or fewer than 20 of either
        class.
    OutputError
        If a variant can't be written under ``$MAMMOLENS_HOME/models``.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ConfigurationError(f"{len(unknown)} variants are unknown. Known are: {', '.join(KINDS)}.")
    bundle = load_bundle(name_or_path)
    if kinds and RECORD in bundle.manifest.files:
        raise ConfigurationError("This model is a variant itself. Make variants of its original.")
    if kinds and table is None:
        raise ConfigurationError(
            "A variant must be measured on real, labelled pictures before it may be used. Give a data set."
        )
    made = _variants(bundle, kinds, table, calibration, limits or Limits(), most, advance) if table and kinds else ()
    return Report(measure(bundle, settings().threads), made)


def _variants(
    bundle: ModelBundle,
    kinds: Sequence[str],
    table: CaseTable,
    calibration: Path | None,
    limits: Limits,
    most: int,
    advance: Callable[[], None],
) -> tuple[Outcome, ...]:
    files = [] if calibration is None else _spread(sorted(p for p in calibration.rglob("*") if p.is_file()))
    graphs = {"original": bundle.graph}
    for kind in dict.fromkeys(kinds):
        graphs[kind] = _graph(kind, bundle, files)
    held = {file.resolve() for file in files}
    cases = [case for case in sample(table, most) if case.path.resolve() not in held]
    answers, used = _answers(bundle, graphs, cases, advance)
    labels, women = np.array([case.malignant for case in used]), np.array([case.woman for case in used])
    outcomes = []
    for kind in graphs:
        if kind == "original":
            continue
        found = compare(answers[kind], answers["original"], labels, women, bundle.manifest.threshold)
        misses = found.misses(limits)
        sizes = len(graphs[kind]), len(bundle.graph)
        outcome = Outcome(kind, *sizes, found, misses, None)
        if not misses:
            place = install(bundle, graphs[kind], outcome, limits, table.name)
            outcome = dataclasses.replace(outcome, bundle=place)
        outcomes.append(outcome)
    return tuple(outcomes)


def sample(table: CaseTable, most: int) -> list[Case]:
    """Pictures of randomly drawn women, the same in every run; all of a woman's or none.

    Parameters
    ----------
    table : CaseTable
    most : int
        The last woman drawn may go beyond it.

    Returns
    -------
    list of Case
    """
    women: dict[str, list[Case]] = {}
    for case in table:
        women.setdefault(case.woman, []).append(case)
    order = list(women)
    np.random.default_rng(0).shuffle(order)
    chosen: list[Case] = []
    for woman in order:
        if len(chosen) >= most:
            break
        chosen += women[woman]
    return chosen


def _graph(kind: str, bundle: ModelBundle, files: list[Path]) -> bytes:
    if kind == "float16":
        return variants.float16(bundle.graph)
    size = (bundle.contract.height, bundle.contract.width)
    pictures = _read_all(files, size) if files else _phantoms(size)
    return variants.int8(bundle.graph, np.stack(pictures), bundle.contract)


def _spread(files: list[Path]) -> list[Path]:
    """At most so many files as are needed, evenly from all of a folder."""
    step = max(1, len(files) // _CALIBRATION_PICTURES)
    return files[::step][:_CALIBRATION_PICTURES]


def _read(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    return preprocess.prepare(default_pool().read(path, ReadOptions(min_size=size)), size).image


def _read_all(files: Iterable[Path], size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    pictures: list[NDArray[np.uint8]] = []
    refused: Counter[str] = Counter()
    for path in files:
        try:
            pictures.append(_read(path, size))
        except InputError as error:
            refused[error.code] += 1
    if not pictures:
        raise TrainingDataError(f"No picture of the calibration folder can be read{_reasons(refused)}.")
    return pictures


def _reasons(refused: Counter[str]) -> str:
    """Why pictures were refused, in brackets; empty where none was."""
    codes = ", ".join(f"{code} {count}" for code, count in refused.most_common())
    return f" ({codes})" if codes else ""


def _phantoms(size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    pictures = []
    for seed in range(_CALIBRATION_PICTURES):
        lesion = (None, "mass", "calcifications", "both")[seed // 2 % 4]
        rows, columns = _PHANTOM_SIZE
        pixels = make(("CC", "MLO")[seed % 2], "LR"[seed // 8 % 2], lesion, rows, columns, seed).pixels
        pictures.append(preprocess.prepare(Mammogram(pixels=pixels, rows=rows, columns=columns), size).image)
    return pictures


def _answers(
    bundle: ModelBundle, graphs: dict[str, bytes], cases: list[Case], advance: Callable[[], None]
) -> tuple[dict[str, Answers], list[Case]]:
    """Give every picture that can be read to every graph, in turns so that all see the same machine."""
    size, manifest = (bundle.contract.height, bundle.contract.width), bundle.manifest
    opened: dict[str, Engine] = {
        kind: open_engine(ENGINE, dataclasses.replace(bundle, graph=graph), settings().threads)
        for kind, graph in graphs.items()
    }
    logits: dict[str, list[float]] = {kind: [] for kind in graphs}
    evidence: dict[str, list[NDArray[np.float32]]] = {kind: [] for kind in graphs}
    seconds: dict[str, list[float]] = {kind: [] for kind in graphs}
    used: list[Case] = []
    refused: Counter[str] = Counter()
    for case in cases:
        try:
            image = _read(case.path, size)[None]
        except InputError as error:
            refused[error.code] += 1
            continue
        finally:
            advance()
        used.append(case)
        for kind, engine in opened.items():
            began = time.perf_counter()
            (score,) = engine.run(image)
            seconds[kind].append(time.perf_counter() - began)
            logits[kind].append(manifest.calibrated(score.logit))
            evidence[kind].append(score.evidence)
    malignant = sum(case.malignant for case in used)
    if len(used) < _LEAST or min(malignant, len(used) - malignant) < _LEAST_OF_EACH:
        raise TrainingDataError(
            f"{len(used)} pictures could be read, {malignant} of them malignant; {refused.total()} were "
            f"refused{_reasons(refused)}. A variant is measured on at least {_LEAST}, with {_LEAST_OF_EACH} of either "
            "class."
        )
    if refused:
        _log.warning("%d pictures were refused%s and are left out.", refused.total(), _reasons(refused))
    made = {
        kind: Answers(np.array(logits[kind]), np.stack(evidence[kind]), float(np.median(seconds[kind])))
        for kind in graphs
    }
    return made, used
