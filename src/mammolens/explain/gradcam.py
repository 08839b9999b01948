"""Grad-CAM of the malignancy logit: in closed form, and by gradient.

With global average pooling and a linear head the logit is
``b + sum_yxk w_k F[y, x, k] / (h w)``. Its gradient by ``F[y, x, k]`` is
``w_k / (h w)`` everywhere, so Grad-CAM (and HiResCAM, and CAM) is the sum over
``k`` of that gradient times the features: each position's share of the logit.
No backward pass is needed. Where a head is not linear, `keras_gradcam` takes the
gradient.

References
----------
B. Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR
2016, arXiv:1512.04150 (CAM); R. R. Selvaraju et al., "Grad-CAM", ICCV 2017,
arXiv:1610.02391; R. L. Draelos and L. Carin, "Use HiResCAM instead of Grad-CAM",
arXiv:2011.08891 (the proof that the three coincide here).
"""

from __future__ import annotations

import importlib
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BundleInvalid, EngineError, EngineUnavailable
from mammolens.models.efficientnet import FEATURES
from mammolens.types import RawScore

_ONE_THREAD = 1 << 17
"""Multiplications that OpenBLAS surely does on one thread (it takes more from 1 << 18 on)."""


def evidence_map(features: NDArray[np.floating[Any]], weights: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Each grid position's share of the logit, for global average pooling and a linear head.

    Parameters
    ----------
    features : ndarray of float, shape (h, w, C)
        Last convolutional features.
    weights : ndarray of float, shape (C,)
        The head's weights for the logit.

    Returns
    -------
    ndarray of float32, shape (h, w)
        Sums to the logit less the head's bias. Positive speaks for malignancy.

    Raises
    ------
    EngineError
        If the shapes don't belong together.
    """
    if features.ndim != 3 or weights.shape != (features.shape[2],):
        raise EngineError("The features and the head's weights don't belong together. Check the bundle's graph.")
    positions = features.shape[0] * features.shape[1]
    shares = features.astype(np.float64) @ weights.astype(np.float64) / positions
    return np.asarray(shares, np.float32)


def heatmap(evidence: NDArray[np.float32], mask: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
    """Heat map on the model's input grid.

    The evidence is rectified, interpolated by cubic convolution between the centres
    of its cells (a cell covers ``H / h`` × ``W / w`` input pixels), divided by
    ``scale`` and clipped. The divisor belongs to the model, not to the picture:
    a quiet picture stays quiet.

    Parameters
    ----------
    evidence : ndarray of float32, shape (h, w)
        As `evidence_map` gives it, or another method of `mammolens.explain.methods`.
    mask : ndarray of uint8, shape (H, W)
        Above 0 on the breast.
    scale : float
        Evidence of a strong finding; it becomes 1. Above 0.

    Returns
    -------
    ndarray of float32, shape (H, W)
        In [0, 1]; 0 outside the breast.

    Raises
    ------
    BundleInvalid
        If ``scale`` is not a positive number.
    EngineError
        If the evidence is not a map of finite numbers.
    """
    if not (math.isfinite(scale) and scale > 0.0):
        raise BundleInvalid("The bundle's evidence scale must be a positive number. Export the bundle again.")
    return np.asarray(np.minimum(_grown(evidence, mask, scale), np.float32(1.0)), np.float32)


def grown(evidence: NDArray[np.float32], mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give the heat map before it is scaled and clipped: in the evidence's own unit.

    Parameters
    ----------
    evidence : ndarray of float32, shape (h, w)
    mask : ndarray of uint8, shape (H, W)
        Above 0 on the breast.

    Returns
    -------
    ndarray of float32, shape (H, W)
        At least 0; 0 outside the breast. Its highest pixel is the peak that
        `heatmap` shows, also where that is clipped.

    Raises
    ------
    EngineError
        If the evidence is not a map of finite numbers.
    """
    return _grown(evidence, mask, 1.0)


def _grown(evidence: NDArray[np.float32], mask: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
    if evidence.ndim != 2 or evidence.size == 0 or not np.isfinite(evidence).all():
        raise EngineError("The engine gave an evidence map that is not made of finite numbers. Verify the bundle.")
    height, width = mask.shape
    rectified = np.maximum(evidence.astype(np.float32), np.float32(0.0)) / np.float32(scale)
    rows = np.asarray(_interpolation(evidence.shape[0], height) @ rectified, np.float32)
    values = np.maximum(_product(rows, _interpolation(evidence.shape[1], width).T), np.float32(0.0))
    values[mask == 0] = 0.0
    return np.asarray(values, np.float32)


def _product(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Matrix product in steps so small that BLAS takes one thread; its others would spin for 20 ms afterwards."""
    out = np.empty((left.shape[0], right.shape[1]), np.float32)
    step = max(1, _ONE_THREAD // max(right.size, 1))
    for start in range(0, len(left), step):
        np.matmul(left[start : start + step], right, out=out[start : start + step])
    return out


@lru_cache(maxsize=16)
def _interpolation(cells: int, pixels: int) -> NDArray[np.float32]:
    """Matrix (pixels, cells) of cubic convolution between cell centres; the border cells repeat outwards.

    R. G. Keys, "Cubic convolution interpolation for digital image processing", IEEE
    TASSP 29(6), 1981, with his a = -1/2: the one that leaves a straight ramp straight,
    and overshoots less than the -3/4 of OpenCV's and PyTorch's bicubic resizing.
    """
    position = (np.arange(pixels) + 0.5) * cells / pixels - 0.5
    first = np.floor(position).astype(np.intp)
    matrix = np.zeros((pixels, cells), np.float64)
    for neighbour in (-1, 0, 1, 2):
        t = np.abs(position - (first + neighbour))
        near, far = 1.5 * t**3 - 2.5 * t**2 + 1.0, -0.5 * t**3 + 2.5 * t**2 - 4.0 * t + 2.0
        share = np.where(t <= 1.0, near, far)
        np.add.at(matrix, (np.arange(pixels), np.clip(first + neighbour, 0, cells - 1)), share)
    return np.asarray(matrix, np.float32)


def keras_gradcam(model: Any, image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Grad-CAM of a Keras model by gradient, before rectification.

    Parameters
    ----------
    model : keras.Model
        Gives one logit; somewhere in it, at any depth of nesting, is the layer
        named `mammolens.models.efficientnet.FEATURES`.
    image : ndarray, shape (H, W) or (H, W, channels)
        Grey values as the network takes them. A plane is repeated where the
        network asks for more channels.

    Returns
    -------
    ndarray of float32, shape (h, w)
        Equal to `evidence_map` where the head is global average pooling and linear.

    Raises
    ------
    EngineError
        If the model has no single such layer, or more than one logit.
    EngineUnavailable
        If Keras runs on a backend without gradients.
    """
    return keras_raw_score(model, image).evidence


def keras_raw_score(model: Any, image: NDArray[np.generic]) -> RawScore:
    """Logit and evidence of a Keras model, the evidence by gradient; see `keras_gradcam`."""
    import keras

    backend = keras.backend.backend()
    if backend not in _GRADIENTS:
        raise EngineUnavailable("Keras runs on a backend without gradients. Use tensorflow, torch or jax.")
    channels_first = keras.config.image_data_format() == "channels_first"
    batch = keras.ops.convert_to_tensor(_batch(model, image, channels_first))
    with _opened(_feature_layer(model)) as hook:
        logit, features, gradient = _GRADIENTS[backend](keras, model, batch, hook)
    if logit.size != 1:
        raise EngineError("The model gives more than one number; Grad-CAM is made of a single logit.")
    if channels_first:
        features, gradient = np.moveaxis(features, 1, -1), np.moveaxis(gradient, 1, -1)
    # Grad-CAM: the gradient's mean over the positions weighs each channel.
    weights = gradient[0].mean(axis=(0, 1), dtype=np.float64)
    evidence = features[0].astype(np.float64) @ weights
    return RawScore(logit=float(logit.reshape(())), evidence=evidence.astype(np.float32))


def _batch(model: Any, image: NDArray[np.generic], channels_first: bool) -> NDArray[np.float32]:
    """Batch of one in the model's layout and number of channels."""
    planes = np.asarray(image, np.float32)
    planes = planes[..., None] if planes.ndim == 2 else planes
    wanted = model.input_shape[1 if channels_first else -1]
    if planes.shape[-1] == 1 and wanted not in (None, 1):
        planes = np.repeat(planes, wanted, axis=-1)
    return np.ascontiguousarray(np.moveaxis(planes, -1, 0) if channels_first else planes)[None]


def _feature_layer(model: Any) -> Any:
    """Layer named `FEATURES`, in the model or in a model that is one of its layers."""
    found: dict[int, Any] = {}
    waiting = [model]
    while waiting:
        for layer in getattr(waiting.pop(), "layers", ()):
            if layer.name == FEATURES:
                found[id(layer)] = layer
            waiting.append(layer)
    if len(found) != 1:
        raise EngineError("The model must have exactly one layer of last features. Build it with mammolens.models.")
    return next(iter(found.values()))


class _Hook:
    """What stands between the feature layer and the rest of the network during one pass."""

    def __init__(self) -> None:
        self.change: Callable[[Any], Any] = lambda features: features

    def passed(self, features: Any) -> Any:
        return self.change(features)


_one_pass_at_a_time = threading.Lock()


@contextmanager
def _opened(layer: Any) -> Iterator[_Hook]:
    """Let a hook change the output of ``layer`` while the context lasts.

    A hook reaches a layer at any depth. Cutting the graph into two models does
    not: a nested model's tensors are no part of the outer graph.
    """
    hook, original = _Hook(), layer.call

    def call(*args: Any, **kwargs: Any) -> Any:
        return hook.passed(original(*args, **kwargs))

    with _one_pass_at_a_time:
        layer.call = call
        try:
            yield hook
        finally:
            del layer.call


_Passed = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""Logit, features (1, h, w, C) and the logit's gradient by the features."""


def _by_tensorflow(keras: Any, model: Any, batch: Any, hook: _Hook) -> _Passed:
    tensorflow = importlib.import_module("tensorflow")
    seen: list[Any] = []
    with tensorflow.GradientTape() as tape:

        def watched(features: Any) -> Any:
            tape.watch(features)
            seen.append(features)
            return features

        hook.change = watched
        logit = model(batch, training=False)
    gradient = tape.gradient(logit, seen[-1])
    return np.asarray(logit), np.asarray(seen[-1]), np.asarray(gradient)


def _by_torch(keras: Any, model: Any, batch: Any, hook: _Hook) -> _Passed:
    torch = importlib.import_module("torch")
    seen: list[Any] = []

    def leaf(features: Any) -> Any:
        seen.append(features.detach().requires_grad_(True))
        return seen[-1]

    hook.change = leaf
    with torch.enable_grad():
        logit = model(batch, training=False)
        (gradient,) = torch.autograd.grad(logit.sum(), seen[-1])
    to_numpy = keras.ops.convert_to_numpy
    return to_numpy(logit), to_numpy(seen[-1]), to_numpy(gradient)


def _by_jax(keras: Any, model: Any, batch: Any, hook: _Hook) -> _Passed:
    jax = importlib.import_module("jax")
    seen: list[Any] = []

    def kept(features: Any) -> Any:
        seen.append(features)
        return features

    hook.change = kept
    logit = model(batch, training=False)

    def logit_after(delta: Any) -> Any:
        hook.change = lambda features: features + delta
        return model(batch, training=False).sum()

    gradient = jax.grad(logit_after)(jax.numpy.zeros_like(seen[-1]))
    return np.asarray(logit), np.asarray(seen[-1]), np.asarray(gradient)


_GRADIENTS: dict[str, Callable[[Any, Any, Any, _Hook], _Passed]] = {
    "tensorflow": _by_tensorflow,
    "torch": _by_torch,
    "jax": _by_jax,
}
