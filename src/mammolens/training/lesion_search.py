"""Warm-up on made lesions: the network learns where a lesion is before it learns who has a cancer.

The last features get two heads for the while: one that says of each cell of their grid
whether a lesion lies there, and the network's own logit, which says whether there is
one anywhere. Both are thrown away afterwards; what stays is the backbone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.models.architecture import FEATURES, STRIDE
from mammolens.models.efficientnet import build
from mammolens.training import stage
from mammolens.training.augment import geometry, moved, recoloured
from mammolens.training.batches import Batch, Images, batched
from mammolens.training.lesions import make
from mammolens.training.networks import copy_convolutions, economy_of, freeze, trunks
from mammolens.training.optimisation import compile_model, schedule

if TYPE_CHECKING:
    from mammolens.training.fit import Fit

FOLDER = "lesion-search"
"""How the folder of this stage ends, beside those of the fits; it begins with the split's name."""

_FULL_SHARE = 0.12
"""Share of a cell that a lesion covers from which the cell counts in full."""

_LESION_WEIGHT = 5.0
"""How much more a cell with a lesion counts than one without, of which there are many."""

_CELLS_WEIGHT, _PICTURE_WEIGHT = 6.0, 0.5
_RARE = -3.5
"""Logit of a cell at the start: lesions are rare."""


class LesionBatches:
    """Pictures of breasts without a cancer, each once with a made lesion and once without in every epoch.

    Their content depends on seed and step alone, so a resumed run goes on as it would have.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W), or PairedImages
        Of pairs, both views are drawn on by turns.
    rows : ndarray of int64
        Images that may be drawn on.
    size : tuple of int
        ``(height, width)`` of the pictures, multiples of the network's stride.
    batch_size, seed : int
    """

    def __init__(
        self, images: Images, rows: NDArray[np.int64], size: tuple[int, int], batch_size: int, seed: int
    ) -> None:
        self._images, self._rows, self._size = images, rows, size
        self._count, self._seed = batch_size, seed
        self.per_epoch = max(1, 2 * len(rows) // batch_size)

    def size(self, step: int) -> tuple[int, int]:
        """Height and width of the pictures, at all steps alike."""
        return self._size

    def __call__(self, step: int) -> Batch:
        """Batch of one step: images (B, H, W, 1) float32 in 0..255 and targets (B, cells + 1) in 0..1.

        The last target says whether the picture has a lesion; those before it say it of
        the cells, row by row.
        """
        epoch, position = divmod(step, self.per_epoch)
        # Each row twice: with a lesion in the first half, without in the second.
        order = np.random.default_rng((self._seed, epoch)).permutation(2 * len(self._rows))
        random = np.random.default_rng((self._seed, epoch, position))
        chosen = order[position * self._count : (position + 1) * self._count]
        made = [self._one(int(index) % len(self._rows), index < len(self._rows), random) for index in chosen]
        return batched(np.stack([picture for picture, _ in made])), np.stack([target for _, target in made])

    def _one(
        self, index: int, lesion: bool, random: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        image = self._picture(self._rows[index], random)
        other = self._picture(self._rows[random.integers(len(self._rows))], random)
        drawn = make(image, other, random, lesion=lesion)
        matrix = geometry(self._size, random)
        picture = moved(self._shrunk(np.rint(drawn.picture * 255.0).astype(np.uint8)), matrix)
        where = moved(self._shrunk(drawn.lesion), matrix)
        rows, columns = (side // STRIDE for side in self._size)
        covered = where.reshape(rows, STRIDE, columns, STRIDE).mean((1, 3)).ravel()
        target = np.append(np.clip(covered / _FULL_SHARE, 0.0, 1.0), float(lesion)).astype(np.float32)
        return recoloured(picture, random), target

    def _picture(self, row: int, random: np.random.Generator) -> NDArray[np.uint8]:
        picture = np.asarray(self._images[row])
        return picture if picture.ndim == 2 else np.asarray(picture[random.integers(len(picture))])

    def _shrunk(self, plane: NDArray[Any]) -> NDArray[Any]:
        height, width = self._size
        return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA))


def warm_up(asked: Fit, model: Any) -> None:
    """Give a network the backbone that has learned to find made lesions; nothing where none is asked for.

    It is learned once for a split, whatever the seed of the fit: fits that begin alike have
    weights that can be averaged.

    Parameters
    ----------
    asked : Fit
        Only images without a cancer of ``split.fit`` are drawn on.
    model : keras.Model
        With ImageNet's weights; its convolutions are changed.
    """
    config = asked.config
    if not config.fit.lesion_epochs:
        return
    size = config.fit.lesion_size if min(config.fit.lesion_size) else config.model.size
    rows = asked.split.fit[asked.labels[asked.split.fit] < 0.5]
    batches = LesionBatches(asked.images, rows, size, config.fit.batch_size, config.fit.seeds[0])
    steps = batches.per_epoch * config.fit.lesion_epochs
    lesions = stage.Stage(
        batches=batches,
        epochs=config.fit.lesion_epochs,
        build=lambda wanted: _network(asked, wanted, steps),
        size=size,
        checkpoint_steps=config.fit.checkpoint_steps,
        workers=config.fit.workers,
    )

    def begin() -> Any:
        network = lesions.build(size)
        copy_convolutions(trunks(model)[0], network)
        return network

    folder = asked.folder.with_name(f"{asked.split.name}-{FOLDER}")
    learned = stage.run(lesions, begin, folder, config.digest)
    for trunk in trunks(model):
        copy_convolutions(learned, trunk)


def _network(asked: Fit, size: tuple[int, int], steps: int) -> Any:
    """Build the network with both heads, compiled, without weights."""
    import keras

    config = replace(asked.config.fit, learning_rate=asked.config.fit.lesion_rate)
    economy = economy_of(asked.config)
    base = build(asked.config.model.architecture, size, folded=True, dropout=config.dropout, economy=economy)
    rare = keras.initializers.Constant(_RARE)
    cells = keras.layers.Conv2D(
        1, 1, kernel_initializer="zeros", bias_initializer=rare, name="lesion", dtype="float32"
    )(base.get_layer(FEATURES).output)
    outputs = keras.layers.Concatenate(name="answers", dtype="float32")([keras.layers.Flatten()(cells), base.output])
    network = keras.Model(base.input, outputs, name="lesions")
    freeze(network, asked.config.model.frozen)
    compile_model(network, config, schedule(config, steps), _loss)
    return network


def _loss(targets: Any, answers: Any) -> Any:
    """Cross-entropy of the cells, those with a lesion weighing more, and of the whole picture."""
    from keras import ops

    each = ops.binary_crossentropy(targets, answers, from_logits=True)
    cells = ops.mean(each[:, :-1] * (1.0 + _LESION_WEIGHT * targets[:, :-1]), axis=-1)
    return _CELLS_WEIGHT * cells + _PICTURE_WEIGHT * each[:, -1]
