"""``model.weights.h5`` of a bundle, written and read with h5py alone.

The layout is the one in which Keras 3 saves our standard network (batch
normalisation not folded), so Keras' own ``load_weights`` takes the file:
``layers/<class>_<count>/vars/<index>``, the classes in snake case, counted in the
order of the network's layers, the layer's name as an attribute of ``vars``. Layers
without weights may be left out. An ensemble's networks lie in ``members/1``,
``members/2`` and so on, each laid out so.

References
----------
``keras/src/saving/saving_lib.py`` of Keras 3 (``_save_container_state``,
``H5IOStore``).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BundleInvalid, ConfigurationError
from mammolens.models.efficientnet import BN_EPSILON, features_of, kernels, normalisation
from mammolens.models.manifest import Manifest
from mammolens.models.network import Convolution, Network
from mammolens.models.transfer import fold, normalisation_of

LOGIT = "logit"
"""Name of the head's layer."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What a weights file holds: all of a `Network` but its input.

    Attributes
    ----------
    convolutions : dict of str to Convolution
        Batch normalisation folded in; by layer name.
    head : ndarray of float32, shape (C,)
    bias : float
    """

    convolutions: dict[str, Convolution]
    head: NDArray[np.float32]
    bias: float


def groups(architecture: str) -> Iterator[tuple[str, str]]:
    """Name of each layer with weights, and the group it lies in (``layers/conv2d_1``), in the network's order."""
    counts: dict[str, int] = {}

    def group(kind: str) -> str:
        count = counts[kind] = counts.get(kind, -1) + 1
        return f"layers/{kind}_{count}" if count else f"layers/{kind}"

    for layer in kernels(architecture):
        yield layer, group("depthwise_conv2d" if layer.endswith("dwconv") else "conv2d")
        normalisation = normalisation_of(layer)
        if normalisation is not None:
            yield normalisation, group("batch_normalization")
    yield LOGIT, group("dense")


def write(network: Network, path: Path) -> None:
    """Write a network's weights.

    Biases and scales of folded normalisations become the betas of batch
    normalisations with gamma 1, mean 0 and a variance that makes Keras divide by 1.

    Parameters
    ----------
    network : Network
    path : Path
        Should end in ``.weights.h5``; what was there is replaced.

    Raises
    ------
    ConfigurationError
        If h5py is not installed.
    """
    with _h5py().File(path, "w") as file:
        _fill(file, network, np.float32)


def write_ensemble(networks: Sequence[Network], path: Path) -> None:
    """Write the weights of an ensemble's networks, kernels that 16 bits hold exactly in 16 bits.

    Parameters
    ----------
    networks : sequence of Network
        As `mammolens.models.network.Network.rounded` gives them.
    path : Path
        What was there is replaced.

    Raises
    ------
    ConfigurationError
        If h5py is not installed.
    """
    with _h5py().File(path, "w") as file:
        file.create_group("vars").attrs["name"] = f"{len(networks)} x {networks[0].architecture}"
        for member, network in enumerate(networks, 1):
            _fill(file.create_group(f"members/{member}"), network, np.float16)


def _fill(place: Any, network: Network, kernels_as: type[np.floating[Any]]) -> None:
    """Write a network into a file or a group; kernels may be stored shorter where nothing is lost."""
    arrays = _unfolded(network)
    place.create_group("vars").attrs["name"] = network.architecture
    for layer, group in groups(network.architecture):
        variables = place.create_group(group).create_group("vars")
        variables.attrs["name"] = layer
        for index, values in enumerate(arrays[layer]):
            kind = kernels_as if values.ndim == 4 else np.float32
            variables.create_dataset(str(index), data=np.ascontiguousarray(values, kind))


def read(source: Path | bytes, architecture: str, member: int | None = None) -> Weights:
    """Read the weights of a network, all of them or none.

    Parameters
    ----------
    source : Path or bytes
        The file, or its content.
    architecture : str
        A key of `mammolens.models.efficientnet.VARIANTS`.
    member : int, optional
        Of an ensemble, counted from 1.

    Returns
    -------
    Weights

    Raises
    ------
    BundleInvalid
        If the file can't be read, or a layer is missing, of another shape or not finite.
    ConfigurationError
        If h5py is not installed.
    """
    h5py = _h5py()
    prefix = "" if member is None else f"members/{member}/"
    try:
        with h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r") as file:
            found = {layer: _datasets(h5py, file, prefix + group) for layer, group in groups(architecture)}
            arrays = {layer: _values(found[layer], layer, shapes) for layer, shapes in _shapes(architecture, found)}
    except OSError as error:
        raise BundleInvalid("The model's weights file can't be read as HDF5.") from error
    convolutions = {layer: _convolution(arrays, layer) for layer in kernels(architecture)}
    kernel, bias = arrays[LOGIT]
    return Weights(convolutions, kernel[:, 0], float(bias[0]))


