"""Two views of one breast in one network: an EfficientNet each, or one for both, and late fusion.

Each view (craniocaudal and mediolateral oblique) is pooled to one feature vector of
its own; the logit is linear in both, so each view's Grad-CAM stays exact at the cost
of a forward pass, and the logit is the sum of what both maps say plus the bias.

References
----------
D. G. P. Petrini et al., "Breast Cancer Diagnosis in Two-View Mammography Using
End-to-End Trained EfficientNet-Based Convolutional Network", IEEE Access 10, 2022,
arXiv:2110.01606.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ConfigurationError
from mammolens.models.efficientnet import FULL, VARIANTS, Economy, build_trunk
from mammolens.models.network import Network, PairNetwork
from mammolens.models.transfer import network_of

VIEWS = ("cc", "mlo")
"""Names of the inputs, in their order."""

Trunk = Literal["shared", "paired"]
Fusion = Literal["concatenate", "mean"]


def build(
    architecture: str,
    size: tuple[int, int],
    *,
    trunk: Trunk = "shared",
    fusion: Fusion = "concatenate",
    folded: bool = False,
    dropout: float | None = None,
    channels: int = 1,
    economy: Economy = FULL,
) -> Any:
    """Build a two-view network with a linear head of one logit.

    Parameters
    ----------
    architecture : str
        A key of `mammolens.models.efficientnet.VARIANTS`.
    size : tuple of int
        ``(height, width)`` of both inputs, in pixels.
    trunk : {"shared", "paired"}
        One EfficientNet for both views, or one each.
    fusion : {"concatenate", "mean"}
        Whether the head has weights for each view, or the same for both. With a
        shared trunk, ``mean`` does not know which view is which.
    folded, dropout, channels, economy
        As `mammolens.models.efficientnet.build` takes them.

    Returns
    -------
    keras.Model
        From ``[cc, mlo]``, each ``(N, height, width, channels)`` float32 in 0..255, to
        ``(N, 1)`` logits.

    Raises
    ------
    KeyError
        If the architecture is unknown.
    ConfigurationError
        If gradient checkpointing is asked for where the network is not folded.
    """
    import keras

    names = ("trunk",) if trunk == "shared" else tuple(f"{view}_trunk" for view in VIEWS)
    made = [
        build_trunk(architecture, size, folded=folded, channels=channels, economy=economy, name=name) for name in names
    ]
    inputs = [keras.Input(made[0].input_shape[1:], name=view) for view in VIEWS]
    pooled = [made[index % len(made)](x) for index, x in enumerate(inputs)]
    if fusion == "mean":
        x = keras.layers.Average(name="fusion", dtype="float32")(pooled)
    else:
        x = keras.layers.Concatenate(name="fusion", dtype="float32")(pooled)
    rate = VARIANTS[architecture].dropout if dropout is None else dropout
    x = keras.layers.Dropout(rate, name="top_dropout", dtype="float32")(x)
    outputs = keras.layers.Dense(1, name="logit", dtype="float32")(x)
    return keras.Model(inputs, outputs, name=f"{architecture}-two-view")


def trunks(model: Any) -> tuple[Any, Any]:
    """EfficientNets of the craniocaudal and of the oblique view; one and the same if it is shared.

    Parameters
    ----------
    model : keras.Model
        As `build` made it.

    Returns
    -------
    tuple of keras.Model
    """
    found = {layer.name: layer for layer in model.layers if layer.name.endswith("trunk")}
    return found.get("cc_trunk", found.get("trunk")), found.get("mlo_trunk", found.get("trunk"))


def head(model: Any) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Weights of the logit by view, and its bias.

    Parameters
    ----------
    model : keras.Model
        As `build` made it.

    Returns
    -------
    cc, mlo : ndarray of float32, shape (C,)
        The logit is ``cc @ features_of_cc + mlo @ features_of_mlo + bias``.
    bias : float
    """
    kernel, bias = model.get_layer("logit").get_weights()
    width = trunks(model)[0].output_shape[-1]
    if kernel.shape[0] == width:
        half = kernel[:, 0] / np.float32(2.0)
        return half, half, float(bias[0])
    return kernel[:width, 0], kernel[width:, 0], float(bias[0])


def start_from(model: Any, single: Any) -> None:
    """Start a two-view network from one of a single view: its logit is then the mean over the views of that one's.

    Parameters
    ----------
    model : keras.Model
        As `build` made it.
    single : keras.Model
        As `mammolens.models.efficientnet.build` made it, of the same architecture and
        folded alike; its size may differ.

    Raises
    ------
    ConfigurationError
        If the two don't belong together.
    """
    kernel, bias = single.get_layer("logit").get_weights()
    backbone = [values for layer in single.layers if layer.name != "logit" for values in layer.get_weights()]
    for trunk in trunks(model):
        if [values.shape for values in trunk.get_weights()] != [values.shape for values in backbone]:
            raise ConfigurationError("The single-view network is another one. Build both alike, folded or not.")
        trunk.set_weights(backbone)
    if model.get_layer("logit").get_weights()[0].shape != kernel.shape:
        kernel = np.concatenate([kernel, kernel]) / np.float32(2.0)
    model.get_layer("logit").set_weights([kernel, bias])


def pair_of(model: Any, architecture: str, size: tuple[int, int]) -> PairNetwork:
    """Plain arrays of a folded two-view network.

    Parameters
    ----------
    model : keras.Model
        As `build` with ``folded=True`` made it; its inputs are in 0..255.
    architecture : str
        A key of `mammolens.models.efficientnet.VARIANTS`.
    size : tuple of int
        ``(height, width)`` of the inputs.

    Returns
    -------
    PairNetwork
    """
    (first, second), (cc, mlo, bias) = trunks(model), head(model)
    a = network_of(first, architecture, size, cc)
    b = replace(a, head=mlo) if second is first else network_of(second, architecture, size, mlo)
    return PairNetwork(a, b, bias)


def take(model: Any, pair: PairNetwork) -> None:
    """Give a folded two-view network the convolutions of plain arrays; its head stays.

    Parameters
    ----------
    model : keras.Model
        As `build` with ``folded=True`` made it, of the same architecture and trunks.
    pair : PairNetwork
    """
    networks: tuple[Network, Network] = (pair.cc, pair.mlo)
    for trunk, network in zip(trunks(model), networks, strict=True):
        for name, convolution in network.convolutions.items():
            layer = trunk.get_layer(name)
            # A folded convolution multiplies its kernel by a factor, which the arrays hold already.
            ones = [np.ones(weight.shape, np.float32) for weight in layer.weights[2:]]
            layer.set_weights([convolution.kernel, convolution.bias, *ones])
