"""One evaluation from a bundle and a data set to its report."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammolens.datasets import TERMS, Case, CaseTable
from mammolens.errors import EvaluationError
from mammolens.evaluation import bcsc
from mammolens.evaluation.kept import KeptScores
from mammolens.evaluation.optimise import sample
from mammolens.evaluation.protocol import Protocol
from mammolens.evaluation.report import Subject, evaluate, table_sha256
from mammolens.evaluation.resampling import DRAWS
from mammolens.evaluation.scores import Scores, by_predictor, from_csv
from mammolens.evaluation.scores_table import joined
from mammolens.inference import Predictor
from mammolens.models.bundle import ModelBundle, load_bundle
from mammolens.models.importing import cache
from mammolens.models.manifest import Manifest
from mammolens.types import ModelIdentity

SAME_WOMEN = (frozenset({"rsna-640", "rsna-2022"}),)
"""Data sets that show the same women."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes
    ----------
    bundle : str
        Name or path, as it was given.
    table : CaseTable
    folder : Path
        Of the data set, as it was given.
    scores : Path or None
        Table of out-of-fold scores, which are measured instead of the bundle's own.
    compare : str or None
        Another bundle, or a table of its scores (``.csv``).
    prevalence : float
        That predictive values are projected to.
    most : int or None
        Most pictures, taken by whole women.
    localise : bool
        Whether explanations are measured against the outlines of lesions.
    seen : bool
        Whether women whom the model was trained on may be measured on, all of it marked.
    jobs : int
        Pictures in work at a time.
    draws : int
        Bootstrap samples.
    """

    bundle: str
    table: CaseTable
    folder: Path
    scores: Path | None = None
    compare: str | None = None
    prevalence: float = bcsc.BENCHMARK.prevalence
    most: int | None = None
    localise: bool = False
    seen: bool = False
    jobs: int = 1
    draws: int = DRAWS

    @property
    def command(self) -> str:
        """The command line that gives the same report."""
        words = ["mammolens", "evaluate", self.bundle, self.table.name, str(self.folder)]
        if self.scores is not None:
            words += ["--scores", str(self.scores)]
        if self.compare is not None:
            words += ["--compare", self.compare]
        if self.prevalence != bcsc.BENCHMARK.prevalence:
            words += ["--prevalence", f"{self.prevalence:g}"]
        if self.most is not None:
            words += ["--most", str(self.most)]
        if self.localise:
            words.append("--localise")
        if self.seen:
            words.append("--seen")
        return shlex.join(words)


def run(
    request: Request,
    out: Path,
    *,
    advance: Callable[[], None] = lambda: None,
) -> tuple[Scores, dict[str, Any], tuple[tuple[str, bytes], ...]]:
    """Score, measure and compare.

    Parameters
    ----------
    request : Request
    out : Path
        Scores are kept there as they come, so that the same call goes on after an interruption.
    advance : callable
        Called after each picture that is scored.

    Returns
    -------
    scores : Scores
    report : dict
    examples : tuple of (str, bytes)
        Captions and PNG pictures of where the model looks; empty unless that was asked for.

    Raises
    ------
    EvaluationError
        If the model was trained on these women, the table of scores is wrong, or no honest figure can come of it.
    BundleError
        If a bundle can't be opened.
    """
    bcsc.project(0.5, 0.5, request.prevalence)  # refuses a prevalence that is none before an hour of scoring
    bundle = opened(request.bundle)
    protocol, cases, said = plan(bundle.manifest, request)
    if request.scores is not None:
        scores = joined(from_csv(request.scores), cases)
        scores.needs_folds(request.table.folds)
    else:
        scores, _ = _scored(request.bundle, cases, out, request.jobs, advance)
    other = None
    if request.compare is not None:
        if request.compare.endswith(".csv"):
            other = ("another table of scores", joined(from_csv(Path(request.compare)), list(request.table)))
        else:
            theirs, identity = _scored(request.compare, cases, out, request.jobs, advance)
            other = (f"{identity.name} {identity.version}", theirs)
    places, examples = _places(request, cases) if request.localise else (None, ())
    report = evaluate(
        scores,
        subject(bundle, request, protocol, cases, said),
        other=other,
        prevalence=request.prevalence,
        localisation=places,
        draws=request.draws,
    )
    return scores, report, examples


def _places(request: Request, cases: Sequence[Case]) -> tuple[dict[str, Any], tuple[tuple[str, bytes], ...]]:
    """Measure where the model looks, against the outlines that the data set has."""
    from mammolens.evaluation.localisation import measure

    found = measure(cases, Predictor.from_bundle(request.bundle))
    return found.as_dict(), found.examples


def pictures(request: Request, manifest: Manifest) -> int:
    """How many pictures are going to be scored."""
    _, cases, _ = plan(manifest, request)
    own = 0 if request.scores is not None else len(cases)
    return own + (len(cases) if request.compare is not None and not request.compare.endswith(".csv") else 0)


def opened(name: str) -> ModelBundle:
    """Open a bundle, or a model file, as the predictor would."""
    return load_bundle(cache.place_of(name), stand_in=True)


def _scored(
    name: str, cases: Sequence[Case], out: Path, jobs: int, advance: Callable[[], None]
) -> tuple[Scores, ModelIdentity]:
    predictor = Predictor.from_bundle(name, threads=1 if jobs > 1 else 0)
    identity = predictor.bundle.identity
    with KeptScores(out, identity.sha256) as kept:
        return by_predictor(cases, predictor, kept=kept, jobs=jobs, advance=advance), identity


def plan(manifest: Manifest, request: Request) -> tuple[Protocol, list[Case], list[str]]:
    """Decide which pictures are honest to measure on.

    Parameters
    ----------
    manifest : Manifest
    request : Request

    Returns
    -------
    protocol : Protocol
    cases : list of Case
    said : list of str
        What must be said of the choice.

    Raises
    ------
    EvaluationError
        If the model was trained on women of the table and neither out-of-fold scores nor leave were given.
    """
    table, said = request.table, []
    if request.scores is not None and request.most is not None:
        raise EvaluationError("A table of scores is measured as it is: leave --most or --scores out.")
    cases = list(table) if request.most is None else sample(table, request.most)
    if request.most is not None and len(cases) < len(table):
        said.append(f"A random part of the data set's women: {len(cases)} of {len(table)} pictures.")
    if request.scores is not None:
        return Protocol.OUT_OF_FOLD, cases, said
    if manifest.training is None or manifest.training.dataset == table.name == "labelled":
        return Protocol.UNKNOWN, cases, said
    if not _same_women(manifest.training.dataset, table.name):
        return Protocol.HELD_OUT, cases, said
    if manifest.training.dataset == table.name and (test := [case for case in cases if case.split == "test"]):
        shared = {case.woman for case in table if case.split == "train"} & {case.woman for case in test}
        said.append("The official test part alone: the model was trained on the train part.")
        if shared:
            said.append(
                f"{len(shared)} women of the test part stand in the official train part too (the first is "
                f"{min(shared)}); unless training left them out, figures are a little too good."
            )
        return Protocol.HELD_OUT, test, said
    if request.seen:
        return Protocol.SEEN, cases, said
    raise EvaluationError(
        f"The model was trained on the women of this data set, woman {cases[0].woman} the first of them. Give the "
        "scores of its cross-validation (--scores out_of_fold.csv), or --seen to measure all the same, marked so."
    )


def refuse_seen(manifest: Manifest, table: CaseTable) -> None:
    """Refuse a data set that the model was trained on, as far as its name tells.

    Raises
    ------
    EvaluationError
        The message names the first woman.
    """
    training = manifest.training
    if training is not None and table.name != "labelled" and _same_women(training.dataset, table.name):
        raise EvaluationError(
            f"The model was trained on the women of this data set, woman {table[0].woman} the first of them: scores "
            "are too sure there, and a calibration would learn that. Take cases that it has not seen."
        )


def _same_women(a: str, b: str) -> bool:
    return a == b or any(a in family and b in family for family in SAME_WOMEN)


def subject(
    bundle: ModelBundle, request: Request, protocol: Protocol, cases: Sequence[Case], said: Sequence[str] = ()
) -> Subject:
    """Say of a bundle and a data set what the report does."""
    manifest = bundle.manifest
    hashes = {"bundle manifest": bundle.identity.sha256, "case table": table_sha256(cases)}
    if manifest.training is not None:
        hashes["training configuration"] = manifest.training.configuration_sha256
    return Subject(
        model={
            "name": manifest.name,
            "version": manifest.version,
            "architecture": manifest.architecture,
            "size": [manifest.preprocessing.height, manifest.preprocessing.width],
            "looks": manifest.looks,
            "members": manifest.members,
            "second_size": manifest.second_size and list(manifest.second_size),
            "training": None if manifest.training is None else manifest.training.model_dump(mode="json"),
            "sha256": bundle.identity.sha256,
        },
        dataset=request.table.name,
        terms=TERMS.get(request.table.name, ""),
        protocol=protocol,
        calibration=manifest.calibration,
        points=manifest.operating_points,
        hashes=hashes,
        command=request.command,
        limits=said,
    )
