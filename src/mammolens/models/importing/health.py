"""What the numbers of a model tell: dead tensors, values never trained, an input divided by 255 twice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mammolens.models import golden
from mammolens.models.contract import to_input
from mammolens.models.importing.source import Fate, Source
from mammolens.models.network import Network

SMALLEST_SPAN = 0.05
"""Range of a network's input, from black to white, below which it has been divided once too often.

The usual ones are 1, 2, 4.4 (ImageNet's deviation) and 255; dividing by 255 again leaves 0.017 at most.
"""

SMALLEST_VARIANCE_RATIO = 1e-2
"""Share of the expected variance behind the first convolution below which training on pictures in 0..1 is suspected.

Dividing by 255 makes the variance 65,025 times smaller; another contrast than that of the golden pictures changes it
by a factor of a few.
"""

Tensors = Mapping[str, NDArray[np.floating]]
"""Tensors by the place that they went to: ``stem_conv kernel``, ``logit bias``, …."""

_CUT_NORMAL = 2.0 / 0.87962566103423978
"""Bound of a normal distribution cut off at twice its deviation, in deviations of what is left."""

_EXTENT_TOLERANCE = 0.03
_DEVIATION_TOLERANCE = 0.05
_FEWEST = 64


@dataclass(frozen=True, slots=True)
class Suspicions:
    """What looks wrong with a model that could be taken whole.

    Attributes
    ----------
    double_rescale : str
        Why its input is suspected to be divided by 255 twice; empty if it is not.
    untrained : tuple of str
        What looks as if it had never been trained, and why.
    """

    double_rescale: str = ""
    untrained: tuple[str, ...] = ()

    def lines(self) -> tuple[str, ...]:
        """All of them, in words."""
        return (*self.untrained, *filter(None, (self.double_rescale,)))


NOTHING = Suspicions()
"""What there is where nothing looks wrong."""


def suspicions(source: Source, network: Network, fates: tuple[Fate, ...]) -> Suspicions:
    """Look at the numbers of a model that could be taken whole.

    Parameters
    ----------
    source : Source
    network : Network
    fates : tuple of Fate
        What `mammolens.models.importing.match.assemble` made of the source.

    Returns
    -------
    Suspicions
    """
    targets = {fate.source: fate.target for fate in fates if fate.target}
    tensors = {targets[tensor.path]: tensor.read() for tensor in source.tensors if tensor.path in targets}
    kernel, variance = tensors["stem_conv kernel"], tensors.get("stem_bn moving_variance")
    return Suspicions(double_rescale(network, kernel, variance), tuple(_untrained(tensors)))


def _untrained(tensors: Tensors) -> Iterator[str]:
    initialiser = initialiser_of(tensors["logit kernel"], tensors.get("logit bias"))
    if initialiser:
        yield (
            f"the head seems never to have been trained: its weights are distributed as {initialiser} makes them, and "
            f"its bias is {'0' if 'logit bias' in tensors else 'missing'}"
        )
    places = [name.removesuffix(" moving_mean") for name in tensors if name.endswith("bn moving_mean")]
    initial = [
        is_initial_normalisation(tensors[f"{place} moving_mean"], tensors[f"{place} moving_variance"])
        for place in places
    ]
    if initial and all(initial):
        yield "no batch normalisation has ever seen a picture: all their means are 0 and their variances 1"


def is_dead(values: NDArray[np.generic]) -> bool:
    """Whether a kernel holds one single value, where training leaves many."""
    return values.ndim >= 2 and values.size > 1 and bool((values == values.flat[0]).all())


def initialiser_of(kernel: NDArray[np.floating], bias: NDArray[np.floating] | None) -> str:
    """Name of the initialiser whose values a dense layer still seems to hold.

    Initialisers draw from a distribution that ends at a bound: a kernel straight from one
    reaches that bound, does not go over it, and has the distribution's standard
    deviation. It comes with a bias of exactly zero, which training never leaves.

    Parameters
    ----------
    kernel : ndarray of float, shape (K, units)
    bias : ndarray of float, shape (units,), optional

    Returns
    -------
    str
        ``glorot_uniform or he_uniform`` (for few units the two are one), …; empty if it
        seems trained.

    References
    ----------
    X. Glorot and Y. Bengio, AISTATS 2010; K. He et al., arXiv:1502.01852; the bounds are
    those of Keras' ``VarianceScaling``, whose normal distribution is cut off at twice its
    deviation.
    """
    values = np.asarray(kernel, np.float64)
    if values.size < _FEWEST or (bias is not None and np.any(bias)):
        return ""
    largest, deviation = float(np.abs(values).max()), float(values.std())
    for name, variance in _variances(*values.shape):
        expected = math.sqrt(variance)
        bound = expected * (_CUT_NORMAL if name.endswith("normal") else math.sqrt(3.0))
        reached = bound * (1.0 - _EXTENT_TOLERANCE) <= largest <= bound * (1.0 + 1e-6)
        if reached and abs(deviation - expected) <= _DEVIATION_TOLERANCE * expected:
            return name
    return ""


def _variances(width: int, units: int) -> Iterator[tuple[str, float]]:
    """Variance of a weight, by initialiser."""
    for shape in ("uniform", "normal"):
        both = f"glorot_{shape} or he_{shape}"
        yield both, 2.0 / (width + units)
        yield both, 2.0 / width
        yield f"lecun_{shape}", 1.0 / width
    yield "random_uniform", 0.05**2 / 3.0
    yield "keras.applications' uniform", 1.0 / (3.0 * units)


def is_initial_normalisation(mean: NDArray[np.floating], variance: NDArray[np.floating]) -> bool:
    """Whether the statistics of a batch normalisation are those it began with: mean 0, variance 1."""
    return not np.any(mean) and bool((np.asarray(variance) == 1).all())


def input_span(network: Network) -> float:
    """Range of a network's input behind its own first step, between black and white; of the widest channel."""
    contract = network.contract
    ends = np.zeros((2, contract.height, contract.width), np.uint8)
    ends[1] = 255
    black, white = to_input(ends, contract)[:, 0, 0] * network.factor + network.offset
    return float(np.abs(white - black).max())


def variance_ratio(network: Network, kernel: NDArray[np.floating], variance: NDArray[np.floating]) -> float:
    """Variance behind the first convolution that training has seen, over that of the golden pictures.

    Parameters
    ----------
    network : Network
        Its contract and its first step.
    kernel : ndarray of float, shape (3, 3, channels, filters)
        Of the first convolution, nothing folded in.
    variance : ndarray of float, shape (filters,)
        Of the batch normalisation behind it.

    Returns
    -------
    float
        The median over the filters that give any variance at all; infinite where none does.
    """
    contract = network.contract
    pictures = np.stack([golden.model_input(s, (contract.height, contract.width)).image for s in golden.SEEDS])
    inputs = to_input(pictures, contract) * network.factor + network.offset
    # (N, rows, columns, channels, 3, 3), every second one: the convolution has stride 2.
    windows = sliding_window_view(inputs, (3, 3), axis=(1, 2))[:, ::2, ::2]
    outputs = np.tensordot(windows, np.asarray(kernel, np.float32), axes=((3, 4, 5), (2, 0, 1)))
    expected = outputs.reshape(-1, outputs.shape[-1]).astype(np.float64).var(axis=0)
    alive = expected > 0
    return float(np.median(np.asarray(variance)[alive] / expected[alive])) if alive.any() else math.inf


def double_rescale(network: Network, kernel: NDArray[np.floating], variance: NDArray[np.floating] | None) -> str:
    """Say why the input is suspected to be divided by 255 twice; empty where it is not.

    Parameters
    ----------
    network, kernel, variance
        As `variance_ratio` takes them; no variance where there is no batch normalisation.
    """
    span = input_span(network)
    if span < SMALLEST_SPAN:
        return (
            f"the input is divided by 255 twice: between black and white it reaches the first convolution in a range "
            f"of {span:.2g}"
        )
    ratio = math.inf if variance is None else variance_ratio(network, kernel, variance)
    if ratio < SMALLEST_VARIANCE_RATIO:
        return (
            f"behind the first convolution, training has seen {ratio:.1e} of the variance that the input found gives: "
            "the training script seems to have divided by 255 although the model does so itself. If it did, import "
            "with --scale 1"
        )
    return ""
