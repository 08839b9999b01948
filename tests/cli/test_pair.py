"""Commands on a bundle with a network of two views: the breast's line, the maps, and `models` on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("keras")

from mammolens import phantom
from mammolens.models.bundle import PAIR
from mammolens.models.network import Network
from support.pairs import joined
from support.small import shrink

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def place(random_network: Callable[..., Network], tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        return joined(random_network, tmp_path_factory.mktemp("pair") / "tiny", (96, 64))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom woman without her LMLO."""
    folder = tmp_path_factory.mktemp("examination")
    for name, view in phantom.examination(0, rows=640, columns=512).items():
        if name != "LMLO":
            (folder / f"{name}.dcm").write_bytes(phantom.dicom(view))
    return folder


def test_record_says_which_rule_gave_the_score_and_each_picture_gets_its_map(
    run: Run, place: Path, folder: Path, tmp_path: Path
) -> None:
    result = run(
        *("predict", folder, "--model", place, "--engine", "onnxruntime"),
        *("--exam", "--json", tmp_path / "lines.jsonl", "--out", tmp_path / "out"),
    )
    assert result.exit_code == 0, result.stderr
    *files, exam = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    right, left = exam["breasts"]
    assert (exam["rule"], right["rule"], left["rule"]) == ("max", "pair", "mean-logit")
    assert [view["counted"] for view in right["views"]] == [True, True]
    assert exam["missing"] == [{"laterality": "L", "view": "MLO"}]
    assert "single-views" in [warning.partition(":")[0] for warning in exam["warnings"]]
    differ = []
    for record in files:
        assert {"overlay", "heatmap", "heatmap_array"} <= record["artifacts"].keys()
        drawn = {name: Path(path) for name, path in record["artifacts"].items() if name.startswith("pair_")}
        assert drawn.keys() == {"pair_overlay", "pair_heatmap", "pair_heatmap_array"}
        assert all(path.stat().st_size > 0 for path in drawn.values())
        differ.append(drawn["pair_heatmap"].read_bytes() != Path(record["artifacts"]["heatmap"]).read_bytes())
    # Where nothing speaks for a malignancy, both maps are empty.
    assert any(differ)


def test_verify_repeats_the_shares_and_refuses_a_damaged_graph(run: Run, place: Path, tmp_path: Path) -> None:
    result = run("models", "verify", place, "--engine", "onnxruntime")
    assert result.exit_code == 0, result.stdout
    assert len([line for line in result.stdout.splitlines() if line.startswith("ok") and "two views" in line]) == 4
    other = tmp_path / "other"
    other.mkdir()
    for file in place.iterdir():
        if file.name != "manifest.json":
            (other / file.name).symlink_to(file)
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["pair"]["golden"][2]["mlo"] += 0.01
    (other / "manifest.json").write_text(json.dumps(manifest))
    result = run("models", "verify", other, "--engine", "onnxruntime")
    assert result.exit_code == 1
    assert [line.split()[-3:] for line in result.stdout.splitlines() if line.startswith("FAILED")] == [
        ["differ", "by", "1.0e-02"]
    ]
    (other / PAIR).unlink()
    (other / PAIR).write_bytes(b"damaged")
    for command, status in (
        (("models", "verify", other), 1),
        (("predict", place / "MODEL_CARD.md", "--model", other), 2),
    ):
        result = run(*command)
        assert result.exit_code == status
        assert "bundle-tampered" in result.stdout + result.stderr


def test_info_tells_of_the_network_of_two_views(run: Run, place: Path) -> None:
    shown = run("models", "info", place).stdout
    assert "efficientnet-b0, shared trunk, input 96 x 64 pixels" in shown
    assert "AUC per breast 0.800 [0.700, 0.900], by hand" in shown
