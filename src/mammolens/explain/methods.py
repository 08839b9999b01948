"""Explanation methods behind one table; a new one is one function and one line.

With global average pooling and a linear head the logit is
``y = b + sum_yxk g_k F[y, x, k]`` with ``g_k = w_k / (h w)``. The gradient of ``y`` by
``F[y, x, k]`` is ``g_k`` at every position, so each method that is defined by this
gradient has a closed form, and one forward pass is enough. ``docs/explanation.md``
derives them and says where they coincide.

A method gives a map on the grid of the last features (occlusion: on a grid of its
own), positive where the picture speaks for malignancy. `mammolens.explain.gradcam.heatmap`
makes a heat map on the model's input grid of each.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ConfigurationError
from mammolens.explain.occlusion import occlusion
from mammolens.explain.passes import Pass

Method = Callable[[Pass], NDArray[np.float32]]
"""From a picture's pass to a map, shape (h, w)."""


def grad_cam(seen: Pass) -> NDArray[np.float32]:
    """Each position's share of the logit, as the graph gives it: ``sum_k g_k F_k``.

    The weight of a channel is its gradient's mean over the positions, here ``g_k``.

    References
    ----------
    R. R. Selvaraju et al., "Grad-CAM", ICCV 2017, arXiv:1610.02391, equations 1 and 2
    (without the rectification, which the heat map does). Up to the factor of the mean
    it is CAM: B. Zhou et al., CVPR 2016, arXiv:1512.04150.
    """
    return seen.evidence


def hires_cam(seen: Pass) -> NDArray[np.float32]:
    """Gradient times features at each position, summed over channels: ``sum_k g_k F_k`` here too.

    References
    ----------
    R. L. Draelos and L. Carin, "Use HiResCAM instead of Grad-CAM for faithful
    explanations of convolutional neural networks", arXiv:2011.08891.
    """
    return np.asarray((seen.features * seen.network.shares).sum(axis=2, dtype=np.float64), np.float32)


def grad_cam_plus_plus(seen: Pass) -> NDArray[np.float32]:
    """Channels by the positive gradient of ``exp(y)`` with weights by position.

    With the score ``exp(y)`` the first, second and third derivatives are ``exp(y)``
    times the powers of ``g_k``, so the position's weight is
    ``a_k = g_k² / (2 g_k² + g_k³ sum F_k) = 1 / (2 + w_k mean(F_k))``, the same at each,
    and the channel's is ``h w a_k max(g_k, 0) exp(y) = max(w_k, 0) exp(y) / (2 + w_k mean(F_k))``.
    The factor ``exp(y)``, one number for the whole picture, is left out, as
    pytorch-grad-cam leaves it out: with it, maps of two pictures could not be compared.

    References
    ----------
    A. Chattopadhay et al., "Grad-CAM++", WACV 2018, arXiv:1710.11063.
    """
    features = seen.features.astype(np.float64)
    weights = seen.network.shares.astype(np.float64) * features.shape[0] * features.shape[1]
    channels = np.maximum(weights, 0.0) / (2.0 + weights * features.mean(axis=(0, 1)))
    return np.asarray(features @ channels, np.float32)


def layer_cam(seen: Pass) -> NDArray[np.float32]:
    """Features weighted by the positive part of the gradient at their own position: ``sum_k max(g_k, 0) F_k``.

    References
    ----------
    P.-T. Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for
    Localization", IEEE TIP 30, 2021.
    """
    positive = np.maximum(seen.network.shares, 0.0).astype(np.float64)
    return np.asarray(seen.features.astype(np.float64) @ positive, np.float32)


def eigen_cam(seen: Pass) -> NDArray[np.float32]:
    """Features projected on their first right singular vector. The head is not asked.

    The vector's sign is free; it is chosen so that the map's sum is positive.

    References
    ----------
    M. B. Muhammad and M. Yeasin, "Eigen-CAM", IJCNN 2020, arXiv:2008.00299.
    """
    positions = seen.features.reshape(-1, seen.features.shape[2]).astype(np.float64)
    # Of positions × channels the small side is that of the positions: F v = u s, from the eigenvectors of F Fᵀ.
    values, vectors = np.linalg.eigh(positions @ positions.T)
    projected = vectors[:, -1] * np.sqrt(max(values[-1], 0.0))
    signed = projected if projected.sum() >= 0.0 else -projected
    return np.asarray(signed.reshape(seen.features.shape[:2]), np.float32)


METHODS: dict[str, Method] = {
    "grad-cam": grad_cam,
    "hires-cam": hires_cam,
    "grad-cam++": grad_cam_plus_plus,
    "layer-cam": layer_cam,
    "eigen-cam": eigen_cam,
    "occlusion": occlusion,
}
"""Name of a method and the function that gives its map."""

DEFAULT = "grad-cam"
"""The method that predictions are shown with; ``docs/explanation.md`` says by which figures."""


def method(name: str) -> Method:
    """Give a method by its name.

    Raises
    ------
    ConfigurationError
        If there is none of that name.
    """
    if name not in METHODS:
        raise ConfigurationError(f"There is no such explanation method. Choose of: {', '.join(METHODS)}.")
    return METHODS[name]
