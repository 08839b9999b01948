"""Weights between ``keras.applications``, our EfficientNets and their folded form.

ImageNet's three input channels become one by summing the stem's kernel over
them: a grey picture then gives the features that it gave as three equal channels.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import ConfigurationError
from mammolens.models.efficientnet import BN_EPSILON, VARIANTS, kernels
from mammolens.models.network import Convolution, InputContract, Network

APPLICATIONS = {name: "EfficientNetB" + name[-1] for name in VARIANTS}
"""Name of each variant in ``keras.applications``."""

_NOT_FETCHED = (
    "The ImageNet weights could not be fetched. On a machine with a network, let keras.applications fetch them "
    "(include_top=False, weights='imagenet'), and give the path of the file that it keeps."
)


def normalisation_of(convolution: str) -> str | None:
    """Name of the batch normalisation that follows a convolution, if one does."""
    if convolution in ("stem_conv", "top_conv"):
        return convolution.replace("conv", "bn")
    for suffix, name in (("expand_conv", "expand_bn"), ("dwconv", "bn"), ("project_conv", "project_bn")):
        if convolution.endswith("_" + suffix):
            return convolution[: -len(suffix)] + name
    return None


def fold(normalisation: list[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factor and bias that a frozen batch normalisation amounts to.

    Parameters
    ----------
    normalisation : list of ndarray of float32, each of shape (C,)
        gamma, beta, moving mean, moving variance.

    Returns
    -------
    factor, bias : ndarray of float32, shape (C,)
    """
    gamma, beta, mean, variance = (values.astype(np.float64) for values in normalisation)
    factor = gamma / np.sqrt(variance + BN_EPSILON)
    return factor.astype(np.float32), (beta - mean * factor).astype(np.float32)


def load_imagenet(model: Any, architecture: str, weights: Path | Literal["imagenet"] = "imagenet") -> None:
    """Give a network ImageNet's weights, all of them but the head's.

    Parameters
    ----------
    model : keras.Model
        As `mammolens.models.efficientnet.build` or ``build_trunk`` made it, folded or
        not, of one channel or three.
    architecture : str
        A key of `mammolens.models.efficientnet.VARIANTS`.
    weights : Path or "imagenet"
        ``.weights.h5`` (or ``_notop.h5``) of ``keras.applications`` without its top;
        ``"imagenet"``: Keras fetches it once and keeps it in its own cache.

    Raises
    ------
    ConfigurationError
        If the file can't be fetched, can't be read or is of another architecture.
    """
    source = _application(architecture, weights)
    for layer in model.layers:
        if not layer.weights or layer.name == "logit":
            continue
        values = source.get_layer(layer.name).get_weights()
        if layer.name == "stem_conv" and layer.kernel.shape[2] == 1:
            values[0] = values[0].sum(axis=2, keepdims=True)
        normalisation = normalisation_of(layer.name)
        if normalisation is not None and len(layer.weights) == 3:
            factor, bias = fold(source.get_layer(normalisation).get_weights())
            values = [values[0], bias, factor.reshape(layer.weights[2].shape)]
        layer.set_weights(values)


_GAINS = {"dwconv": 2.8, "se_reduce": 0.3, "se_expand": 0.3, "project_conv": 6.0}
"""Variances, times the fan-in, that make up for swish (0.36 of a normal variable's power) and half-open gates."""


def randomise(model: Any, architecture: str) -> None:
    """Give a folded network random kernels under which activations keep their size from end to end.

    Without batch normalisation, Keras' own start lets them vanish on the way. For
    rehearsals: what is learned from here is no model to use.

    Parameters
    ----------
    model : keras.Model
        As `mammolens.models.efficientnet.build` with ``folded=True`` made it.
    architecture : str
        A key of `mammolens.models.efficientnet.VARIANTS`.

    Notes
    -----
    The draw follows ``keras.utils.set_random_seed``.
    """
    import keras

    for name, shape in kernels(architecture).items():
        layer = model.get_layer(name)
        depthwise = name.endswith("dwconv")
        fan_in = shape[0] * shape[1] * (1 if depthwise else shape[2])
        gain = next((value for kind, value in _GAINS.items() if name.endswith(kind)), 1.0)
        kernel = keras.random.normal(layer.kernel.shape, 0.0, (gain / fan_in) ** 0.5)
        layer.kernel.assign(kernel)


