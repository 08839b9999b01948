"""``model.weights.h5``: in Keras' own layout, whole or refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")
pytest.importorskip("onnx")

from mammolens.errors import BundleInvalid  # noqa: E402
from mammolens.models import bundle as bundles  # noqa: E402
from mammolens.models import efficientnet, onnx_graph, variants, weights_file  # noqa: E402
from mammolens.models.efficientnet import VARIANTS  # noqa: E402
from mammolens.models.network import Network  # noqa: E402

Make = Callable[..., Network]


def test_graph_written_from_the_built_in_weights_is_the_built_in_graph_byte_for_byte() -> None:
    bundle = bundles.load_bundle("default")
    stored = weights_file.networks(bundle.read(bundles.WEIGHTS), bundle.manifest)
    assert len(stored) == bundle.manifest.members
    graph = variants.compact(onnx_graph.write_ensemble(stored, bundle.manifest.looks, bundle.manifest.second_size))
    assert hashlib.sha256(graph).hexdigest() == bundle.manifest.files[bundles.GRAPH]


def test_groups_are_those_that_keras_writes(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    efficientnet.build("efficientnet-b0", (64, 32)).save_weights(tmp_path / "model.weights.h5")
    with h5py.File(tmp_path / "model.weights.h5") as file:
        written = {
            file[f"layers/{name}/vars"].attrs["name"]: f"layers/{name}"
            for name in file["layers"]
            if len(file[f"layers/{name}/vars"])
        }
    assert dict(weights_file.groups("efficientnet-b0")) == written


@pytest.mark.parametrize("architecture", list(VARIANTS))
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_is_read_back_to_the_bit(
    random_network: Make, tmp_path: Path, architecture: str, channels: int
) -> None:
    network = random_network(architecture, channels=channels)
    path = tmp_path / "model.weights.h5"
    weights_file.write(network, path)
    found = weights_file.read(path, architecture)
    assert list(found.convolutions) == list(network.convolutions)
    for layer, convolution in network.convolutions.items():
        np.testing.assert_array_equal(found.convolutions[layer].kernel, convolution.kernel)
        np.testing.assert_array_equal(found.convolutions[layer].bias, convolution.bias)
    np.testing.assert_array_equal(found.head, network.head)
    assert found.bias == network.bias


def test_same_network_gives_the_same_bytes(random_network: Make, tmp_path: Path) -> None:
    network = random_network()
    for name in ("a.weights.h5", "b.weights.h5"):
        weights_file.write(network, tmp_path / name)
    assert (tmp_path / "a.weights.h5").read_bytes() == (tmp_path / "b.weights.h5").read_bytes()


GATE, PROJECT_BN = "layers/conv2d_1/vars", "layers/batch_normalization_2/vars"


def _without(file: object) -> None:
    del file[PROJECT_BN + "/3"]  # type: ignore[attr-defined]


def _transposed(file: object) -> None:
    kernel = np.swapaxes(file[GATE + "/0"][()], 2, 3)  # type: ignore[index]
    del file[GATE + "/0"]  # type: ignore[attr-defined]
    file[GATE + "/0"] = kernel  # type: ignore[index]


def _no_number(file: object) -> None:
    file["layers/dense/vars/0"][3, 0] = np.nan  # type: ignore[index]


def _elsewhere(file: object) -> None:
    del file[GATE + "/0"]  # type: ignore[attr-defined]
    file[GATE + "/0"] = h5py.ExternalLink("other.h5", "/kernel")  # type: ignore[index]


def _whole_numbers(file: object) -> None:
    values = file["layers/dense/vars/1"][()].astype(np.int32)  # type: ignore[index]
    del file["layers/dense/vars/1"]  # type: ignore[attr-defined]
    file["layers/dense/vars/1"] = values  # type: ignore[index]


@pytest.mark.parametrize(
    ("spoil", "layer"),
    [
        (_without, "block1a_project_bn"),
        (_transposed, "block1a_se_reduce"),
        (_no_number, "logit"),
        (_elsewhere, "block1a_se_reduce"),
        (_whole_numbers, "logit"),
    ],
)
def test_file_that_does_not_fit_is_refused_by_the_layers_name(
    random_network: Make, tmp_path: Path, spoil: Callable[[object], None], layer: str
) -> None:
    path = tmp_path / "model.weights.h5"
    weights_file.write(random_network(), path)
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(BundleInvalid, match=layer):
        weights_file.read(path, "efficientnet-b0")


def test_weights_of_another_architecture_and_no_hdf5_at_all_are_refused(random_network: Make, tmp_path: Path) -> None:
    path = tmp_path / "model.weights.h5"
    weights_file.write(random_network(), path)
    with pytest.raises(BundleInvalid, match=r"stem_conv|block"):
        weights_file.read(path, "efficientnet-b3")
    with pytest.raises(BundleInvalid, match="HDF5"):
        weights_file.read(b"no such thing", "efficientnet-b0")


@pytest.mark.parametrize(
    ("architecture", "channels", "planes"),
    [("efficientnet-b0", 3, 3), ("efficientnet-b2", 1, 1), ("efficientnet-b0", 1, 3)],
)
def test_keras_loads_the_file_and_gives_the_logits_of_the_graph(
    random_network: Make, tmp_path: Path, architecture: str, channels: int, planes: int
) -> None:
    pytest.importorskip("keras")
    from mammolens.models import session
    from mammolens.models.efficientnet import build

    made = random_network(architecture, channels=planes)
    contract = replace(made.contract, channels=channels, scale="1")
    factor, offset = np.linspace(3.0, 4.0, planes, dtype=np.float32), np.linspace(-2.0, -1.0, planes, dtype=np.float32)
    network = replace(made, contract=contract, factor=factor, offset=offset)
    path = tmp_path / "model.weights.h5"
    weights_file.write(network, path)
    size = (contract.height, contract.width)
    model = build(architecture, size, dropout=0.0, channels=channels, factor=factor, offset=offset)
    model.load_weights(path)
    x = np.random.default_rng(4).uniform(0, 1, (3, *size, channels)).astype(np.float32)
    x[0] *= 0.2
    expected = np.asarray(model.predict_on_batch(x))[:, 0]
    found, _ = session.scores(onnx_graph.write(network), x)
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1.0, float(np.abs(expected).max())))
