"""What a fit is shown: augmented batches whose content depends on seed and step alone, made ahead by threads."""

from __future__ import annotations

import os
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mammolens.training.augment import augment
from mammolens.training.pairs import PairedImages
from mammolens.training.protocol import Split
from mammolens.training.sections import FitConfig

Images = NDArray[np.uint8] | PairedImages
"""Single images (N, H, W), or pairs (P, 2, H, W)."""

Batch = tuple[Any, ...]
"""Inputs, targets and, where the classes are weighed, a weight for each: what ``train_on_batch`` takes."""

_MOST_WORKERS = 8


class Batches(Protocol):
    """A stage's batches, by step; safe to call from several threads.

    Attributes
    ----------
    per_epoch : int
        Steps of one epoch.
    """

    per_epoch: int

    def size(self, step: int) -> tuple[int, int]:
        """Height and width of the pictures at a step."""
        ...

    def __call__(self, step: int) -> Batch:
        """Batch of one step; the same whenever it is asked for."""
        ...


def batched(images: NDArray[np.generic]) -> Any:
    """Float32 batch with a channel axis where Keras' data format wants it.

    Parameters
    ----------
    images : ndarray, shape (N, H, W), or (N, 2, H, W) of pairs

    Returns
    -------
    ndarray of float32, shape (N, H, W, 1), or a list of two such: one for each view
    """
    import keras

    if images.ndim == 4:
        return [batched(images[:, view]) for view in range(images.shape[1])]
    axis = 1 if keras.config.image_data_format() == "channels_first" else -1
    return np.expand_dims(images.astype(np.float32), axis)


class ImageBatches:
    """Augmented whole images, or pairs of them, with their labels.

    Their content depends on seed and step alone, so a resumed run goes on as it would have.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W), or PairedImages
    labels : ndarray of float32, shape (N,)
    split : Split
    config : FitConfig
    seed : int
    beside : ndarray of float32, shape (N, K), optional
        Targets that go with the labels (`mammolens.training.side_tasks`).
    """

    def __init__(
        self,
        images: Images,
        labels: NDArray[np.float32],
        split: Split,
        config: FitConfig,
        seed: int,
        beside: NDArray[np.float32] | None = None,
    ) -> None:
        self._images, self._labels, self._split, self._config = images, labels, split, config
        self._seed, self._beside = seed, beside
        self._weights = class_weights(labels[split.fit]) if config.balance == "weights" else None
        self.per_epoch = max(1, len(split.fit) // config.batch_size)

    def size(self, step: int) -> tuple[int, int]:
        """Height and width of the pictures at a step."""
        low = step < self._config.low_epochs * self.per_epoch
        return self._config.low_size if low else (int(self._images.shape[-2]), int(self._images.shape[-1]))

    def __call__(self, step: int) -> Batch:
        """Batch of one step: images as `batched`, in 0..255, targets (B, 1 + K), and perhaps weights (B,)."""
        epoch, position = divmod(step, self.per_epoch)
        count = self._config.batch_size
        chosen = self._order(epoch)[position * count : (position + 1) * count]
        random = np.random.default_rng((self._seed, epoch, position))
        strong = self._config.augmentation == "strong"
        made = batched(np.stack([_varied(self._images[row], self.size(step), random, strong) for row in chosen]))
        labels = self._labels[chosen]
        targets = labels[:, None] if self._beside is None else np.column_stack([labels, self._beside[chosen]])
        if self._weights is None:
            return made, targets
        return made, targets, self._weights[labels.astype(np.int64)]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Images of an epoch in their order: each once, or both classes equally often."""
        random = np.random.default_rng((self._seed, epoch))
        if self._config.balance != "sampling":
            return np.asarray(random.permutation(self._split.fit), np.int64)
        labels = self._labels[self._split.fit]
        half = len(labels) // 2
        kinds = [random.permutation(self._split.fit[labels == kind]) for kind in (0.0, 1.0)]
        # The rarer class comes round again before the other has been seen through.
        drawn = [np.resize(kind, half) for kind in kinds]
        return np.asarray(random.permutation(np.concatenate(drawn)), np.int64)


def _varied(
    image: NDArray[np.uint8], size: tuple[int, int], random: np.random.Generator, strong: bool
) -> NDArray[np.float32]:
    """Resize and augment an image (H, W), or each view of a pair (2, H, W) by itself."""
    if image.ndim == 3:
        return np.stack([_varied(view, size, random, strong) for view in image])
    picture = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return augment(np.asarray(picture, np.uint8), random, strong=strong)


def class_weights(labels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights under which both classes count alike, and an image counts 1 in the mean.

    Parameters
    ----------
    labels : ndarray of float32, shape (N,)
        0 or 1, of both kinds.

    Returns
    -------
    ndarray of float32, shape (2,)
        Of a benign and of a malignant image.
    """
    counts = np.bincount(labels.astype(np.int64), minlength=2)
    return np.asarray(len(labels) / (2.0 * counts), np.float32)


class Feed:
    """Gives batches in order while threads make the next ones.

    Parameters
    ----------
    batches : Batches
    first, last : int
        Steps from the first one to before the last one.
    workers : int
        Threads; 0: one less than the machine has cores, at most eight.

    Attributes
    ----------
    waited : float
        Seconds that `next` has waited since it was last set to 0.
    """

    def __init__(self, batches: Batches, first: int, last: int, workers: int = 0) -> None:
        self._workers = workers or min(_MOST_WORKERS, max(1, (os.cpu_count() or 1) - 1))
        self._batches, self._next, self._last = batches, first, last
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="batches")
        self._pending: deque[Future[Batch]] = deque()
        self.waited = 0.0
        for _ in range(self._workers + 1):
            self._ask()

    def _ask(self) -> None:
        if self._next < self._last:
            self._pending.append(self._pool.submit(self._batches, self._next))
            self._next += 1

    def next(self) -> Batch:
        """Give the next batch; waits until it is made."""
        began = time.monotonic()
        batch = self._pending.popleft().result()
        self.waited += time.monotonic() - began
        self._ask()
        return batch

    def __enter__(self) -> Feed:
        """Return the feed itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Make no more batches."""
        self._pool.shutdown(wait=True, cancel_futures=True)
