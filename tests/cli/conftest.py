"""The command line, run in this process or as a process of its own, with a predictor that needs no pictures."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"


def _python_path() -> str:
    return os.pathsep.join(filter(None, (str(SOURCE), os.environ.get("PYTHONPATH"))))


def _load_fake() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fake_command_line", HERE / "fake.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Predictor that answers by a file's first word."""
    module = _load_fake()
    from mammolens.imaging.sandbox import DecodePool
    from mammolens.inference import Predictor

    monkeypatch.setattr(Predictor, "from_bundle", module.from_bundle)
    monkeypatch.setattr(DecodePool, "start", module.start)
    return module


@pytest.fixture
def run() -> Callable[..., Any]:
    """Run a command in this process; gives exit_code, stdout and stderr."""

    def call(*arguments: object) -> Any:
        from mammolens.cli.main import app

        return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="mammolens")

    return call


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a command with the fake predictor as a process of its own, in an empty folder."""

    def call(
        *arguments: object, fake: bool = True, terminal: int | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        program = [str(HERE / "fake.py")] if fake else ["-m", "mammolens"]
        return subprocess.Popen(
            [sys.executable, *program, *(os.fsdecode(str(argument)) for argument in arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if terminal is None else terminal,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": _python_path(), **options.pop("env", {})},
            **options,
        )

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Make the folder ``in`` of files from a mapping of names to contents."""

    def make(contents: dict[str, str]) -> Path:
        for name, content in contents.items():
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return tmp_path / "in"

    return make
