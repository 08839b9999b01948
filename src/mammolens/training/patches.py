"""A warm-up on patches: background, a mass or calcifications, benign or malignant.

Lesions fill a few hundredths of a whole image. Patches around their outlines show the
network what to look for, before it has to find it.

References
----------
L. Shen et al., "Deep Learning to Improve Breast Cancer Detection on Screening
Mammography", Scientific Reports 9:12495, 2019; D. G. P. Petrini et al., IEEE Access 10,
2022, arXiv:2110.01606.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets import Abnormality, Case, Outline
from mammolens.datasets.outlines import inside
from mammolens.errors import TrainingDataError
from mammolens.imaging import preprocess
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.reading import read_mammogram
from mammolens.models.efficientnet import build_trunk
from mammolens.training import stage
from mammolens.training.augment import augment
from mammolens.training.batches import Batch, Images, batched
from mammolens.training.networks import copy_convolutions, economy_of, freeze, trunks
from mammolens.training.optimisation import compile_model, schedule

if TYPE_CHECKING:
    from mammolens.training.fit import Fit

KINDS = ("background", "benign mass", "benign calcification", "malignant mass", "malignant calcification")
"""What a patch may show; a lesion of another kind counts as a mass."""

_TRIES = 20
_JITTER = 0.25
_MASK_SIDE = 512


@dataclass(frozen=True, slots=True)
class Lesion:
    """One outlined lesion of a model input.

    Attributes
    ----------
    image : int
        Index of the image.
    kind : int
        Index into `KINDS`, above 0.
    box : tuple of float
        ``(x0, y0, x1, y1)`` in model-input pixels.
    """

    image: int
    kind: int
    box: tuple[float, float, float, float]


def kind_of(abnormality: Abnormality) -> int:
    """Give the index into `KINDS`; 0 where pathology or outline are not known."""
    if abnormality.outline is None or not abnormality.pathology:
        return 0
    return 1 + 2 * (abnormality.pathology == "malignant") + (abnormality.kind == "calcification")


def lesions_of(cases: Sequence[Case], size: tuple[int, int]) -> list[Lesion]:
    """Find the outlined lesions on the model inputs.

    Each file with an outline is read once more: the crop is not kept with its pixels.

    Parameters
    ----------
    cases : sequence of Case
        Of the images, in their order.
    size : tuple of int
        ``(height, width)`` of the model input.

    Returns
    -------
    list of Lesion
        Without those that lie outside the crop.
    """
    found = []
    for index, case in enumerate(cases):
        outlined = [(kind_of(each), each.outline) for each in case.abnormalities if each.outline and kind_of(each)]
        if not outlined:
            continue
        mammogram = read_mammogram(case.path, ReadOptions(min_size=size))
        geometry = preprocess.prepare(mammogram, size).geometry
        for kind, outline in outlined:
            box = _box(outline, mammogram.rows, mammogram.columns)
            corners = [geometry.to_input(x, y) for x, y in ((box[0], box[1]), (box[2], box[3]))]
            xs, ys = ([corner[axis] for corner in corners] for axis in (0, 1))
            lesion = Lesion(index, kind, (min(xs), min(ys), max(xs), max(ys)))
            if lesion.box[0] < size[1] and lesion.box[1] < size[0] and min(lesion.box[2:]) > 0:
                found.append(lesion)
    return found


def _box(outline: Outline, rows: int, columns: int) -> tuple[float, float, float, float]:
    """Bounding box of an outline in source pixels."""
    shape = (min(rows, _MASK_SIDE), min(columns, _MASK_SIDE))
    y, x = np.nonzero(inside(outline, rows, columns, shape))
    if not len(x):
        raise TrainingDataError("An outline encloses nothing. Check the data set.")
    fx, fy = columns / shape[1], rows / shape[0]
    return float(x.min() * fx), float(y.min() * fy), float((x.max() + 1) * fx), float((y.max() + 1) * fy)


class PatchBatches:
    """Each lesion once an epoch, and as much background.

    Content depends on seed and step alone.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W), or PairedImages
        Of pairs, the first view.
    lesions : sequence of Lesion
        To learn from.
    rows : ndarray of int64
        Images that background may come from.
    side : int
        Of a patch, pixels of the model input.
    batch_size, seed : int
    """

    def __init__(
        self, images: Images, lesions: Sequence[Lesion], rows: NDArray[np.int64], side: int, batch_size: int, seed: int
    ) -> None:
        self._images, self._lesions, self._rows = images, list(lesions), rows
        self._side, self._count, self._seed = side, batch_size, seed
        self._boxes: dict[int, list[tuple[float, float, float, float]]] = {}
        for lesion in lesions:
            self._boxes.setdefault(lesion.image, []).append(lesion.box)
        self.per_epoch = max(1, 2 * len(self._lesions) // batch_size)

    def size(self, step: int) -> tuple[int, int]:
        """Height and width of the patches."""
        return self._side, self._side

    def __call__(self, step: int) -> Batch:
        """Batch of one step: patches (B, side, side, 1) float32 in 0..255 and kinds (B,)."""
        epoch, position = divmod(step, self.per_epoch)
        order = np.random.default_rng((self._seed, epoch)).permutation(2 * len(self._lesions))
        random = np.random.default_rng((self._seed, epoch, position))
        pictures, kinds = [], []
        for number in order[position * self._count : (position + 1) * self._count]:
            lesion = self._lesions[number] if number < len(self._lesions) else None
            patch = self._background(random) if lesion is None else self._around(lesion, random)
            pictures.append(augment(patch, random))
            kinds.append(0 if lesion is None else lesion.kind)
        return batched(np.stack(pictures)), np.array(kinds, np.int64)

    def _around(self, lesion: Lesion, random: np.random.Generator) -> NDArray[np.uint8]:
        x, y = (lesion.box[0] + lesion.box[2]) / 2, (lesion.box[1] + lesion.box[3]) / 2
        dx, dy = random.uniform(-_JITTER, _JITTER, 2) * self._side
        return cut(self._picture(lesion.image), x + dx, y + dy, self._side)

    def _background(self, random: np.random.Generator) -> NDArray[np.uint8]:
        """Cut a patch of breast that touches no outline."""
        for _ in range(_TRIES):
            row = int(random.choice(self._rows))
            picture = self._picture(row)
            y, x = random.integers(0, picture.shape[0]), random.integers(0, picture.shape[1])
            half = self._side / 2
            free = all(
                x + half < box[0] or x - half > box[2] or y + half < box[1] or y - half > box[3]
                for box in self._boxes.get(row, ())
            )
            if picture[y, x] > 0 and free:
                return cut(picture, float(x), float(y), self._side)
        # Lesions everywhere: a corner of a picture shows least of them.
        return cut(self._picture(int(random.choice(self._rows))), 0.0, 0.0, self._side)

    def _picture(self, row: int) -> NDArray[np.uint8]:
        picture = self._images[row]
        return picture[0] if picture.ndim == 3 else picture


def cut(picture: NDArray[np.uint8], x: float, y: float, side: int) -> NDArray[np.uint8]:
    """Cut a square around a position; what lies outside the picture is black.

    Parameters
    ----------
    picture : ndarray of uint8, shape (H, W)
    x, y : float
        Centre, pixels.
    side : int

    Returns
    -------
    ndarray of uint8, shape (side, side)
    """
    left, top = round(x - side / 2), round(y - side / 2)
    made = np.zeros((side, side), np.uint8)
    y0, x0 = max(top, 0), max(left, 0)
    part = picture[y0 : max(top + side, 0), x0 : max(left + side, 0)]
    made[y0 - top : y0 - top + part.shape[0], x0 - left : x0 - left + part.shape[1]] = part
    return made


def warm_up(asked: Fit, model: Any) -> None:
    """Fit the network's convolutions to patches, where ``[fit] patch_epochs`` asks for it.

    Parameters
    ----------
    asked : Fit
    model : keras.Model
        Its convolutions are changed.

    Raises
    ------
    TrainingDataError
        If the data set has no outlined lesions among the images to fit.
    """
    fit, folder = asked.config.fit, asked.folder / "patches"
    if not fit.patch_epochs:
        return
    done = folder / "trunk.npz"
    if not done.exists():
        _fit(asked, model, folder, done)
    with np.load(done) as weights:
        for trunk in trunks(model):
            for layer in trunk.layers:
                if layer.name != "logit":
                    layer.set_weights([weights[f"{layer.name}/{index}"] for index in range(len(layer.weights))])


def _fit(asked: Fit, model: Any, folder: Path, done: Path) -> None:
    config, fit = asked.config, asked.config.fit
    fitted = set(asked.split.fit.tolist())
    lesions = [lesion for lesion in _kept(asked) if lesion.image in fitted]
    if not lesions:
        raise TrainingDataError("[fit] patch_epochs needs outlined lesions, and no image to fit has one.")
    batches = PatchBatches(asked.images, lesions, asked.split.fit, fit.patch_size, fit.batch_size, asked.seed)
    work = stage.Stage(
        batches=batches,
        epochs=fit.patch_epochs,
        build=lambda size: _network(asked, size, batches.per_epoch * fit.patch_epochs),
        size=(fit.patch_size, fit.patch_size),
        checkpoint_steps=fit.checkpoint_steps,
        workers=fit.workers,
    )

    def begin() -> Any:
        made = work.build(work.size)
        copy_convolutions(trunks(model)[0], made.get_layer("trunk"))
        return made

    made = stage.run(work, begin, folder, config.digest)
    arrays = {
        f"{layer.name}/{index}": value
        for layer in made.get_layer("trunk").layers
        for index, value in enumerate(layer.get_weights())
    }
    partial = done.with_suffix(".partial.npz")
    np.savez(partial, **arrays)
    partial.replace(done)


def _network(asked: Fit, size: tuple[int, int], steps: int) -> Any:
    """Build the trunk with a head of one output for each kind."""
    import keras

    config = asked.config
    trunk = build_trunk(config.model.architecture, size, folded=True, economy=economy_of(config))
    freeze(trunk, config.model.frozen)
    image = keras.Input(trunk.input_shape[1:], name="patch")
    x = keras.layers.Dropout(config.fit.dropout, dtype="float32")(trunk(image))
    model = keras.Model(image, keras.layers.Dense(len(KINDS), name="kind", dtype="float32")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    compile_model(model, config.fit, schedule(config.fit, steps), loss)
    return model


def _kept(asked: Fit) -> list[Lesion]:
    """Lesions of all images, looked up once in a run."""
    file = asked.config.output / "cache" / f"lesions-{asked.config.digest}.json"
    if file.exists():
        return [Lesion(image, kind, tuple(box)) for image, kind, box in json.loads(file.read_text(encoding="utf-8"))]
    found = lesions_of(asked.cases, asked.config.model.size)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps([(each.image, each.kind, each.box) for each in found]), encoding="utf-8")
    partial.replace(file)
    return found
