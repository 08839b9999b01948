"""Whether a heat map shows where the lesion is, held against what knows nothing of the model.

Reported beside a centre-of-breast map, the brightest tissue and the same network with
all its weights shuffled; nothing is chosen by it. ``docs/explanation.md`` says what each
figure means.

References
----------
J. Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016,
arXiv:1608.00507 (pointing game); D. P. Chakraborty, Med. Phys. 16:561, 1989, and
Radiology 174:873, 1990 (FROC).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from mammolens.datasets.table import Case, Outline
from mammolens.errors import InputError, TrainingDataError
from mammolens.evaluation import localisation_sanity as sanity
from mammolens.evaluation.localisation_baselines import BASELINES, RANDOMISED
from mammolens.evaluation.localisation_examples import example
from mammolens.evaluation.localisation_figures import Figures, figures
from mammolens.evaluation.localisation_outlines import Place
from mammolens.evaluation.localisation_rows import Picture, Row, reduction_of, row
from mammolens.evaluation.resampling import DRAWS, Estimate
from mammolens.explain.gradcam import grown
from mammolens.explain.methods import METHODS, method
from mammolens.explain.passes import OpenedNetwork
from mammolens.explain.regions import REGION_THRESHOLD
from mammolens.imaging import preprocess
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.sandbox import default_pool
from mammolens.inference.predictor import Predictor
from mammolens.models.randomised import STAGES, randomised
from mammolens.types import Mammogram, ModelInput

QUICK = tuple(name for name in METHODS if name != "occlusion")
"""Methods that need one forward pass and no more."""

_SERVED = ("grad-cam", "hires-cam")
"""Methods whose maps have the unit that the bundle's evidence scale is in."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes
    ----------
    pathologies : tuple of str
        Whose outlines count.
    sanity : int
        Pictures of lesions with which the model is shuffled; 0 leaves that out.
    examples : int
        Pictures of lesions that are drawn.
    threads : int
        Threads within one forward pass; 0 takes one per core.
    draws, seed : int
        Of the bootstrap; the seed also of the shuffling.
    """

    pathologies: tuple[str, ...] = ("malignant",)
    sanity: int = 24
    examples: int = 8
    threads: int = 0
    draws: int = DRAWS
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Localisation:
    """What a model's explanations show of the lesions.

    Attributes
    ----------
    pictures, with_lesion, women : int
        Pictures measured, those of them with an outlined lesion, and the women of the latter.
    left_out : int
        Pictures called malignant of which no outline is known: they say nothing of where.
    refused : dict of str to int
        Pictures without an answer, by the error's code.
    chance_inside, chance_near : float
        Mean share of the breast within the outlines, and near them: what a point drawn
        at random hits, and the energy of a level map.
    methods, baselines : dict of str to Figures
    sanity : dict of dict of Estimate
        See `mammolens.evaluation.localisation_sanity.correlations`; empty if left out.
    examples : tuple of (str, bytes)
        Captions and PNG pictures.
    """

    pictures: int
    with_lesion: int
    women: int
    left_out: int
    refused: Mapping[str, int]
    chance_inside: float
    chance_near: float
    methods: Mapping[str, Figures]
    baselines: Mapping[str, Figures]
    sanity: Mapping[str, Mapping[str, Estimate]]
    examples: tuple[tuple[str, bytes], ...] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Give plain values, ready for JSON; without the pictures."""
        return {
            "pictures": self.pictures,
            "with_lesion": self.with_lesion,
            "women": self.women,
            "left_out": self.left_out,
            "refused": dict(self.refused),
            "chance": {"inside": self.chance_inside, "near": self.chance_near},
            "methods": {name: each.as_dict() for name, each in self.methods.items()},
            "baselines": {name: each.as_dict() for name, each in self.baselines.items()},
            "sanity": {
                name: {stage: value.as_dict() for stage, value in stages.items()}
                for name, stages in self.sanity.items()
            },
        }