def _application(architecture: str, weights: Path | Literal["imagenet"]) -> Any:
    """Network of ``keras.applications`` with ImageNet's weights, without its top."""
    import keras

    layout = keras.config.image_data_format()
    shape = (3, 64, 64) if layout == "channels_first" else (64, 64, 3)
    try:
        with warnings.catch_warnings():
            # Keras only warns when a file fills half of a network. Half is nothing.
            warnings.simplefilter("error", UserWarning)
            return getattr(keras.applications, APPLICATIONS[architecture])(
                include_top=False, weights=str(weights), input_shape=shape
            )
    except (OSError, ValueError, UserWarning) as error:
        if weights == "imagenet":
            raise ConfigurationError(_NOT_FETCHED) from error
        raise ConfigurationError(f"The ImageNet weights can't be read as {architecture}'s.") from error
    except Exception as error:
        # Keras tells of a failed download by the bare class; every other failure has a class of its own.
        if weights != "imagenet" or type(error) is not Exception:
            raise
        raise ConfigurationError(_NOT_FETCHED) from error


def folded_convolution(layer: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel (its factor multiplied in) and bias of a folded convolution.

    Returns
    -------
    kernel : ndarray of float32, shape (kh, kw, in, out), or (kh, kw, C, 1) if depthwise
    bias : ndarray of float32, shape (out,) or (C,)
    """
    kernel, bias, *factor = layer.get_weights()
    return (kernel * factor[0] if factor else kernel), bias


def network_of(
    model: Any, architecture: str, size: tuple[int, int], head: NDArray[np.float32] | None = None
) -> Network:
    """Plain arrays of a folded Keras network.

    Parameters
    ----------
    model : keras.Model
        As `mammolens.models.efficientnet.build` with ``folded=True`` made it; its input is
        in 0..255.
    architecture : str
        A key of `mammolens.models.efficientnet.VARIANTS`.
    size : tuple of int
        ``(height, width)`` of the input.
    head : ndarray of float32, shape (C,), optional
        Weights of the logit for a network that has no head of its own; its bias is 0.

    Returns
    -------
    Network
    """
    names = kernels(architecture)
    convolutions = {name: Convolution(*folded_convolution(model.get_layer(name))) for name in names}
    channels: Literal[1, 3] = 1 if convolutions["stem_conv"].kernel.shape[2] == 1 else 3
    first, ones = model.get_layer("rescaling"), np.ones(channels, np.float32)
    bias = np.zeros(1, np.float32)
    if head is None:
        kernel, bias = model.get_layer("logit").get_weights()
        head = kernel[:, 0]
    return Network(
        architecture=architecture,
        contract=InputContract(height=size[0], width=size[1], channels=channels),
        factor=np.asarray(first.scale, np.float32).reshape(-1) * ones,
        offset=np.asarray(first.offset, np.float32).reshape(-1) * ones,
        convolutions=convolutions,
        head=head,
        bias=float(bias[0]),
    )


def unfold(model: Any, architecture: str, size: tuple[int, int]) -> Any:
    """Network of the standard layout with the same function as a folded one.

    The factors become the gammas of batch normalisations with mean 0 and variance 1,
    so the weights load by name into ``keras.applications`` too.

    Parameters
    ----------
    model : keras.Model
        Folded.
    architecture : str
    size : tuple of int
        ``(height, width)``.

    Returns
    -------
    keras.Model
        Not folded.
    """
    from mammolens.models.efficientnet import build

    plain = build(architecture, size, folded=False, dropout=0.0)
    for layer in plain.layers:
        if not layer.weights or layer.name.endswith("bn"):
            continue
        values = model.get_layer(layer.name).get_weights()
        normalisation = normalisation_of(layer.name)
        if normalisation is not None:
            kernel, bias, factor = values
            ones = np.ones_like(bias)
            statistics = [factor.reshape(bias.shape), bias, np.zeros_like(bias), ones * np.float32(1.0 - BN_EPSILON)]
            plain.get_layer(normalisation).set_weights(statistics)
            values = [kernel]
        layer.set_weights(values)
    return plain