def networks(content: bytes, manifest: Manifest) -> list[Network]:
    """Networks of a bundle from the content of its weights file; more than one for an ensemble.

    Parameters
    ----------
    content : bytes
    manifest : Manifest
        Says architecture, input, first step and number of networks.

    Raises
    ------
    BundleInvalid, ConfigurationError
        As `read`.
    """
    usual = normalisation(manifest.channels)
    factor = np.array(usual[0] if manifest.factor is None else manifest.factor, np.float32)
    offset = np.array(usual[1] if manifest.offset is None else manifest.offset, np.float32)
    members = [None] if manifest.members == 1 else range(1, manifest.members + 1)
    made = []
    for member in members:
        stored = read(content, manifest.architecture, member)
        made.append(
            Network(
                architecture=manifest.architecture,
                contract=manifest.contract,
                factor=factor,
                offset=offset,
                convolutions=stored.convolutions,
                head=stored.head,
                bias=stored.bias,
            )
        )
    return made


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ConfigurationError("h5py is not installed. Run: pip install 'mammolens[import]'.") from error
    return h5py


def _unfolded(network: Network) -> dict[str, tuple[NDArray[np.float32], ...]]:
    """Variables of every layer with weights, in Keras' order."""
    arrays: dict[str, tuple[NDArray[np.float32], ...]] = {}
    for layer in kernels(network.architecture):
        folded = network.convolutions[layer]
        normalisation = normalisation_of(layer)
        if normalisation is None:
            arrays[layer] = (folded.kernel, folded.bias)
            continue
        ones = np.ones_like(folded.bias)
        arrays[layer] = (folded.kernel,)
        arrays[normalisation] = (ones, folded.bias, np.zeros_like(ones), ones * np.float32(1.0 - BN_EPSILON))
    arrays[LOGIT] = (network.head[:, None], np.array([network.bias], np.float32))
    return arrays


def _datasets(h5py: Any, file: Any, group: str) -> list[Any]:
    """Variables of one layer, in order; only what lies in the file itself."""
    place = file
    for part in (*group.split("/"), "vars"):
        if not isinstance(place.get(part, getlink=True), h5py.HardLink):
            return []
        place = place[part]
        if not isinstance(place, h5py.Group):
            return []
    names = [str(index) for index in range(len(place))]
    found = [place[name] for name in names if isinstance(place.get(name, getlink=True), h5py.HardLink)]
    return [each for each in found if isinstance(each, h5py.Dataset) and not each.is_virtual and not each.external]


def _shapes(architecture: str, found: dict[str, list[Any]]) -> Iterator[tuple[str, tuple[tuple[int, ...], ...]]]:
    """Shapes of every layer's variables."""
    grey = [each.shape for each in found["stem_conv"]] == [kernels(architecture)["stem_conv"]]
    for layer, shape in kernels(architecture, channels=1 if grey else 3).items():
        normalisation = normalisation_of(layer)
        width = shape[2] if layer.endswith("dwconv") else shape[3]
        if normalisation is None:
            yield layer, (shape, (width,))
        else:
            yield layer, (shape,)
            yield normalisation, ((width,),) * 4
    yield LOGIT, ((features_of(architecture), 1), (1,))


def _values(datasets: list[Any], layer: str, shapes: tuple[tuple[int, ...], ...]) -> list[NDArray[np.float32]]:
    """Arrays of a layer, read only if all have the expected shape."""
    if tuple(each.shape for each in datasets) != shapes or any(each.dtype.kind != "f" for each in datasets):
        raise BundleInvalid(f"The model's weights file does not hold the layer {layer} of this architecture.")
    arrays = [np.asarray(each, np.float32) for each in datasets]
    if not all(np.isfinite(values).all() for values in arrays):
        raise BundleInvalid(f"The model's weights file holds values of the layer {layer} that are no numbers.")
    return arrays


def _convolution(arrays: dict[str, list[NDArray[np.float32]]], layer: str) -> Convolution:
    normalisation = normalisation_of(layer)
    if normalisation is None:
        kernel, bias = arrays[layer]
        return Convolution(kernel, bias)
    factor, bias = fold(arrays[normalisation])
    return Convolution(arrays[layer][0] * (factor[:, None] if layer.endswith("dwconv") else factor), bias)
