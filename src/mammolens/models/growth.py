"""A larger EfficientNet that begins as a smaller one's function, for where there are no ImageNet weights of the larger.

Channels that the larger one has more are copies of the smaller one's, a little disturbed, and nothing hears them yet:
the kernels that take them in hold zeros there. Blocks that it has more are copies of the block before, and add
nothing yet: the kernel that ends them is zero. So features and logit are those of the smaller network to the last
digits that float32 keeps, and every weight has a gradient or gets one after a step.

References
----------
T. Chen, I. Goodfellow and J. Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016,
arXiv:1511.05641, for the idea; the zeros instead of divided weights are our choice: with them the gates, which see
means of channels, need no correction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ConfigurationError
from mammolens.models.architecture import can_grow, kernels

_DISTURBANCE = 0.05
"""Deviation of what is added to a copied kernel, over the kernel's own: enough to part the two in training."""


def grow(source: Any, smaller: str, target: Any, larger: str, seed: int = 0) -> None:
    """Give a network the function of a smaller one, head apart.

    Parameters
    ----------
    source : keras.Model
        The smaller, as `mammolens.models.efficientnet.build` made it, folded, of as many channels as ``target``.
    smaller, larger : str
        Their architectures.
    target : keras.Model
        The larger, folded.
    seed : int
        Of the disturbance of copied channels.

    Raises
    ------
    ConfigurationError
        If the larger is not larger.
    """
    if not can_grow(smaller, larger):
        raise ConfigurationError(f"{larger} can't grow from {smaller}: it has to be the larger one.")
    random = np.random.default_rng(seed)
    known = kernels(smaller)
    last = ""
    for name in kernels(larger):
        origin = name if name in known else last + name.partition("_")[2]
        if origin in known and name.endswith("project_conv"):
            last = origin.partition("_")[0] + "_"
        layer = target.get_layer(name)
        if origin not in known or not _alike(source.get_layer(origin), layer):
            # The second block of the first stage: its like is in no smaller network. It keeps its random kernels.
            values = layer.get_weights()
        else:
            values = _grown(source.get_layer(origin).get_weights(), layer.get_weights(), _depthwise(name), random)
        if origin != name and name.endswith("project_conv"):
            values[0], values[1] = np.zeros_like(values[0]), np.zeros_like(values[1])
        layer.set_weights(values)


def _depthwise(name: str) -> bool:
    return name.endswith("dwconv")


def _alike(source: Any, layer: Any) -> bool:
    """Whether a layer's kernel covers what the source's does, and is no narrower."""
    old, new = source.get_weights()[0].shape, layer.get_weights()[0].shape
    return bool(old[:2] == new[:2] and old[2] <= new[2] and old[3] <= new[3])


def _grown(
    old: list[NDArray[np.float32]], new: list[NDArray[np.float32]], depthwise: bool, random: np.random.Generator
) -> list[NDArray[np.float32]]:
    """Weights of a layer with more channels: kernel, bias and, where the layer has one, factor."""
    kernel = old[0]
    axis = 2 if depthwise else 3
    before, after = kernel.shape[axis], new[0].shape[axis]
    taken = np.arange(after) % before
    widened = np.take(kernel, taken, axis=axis)
    noise = random.normal(0.0, _DISTURBANCE * float(kernel.std()), widened.shape).astype(np.float32)
    fresh = np.arange(after) >= before
    widened += noise * (fresh[:, None] if depthwise else fresh)
    if not depthwise:
        heard = np.zeros(new[0].shape, np.float32)
        heard[:, :, : kernel.shape[2]] = widened
        widened = heard
    return [widened, old[1][taken], *(factor[taken] for factor in old[2:])]
