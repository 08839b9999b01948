"""``mammolens models``: list, info and verify, on the built-in bundle and on copies of it that were harmed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mammolens.models.bundle import BUILT_IN, DEFAULT

Run = Callable[..., Any]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the built-in bundle."""
    return Path(shutil.copytree(BUILT_IN / DEFAULT, tmp_path / "copy"))


def change(bundle: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edit a bundle's manifest."""
    place = bundle / "manifest.json"
    content = json.loads(place.read_text())
    edit(content)
    place.write_text(json.dumps(content))


def test_list_names_the_default_and_calls_a_broken_one_broken(
    run: Run, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / "model.onnx").write_bytes(b"changed")
    monkeypatch.setattr("mammolens.models.bundle.installed", lambda: {"copy": copy, DEFAULT: BUILT_IN / DEFAULT})
    result = run("models", "list")
    assert result.exit_code == 0
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines()[1:]}
    assert rows["copy"][-2:] == ["broken", "[bundle-tampered]"]
    assert rows[DEFAULT][-1] == "default"
    assert "efficientnet-b0" in rows[DEFAULT]


def test_info_tells_the_manifest(run: Run) -> None:
    manifest = json.loads((BUILT_IN / DEFAULT / "manifest.json").read_text())
    told = json.loads(run("models", "info", "--json").stdout)
    # A manifest from before there were choices is told with what they were then.
    then = {"input_scale": "255", "channels": 1, "factor": None, "offset": None, "source": None, "members": 1}
    then |= {"explanation": "linear", "examination": None, "pair": None}
    calibration = {"knots": None, "on": None, **manifest["calibration"]}
    now = {"input_scale": str(manifest["input_scale"]), "calibration": calibration}
    assert told == {**then, **manifest, **now}
    shown = run("models", "info", DEFAULT).stdout
    assert f"{manifest['name']}, version {manifest['version']}" in shown
    assert all(digest in shown for digest in manifest["files"].values())
    assert all(point["name"] in shown for point in manifest["operating_points"])


def test_info_of_an_imported_model_tells_what_is_unknown(run: Run, copy: Path) -> None:
    def imported(manifest: dict[str, Any]) -> None:
        manifest.update(calibration=None, training=None, input_scale="-1..1", metrics=[])
        for point in manifest["operating_points"]:
            point.update(sensitivity=None, specificity=None)
        manifest["source"] = {
            "format": "model-hdf5",
            "sha256": "a" * 64,
            "keras_version": "2.10.0",
            "architecture_found": "efficientnet-b0",
            "assumptions": ["layer 'jitter' changes nothing"],
            "proof": "parity",
            "parity": 2.5e-06,
        }

    change(copy, imported)
    shown = run("models", "info", copy).stdout
    assert re.search(r"^trained on +unknown$", shown, re.MULTILINE)
    assert re.search(r"^input scale +-1\.\.1, grey$", shown, re.MULTILINE)
    assert re.search(r"^calibration +none", shown, re.MULTILINE)
    assert shown.count("never measured") == shown.count("\nthreshold ") >= 3
    assert "model-hdf5 by Keras 2.10.0, sha256 " + "a" * 64 in shown
    assert "logits differ from the source's by at most 2.5e-06" in shown
    assert re.search(r"^assumed +layer 'jitter' changes nothing$", shown, re.MULTILINE)
    assert re.search(r"^terms +unknown$", shown, re.MULTILINE)


def test_info_of_an_unknown_model_is_wrong_usage(run: Run) -> None:
    result = run("models", "info", "nix")
    assert result.exit_code == 2
    assert result.stderr.startswith("error [bundle-not-found]: No model of that name")


def test_verify_repeats_hashes_golden_inputs_and_logits(run: Run) -> None:
    result = run("models", "verify", DEFAULT)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    golden = json.loads((BUILT_IN / DEFAULT / "manifest.json").read_text())["golden"]
    assert len(lines) == 1 + 2 * len(golden)
    assert all(line.startswith("ok ") for line in lines)


def test_verify_fails_on_a_changed_file(run: Run, copy: Path) -> None:
    (copy / "MODEL_CARD.md").write_text("another card")
    result = run("models", "verify", copy)
    assert result.exit_code == 1
    assert result.stdout.startswith("FAILED")
    assert "[bundle-tampered]" in result.stdout


def test_verify_fails_on_another_golden_input(run: Run, copy: Path) -> None:
    change(copy, lambda manifest: manifest["golden"][1].update(input_sha256="0" * 64))
    result = run("models", "verify", copy)
    assert result.exit_code == 1
    assert [line.split()[0] for line in result.stdout.splitlines()[:5]] == ["ok", "ok", "ok", "FAILED", "ok"]


def test_verify_fails_on_another_golden_logit(run: Run, copy: Path) -> None:
    def shift(manifest: dict[str, Any]) -> None:
        manifest["golden"][0]["logit"] += 0.0011

    change(copy, shift)
    result = run("models", "verify", copy)
    assert result.exit_code == 1
    failed = [line for line in result.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1
    assert failed[0].endswith("differs by 1.1e-03")


def test_verify_fails_where_there_is_nothing_to_repeat(run: Run, copy: Path) -> None:
    change(copy, lambda manifest: manifest.update(golden=[]))
    result = run("models", "verify", copy)
    assert result.exit_code == 1
    assert "the manifest records none" in result.stdout


def test_verify_with_an_unknown_engine_is_wrong_usage(run: Run) -> None:
    result = run("models", "verify", "--engine", "nix")
    assert result.exit_code == 2
    assert result.stderr.startswith("error [engine-unavailable]")
