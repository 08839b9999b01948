"""Bundles: opened whole or refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mammolens.errors import BundleIncompatible, BundleInvalid, BundleNotFound, BundleTampered
from mammolens.models import bundle as bundles
from mammolens.models import golden
from mammolens.models.bundle import load_bundle
from mammolens.models.network import InputContract


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy of the built-in bundle that a test may spoil."""
    return Path(shutil.copytree(bundles.find("default"), tmp_path / "copy"))


def change(folder: Path, **values: object) -> None:
    path = folder / bundles.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_default_bundle_opens_and_its_hash_is_the_manifests() -> None:
    bundle = load_bundle("default")
    assert bundle.manifest.classes == ("benign", "malignant")
    content = (bundle.location / bundles.MANIFEST).read_bytes()
    assert bundle.identity.sha256 == hashlib.sha256(content).hexdigest()
    assert 0 < bundle.manifest.threshold < 1


def test_bundle_from_before_there_were_scales_takes_grey_values_as_they_are() -> None:
    bundle = load_bundle("default")
    size = bundle.manifest.preprocessing
    assert bundle.contract == InputContract(size.height, size.width, channels=1, scale="255")
    inputs = np.stack([golden.model_input(seed, (size.height, size.width)).image for seed in golden.SEEDS])
    expected = [entry.logit for entry in bundle.manifest.golden]
    np.testing.assert_allclose(bundle.logit(inputs.astype(np.float32)[..., None]), expected, atol=1e-4)


def test_bundle_is_at_most_40_megabytes() -> None:
    assert sum(file.stat().st_size for file in bundles.find("default").iterdir()) <= 40e6


def test_same_bundle_as_zip_opens_to_the_same(copy: Path, tmp_path: Path) -> None:
    archive = tmp_path / "model.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in copy.iterdir():
            file.write(path, path.name)
    opened, original = load_bundle(archive), load_bundle(copy)
    assert opened.identity == original.identity
    assert opened.graph == original.graph


@pytest.mark.parametrize("name", [bundles.GRAPH, bundles.WEIGHTS, bundles.CARD])
def test_one_changed_byte_is_found_before_anything_is_opened(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(bytes(content))
    with pytest.raises(BundleTampered, match=name):
        load_bundle(copy)


def test_missing_file_is_named(copy: Path) -> None:
    (copy / bundles.GRAPH).unlink()
    with pytest.raises(BundleInvalid, match=bundles.GRAPH):
        load_bundle(copy)


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(BundleNotFound, match=bundles.DEFAULT):
        load_bundle("no-such-model")


def test_other_preprocessing_version_is_an_error(copy: Path) -> None:
    change(copy, preprocessing={"version": 2, "height": 384, "width": 288})
    with pytest.raises(BundleIncompatible, match="version 2"):
        load_bundle(copy)


@pytest.mark.parametrize(
    "spoiled",
    [
        {"classes": ["malignant", "benign"]},
        {"evidence_scale": 0},
        {"default_operating_point": "nowhere"},
        {"surprise": 1},
        {"input_scale": 256},
        {"channels": 2},
        {"factor": [1.0, 1.0], "offset": [0.0, 0.0]},
        {"factor": [1.0]},
        {"calibration": {"method": "platt", "slope": -1, "intercept": 0, "prevalence": 0.3}},
        {"files": {"../../etc/passwd": "0" * 64, "model.onnx": "0" * 64, "MODEL_CARD.md": "0" * 64}},
    ],
)
def test_manifest_that_breaks_a_rule_is_refused(copy: Path, spoiled: dict[str, object]) -> None:
    change(copy, **spoiled)
    with pytest.raises(BundleInvalid):
        load_bundle(copy)


def test_manifest_that_is_no_json_is_refused(copy: Path) -> None:
    (copy / bundles.MANIFEST).write_bytes(b"\x00\xff")
    with pytest.raises(BundleInvalid):
        load_bundle(copy)


def test_truncated_zip_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "model.zip"
    archive.write_bytes(b"PK\x03\x04 not much more")
    with pytest.raises(BundleInvalid):
        load_bundle(archive)


def test_golden_inputs_are_those_of_the_manifest() -> None:
    manifest = load_bundle("default").manifest
    size = (manifest.preprocessing.height, manifest.preprocessing.width)
    assert len(manifest.golden) == len(golden.SEEDS)
    for entry in manifest.golden:
        assert golden.digest(golden.model_input(entry.seed, size)) == entry.input_sha256


def test_golden_pictures_differ_and_hold_a_breast() -> None:
    inputs = [golden.model_input(seed, (384, 288)) for seed in golden.SEEDS]
    assert len({golden.digest(made) for made in inputs}) == len(inputs)
    assert {made.geometry.mirrored for made in inputs} == {False, True}
    assert all(0.4 < np.mean(made.mask > 0) < 0.95 for made in inputs)
