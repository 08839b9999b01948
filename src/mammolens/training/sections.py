"""Sections of a training configuration: what each key is, may be, and is without being named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mammolens.models.looks import Looks

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
OptionalSize = tuple[Annotated[int, Field(ge=0, le=4096)], Annotated[int, Field(ge=0, le=4096)]]
Side = Annotated[int, Field(ge=1, le=4096)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]

Protocol = Literal["folds", "official", "patient-clean"]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What is trained.

    Attributes
    ----------
    name, version : str
        Of the bundle that the run makes.
    architecture : str
        A key of `mammolens.models.efficientnet.VARIANTS`.
    size : tuple of int
        ``(height, width)`` of the input, pixels.
    imagenet : Path or str
        ``.weights.h5`` of ``keras.applications`` (without top) to start from;
        ``"imagenet"``: the same file from the network; ``"none"``: random weights, for
        rehearsals.
    grown_from : str, optional
        Smaller architecture whose weights ``imagenet`` holds: the network begins as its
        function (`mammolens.models.growth`).
    frozen : tuple of str
        Prefixes of the layers that stay as ImageNet left them.
    looks : int
        1, or 2: the picture and the picture upside down, whose features are averaged.
    second_size : tuple of int
        ``(height, width)`` at which the finished network looks at a picture as well
        (`mammolens.models.looks`); (0, 0): at none.
    final : {"refit", "refit-ensemble", "average", "ensemble"}
        How the shipped model comes about: fitted once more on all women, the mean of the
        seeds' weights; the same, the seeds' networks side by side in one graph, whose
        logits and evidence are averaged; the mean of the folds' weights; or the folds'
        networks side by side.
    views : int
        1, or 2: both views of a breast in one network (`mammolens.models.two_view`).
    single : Path or "default", optional
        Bundle of a network of single pictures, beside which one of two views is put; without it that gets no bundle.
    """

    name: str
    architecture: str
    size: tuple[Side, Side]
    imagenet: Literal["imagenet", "none"] | Path
    version: str = "1"
    frozen: tuple[str, ...] = ()
    looks: Literal[1, 2] = 1
    second_size: OptionalSize = (0, 0)
    final: Literal["refit", "refit-ensemble", "average", "ensemble"] = "refit"
    views: Literal[1, 2] = 1
    single: Literal["default"] | Path | None = None
    grown_from: str | None = None

    @property
    def members(self) -> bool:
        """Whether several networks are shipped side by side."""
        return self.final in ("ensemble", "refit-ensemble")

    @property
    def refitted(self) -> bool:
        """Whether what is shipped was fitted on all women."""
        return self.final in ("refit", "refit-ensemble")

    @property
    def looking(self) -> Looks:
        """How the finished network looks at a picture."""
        return Looks(self.size, self.looks == 2, self.second_size if min(self.second_size) else None)


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What it is trained on.

    Attributes
    ----------
    dataset : str
        A key of `mammolens.datasets.DATASETS`.
    folder : Path
        Of the data set.
    protocol : {"folds", "official", "patient-clean"}
        ``folds``: cross-validation over all women. ``official``: the data set's own
        training part; its test part is never opened. ``patient-clean``: the same,
        without the women of whom the test part has pictures too.
    folds : int
        Folds that are made here, by woman, with like shares of cancers; 0: those of
        the data set's own, and where a protocol needs none, one held-out part of
        ``held_out``.
    fold_seed : int
        Of the draw of these folds, and of the part that stops a fit.
    held_out : float
        Share of the training part's women that is held out where there are no folds.
    """

    dataset: str
    folder: Path
    protocol: Protocol = "folds"
    folds: Annotated[int, Field(ge=0, le=50)] = 0
    fold_seed: Count = 1
    held_out: Annotated[float, Field(gt=0, le=0.5)] = 0.2


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How it is trained.

    Attributes
    ----------
    epochs, batch_size : int
        Epochs of each fit.
    low_epochs : int
        How many of the first epochs are done at ``low_size``: coarse features are
        learned as well from smaller pictures, in less time.
    low_size : tuple of int
        ``(height, width)`` of these epochs.
    learning_rate : float
        Peak of the schedule.
    warmup : float
        Share of the steps over which the rate rises linearly.
    weight_decay, label_smoothing, dropout : float
    probe_penalty : float
        Ridge penalty of the linear probe that starts the head (phase one), per image.
    seeds : tuple of int
        Independent fits of each split; a split's model is the mean of their weights.
    checkpoint_steps : int
        Steps between two checkpoints.
    watch_epochs : int
        Epochs between two looks at the held-out women (and once at the end); they
        are reported, nothing is chosen by them.
    precision : {"float32", "mixed_float16", "mixed_bfloat16"}
        Of the convolutions while training; see `mammolens.models.efficientnet.Economy`.
        With float16 the loss is scaled.
    checkpointing : bool
        Whether blocks are computed again for their gradient, to save memory.
    augmentation : {"usual", "strong"}
        ``strong``: farther rotation, rectangles painted over, noise; see `mammolens.training.augment`.
    loss : {"crossentropy", "focal"}
    focal_gamma : float
        How much less an image counts that is answered right already; 0: not less.
    balance : {"none", "weights", "sampling"}
        What is done about the rarer class: nothing; its images weigh more in the loss;
        or it is shown as often as the other.
    ema : float
        Share of the running average of the weights that each step keeps, such as
        0.999; the average is what is watched and what is left. 0: no average.
    accumulate : int
        Batches whose gradients make one step of the optimiser.
    patience : int
        Epochs without a better AUC of the stopping women after which a fit ends, with
        the weights of the best epoch; 0: all epochs are done.
    stop_share : float
        Share of the women to fit who are set aside for that; they are never those held out.
    patch_epochs : int
        Epochs of a warm-up on patches around outlined lesions (`mammolens.training.patches`);
        0: none.
    patch_size : int
        Side of a patch, in pixels of the input.
    lesion_epochs : int
        Epochs of the warm-up on made lesions (`mammolens.training.lesion_search`);
        0: none.
    lesion_size : tuple of int
        ``(height, width)`` of its pictures, multiples of 32; (0, 0): the input's.
    lesion_rate : float
        Peak of its learning rate.
    side_tasks : tuple of str
        What else the network is asked for while it learns, of what the data set knows of
        its pictures (`mammolens.datasets.Case.side_labels`); see `mammolens.training.side_tasks`.
    side_weight : float
        How much one of these counts in the loss, where the label counts 1.
    workers : int
        Threads that make batches; 0: one less than the machine has cores, at most eight.
    """

    epochs: Positive
    batch_size: Positive = 16
    low_epochs: Count = 0
    low_size: OptionalSize = (0, 0)
    learning_rate: Amount = 2e-4
    warmup: Share = 0.1
    weight_decay: Amount = 0.02
    label_smoothing: Share = 0.02
    dropout: Share = 0.3
    probe_penalty: Amount = 1.0
    seeds: Annotated[tuple[Count, ...], Field(min_length=1)] = (1,)
    checkpoint_steps: Positive = 50
    watch_epochs: Positive = 1
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    checkpointing: bool = False
    augmentation: Literal["usual", "strong"] = "usual"
    loss: Literal["crossentropy", "focal"] = "crossentropy"
    focal_gamma: Amount = 2.0
    balance: Literal["none", "weights", "sampling"] = "none"
    ema: Share = 0.0
    accumulate: Positive = 1
    patience: Count = 0
    stop_share: Annotated[float, Field(gt=0, le=0.5)] = 0.15
    patch_epochs: Count = 0
    patch_size: Annotated[int, Field(ge=32, le=1024)] = 224
    lesion_epochs: Count = 0
    lesion_size: OptionalSize = (0, 0)
    lesion_rate: Amount = 3e-4
    side_tasks: tuple[str, ...] = ()
    side_weight: Amount = 0.2
    workers: Count = 0