def measure(
    cases: Sequence[Case], predictor: Predictor, methods: Sequence[str] = QUICK, plan: Plan | None = None
) -> Localisation:
    """Measure explanation methods against the outlines of lesions.

    Parameters
    ----------
    cases : sequence of Case
        With and without lesions: the latter count for false regions.
    predictor : Predictor
        Its bundle is explained.
    methods : sequence of str
        Keys of `mammolens.explain.methods.METHODS`. Occlusion takes some 30 forward
        passes for each picture, all others one together.
    plan : Plan, optional

    Returns
    -------
    Localisation

    Raises
    ------
    ConfigurationError
        If there is no method of a name.
    TrainingDataError
        If no picture has an outlined lesion of the pathologies asked for, or a
        lesion's outline can't be used; the latter names the woman and the row.
    """
    plan = plan or Plan()
    for name in methods:
        method(name)
    run = _Run(predictor, tuple(methods), plan)
    for case in track(cases, description="localisation", transient=True, console=Console(stderr=True)):
        run.take(case)
    if not run.of_lesions:
        raise TrainingDataError("No picture of the table has an outlined lesion; there is nothing to point at.")
    return run.finished()


class _Run:
    """Goes from picture to picture; only figures, and a few pictures for later, stay."""

    def __init__(self, predictor: Predictor, methods: tuple[str, ...], plan: Plan) -> None:
        self._predictor, self._methods, self._plan = predictor, methods, plan
        bundle = predictor.bundle
        self._network = OpenedNetwork(bundle, plan.threads)
        self._shuffled = OpenedNetwork(randomised(bundle, seed=plan.seed), plan.threads)
        self._rows: dict[str, list[Row]] = {name: [] for name in (*methods, *BASELINES, RANDOMISED)}
        self._women: list[str] = []
        self._chances: list[tuple[float, float]] = []
        self._refused: dict[str, int] = {}
        self._left_out = 0
        self._examples: list[tuple[str, bytes]] = []
        self.of_lesions: list[tuple[str, ModelInput]] = []

    def take(self, case: Case) -> None:
        outlines = [
            lesion.outline
            for lesion in case.abnormalities
            if lesion.outline is not None and lesion.pathology in self._plan.pathologies
        ]
        if case.malignant and not outlines and "malignant" in self._plan.pathologies:
            self._left_out += 1
            return
        options = ReadOptions().for_model(self._predictor.size)
        try:
            mammogram = default_pool().read(case.path, options)
            made = preprocess.prepare(mammogram, self._predictor.size)
        except InputError as error:
            self._refused[error.code] = self._refused.get(error.code, 0) + 1
            return
        rows, columns = mammogram.rows, mammogram.columns
        reduction = reduction_of(rows, columns)
        places = _places(case, outlines, (rows, columns, reduction))
        picture = Picture(case.woman, made.geometry, rows, columns, reduction, made.mask, places)
        heats = self._heats(made)
        self._women.append(case.woman)
        for name, heat in heats.items():
            self._rows[name].append(row(picture, heat))
        if places:
            self._remember(case, picture, made, mammogram, heats)

    def _heats(self, made: ModelInput) -> dict[str, NDArray[np.float32]]:
        """Heat map of each method and baseline on the model's input grid, in its own unit."""
        (seen,) = self._network.passes([made])
        heats = {name: grown(METHODS[name](seen), made.mask) for name in self._methods}
        heats |= {name: make(made) for name, make in BASELINES.items()}
        (shuffled,) = self._shuffled.passes([made])
        return heats | {RANDOMISED: grown(shuffled.evidence, made.mask)}

    def _remember(
        self,
        case: Case,
        picture: Picture,
        made: ModelInput,
        mammogram: Mammogram,
        heats: Mapping[str, NDArray[np.float32]],
    ) -> None:
        self._chances.append(picture.chance())
        self.of_lesions.append((case.woman, made))
        if len(self._examples) >= self._plan.examples:
            return
        name = self._methods[0]
        heat = heats[name]
        scale = self._predictor.bundle.manifest.evidence_scale if name in _SERVED else float(heat.max())
        drawn = example(mammogram, made.geometry, np.minimum(heat / max(scale, 1e-12), 1.0), picture.places)
        seen = self._rows[name][-1]
        hit = "inside the outline" if seen.inside else "near the outline" if seen.near else "elsewhere"
        caption = f"{name}, {case.woman} {case.laterality} {case.view}: peak {hit}, {seen.energy:.0%} of the map inside"
        self._examples.append((caption, drawn))

    def finished(self) -> Localisation:
        plan, bundle = self._plan, self._predictor.bundle
        threshold = REGION_THRESHOLD * bundle.manifest.evidence_scale
        summed = {
            name: figures(rows, self._women, threshold if name in _SERVED else None, plan.draws, plan.seed)
            for name, rows in self._rows.items()
        }
        chosen = self.of_lesions[: plan.sanity]
        women, inputs = [woman for woman, _ in chosen], [made for _, made in chosen]
        inside, near = np.mean(self._chances, axis=0)
        return Localisation(
            pictures=len(self._women),
            with_lesion=len(self.of_lesions),
            women=len({woman for woman, _ in self.of_lesions}),
            left_out=self._left_out,
            refused=self._refused,
            chance_inside=float(inside),
            chance_near=float(near),
            methods={name: summed[name] for name in self._methods},
            baselines={name: summed[name] for name in (*BASELINES, RANDOMISED)},
            sanity=sanity.correlations(bundle, inputs, women, self._methods, plan.threads, plan.seed) if chosen else {},
            examples=tuple(self._examples),
        )


