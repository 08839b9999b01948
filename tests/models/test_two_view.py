"""The two-view network: what its views share, and what it is symmetric to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from mammolens.errors import ConfigurationError  # noqa: E402
from mammolens.models import efficientnet, golden, two_view  # noqa: E402
from mammolens.models.network import Network  # noqa: E402

SIZE = (64, 48)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    keras.utils.set_random_seed(7)
    yield
    keras.backend.clear_session()


@pytest.fixture(scope="module")
def views() -> list[np.ndarray]:
    """Two breasts, each as itself and dark, standing in for two views."""
    pictures = golden.variations(SIZE).astype(np.float32)[..., None]
    return [pictures[[0, 9]], pictures[[2, 7]]]


@pytest.fixture(scope="module")
def stirred(random_network: Callable[..., Network]) -> Callable[[object], None]:
    """Give a folded network weights that let pictures differ at its end; its head those of the random network."""

    def stir(model: object) -> None:
        for seed, trunk in enumerate(dict.fromkeys(trunks(model))):
            network = random_network(size=SIZE, seed=seed)
            for name, convolution in network.convolutions.items():
                layer = trunk.get_layer(name)
                factor = [np.ones(w.shape, np.float32) for w in layer.weights[2:]]
                layer.set_weights([convolution.kernel, convolution.bias, *factor])
        kernel, bias = model.get_layer("logit").get_weights()  # type: ignore[attr-defined]
        kernel = np.random.default_rng(5).normal(0, 0.2, kernel.shape).astype(np.float32)
        model.get_layer("logit").set_weights([kernel, bias + np.float32(0.25)])  # type: ignore[attr-defined]

    def trunks(model: object) -> tuple[object, ...]:
        return two_view.trunks(model) if len(model.inputs) == 2 else (model,)  # type: ignore[attr-defined]

    return stir


Stir = Callable[[object], None]
Views = list[np.ndarray]


@pytest.mark.parametrize(("trunk", "trunks"), [("shared", 1), ("paired", 2)])
def test_shared_trunk_is_counted_once_and_paired_ones_twice(trunk: str, trunks: int) -> None:
    one = efficientnet.build("efficientnet-b0", SIZE)
    both = two_view.build("efficientnet-b0", SIZE, trunk=trunk)
    backbone = one.count_params() - one.get_layer("logit").count_params()
    assert both.count_params() == trunks * backbone + 2 * 1280 + 1
    cc, mlo = two_view.trunks(both)
    assert (cc is mlo) == (trunk == "shared")


def test_mean_of_a_shared_trunk_does_not_know_which_view_is_which(stirred: Stir, views: Views) -> None:
    model = two_view.build("efficientnet-b0", SIZE, fusion="mean", folded=True, dropout=0.0)
    stirred(model)
    cc, mlo = views
    a, b = np.asarray(model([cc, mlo])), np.asarray(model([mlo, cc]))
    assert not np.array_equal(cc, mlo)
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("trunk", ["shared", "paired"])
def test_weights_for_each_view_tell_the_views_apart(stirred: Stir, views: Views, trunk: str) -> None:
    model = two_view.build("efficientnet-b0", SIZE, trunk=trunk, folded=True, dropout=0.0)
    stirred(model)
    cc, mlo = views
    assert np.abs(np.asarray(model([cc, mlo])) - np.asarray(model([mlo, cc]))).max() > 1e-4


@pytest.mark.parametrize("fusion", ["concatenate", "mean"])
def test_logit_is_linear_in_the_features_of_each_view(stirred: Stir, views: Views, fusion: str) -> None:
    model = two_view.build("efficientnet-b0", SIZE, fusion=fusion, folded=True, dropout=0.0)
    stirred(model)
    features = [np.asarray(trunk(x)) for trunk, x in zip(two_view.trunks(model), views, strict=True)]
    cc, mlo, bias = two_view.head(model)
    expected = features[0] @ cc + features[1] @ mlo + bias
    np.testing.assert_allclose(np.asarray(model(views))[:, 0], expected, atol=1e-4)


@pytest.mark.parametrize(("trunk", "fusion"), [("shared", "mean"), ("paired", "concatenate")])
def test_started_from_a_single_view_it_gives_the_mean_of_both_logits(
    stirred: Stir, views: Views, trunk: str, fusion: str
) -> None:
    single = efficientnet.build("efficientnet-b0", SIZE, folded=True, dropout=0.0)
    stirred(single)
    model = two_view.build("efficientnet-b0", SIZE, trunk=trunk, fusion=fusion, folded=True, dropout=0.0)
    two_view.start_from(model, single)
    expected = (np.asarray(single(views[0])) + np.asarray(single(views[1]))) / 2
    assert np.ptp(expected) > 1e-4
    np.testing.assert_allclose(np.asarray(model(views)), expected, atol=1e-4)


def test_start_from_a_network_that_is_folded_otherwise_is_refused() -> None:
    model = two_view.build("efficientnet-b0", SIZE, folded=True)
    with pytest.raises(ConfigurationError, match="Build both alike"):
        two_view.start_from(model, efficientnet.build("efficientnet-b0", SIZE, folded=False))


@pytest.mark.parametrize(("trunk", "checkpointing"), [("shared", True), ("paired", False)])
def test_gradient_step_reaches_both_views_and_lowers_the_loss(
    stirred: Stir, views: Views, trunk: str, checkpointing: bool
) -> None:
    economy = efficientnet.Economy(checkpointing=checkpointing)
    model = two_view.build("efficientnet-b0", SIZE, trunk=trunk, folded=True, dropout=0.0, economy=economy)
    stirred(model)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(1e-3), loss=loss, jit_compile=False)
    stems = [trunk.get_layer("stem_conv") for trunk in two_view.trunks(model)]
    before = [layer.get_weights()[0] for layer in stems]
    labels = np.array([[1.0], [0.0]], np.float32)
    losses = [float(model.train_on_batch(views, labels)) for _ in range(3)]
    assert losses[-1] < losses[0]
    assert all(not np.array_equal(layer.get_weights()[0], old) for layer, old in zip(stems, before, strict=True))


@pytest.mark.parametrize("architecture", ["efficientnet-b1", "efficientnet-b2", "efficientnet-b3"])
def test_every_variant_builds_and_comes_back_from_its_file(architecture: str, tmp_path: Path) -> None:
    model, again = (two_view.build(architecture, SIZE, channels=3, dropout=0.0) for _ in range(2))
    model.save_weights(tmp_path / "two.weights.h5")
    again.load_weights(tmp_path / "two.weights.h5")
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
