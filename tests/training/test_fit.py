"""Fits of a small network on made pictures: two views of a breast, a warm-up on patches, official parts."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from mammolens.datasets import DATASETS, Abnormality, Case, CaseTable, Outline  # noqa: E402
from mammolens.imaging import preprocess  # noqa: E402
from mammolens.imaging.png import encode_png  # noqa: E402
from mammolens.imaging.reading import mammogram_from_array  # noqa: E402
from mammolens.inference import Predictor  # noqa: E402
from mammolens.models import golden  # noqa: E402
from mammolens.models.bundle import load_bundle  # noqa: E402
from mammolens.models.looks import Looks  # noqa: E402
from mammolens.training import crossval, finish, fit, patches  # noqa: E402
from mammolens.training.config import DataConfig, FitConfig, ModelConfig, TrainingConfig  # noqa: E402
from mammolens.training.networks import make_model, network, trunks  # noqa: E402
from mammolens.training.pairs import PairedImages  # noqa: E402
from mammolens.training.protocol import Split  # noqa: E402

SIZE = (64, 64)

pytestmark = pytest.mark.usefixtures("small_b0")


def configured(folder: Path, model: dict[str, object] | None = None, **values: object) -> TrainingConfig:
    return TrainingConfig(
        model=ModelConfig("tiny", "efficientnet-b0", SIZE, "none", **(model or {})),  # type: ignore[arg-type]
        data=DataConfig("t", folder),
        fit=FitConfig(**({"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "dropout": 0.0} | values)),  # type: ignore[arg-type]
        output=folder,
    )


@pytest.fixture
def images() -> np.ndarray:
    """Forty pictures of noise; every second one holds a bright square."""
    images = np.random.default_rng(0).integers(60, 120, (40, *SIZE)).astype(np.uint8)
    images[1::2, 20:44, 10:34] += 100
    return images


LABELS = np.tile([0.0, 1.0], 20).astype(np.float32)
SPLIT = Split("t", np.arange(32), np.arange(32, 40))


def test_two_views_are_fitted_and_either_of_them_is_heard(tmp_path: Path, images: np.ndarray) -> None:
    # The square is in one view alone, now in this one and now in that.
    quiet = np.arange(0, 40, 2)
    pairs = np.array([[i, quiet[i % 20]] if i % 4 < 2 else [quiet[i % 20], i] for i in range(40)])
    paired = PairedImages(images, pairs)
    config = configured(tmp_path, {"views": 2})
    model = fit.run(fit.Fit(config, paired, LABELS, SPLIT, tmp_path, 1))
    logits = fit.predict(model, paired, SPLIT.watch, Looks(SIZE, upside_down=True))
    wanted = LABELS[SPLIT.watch] > 0
    assert logits[wanted].min() > logits[~wanted].max()
    with (tmp_path / "log.csv").open() as file:
        assert float(next(csv.DictReader(file))["watch_auc"]) == 1.0


def test_warm_up_on_patches_is_done_once_and_changes_the_convolutions_alone(
    tmp_path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(tmp_path, patch_epochs=1, patch_size=32)
    lesions = [patches.Lesion(i, 3 if i % 4 == 1 else 1, (10.0, 20.0, 34.0, 44.0)) for i in range(1, 40, 2)]
    monkeypatch.setattr(patches, "lesions_of", lambda cases, size: lesions)
    seen: list[int] = []
    original = patches.PatchBatches.__init__

    def watched(self: patches.PatchBatches, images: object, lesions: list[patches.Lesion], *rest: object) -> None:
        seen.extend(lesion.image for lesion in lesions)
        original(self, images, lesions, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(patches.PatchBatches, "__init__", watched)
    asked = fit.Fit(config, images, LABELS, SPLIT, tmp_path / "fit", 1)
    keras.utils.set_random_seed(1)
    model = make_model(config, SIZE, 4)
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    patches.warm_up(asked, model)
    assert seen == list(range(1, 32, 2)), "held-out women were looked at"
    after = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    changed = {name for name in before if not all(map(np.array_equal, before[name], after[name]))}
    assert {"stem_conv", "top_conv"} <= changed
    assert "logit" not in changed

    other = make_model(config, SIZE, 4)
    patches.warm_up(asked, other)
    assert len(seen) == 16, "the warm-up was done again"
    for layer in trunks(other)[0].layers:
        if layer.name != "logit":
            assert all(map(np.array_equal, layer.get_weights(), after.get(layer.name, [])))


def made_table(folder: Path) -> CaseTable:
    """Sixty pictures of thirty women with an outlined disc, malignant where it is large; a third of them to test on."""
    cases = []
    for number in range(60):
        woman, malignant = number // 2, number // 2 % 2 == 1
        pixels = (golden.picture(1 + number % 4) / 16).astype(np.uint8)
        y, x = np.mgrid[0:600, 0:480]
        pixels[(x - 240) ** 2 + (y - 300) ** 2 < (60 if malignant else 15) ** 2] = 255
        path = folder / f"{number}.png"
        path.write_bytes(encode_png(pixels))
        outline = Outline(circle=(240.0, 300.0, 60.0 if malignant else 15.0))
        lesion = Abnormality("mass", "malignant" if malignant else "benign", outline=outline)
        view, split = ("CC", "MLO")[number % 2], "test" if woman >= 20 else "train"
        cases.append(Case(path, f"w{woman}", "L", view, malignant, split=split, abnormalities=(lesion,)))
    return CaseTable("t", cases)


@pytest.mark.slow
def test_official_parts_with_every_option_end_in_a_bundle_of_the_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = made_table(tmp_path)
    monkeypatch.setitem(DATASETS, "t", lambda folder: table)
    from mammolens.training import finish as finishing

    monkeypatch.setitem(finishing.TERMS, "t", "made")
    config = configured(
        tmp_path,
        {"final": "ensemble", "looks": 2, "second_size": (48, 32)},
        epochs=3,
        patch_epochs=1,
        patch_size=32,
        ema=0.5,
        accumulate=2,
        patience=2,
        stop_share=0.3,
        balance="sampling",
        loss="focal",
        seeds=(1, 2),
        batch_size=4,
    )
    config = replace(config, output=tmp_path / "run", data=DataConfig("t", tmp_path, "patient-clean", held_out=0.3))
    run = crossval.train(config)
    held = {run.table[row].woman for row in run.rows}
    # By hand: three tenths of the ten women of either kind that may be fitted.
    assert len(held) == 6
    assert held.isdisjoint(run.table[row].woman for row in run.fitted)
    assert {run.table[row].split for row in (*run.rows, *run.fitted)} == {"train"}
    with (tmp_path / "run" / "fold1-seed1" / "log.csv").open() as file:
        assert all(float(row["stop_auc"]) >= 0.0 for row in csv.DictReader(file))
    bundle = load_bundle(finish.finish(config, run))
    assert bundle.manifest.members == 2
    assert bundle.manifest.training is not None
    assert bundle.manifest.training.women == len({run.table[row].woman for row in run.fitted})
    assert "held-out women of the official training part" in bundle.manifest.metrics[0].protocol
    # The figures are the shipped ensemble's own: its graph gives the logits that were measured.
    from mammolens.training import cache

    inputs = cache.prepare(run.table, SIZE, tmp_path / "run" / "cache")
    at = [list(inputs.rows).index(row) for row in run.rows]
    served = bundle.logit(inputs.images[at].astype(np.float32)[..., None])
    np.testing.assert_allclose(served, run.logits, atol=0.02)


@pytest.mark.slow
def test_refitted_seeds_side_by_side_are_measured_as_the_mean_of_each_folds_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = CaseTable("t", [replace(case, split="") for case in made_table(tmp_path)])
    monkeypatch.setitem(DATASETS, "t", lambda folder: table)
    from mammolens.training import cache
    from mammolens.training import finish as finishing

    monkeypatch.setitem(finishing.TERMS, "t", "made")
    config = configured(tmp_path, {"final": "refit-ensemble"}, seeds=(1, 2))
    config = replace(config, output=tmp_path / "run", data=DataConfig("t", tmp_path, folds=2))
    run = crossval.train(config)
    assert [path.parent.name for path in run.weights] == ["final-seed1", "final-seed2"]
    assert len(run.fitted) == len(table)
    bundle = load_bundle(finish.finish(config, run))
    assert bundle.manifest.members == 2
    assert "fitted once more on all women" in bundle.read("MODEL_CARD.md").decode().replace("\n", " ")

    inputs = cache.prepare(run.table, SIZE, tmp_path / "run" / "cache")
    folds = np.array([run.table[row].fold for row in inputs.rows])
    for fold in (1, 2):
        rows = np.flatnonzero(folds == fold)
        each = []
        for seed in (1, 2):
            model = network(config, SIZE)
            model.load_weights(tmp_path / "run" / f"fold{fold}-seed{seed}" / crossval.WEIGHTS)
            each.append(fit.predict(model, inputs.images, rows))
        assert not np.allclose(*each)
        held = [list(run.rows).index(inputs.rows[row]) for row in rows]
        np.testing.assert_allclose(run.logits[held], np.mean(each, axis=0), atol=1e-5)


@pytest.mark.slow
def test_run_goes_on_from_anothers_fits_split_by_split_and_at_another_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = made_table(tmp_path)
    table = CaseTable("t", [replace(case, split="", side_labels={"age": float(i % 5)}) for i, case in enumerate(made)])
    monkeypatch.setitem(DATASETS, "t", lambda folder: table)
    first = configured(tmp_path, seeds=(1,), side_tasks=("age",), side_weight=0.5)
    first = replace(first, output=tmp_path / "first", data=DataConfig("t", tmp_path, folds=2))
    larger = replace(first.model, size=(96, 64))
    # A rate of nothing: the fit ends where it began.
    still = replace(first, after=first, model=larger, fit=replace(first.fit, learning_rate=0.0, weight_decay=0.0))
    still = replace(still, output=tmp_path / "still")
    went_on = replace(still, fit=first.fit, output=tmp_path / "on")
    assert (first.generation, went_on.generation) == (0, 1)
    assert len({first.digest, still.digest, went_on.digest}) == 3
    for config in (still, went_on):
        crossval.train(config)
    for split in ("fold1", "fold2", "final"):
        before, after, moved = (network(config, config.model.size) for config in (first, still, went_on))
        for model, folder in ((before, "first"), (after, "still"), (moved, "on")):
            model.load_weights(tmp_path / folder / f"{split}-seed1" / fit.WEIGHTS)
        assert all(map(np.array_equal, before.get_weights(), after.get_weights()))
        assert not all(map(np.array_equal, before.get_weights(), moved.get_weights()))
    assert not (tmp_path / "first" / "out_of_fold.csv").exists()
    with (tmp_path / "on" / "out_of_fold.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(table)


@pytest.mark.slow
@pytest.mark.parametrize("final", ["average", "ensemble"])
def test_two_views_end_in_figures_by_breast_and_in_a_bundle_that_scores_breasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, final: str
) -> None:
    table = CaseTable("t", [replace(case, split="") for case in made_table(tmp_path)])
    monkeypatch.setitem(DATASETS, "t", lambda folder: table)
    from mammolens.training import finish as finishing

    monkeypatch.setitem(finishing.TERMS, "t", "made")
    config = configured(tmp_path, {"views": 2, "final": final, "looks": 2}, epochs=2, batch_size=4)
    config = replace(config, output=tmp_path / "run", data=DataConfig("t", tmp_path, folds=2))
    run = crossval.train(config)
    weights = finish.finish(config, run)
    assert weights.name == crossval.SCORED
    with (tmp_path / "run" / "out_of_fold.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["view"] for row in rows} == {"CC+MLO"}
    assert sorted(row["breast"] for row in rows) == sorted(f"w{i}-L" for i in range(30))
    assert json.loads((tmp_path / "run" / "figures.json").read_text())["image"]["images"] == 30

    beside = replace(config, model=replace(config.model, single="default"))
    assert beside.digest == config.digest
    bundle = load_bundle(finish.finish(beside, run))
    pair, base = bundle.manifest.pair, load_bundle("default")
    assert pair is not None
    assert (pair.members, pair.looks, pair.training.images, pair.training.women) == (len(run.weights), 2, 60, 30)
    assert (bundle.manifest.name, bundle.graph) == ("tiny", base.graph)
    assert (bundle.manifest.calibration, bundle.manifest.golden) == (base.manifest.calibration, base.manifest.golden)
    assert pair.woman is None
    assert [metric.level for metric in pair.metrics] == ["breast", "woman"]
    assert "60 images of 30 women" in bundle.read("MODEL_CARD.md").decode()

    # A breast as the command line would be given it, against the networks as they were trained.
    predictor = Predictor.from_bundle(bundle.location, engine="onnxruntime", threads=1)
    read = [mammogram_from_array(golden.picture(1 + view), min_size=SIZE) for view in (0, 1)]
    views = [replace(read[0], laterality="L", view="CC"), replace(read[1], laterality="L", view="MLO")]
    (breast,) = predictor.predict_exam(views).breasts
    images = np.stack([preprocess.prepare(view, SIZE).image for view in views])
    logits = []
    for path in run.weights:
        model = network(config, SIZE)
        model.load_weights(path)
        logits.append(fit.predict(model, PairedImages(images, np.array([[0, 1]])), np.array([0]), config.model.looking))
    shares = [view.pair.logits[place] for place, view in enumerate(breast.views) if view.pair is not None]
    raw = sum(shares) + pair.bias
    # Kernels of an ensemble are rounded to 16 bits.
    assert raw == pytest.approx(float(np.mean(logits)), **({"abs": 1e-4} if final == "average" else {"rel": 0.01}))
    assert breast.score.logit == pytest.approx(float(pair.breast.calibration.logits(raw)), abs=1e-9)
    assert (breast.score.rule, breast.score.threshold) == ("pair", pair.breast.threshold)
    (lone,) = predictor.predict_exam(views[:1]).breasts
    assert lone.score.rule != "pair"