def _places(case: Case, outlines: Sequence[Outline], size: tuple[int, int, int]) -> list[Place]:
    """Lay a case's outlines on its picture, of rows, columns and reduction."""
    try:
        return [Place(outline, *size) for outline in outlines]
    except (InputError, TrainingDataError) as error:
        where = f" ({case.provenance})" if case.provenance else ""
        raise TrainingDataError(f"An outline of woman {case.woman}{where} can't be used. {error.message}") from error


def table(found: Localisation) -> str:
    """Write the figures as Markdown.

    Parameters
    ----------
    found : Localisation

    Returns
    -------
    str
    """

    def brief(estimate: Estimate) -> str:
        return f"{estimate.value:.2f} ({estimate.low:.2f}–{estimate.high:.2f})"

    lines = [
        f"{found.pictures} pictures, {found.with_lesion} of them with an outlined lesion (of {found.women} women); "
        f"{found.left_out} left out; refused: {sum(found.refused.values())}.",
        f"A point drawn at random in the breast hits in {found.chance_inside:.2f}, near in {found.chance_near:.2f}.",
        "",
        "| map | peak within 1.25 radii | peak inside | energy inside | overlap | at half the peak "
        "| sensitivity at 0.5 false | at 1 false | silent |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, each in (*found.methods.items(), *found.baselines.items()):
        cells = [
            each.near,
            each.inside,
            each.energy,
            each.overlap,
            each.overlap_at_half,
            each.froc[0.5],
            each.froc[1.0],
        ]
        lines.append(f"| {name} | {' | '.join(map(brief, cells))} | {each.silent} |")
    for name, each in found.methods.items():
        if each.served is not None:
            shown = f"{brief(each.served.sensitivity)} of lesions, {brief(each.served.false_regions)} false an image"
            lines += ["", f"Regions as predictions show them ({name}): {shown}."]
    if found.sanity:
        lines += ["", f"| shuffled | {' | '.join(STAGES)} |", "|---|" + "---|" * len(STAGES)]
        lines += [
            f"| {name} | {' | '.join(brief(stages[stage]) for stage in STAGES)} |"
            for name, stages in found.sanity.items()
        ]
    return "\n".join(lines)
