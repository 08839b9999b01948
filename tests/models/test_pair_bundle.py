"""The served form of a two-view network: equal to Keras, exact in its evidence, and verified like all of a bundle."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from mammolens.errors import BundleIncompatible, BundleInvalid, BundleTampered, ConfigurationError  # noqa: E402
from mammolens.models import bundle as bundles  # noqa: E402
from mammolens.models import golden, onnx_graph, pair_bundle, two_view  # noqa: E402
from mammolens.models.bundle import load_bundle  # noqa: E402
from mammolens.models.looks import Looks  # noqa: E402
from mammolens.models.network import Network, PairNetwork  # noqa: E402
from support.pairs import joined, stirred  # noqa: E402
from support.small import shrink  # noqa: E402

SIZE = (64, 48)

Make = Callable[..., Network]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    keras.utils.set_random_seed(7)
    yield
    keras.backend.clear_session()


@pytest.fixture(autouse=True)
def _small(small_b0: None) -> None:
    """All networks of this module are small ones."""


def pictures() -> np.ndarray:
    return golden.variations(SIZE).astype(np.float32)[..., None]


LOOKS = [Looks(SIZE), Looks(SIZE, upside_down=True), Looks(SIZE, upside_down=True, second_size=(48, 40))]


@pytest.mark.parametrize("looks", LOOKS)
@pytest.mark.parametrize("trunk", ["shared", "paired"])
def test_shares_of_two_pictures_and_the_bias_are_the_logit_that_keras_gives(
    random_network: Make, trunk: str, looks: Looks
) -> None:
    model = stirred(random_network, SIZE, trunk=trunk)
    made = pair_bundle.graph_of([model], "efficientnet-b0", looks)
    seen = pictures()
    cc, mlo = seen[:8], seen[8:]
    models = {SIZE: model}
    if looks.second_size is not None:
        models[looks.second_size] = two_view.build(
            "efficientnet-b0", looks.second_size, trunk=trunk, folded=True, dropout=0.0
        )
        models[looks.second_size].set_weights(model.get_weights())
    expected = np.mean(
        [
            np.asarray(models[size].predict_on_batch(list(views[..., None])))[:, 0]
            for size, views in looks.at(np.stack([cc, mlo])[..., 0])
        ],
        axis=0,
    )
    shares, evidence = pair_bundle.scores(made.graph, seen)
    assert np.ptp(expected) > 1e-2
    np.testing.assert_allclose(shares[:8, 0] + shares[8:, 1] + made.bias, expected, atol=1e-4)
    # The maps of both views and the bias sum to the logit, with nothing left over.
    total = evidence[:8, 0].sum(axis=(1, 2)) + evidence[8:, 1].sum(axis=(1, 2)) + made.bias
    np.testing.assert_allclose(total, expected, atol=1e-4)
    assert (made.shared, made.members) == (trunk == "shared", 1)


def test_ensemble_gives_the_mean_of_its_networks_with_kernels_in_16_bits(random_network: Make) -> None:
    models = [stirred(random_network, SIZE, seed=seed) for seed in (0, 1)]
    made = pair_bundle.graph_of(models, "efficientnet-b0", Looks(SIZE))
    seen = pictures()
    # The networks were rounded in place: they and the graph hold the same numbers.
    expected = np.mean([np.asarray(model.predict_on_batch([seen, seen[::-1]]))[:, 0] for model in models], axis=0)
    shares, _ = pair_bundle.scores(made.graph, seen)
    np.testing.assert_allclose(shares[:, 0] + shares[::-1, 1] + made.bias, expected, atol=1e-4)
    assert made.members == 2
    assert b"member2/stem_conv/kernel/half" in made.graph


def test_networks_that_do_not_belong_together_are_refused(random_network: Make) -> None:
    one, other = random_network(size=SIZE), random_network(size=(64, 64))
    with pytest.raises(ConfigurationError, match="one architecture"):
        onnx_graph.write_pair([PairNetwork(one, other, 0.0)])
    models = [stirred(random_network, SIZE, trunk=trunk) for trunk in ("shared", "paired")]
    with pytest.raises(ConfigurationError, match="share their trunk"):
        pair_bundle.graph_of(models, "efficientnet-b0", Looks(SIZE))


def test_graph_that_answers_otherwise_than_the_network_is_refused(
    random_network: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = stirred(random_network, SIZE)
    monkeypatch.setattr(two_view, "head", lambda model: (*_heads(model)[::-1], 0.25))

    def _heads(model: object) -> tuple[np.ndarray, np.ndarray]:
        kernel = model.get_layer("logit").get_weights()[0]  # type: ignore[attr-defined]
        half = len(kernel) // 2
        return kernel[:half, 0], kernel[half:, 0]

    with pytest.raises(BundleInvalid, match="differs from the two-view network"):
        pair_bundle.graph_of([model], "efficientnet-b0", Looks(SIZE))


@pytest.fixture(scope="module")
def place(random_network: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        return joined(random_network, tmp_path_factory.mktemp("pair") / "tiny", SIZE)


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    """Bundle of links to the files, each of which a test may put another file in the place of."""
    (tmp_path / "copy").mkdir()
    for file in place.iterdir():
        (tmp_path / "copy" / file.name).symlink_to(file)
    return tmp_path / "copy"


def put(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def test_joined_bundle_keeps_the_single_network_and_describes_the_pair(place: Path) -> None:
    base, made = load_bundle("default"), load_bundle(place)
    assert made.graph == base.graph
    assert made.pair == (place / bundles.PAIR).read_bytes()
    pair = made.manifest.pair
    assert pair is not None
    assert (pair.architecture, pair.trunk, pair.looks, pair.size) == ("efficientnet-b0", "shared", 2, SIZE)
    assert pair.views == made.manifest.calibration
    assert {**base.manifest.files, bundles.CARD: ""}.keys() | {bundles.PAIR} == made.manifest.files.keys()
    card = made.read(bundles.CARD).decode()
    assert card.startswith(base.read(bundles.CARD).decode().rstrip())
    assert card.endswith("Two views.")
    assert load_bundle("default").pair is None
    assert base.manifest.pair is None


def test_damaged_graph_of_the_pair_is_refused_also_where_others_may_stand_in(copy: Path) -> None:
    content = bytearray((copy / bundles.PAIR).read_bytes())
    content[len(content) // 2] ^= 1
    put(copy / bundles.PAIR, bytes(content))
    for stand_in in (False, True):
        with pytest.raises(BundleTampered, match=bundles.PAIR):
            load_bundle(copy, stand_in=stand_in)
    (copy / bundles.PAIR).unlink()
    with pytest.raises(BundleInvalid, match=bundles.PAIR):
        load_bundle(copy, stand_in=True)


def change(folder: Path, spoil: Callable[[dict[str, object]], object]) -> None:
    path = folder / bundles.MANIFEST
    manifest = json.loads(path.read_text())
    spoil(manifest)
    put(path, json.dumps(manifest).encode())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda manifest: manifest.pop("pair"),
        lambda manifest: manifest["files"].pop(bundles.PAIR),
        lambda manifest: manifest["pair"].update(surprise=1),
        lambda manifest: manifest["pair"].update(golden=[]),
        lambda manifest: manifest["pair"]["breast"].update(default_operating_point="nowhere"),
        lambda manifest: manifest["pair"].update(evidence_scale=0),
    ],
)
def test_description_of_a_pair_that_breaks_a_rule_is_refused(
    copy: Path, spoil: Callable[[dict[str, object]], object]
) -> None:
    change(copy, spoil)
    with pytest.raises(BundleInvalid):
        load_bundle(copy)


def test_other_preprocessing_of_the_pair_is_an_error(copy: Path) -> None:
    change(copy, lambda manifest: manifest["pair"]["preprocessing"].update(version=2))  # type: ignore[index]
    with pytest.raises(BundleIncompatible, match="version 2"):
        load_bundle(copy)
