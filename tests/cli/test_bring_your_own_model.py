"""docs/bring-your-own-model.md, run from its first line to its last, as a reader would."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mammolens import errors
from mammolens.settings import settings

PAGE = Path(__file__).parents[2] / "docs" / "bring-your-own-model.md"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, and an empty home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAMMOLENS_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


@pytest.mark.slow
def test_the_page_runs_as_it_stands(desk: Path, run: Callable[..., Any]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "page"}
    said: list[str] = []
    for language, code in BLOCK.findall(text):
        if language == "python":
            exec(compile(code, PAGE.name, "exec"), names)  # noqa: S102 - the page is ours
            continue
        for line in code.splitlines():
            program, *arguments = shlex.split(line, comments=True)
            assert program == "mammolens"
            result = run(*arguments)
            assert result.exit_code == 0, f"{line}\n{result.stderr}"
            said.append(result.stdout + result.stderr)
    everything = "\n".join(said)
    # What the page promises: the doctor's suspicion, proofs by parity, two installed models, a cached one, a map.
    assert "untrained       the head seems never to have been trained" in said[0]
    assert everything.count("proof           parity: on 16 pictures") == 2
    models = desk / "home" / "models"
    assert sorted(path.name for path in models.iterdir()) == ["student", "student-weights"]
    for path in (*models.iterdir(), *(desk / "home" / "cache" / "imports").iterdir()):
        source = json.loads((path / "manifest.json").read_text())["source"]
        assert source["proof"] == "parity"
        assert source["parity"] <= 1e-3
    assert "imported first, once" in everything
    assert (desk / "answers" / "mammogram.overlay.png").stat().st_size > 10_000
    assert names["prediction"].heatmap.max() > 0
    assert 0 < names["prediction"].probability < 1


def test_every_error_of_a_model_file_stands_in_the_table() -> None:
    table = set(re.findall(r"^\| `([a-z-]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert table == {error.code for error in errors.ModelFileError.__subclasses__()}


def test_the_page_is_in_the_index() -> None:
    assert f"({PAGE.name})" in (PAGE.parent / "index.md").read_text(encoding="utf-8")
