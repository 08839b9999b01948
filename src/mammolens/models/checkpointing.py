"""Gradient checkpointing of a network made of blocks.

Keras' own ``RematScope`` works layer by layer, which still keeps every layer's
input. Here only what passes from block to block is kept, and a block is computed
again when its gradient is needed.

References
----------
T. Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016,
arXiv:1604.06174.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import keras


@keras.saving.register_keras_serializable("mammolens")
class CheckpointedModel(keras.Model):
    """Functional model whose blocks are computed again for their gradients.

    Layers, weights and files are those of the plain model.

    Parameters
    ----------
    inputs, outputs : KerasTensor
    seams : list of KerasTensor
        Where the blocks meet, the first block's input and the last one's output among
        them.
    name : str
    """

    def __init__(self, inputs: Any, outputs: Any, seams: list[Any], name: str) -> None:
        super().__init__(inputs, outputs, name=name)
        # In a closure: Keras would track models that it finds in an attribute, and save their layers twice.
        self._steps = _chain(inputs, outputs, seams)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Compute the outputs; in training, blocks keep nothing but their input."""
        return self._steps(inputs, bool(training))


def _chain(inputs: Any, outputs: Any, seams: list[Any]) -> Callable[[Any, bool], Any]:
    first, last = keras.Model(inputs, seams[0]), keras.Model(seams[-1], outputs)
    blocks = [keras.Model(before, after) for before, after in pairwise(seams)]

    def steps(x: Any, training: bool) -> Any:
        x = first(x, training=training)
        for block in blocks:
            # Blocks behave alike in training and at inference: no dropout, no batch statistics in them.
            x = keras.remat(block)(x) if training else block(x)
        return last(x, training=training)

    return steps
