"""Bundles of imported networks: uncalibrated, honest about it, and written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

pytest.importorskip("h5py")
pytest.importorskip("onnx")

from mammolens.errors import (
    BundleInvalid,
    EngineError,
    ModelFileMalformed,
    ModelUnsupported,
    OutputError,
)
from mammolens.models import bundle as bundles
from mammolens.models import golden, onnx_graph, weights_file
from mammolens.models.contract import to_input
from mammolens.models.export import ImportDescription, export_graph, export_network
from mammolens.models.manifest import ImportedFrom
from mammolens.models.network import Network

Make = Callable[..., Network]
SOURCE = ImportedFrom(
    format="model-hdf5",
    sha256="0" * 64,
    keras_version="2.10.0",
    architecture_found="efficientnet-b0",
    assumptions=("layer 'jitter' changes nothing <b>at</b> inference",),
    proof="parity",
    parity=2.5e-6,
)
ABOUT = ImportDescription("thesis", SOURCE)


@pytest.fixture(scope="module")
def network(random_network: Make) -> Network:
    return random_network(channels=3, scale="-1..1")


@pytest.fixture(scope="module")
def bundle(network: Network, tmp_path_factory: pytest.TempPathFactory) -> bundles.ModelBundle:
    return bundles.load_bundle(export_network(network, ABOUT, tmp_path_factory.mktemp("models") / "thesis"))


def test_manifest_says_what_is_known_and_no_more(bundle: bundles.ModelBundle) -> None:
    manifest = bundle.manifest
    assert (manifest.name, manifest.architecture, manifest.explanation) == ("thesis", "efficientnet-b0", "linear")
    assert manifest.source == SOURCE
    assert manifest.calibration is None
    assert manifest.training is None
    assert manifest.metrics == ()
    assert manifest.default_point.sensitivity is None
    assert manifest.threshold == 0.5
    assert manifest.calibrated(1.25) == 1.25
    assert set(manifest.files) == {bundles.GRAPH, bundles.WEIGHTS, bundles.CARD}


def test_contract_of_the_bundle_is_the_networks(bundle: bundles.ModelBundle, network: Network) -> None:
    assert bundle.contract == network.contract
    assert bundle.manifest.factor == tuple(network.factor.tolist())
    assert bundle.manifest.offset == tuple(network.offset.tolist())


def test_logits_of_golden_inputs_are_recorded(bundle: bundles.ModelBundle) -> None:
    images = golden.variations((64, 48))
    assert images.shape == (16, 64, 48)
    logits = bundle.logit(to_input(images, bundle.contract))
    assert logits.shape == (16,)
    assert np.ptp(logits) > 1e-3
    np.testing.assert_allclose([each.logit for each in bundle.manifest.golden], logits[:4], atol=1e-5)
    for seed, image, recorded in zip(golden.SEEDS, images, bundle.manifest.golden, strict=False):
        made = golden.model_input(seed, (64, 48))
        np.testing.assert_array_equal(image, made.image)
        assert golden.digest(made) == recorded.input_sha256


def test_evidence_scale_is_the_highest_evidence_of_the_generated_pictures(bundle: bundles.ModelBundle) -> None:
    from mammolens.models import session

    inputs = to_input(golden.variations((64, 48)), bundle.contract)
    peaks = [session.scores(bundle.graph, one[None])[1].max() for one in inputs]
    assert bundle.manifest.evidence_scale == pytest.approx(max(peaks), rel=1e-4)


def test_graph_and_weights_file_hold_the_same_network(bundle: bundles.ModelBundle, network: Network) -> None:
    stored = weights_file.read(bundle.read(bundles.WEIGHTS), "efficientnet-b0")
    again = replace(network, convolutions=stored.convolutions, head=stored.head, bias=stored.bias)
    assert onnx_graph.write(again) == bundle.graph


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((1, 64, 48, 1), np.float32),
        np.zeros((64, 48, 3), np.float32),
        np.zeros((1, 64, 48, 3), np.float64),
        np.zeros((0, 64, 48, 3), np.float32),
    ],
)
def test_input_of_another_shape_or_type_is_refused(bundle: bundles.ModelBundle, x: np.ndarray) -> None:
    with pytest.raises(EngineError, match=r"float32|at least one"):
        bundle.logit(x)


def test_card_says_research_use_and_what_is_unknown_and_holds_no_markup(bundle: bundles.ModelBundle) -> None:
    card = bundle.read(bundles.CARD).decode()
    assert "not a medical device" in card
    assert "Terms of the weights: unknown" in card
    assert "at most 2.5e-06" in card
    assert "layer 'jitter' changes nothing" in card
    assert "<b>" not in card
    assert "$" not in card


def test_same_network_gives_a_bundle_of_the_same_hash(
    bundle: bundles.ModelBundle, network: Network, tmp_path: Path
) -> None:
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "old").write_text("what was there before")
    again = bundles.load_bundle(export_network(network, ABOUT, tmp_path / "again"))
    assert again.identity == bundle.identity
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again"]
    assert not (tmp_path / "again" / "old").exists()


@pytest.mark.parametrize("explanation", ["linear", "gradient"])
def test_graph_without_a_network_is_explained_as_it_says_and_has_no_weights_file(
    bundle: bundles.ModelBundle, tmp_path: Path, explanation: Literal["linear", "gradient"]
) -> None:
    source = ImportedFrom(**{**SOURCE.model_dump(), "proof": "structure", "parity": None, "foreign": True})
    about = ImportDescription("vgg", source, explanation=explanation)
    place = export_graph(bundle.graph, bundle.contract, about, tmp_path / "vgg", architecture="vgg16")
    made = bundles.load_bundle(place)
    assert (made.manifest.explanation, made.manifest.architecture) == (explanation, "vgg16")
    assert set(made.manifest.files) == {bundles.GRAPH, bundles.CARD}
    assert "could\nnot be run" in made.read(bundles.CARD).decode() or "could not be run" in made.read(
        bundles.CARD
    ).decode().replace("\n", " ")


def _dead(network: Network) -> Network:
    return replace(network, head=np.zeros_like(network.head))


def _endless(network: Network) -> Network:
    return replace(network, bias=float("inf"))


@pytest.mark.parametrize(
    ("spoil", "about", "error"),
    [
        (_dead, ABOUT, ModelUnsupported),
        (_endless, ABOUT, ModelFileMalformed),
        (lambda network: network, ImportDescription("No Such Name", SOURCE), BundleInvalid),
    ],
)
def test_failed_export_leaves_what_was_there(
    network: Network,
    tmp_path: Path,
    spoil: Callable[[Network], Network],
    about: ImportDescription,
    error: type[Exception],
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "before").write_text("kept")
    with pytest.raises(error):
        export_network(spoil(network), about, tmp_path / "thesis")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]
    assert (tmp_path / "thesis" / "before").read_text() == "kept"


def test_place_that_can_not_be_written_is_an_output_error(network: Network, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match="rights"):
        export_network(network, ABOUT, tmp_path / "file" / "thesis")


@pytest.mark.parametrize(("proof", "parity"), [("parity", None), ("structure", 0.0)])
def test_proof_and_its_figure_go_together(proof: str, parity: float | None) -> None:
    with pytest.raises(ValueError, match="figure"):
        ImportedFrom(**{**SOURCE.model_dump(), "proof": proof, "parity": parity})
