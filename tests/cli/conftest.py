"""The command line, run in this process or as a process of its own, with a predictor that needs no pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from support import fake_command_line

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"


def _python_path() -> str:
    return os.pathsep.join(filter(None, (str(SOURCE), os.environ.get("PYTHONPATH"))))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Predictor that answers by a file's first word."""
    from mammolens.imaging.sandbox import DecodePool
    from mammolens.inference import Predictor

    fake_command_line.OPENED.clear()
    monkeypatch.setattr(Predictor, "from_bundle", fake_command_line.from_bundle)
    monkeypatch.setattr(DecodePool, "start", fake_command_line.start)
    return fake_command_line


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
        program = [str(Path(fake_command_line.__file__))] if fake else ["-m", "mammolens"]
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
