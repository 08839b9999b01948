"""Batches: what a fit is shown, how classes are balanced, and who waits for whom."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

pytest.importorskip("keras")

from mammolens.training.batches import Feed, ImageBatches, class_weights
from mammolens.training.protocol import Split
from mammolens.training.sections import FitConfig

LABELS = (np.arange(60) % 4 == 0).astype(np.float32)
IMAGES = np.zeros((60, 32, 24), np.uint8) + np.arange(60, dtype=np.uint8)[:, None, None]
SPLIT = Split("t", np.arange(48), np.arange(48, 60))


def made(**values: object) -> ImageBatches:
    return ImageBatches(IMAGES, LABELS, SPLIT, FitConfig(epochs=2, batch_size=8, **values), 1)  # type: ignore[arg-type]


def test_weights_make_both_classes_count_alike() -> None:
    # By hand: three benign of weight 4 / 6, one malignant of weight 4 / 2; both sum to 2, and all to 4 images.
    np.testing.assert_allclose(class_weights(np.array([0, 0, 0, 1], np.float32)), [2 / 3, 2.0])


def test_weighed_batches_give_each_image_the_weight_of_its_class() -> None:
    images, labels, weights = made(balance="weights")(3)
    assert images.shape == (8, 32, 24, 1)
    # Twelve of the 48 fitted images are malignant.
    np.testing.assert_allclose(weights, np.where(labels[:, 0] > 0, 2.0, 2 / 3))
    assert len(made()(3)) == 2


def test_sampling_shows_both_classes_equally_often_and_every_image() -> None:
    batches = made(balance="sampling")
    assert batches.per_epoch == 6
    labels = np.concatenate([batches(step)[1][:, 0] for step in range(6)])
    assert labels.sum() == 24
    order = np.concatenate([batches._order(epoch) for epoch in range(4)])
    assert set(order) == set(range(48))
    np.testing.assert_array_equal(batches(7)[0], made(balance="sampling")(7)[0])


class Slow:
    """Batches that take a moment, and note who made them."""

    per_epoch = 10

    def __init__(self, seconds: float) -> None:
        self.seconds, self.threads = seconds, set[int]()

    def size(self, step: int) -> tuple[int, int]:
        return (1, 1)

    def __call__(self, step: int) -> tuple[int]:
        time.sleep(self.seconds)
        self.threads.add(threading.get_ident())
        if step == 8:
            raise ValueError("the ninth")
        return (step,)


def test_feed_keeps_the_order_and_says_how_long_it_waited() -> None:
    slow = Slow(0.05)
    with Feed(slow, 2, 8, workers=2) as feed:
        assert [feed.next()[0] for _ in range(6)] == [2, 3, 4, 5, 6, 7]
        # Six batches of 0.05 seconds by two threads, and nothing else to do meanwhile.
        assert feed.waited >= 0.1
    assert len(slow.threads) == 2
    with Feed(Slow(0.0), 0, 8, workers=2) as feed:
        time.sleep(0.2)
        feed.next()
        assert feed.waited < 0.1


def test_failure_to_make_a_batch_comes_out_where_it_is_asked_for() -> None:
    with Feed(Slow(0.0), 7, 10, workers=3) as feed:
        assert feed.next() == (7,)
        with pytest.raises(ValueError, match="the ninth"):
            feed.next()


def test_low_epochs_come_first() -> None:
    batch = made(low_epochs=1, low_size=(16, 12))
    assert [batch(step)[0].shape[1:3] for step in (0, 5, 6)] == [(16, 12), (16, 12), (32, 24)]
