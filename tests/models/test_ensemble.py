"""Networks side by side in one graph: the mean of what they answer, exactly explained, stored in half the room."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from mammolens.errors import BundleInvalid, ConfigurationError
from mammolens.inference.engines import open_engine
from mammolens.models import export, golden, graph_weights, onnx_graph, session, variants, weights_file
from mammolens.models.bundle import GRAPH, WEIGHTS, ModelBundle, load_bundle
from mammolens.models.export import Description, ensemble_graph, export_ensemble
from mammolens.models.looks import resampled
from mammolens.models.manifest import Calibration, OperatingPoint, Training
from mammolens.models.network import Network

SIZE = (64, 48)
RandomNetwork = Callable[..., Network]


@pytest.fixture(scope="module")
def networks(random_network: RandomNetwork) -> list[Network]:
    made = [random_network(size=SIZE, seed=seed) for seed in (1, 2, 3)]
    return [dataclasses.replace(network, bias=0.5 * index) for index, network in enumerate(made)]


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return golden.variations(SIZE)[:6]


def answers(graph: bytes, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return session.scores(graph, pictures.astype(np.float32)[..., None])


def test_a_second_size_is_the_mean_of_the_network_at_both(networks: list[Network], pictures: np.ndarray) -> None:
    small = np.rint(resampled(pictures, (48, 36)))
    both, evidence = answers(onnx_graph.write(networks[0], 2, (48, 36)), pictures)
    large, own = answers(onnx_graph.write(networks[0], 2), pictures)
    other, seen = answers(onnx_graph.write(networks[0].at((48, 36)), 2), small)
    assert np.abs(large - other).max() > 0.01, "both sizes answer alike"
    # The graph does not round what it resamples to whole grey values.
    np.testing.assert_allclose(both, (large + other) / 2, atol=5e-3)
    assert own.shape == evidence.shape == (6, 2, 2)
    assert seen.shape == (6, 2, 2)


@pytest.mark.parametrize(("looks", "second_size"), [(1, None), (2, None), (2, (48, 36))])
def test_logit_and_evidence_are_the_means_of_the_networks_own(
    networks: list[Network], pictures: np.ndarray, looks: int, second_size: tuple[int, int] | None
) -> None:
    logits, evidence = answers(onnx_graph.write_ensemble(networks, looks, second_size), pictures)
    single = [answers(onnx_graph.write(network, looks, second_size), pictures) for network in networks]
    assert np.ptp([each for each, _ in single], axis=0).min() > 1e-3, "the networks answer alike"
    np.testing.assert_allclose(logits, np.mean([each for each, _ in single], axis=0), atol=2e-5)
    np.testing.assert_allclose(evidence, np.mean([each for _, each in single], axis=0), atol=2e-5)
    # Grad-CAM stays exact: the places' shares and the mean bias, (0 + 0.5 + 1) / 3, are the logit.
    np.testing.assert_allclose(evidence.sum(axis=(1, 2)) + 0.5, logits, atol=2e-5)


def test_one_network_is_written_as_it_always_was(networks: list[Network]) -> None:
    import onnx

    model = onnx.load_from_string(onnx_graph.write(networks[0]))
    names = {tensor.name for tensor in model.graph.initializer}
    assert {"stem_conv/kernel", "block1a_dwconv/bias", "logit/share", "scale"} <= names
    assert not any(name.startswith("member") for name in names)


def test_networks_that_differ_in_more_than_weights_are_refused(random_network: RandomNetwork) -> None:
    for other in (random_network(size=(48, 48)), random_network(size=SIZE, scale="1")):
        with pytest.raises(ConfigurationError, match="one architecture, input size and scale"):
            onnx_graph.write_ensemble([random_network(size=SIZE), other])


def test_rounded_networks_take_half_the_room_and_answer_the_same(networks: list[Network], pictures: np.ndarray) -> None:
    rounded = [network.rounded() for network in networks]
    full = onnx_graph.write_ensemble(rounded)
    small = ensemble_graph(rounded)
    assert len(small) < 0.53 * len(full)
    for a, b in zip(answers(small, pictures), answers(full, pictures), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    # Eleven significant bits of each weight; the logits move by less than a hundredth.
    plain, _ = answers(onnx_graph.write_ensemble(networks), pictures)
    moved = np.abs(answers(small, pictures)[0] - plain)
    assert 0.0 < moved.max() < 1e-2


def test_weights_that_16_bits_do_not_hold_stay_in_32(networks: list[Network]) -> None:
    graph = onnx_graph.write(networks[0])
    assert len(variants.compact(graph)) > 0.99 * len(graph)
    huge = dataclasses.replace(networks[0].convolutions["top_conv"], kernel=np.full((1, 1, 320, 1280), 1e5, np.float32))
    with pytest.raises(BundleInvalid, match="16 bits"):
        dataclasses.replace(networks[0], convolutions={"top_conv": huge}).rounded()


@pytest.fixture(scope="module")
def bundle(networks: list[Network], tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    pytest.importorskip("keras")
    about = Description(
        name="three",
        version="1",
        architecture="efficientnet-b0",
        size=SIZE,
        looks=2,
        second_size=(48, 36),
        calibration=Calibration(slope=0.8, intercept=-0.1, prevalence=0.3),
        operating_points=(OperatingPoint(name="balanced", threshold=0.4, sensitivity=0.5, specificity=0.5),),
        default_operating_point="balanced",
        evidence_scale=0.3,
        training=Training(dataset="t", images=1, women=1, terms="", configuration_sha256="0"),
        metrics=(),
        licence="",
        card="# Three",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "LARGEST", 60_000_000)
        place = export_ensemble(networks, about, tmp_path_factory.mktemp("bundles") / "three")
    return load_bundle(place)


def without_weights_file(bundle: ModelBundle) -> ModelBundle:
    files = {name: digest for name, digest in bundle.manifest.files.items() if name != WEIGHTS}
    return dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"files": files}))


def test_bundle_names_its_members_and_stores_them_twice_where_there_is_room(bundle: ModelBundle) -> None:
    assert bundle.manifest.members == 3
    assert {GRAPH, WEIGHTS} <= set(bundle.manifest.files)
    sizes = [(bundle.location / name).stat().st_size for name in (GRAPH, WEIGHTS)]
    assert max(sizes) < 3 * 8.8e6
    assert sum(sizes) > export.LARGEST, "with the usual limit, the graph alone would hold the weights"


def test_networks_come_back_from_the_graph_and_from_the_weights_file(
    bundle: ModelBundle, networks: list[Network]
) -> None:
    stored = weights_file.networks(bundle.read(WEIGHTS), bundle.manifest)
    written = graph_weights.read(bundle.graph, bundle.manifest)
    for made in (stored, written):
        assert len(made) == 3
        for ours, original in zip(made, networks, strict=True):
            for layer, convolution in original.rounded().convolutions.items():
                np.testing.assert_allclose(ours.convolutions[layer].kernel, convolution.kernel, rtol=1e-6, atol=1e-9)
                np.testing.assert_array_equal(ours.convolutions[layer].bias, convolution.bias)
            np.testing.assert_allclose(ours.head, original.head, rtol=1e-6)
    assert [network.bias for network in stored] == [0.0, 0.5, 1.0]
    assert [network.bias for network in written] == [0.5, 0.5, 0.5]
    with pytest.raises(BundleInvalid, match="head"):
        graph_weights.read(bundle.graph, bundle.manifest.model_copy(update={"members": 2}))


@pytest.mark.parametrize("stored", ["twice", "in the graph alone"])
def test_keras_gives_the_probability_of_onnx_runtime(bundle: ModelBundle, pictures: np.ndarray, stored: str) -> None:
    held = bundle if stored == "twice" else without_weights_file(bundle)
    usual, keras = (open_engine(name, held, 1).run(pictures) for name in ("onnxruntime", "keras"))
    for a, b in zip(usual, keras, strict=True):
        logits = np.array([bundle.manifest.calibrated(each.logit) for each in (a, b)])
        assert np.ptp(1.0 / (1.0 + np.exp(-logits))) <= 1e-4
        np.testing.assert_allclose(b.evidence, a.evidence, atol=1e-4)


def test_weights_file_stands_in_for_a_damaged_graph(bundle: ModelBundle, pictures: np.ndarray, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle.location, tmp_path / "copy"))
    (copy / GRAPH).write_bytes(b"damaged")
    opened = load_bundle(copy, stand_in=True)
    assert [notice.code for notice in opened.notices] == ["format-fallback"]
    for a, b in zip(answers(opened.graph, pictures), answers(bundle.graph, pictures), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
