"""The whole way on generated mammograms, with a network that is made to see what is bright."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from mammolens.datasets.table import Abnormality, Case, Outline
from mammolens.errors import ConfigurationError, TrainingDataError
from mammolens.evaluation import localisation, localisation_faithfulness
from mammolens.evaluation.localisation import Localisation, Plan
from mammolens.evaluation.localisation_sanity import spearman
from mammolens.models.network import InputContract

onnx = pytest.importorskip("onnx")

SIZE = (128, 96)
CELL = 8
SPOTS = {0: (100.0, 120.0), 1: (150.0, 300.0), 2: (90.0, 260.0), 3: (170.0, 200.0)}
METHODS = ("grad-cam", "hires-cam", "layer-cam", "eigen-cam", "occlusion")


def mammogram(spot: tuple[float, float] | None, seed: int) -> np.ndarray:
    """A breast at the left edge, with a bright disc of 16 pixels about ``spot``."""
    y, x = np.mgrid[:400, :300].astype(np.float64)
    inside = (x / 250.0) ** 2 + ((y - 200.0) / 170.0) ** 2 < 1.0
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0.0, 1.0, (400, 300)), (0, 0), 4.0)
    values = 100.0 + 25.0 * noise
    if spot is not None:
        values += 120.0 * (np.hypot(x - spot[0], y - spot[1]) < 16.0)
    return np.where(inside, np.clip(values, 70.0, 255.0), 0.0).astype(np.uint8)


def bright_network() -> bytes:
    """Two channels of cells of 8 × 8 pixels, how bright above 140 and how dark below 60; the head likes the first."""
    from onnx import TensorProto, helper, numpy_helper

    rows, columns = SIZE[0] // CELL, SIZE[1] // CELL
    # What averages in one channel is taken off in the other, so that shuffling leaves no average of either.
    kernel = np.full((2, 1, CELL, CELL), 1.0 / CELL**2, np.float32) * np.array([1.0, -1.0], np.float32).reshape(
        2, 1, 1, 1
    )
    constants = {
        "planar": np.array([-1, 1, *SIZE], np.int64),
        "stem_conv/kernel": kernel,
        "stem_conv/bias": np.array([-140.0, 60.0], np.float32),
        "logit/share": np.array([1.0, -0.5], np.float32).reshape(1, 2, 1, 1) / np.float32(rows * columns),
        "flat": np.array([-1, rows, columns], np.int64),
        "axes": np.array([1, 2], np.int64),
        "column": np.array([-1, 1], np.int64),
    }
    nodes = [
        helper.make_node("Reshape", ["image", "planar"], ["grey"]),
        helper.make_node("Conv", ["grey", "stem_conv/kernel", "stem_conv/bias"], ["stem"], strides=[CELL, CELL]),
        helper.make_node("Relu", ["stem"], ["features"]),
        helper.make_node("Conv", ["features", "logit/share"], ["evidence/grid"]),
        helper.make_node("Reshape", ["evidence/grid", "flat"], ["evidence"]),
        helper.make_node("ReduceSum", ["evidence", "axes"], ["total"], keepdims=0),
        helper.make_node("Reshape", ["total", "column"], ["logit"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *SIZE, 1])
    shapes = {"logit": ["N", 1], "evidence": ["N", rows, columns], "features": ["N", 2, rows, columns]}
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "bright", [image], outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


@dataclass
class Bundle:
    """What of a bundle is asked for."""

    graph: bytes
    contract: InputContract = field(default_factory=lambda: InputContract(*SIZE))
    manifest: Any = field(default_factory=lambda: SimpleNamespace(evidence_scale=0.5))


@pytest.fixture(scope="module")
def predictor() -> Any:
    return SimpleNamespace(bundle=Bundle(bright_network()), size=SIZE)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    folder = tmp_path_factory.mktemp("pictures")
    made = []
    for number in range(6):
        spot = SPOTS.get(number)
        path = folder / f"{number}.png"
        Image.fromarray(mammogram(spot, number)).save(path)
        lesions = () if spot is None else (Abnormality("mass", "malignant", outline=Outline(circle=(*spot, 20.0))),)
        made.append(Case(path, f"w{number // 2}", "L", "MLO", spot is not None, abnormalities=lesions))
    return made


PLAN = Plan(sanity=3, examples=2, threads=1, draws=100)


@pytest.fixture(scope="module")
def found(cases: list[Case], predictor: Any) -> Localisation:
    return localisation.measure(cases, predictor, METHODS, PLAN)


def test_a_model_that_sees_the_lesion_points_at_it_and_a_shuffled_one_does_not(found: Localisation) -> None:
    assert (found.pictures, found.with_lesion, found.women) == (6, 4, 2)
    for name in set(METHODS) - {"eigen-cam"}:
        assert found.methods[name].near.value == 1.0, name
    # It does not ask the head, and most of what this network's features hold is how dark the air is.
    assert found.methods["eigen-cam"].near.value == 0.0
    # What is shuffled may still see what is bright, but its map is spread over the breast like chance.
    assert found.baselines["randomised model"].energy.value < 2 * found.chance_inside
    assert found.baselines["centre of the breast"].inside.value < 0.5
    # Here the lesion is the brightest tissue: the baseline must see that.
    assert found.baselines["brightest tissue"].near.value == 1.0
    assert found.methods["grad-cam"].froc[0.25].value == 1.0
    # A circle of 20 pixels in half an ellipse of 250 × 170.
    assert found.chance_inside == pytest.approx(20.0**2 / (0.5 * 250.0 * 170.0), rel=0.06)
    assert found.methods["grad-cam"].energy.value > 10 * found.chance_inside


def test_maps_that_coincide_get_the_same_figures(found: Localisation) -> None:
    assert found.methods["grad-cam"].as_dict() == found.methods["hires-cam"].as_dict()


def test_regions_at_the_served_threshold_are_given_for_the_served_map_alone(found: Localisation) -> None:
    served = found.methods["grad-cam"].served
    assert served is not None
    assert served.sensitivity.value == 1.0
    assert served.false_regions.value == 0.0
    assert found.methods["layer-cam"].served is None


def test_shuffling_everything_changes_every_map_and_the_head_alone_not_eigen_cam(found: Localisation) -> None:
    assert found.sanity["eigen-cam"]["head"].value == pytest.approx(1.0)
    assert found.sanity["layer-cam"]["everything"].value < 0.9
    # Of two weights one order is the other's opposite, or the same.
    assert found.sanity["grad-cam"]["head"].value == pytest.approx(found.sanity["hires-cam"]["head"].value)


def test_figures_go_into_json_and_examples_are_pictures(found: Localisation) -> None:
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert plain["methods"]["grad-cam"]["near"]["value"] == 1.0
    assert len(found.examples) == 2
    caption, png = found.examples[0]
    assert "w0" in caption
    picture = np.asarray(Image.open(io.BytesIO(png)))
    assert picture.shape == (400, 300, 3)
    # The outline is drawn in blue; the mammogram is grey, the heat map's colours have more red than blue.
    blue = picture[..., 2].astype(int) - picture[..., 0] > 60
    rows, columns = np.nonzero(blue)
    assert columns.mean() == pytest.approx(100.0, abs=3.0)
    assert rows.mean() == pytest.approx(120.0, abs=3.0)


def test_the_table_has_a_line_for_every_map(found: Localisation) -> None:
    text = localisation.table(found)
    for name in (*METHODS, "centre of the breast", "brightest tissue", "randomised model"):
        assert f"\n| {name} | " in text


def test_a_malignant_picture_without_outline_is_left_out_and_said(cases: list[Case], predictor: Any) -> None:
    blind = [replace(cases[0], abnormalities=()), *cases[1:]]
    found = localisation.measure(blind, predictor, ("grad-cam",), replace(PLAN, sanity=0, examples=0))
    assert (found.pictures, found.with_lesion, found.left_out) == (5, 3, 1)
    assert found.sanity == {}


def test_a_picture_that_gets_no_answer_is_counted(cases: list[Case], predictor: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = replace(cases[5], path=tmp_path / "broken.png")
    found = localisation.measure([*cases[:2], broken], predictor, ("grad-cam",), replace(PLAN, sanity=0))
    assert found.refused == {"unknown-format": 1}
    assert found.pictures == 2


def test_a_mask_that_cannot_be_read_names_the_woman_and_the_row(
    cases: list[Case], predictor: Any, tmp_path: Path
) -> None:
    (tmp_path / "mask.png").write_bytes(b"no picture")
    lesion = Abnormality("mass", "malignant", outline=Outline(mask=tmp_path / "mask.png"))
    broken = replace(cases[2], abnormalities=(lesion,), provenance="labels.csv, line 4")
    with pytest.raises(TrainingDataError, match=r"woman w1 \(labels\.csv, line 4\)"):
        localisation.measure([broken], predictor, ("grad-cam",), PLAN)


def test_a_table_without_outlines_and_an_unknown_method_are_refused(cases: list[Case], predictor: Any) -> None:
    with pytest.raises(TrainingDataError):
        localisation.measure(cases[4:], predictor, ("grad-cam",), PLAN)
    with pytest.raises(ConfigurationError):
        localisation.measure(cases, predictor, ("saliency",), PLAN)


def test_deletion_and_insertion_tell_a_faithful_map_from_the_breasts_centre(cases: list[Case], predictor: Any) -> None:
    faith = localisation_faithfulness.measure(cases[:4], predictor, ("grad-cam", "hires-cam"), threads=1, orders=2)
    assert (faith.pictures, faith.women) == (4, 2)
    assert faith.advantage["grad-cam"]["deletion"].low > 0.0
    assert faith.advantage["grad-cam"]["insertion"].low > 0.0
    assert faith.against["hires-cam"].value == 0.0
    assert faith.against["centre of the breast"].value < 0.0
    assert "| centre of the breast | " in localisation_faithfulness.table(faith)
    json.dumps(faith.as_dict(), allow_nan=False)


def test_rank_correlation_is_that_of_the_cells_on_the_breast() -> None:
    mask = np.zeros((40, 30), np.uint8)
    mask[:, :20] = 255
    a = np.arange(12.0).reshape(4, 3)
    b = a**3
    b[:, 2] = -100.0
    assert spearman(a, b, mask) == pytest.approx(1.0)
    assert spearman(a, -a, mask) == pytest.approx(-1.0)
    # Hand-worked: ranks 1 2 3 4 against 2 1 4 3 give 1 - 6 * 4 / (4 * 15).
    one = np.full((20, 20), 255, np.uint8)
    four, other = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[2.0, 1.0], [4.0, 3.0]])
    assert spearman(four, other, one) == pytest.approx(0.6)
    assert spearman(four, np.zeros((2, 2)), one) == 0.0
