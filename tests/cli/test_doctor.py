"""``mammolens doctor``: what it finds on this machine, and that it says so when something is wrong."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mammolens import __version__
from mammolens.cli import doctor
from mammolens.imaging.dicom_file import SYNTAXES
from mammolens.imaging.sandbox import default_pool
from mammolens.models.bundle import load_bundle
from mammolens.phantom import TRANSFER_SYNTAXES
from mammolens.settings import Settings

Run = Callable[..., Any]


@pytest.fixture(scope="module", autouse=True)
def _end_processes() -> Iterator[None]:
    yield
    default_pool().close()


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    from typer.testing import CliRunner

    from mammolens.cli.main import app

    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def section(report: dict[str, Any], title: str) -> dict[str, tuple[bool | None, str]]:
    return {check["name"]: (check["ok"], check["detail"]) for check in report["sections"][title]}


def test_all_is_well_here(report: dict[str, Any]) -> None:
    assert (report["schema"], report["version"], report["ok"]) == ("mammolens.doctor/1", __version__, True)


def test_every_transfer_syntax_is_there_and_those_that_can_be_written_are_read_back(report: dict[str, Any]) -> None:
    found = section(report, "Decoding")
    assert found.pop("bounded process")[0] is True
    assert set(found) == SYNTAXES
    assert all(ok for ok, _ in found.values())
    assert {name for name, (_, detail) in found.items() if "read back to the pixel" in detail} == set(TRANSFER_SYNTAXES)


def test_the_model_and_its_hash_are_named(report: dict[str, Any]) -> None:
    bundle = load_bundle()
    model = section(report, "Model")
    assert bundle.identity.sha256 in model[bundle.identity.name][1]
    assert len(model) == 2 + 2 * len(bundle.manifest.golden)
    assert model["engine auto"][0] is None
    assert model["engine auto"][1].startswith("onnxruntime")


def test_the_settings_in_force_are_told(report: dict[str, Any]) -> None:
    assert set(section(report, "Settings")) == {f"MAMMOLENS_{name.upper()}" for name in Settings.model_fields}


def test_the_self_test_answers(report: dict[str, Any]) -> None:
    ok, detail = section(report, "Self-test")["DICOM phantom to answer"]
    assert ok is True
    assert 0.0 <= float(re.findall(r"probability ([0-9.]+)", detail)[0]) <= 1.0


def test_the_dependencies_are_those_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def names(requirements: list[str]) -> set[str]:
        # An extra may contain another one.
        return {re.split(r"[ >=<;\[]", requirement)[0] for requirement in requirements} - {"mammolens"}

    assert set(doctor.NEEDED) == names(project["dependencies"])
    extras = {name: names(those) for name, those in project["optional-dependencies"].items() if name != "all"}
    assert set(doctor.OPTIONAL) == set(extras)
    assert all(extras[name] <= set(doctor.OPTIONAL[name]) for name in extras)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes long."""
    quick = [(title, look) for title, look in doctor._sections() if title in ("System", "Dependencies", "Model")]
    monkeypatch.setattr(doctor, "_sections", lambda: quick)


@pytest.mark.usefixtures("quick")
def test_a_missing_dependency_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "NEEDED", ("numpy", "no-such-thing"))
    result = run("doctor")
    assert result.exit_code == 1
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["ok", "numpy", np.__version__] in lines
    assert ["FAILED", "no-such-thing", "not", "installed"] in lines
    assert result.stdout.splitlines()[-1].startswith("Something is wrong")


@pytest.mark.usefixtures("quick")
def test_a_section_that_fails_does_not_hide_the_others(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("Doe^Jane")

    monkeypatch.setattr("mammolens.models.bundle.load_bundle", fail)
    result = run("doctor", "--json")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert content["ok"] is False
    assert section(content, "Model")["Model"][0] is False
    assert section(content, "Dependencies")["numpy"][0] is True
    assert "Doe^Jane" not in result.output
