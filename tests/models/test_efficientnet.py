"""The network against ``keras.applications`` and against its own other forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from mammolens.models import efficientnet, golden, onnx_graph, transfer  # noqa: E402
from mammolens.models.export import parity  # noqa: E402
from mammolens.models.looks import Looks  # noqa: E402

SIZE = (96, 64)
# Parameters of each variant without top, from the table of keras.applications with the
# 1,000-class head taken off and one normalisation layer (7 values) fewer.
BACKBONE_PARAMETERS = {
    "efficientnet-b0": 4_049_571,
    "efficientnet-b1": 6_575_239,
    "efficientnet-b2": 7_768_569,
    "efficientnet-b3": 10_783_535,
}


def random_weights(model: object, seed: int = 0) -> None:
    """Give every layer weights that keep activations of ordinary size, statistics included."""
    random = np.random.default_rng(seed)
    for layer in model.layers:  # type: ignore[attr-defined]
        values = []
        for weight in layer.weights:
            if "variance" in weight.path or "gamma" in weight.path or "factor" in weight.path:
                values.append(random.uniform(0.6, 1.4, weight.shape))
            elif "kernel" in weight.path:
                fan_in = max(1, int(np.prod(weight.shape[:-1])))
                if "depthwise" in type(layer).__name__.lower():
                    fan_in = int(np.prod(weight.shape[:2]))
                values.append(random.normal(0, np.sqrt(2 / fan_in), weight.shape))
            else:
                values.append(random.normal(0, 0.1, weight.shape))
        layer.set_weights([v.astype(np.float32) for v in values])


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (3, *SIZE)).astype(np.uint8)


@pytest.fixture(scope="module")
def folded() -> object:
    model = efficientnet.build("efficientnet-b0", SIZE, folded=True, dropout=0.0)
    random_weights(model)
    return model


@pytest.mark.parametrize("architecture", list(efficientnet.VARIANTS))
def test_parameters_are_those_of_keras_applications(architecture: str) -> None:
    ours = efficientnet.build(architecture, SIZE)
    head = ours.get_layer("logit").count_params()
    # One input channel instead of three: two thirds of the stem's kernel are not there.
    stem = ours.get_layer("stem_conv").count_params()
    assert ours.count_params() - head + 2 * stem + 7 == BACKBONE_PARAMETERS[architecture]


def test_plain_network_equals_keras_applications_on_a_grey_picture(images: np.ndarray) -> None:
    reference = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(*SIZE, 3))
    random_weights(reference, seed=3)
    normalisation = next(layer for layer in reference.layers if layer.name.startswith("normalization"))
    mean, variance = efficientnet.GREY_MEAN, efficientnet.GREY_DEVIATION**2
    normalisation.set_weights([np.full(3, mean, np.float32), np.full(3, variance, np.float32), np.zeros((), np.int64)])
    normalisation.finalize_state()
    ours = efficientnet.build("efficientnet-b0", SIZE)
    for layer in ours.layers:
        if layer.weights and layer.name != "logit":
            values = reference.get_layer(layer.name).get_weights()
            if layer.name == "stem_conv":
                values[0] = values[0].sum(axis=2, keepdims=True)
            layer.set_weights(values)
    features = keras.Model(ours.input, ours.get_layer(efficientnet.FEATURES).output)
    grey = images.astype(np.float32)[..., None]
    expected = np.asarray(reference(np.repeat(grey, 3, axis=-1)))
    found = np.asarray(features(grey))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())


def test_unfolded_network_gives_the_same_logits(folded: object, images: np.ndarray) -> None:
    plain = transfer.unfold(folded, "efficientnet-b0", SIZE)
    batch = images.astype(np.float32)[..., None]
    a, b = np.asarray(folded(batch)), np.asarray(plain(batch))  # type: ignore[operator]
    assert np.ptp(a) > 1e-3
    np.testing.assert_allclose(a, b, atol=1e-4 * max(1.0, float(np.abs(a).max())))


def test_folded_network_comes_back_whole_from_its_weights_file(
    folded: object, images: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "folded.weights.h5"
    folded.save_weights(path)  # type: ignore[attr-defined]
    other = efficientnet.build("efficientnet-b0", SIZE, folded=True, dropout=0.0)
    other.load_weights(path)
    for a, b in zip(folded.get_weights(), other.get_weights(), strict=True):  # type: ignore[attr-defined]
        np.testing.assert_array_equal(a, b)
    batch = images.astype(np.float32)[..., None]
    np.testing.assert_allclose(np.asarray(folded(batch)), np.asarray(other(batch)), atol=1e-4)  # type: ignore[operator]


def test_factor_of_a_folded_convolution_is_not_trained(folded: object) -> None:
    layer = folded.get_layer("block3a_dwconv")  # type: ignore[attr-defined]
    assert [w.name for w in layer.trainable_weights] == ["kernel", "bias"]
    assert [w.name for w in layer.non_trainable_weights] == ["factor"]


@pytest.mark.parametrize(
    "looks", [Looks(SIZE), Looks((70, 50), upside_down=True), Looks((96, 70), upside_down=True, second_size=(64, 50))]
)
def test_onnx_graph_gives_the_logits_of_keras(looks: Looks) -> None:
    models = {size: efficientnet.build("efficientnet-b0", size, folded=True, dropout=0.0) for size in looks.sizes}
    for model in models.values():
        random_weights(model, seed=5)
    inputs = np.random.default_rng(2).integers(0, 256, (2, *looks.size)).astype(np.uint8)
    network = transfer.network_of(models[looks.size], "efficientnet-b0", looks.size)
    graph = onnx_graph.write(network, 1 + looks.upside_down, looks.second_size)
    difference, logits = parity([models], graph, inputs, looks)
    assert np.ptp(logits) > 1e-4
    assert difference < 1e-3


def test_a_second_size_costs_no_second_set_of_weights(folded: object) -> None:
    network = transfer.network_of(folded, "efficientnet-b0", SIZE)
    one, two = (len(onnx_graph.write(network, second_size=second)) for second in (None, (64, 48)))
    assert two < 1.05 * one


def test_two_looks_do_not_know_which_way_is_up(folded: object, images: np.ndarray) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    graph = onnx_graph.write(transfer.network_of(folded, "efficientnet-b0", SIZE), looks=2)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    batch = images.astype(np.float32)[..., None]
    a, b = (session.run(["logit", "evidence"], {"image": picture}) for picture in (batch, batch[:, ::-1].copy()))
    np.testing.assert_allclose(a[0], b[0], atol=1e-4)
    np.testing.assert_allclose(a[1], b[1][:, ::-1], atol=1e-4)


@pytest.mark.parametrize("second_size", [None, (64, 48)])
def test_evidence_sums_to_the_logit_less_the_bias(
    folded: object, images: np.ndarray, second_size: tuple[int, int] | None
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    graph = onnx_graph.write(transfer.network_of(folded, "efficientnet-b0", SIZE), second_size=second_size)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    logit, evidence, features = session.run(
        ["logit", "evidence", "features"], {"image": images.astype(np.float32)[..., None]}
    )
    kernel, bias = folded.get_layer("logit").get_weights()  # type: ignore[attr-defined]
    np.testing.assert_allclose(evidence.sum(axis=(1, 2)) + bias[0], logit[:, 0], atol=1e-4)
    by_hand = np.einsum("nchw,c->nhw", features, kernel[:, 0]) / (evidence.shape[1] * evidence.shape[2])
    np.testing.assert_allclose(evidence, by_hand, atol=1e-5)


def test_imagenet_weights_land_in_every_layer(shared: Path) -> None:
    weights = shared / "weights" / "efficientnet_b0_imagenet" / "efficientnet_b0_imagenet_notop.weights.h5"
    model = efficientnet.build("efficientnet-b0", SIZE, folded=True)
    before = [layer.get_weights() for layer in model.layers if layer.weights and layer.name != "logit"]
    transfer.load_imagenet(model, "efficientnet-b0", weights)
    after = [layer.get_weights() for layer in model.layers if layer.weights and layer.name != "logit"]
    assert all(not np.array_equal(a[0], b[0]) for a, b in zip(before, after, strict=True))


def test_weights_of_another_architecture_are_refused(shared: Path) -> None:
    from mammolens.errors import ConfigurationError

    weights = shared / "weights" / "efficientnet_b0_imagenet" / "efficientnet_b0_imagenet_notop.weights.h5"
    model = efficientnet.build("efficientnet-b1", SIZE, folded=True)
    with pytest.raises(ConfigurationError, match="efficientnet-b1"):
        transfer.load_imagenet(model, "efficientnet-b1", weights)


def test_imagenet_weights_of_three_channels_keep_the_stem(shared: Path) -> None:
    weights = shared / "weights" / "efficientnet_b0_imagenet" / "efficientnet_b0_imagenet_notop.weights.h5"
    colour = efficientnet.build("efficientnet-b0", SIZE, channels=3)
    grey = efficientnet.build("efficientnet-b0", SIZE)
    for model in (colour, grey):
        transfer.load_imagenet(model, "efficientnet-b0", weights)
    stem = colour.get_layer("stem_conv").get_weights()[0]
    assert stem.shape == (3, 3, 3, 32)
    np.testing.assert_allclose(grey.get_layer("stem_conv").get_weights()[0][..., 0, :], stem.sum(axis=2), rtol=1e-6)


@pytest.mark.parametrize("failure", [Exception("URL fetch failure"), OSError("no route"), ValueError("corrupted file")])
def test_imagenet_without_a_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    from mammolens.errors import ConfigurationError

    def no_network(**kwargs: object) -> object:
        assert kwargs["weights"] == "imagenet"
        raise failure

    monkeypatch.setattr(keras.applications, "EfficientNetB0", no_network)
    with pytest.raises(ConfigurationError, match="could not be fetched") as refused:
        transfer.load_imagenet(object(), "efficientnet-b0", "imagenet")
    assert str(failure) not in refused.value.message


def test_failure_that_is_no_download_keeps_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**kwargs: object) -> object:
        raise AttributeError("a defect")

    monkeypatch.setattr(keras.applications, "EfficientNetB0", broken)
    with pytest.raises(AttributeError, match="a defect"):
        transfer.load_imagenet(object(), "efficientnet-b0", "imagenet")


@pytest.mark.parametrize("architecture", list(efficientnet.VARIANTS))
def test_kernels_are_those_that_keras_builds(architecture: str) -> None:
    for channels in (1, 3):
        model = efficientnet.build(architecture, SIZE, channels=channels)
        found = {
            layer.name: tuple(layer.kernel.shape)
            for layer in model.layers
            if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
        }
        assert list(found.items()) == list(efficientnet.kernels(architecture, channels).items())


def test_checkpointed_network_has_the_gradients_of_the_plain_one(images: np.ndarray, tmp_path: Path) -> None:
    batch, labels = images.astype(np.float32)[..., None], np.array([[1.0], [0.0], [1.0]], np.float32)
    plain = efficientnet.build("efficientnet-b0", SIZE, folded=True, dropout=0.0)
    random_weights(plain, seed=9)
    plain.save_weights(tmp_path / "start.weights.h5")
    economy = efficientnet.Economy(checkpointing=True)
    spared = efficientnet.build("efficientnet-b0", SIZE, folded=True, dropout=0.0, economy=economy)
    spared.load_weights(tmp_path / "start.weights.h5")
    np.testing.assert_array_equal(np.asarray(plain(batch)), np.asarray(spared(batch)))
    moved = []
    for model in (plain, spared):
        before = model.get_weights()
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(optimizer=keras.optimizers.SGD(1.0), loss=loss, run_eagerly=True)
        model.train_on_batch(batch, labels)
        moved.append([b - a for a, b in zip(before, model.get_weights(), strict=True)])
    assert sum(float(np.abs(change).max()) > 1e-7 for change in moved[0]) > 100
    for a, b in zip(*moved, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * max(1e-3, float(np.abs(a).max())))


def test_checkpointing_of_batch_statistics_is_refused() -> None:
    from mammolens.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="folded"):
        efficientnet.build("efficientnet-b0", SIZE, economy=efficientnet.Economy(checkpointing=True))


def test_mixed_precision_keeps_weights_and_head_in_float32_and_leaves_keras_as_it_was(images: np.ndarray) -> None:
    before = keras.config.dtype_policy().name
    full = efficientnet.build("efficientnet-b0", SIZE, folded=True, dropout=0.0)
    economy = efficientnet.Economy(precision="mixed_bfloat16")
    mixed = efficientnet.build("efficientnet-b0", SIZE, folded=True, dropout=0.0, economy=economy)
    assert keras.config.dtype_policy().name == before
    random_weights(full, seed=11)
    mixed.set_weights(full.get_weights())
    assert {str(w.dtype) for w in mixed.weights} == {"float32"}
    assert mixed.get_layer("top_conv").compute_dtype == "bfloat16"
    batch = images.astype(np.float32)[..., None]
    a, b = np.asarray(full(batch)), np.asarray(mixed(batch))
    assert b.dtype == np.float32
    # bfloat16 keeps 8 bits; errors of 49 convolutions add up.
    np.testing.assert_allclose(a, b, atol=0.25 * float(np.abs(a).max()))


def test_random_start_lets_pictures_differ_at_the_end_without_growing() -> None:
    keras.utils.set_random_seed(1)
    model = efficientnet.build("efficientnet-b0", (96, 64), folded=True, dropout=0.0)
    transfer.randomise(model, "efficientnet-b0")
    pooled = keras.Model(model.input, model.get_layer("avg_pool").output)
    features = np.asarray(pooled.predict_on_batch(golden.variations((96, 64)).astype(np.float32)[..., None]))
    assert 0.05 < features.std(axis=0).mean() < 50.0
    assert np.abs(features).max() < 1e3
